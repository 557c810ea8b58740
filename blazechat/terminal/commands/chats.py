"""Commands about chats and their members, and commands that the open chat has."""

import asyncio

from rich.text import Text

from blazechat.client import History, Member, Role
from blazechat.client.errors import NotFound
from blazechat.terminal import labels, slash_commands
from blazechat.terminal.commands.base import CommandRefused, ScreenCommands
from blazechat.terminal.screens.dialogs import Choice

MAX_LISTED_MEMBERS = 500
NEW_CHAT_TIMEOUT_SECONDS = 5.0
NEW_CHAT_POLL_SECONDS = 0.05


class ChatCommands(ScreenCommands):
    async def dm(self, arguments: str) -> None:
        if not arguments:
            raise slash_commands.usage_error("dm")
        chat = await self.client.chats.create_direct((await self.find_user(arguments)).id)
        await self._open_when_known(chat.id)

    async def group(self, arguments: str) -> None:
        words = arguments.split()
        usernames = [word for word in words if word.startswith("@")]
        name = " ".join(word for word in words if not word.startswith("@"))
        if not name:
            raise slash_commands.usage_error("group")
        users = await self.find_users(usernames)
        chat = await self.client.chats.create_group(name, [user.id for user in users])
        await self._open_when_known(chat.id)

    async def add(self, arguments: str) -> None:
        if not arguments:
            raise slash_commands.usage_error("add")
        users = await self.find_users(arguments.split())
        await self.client.chats.add_members(self.require_group().id, [user.id for user in users])

    async def remove(self, arguments: str) -> None:
        if not arguments:
            raise slash_commands.usage_error("remove")
        chat = self.require_group()
        users = await self.find_users(arguments.split())
        names = ", ".join(labels.of_user(user) for user in users)
        if await self.confirm(f"Remove {names} from {labels.of_chat(chat, chat.my_id)}?", "Remove"):
            for user in users:
                await self.client.chats.remove_member(chat.id, user.id)

    async def members(self, arguments: str) -> None:
        chat = self.require_chat()
        members: list[Member] = []
        async for member in self.client.chats.members(chat.id):
            members.append(member)
            if len(members) == MAX_LISTED_MEMBERS:
                break
        members.sort(key=lambda member: member.is_bot)
        choices = [Choice(member.username, _member_line(member)) for member in members]
        selected = await self.choose(
            f"{labels.count_members(chat.people_count, chat.bot_count)} in"
            f" {labels.of_chat(chat, chat.my_id)}",
            choices,
            "Enter opens the direct chat.",
        )
        my_username = self.client.login.username if self.client.login else ""
        if selected is not None and selected != my_username:
            await self.dm(f"@{selected}")

    async def role(self, arguments: str) -> None:
        name, _, role = arguments.partition(" ")
        if not name or role.strip() not in list(Role):
            raise slash_commands.usage_error("role")
        await self.client.chats.set_role(
            self.require_group().id, (await self.find_user(name)).id, Role(role.strip())
        )

    async def rename(self, arguments: str) -> None:
        if not arguments:
            raise slash_commands.usage_error("rename")
        await self.client.chats.update(self.require_group().id, name=arguments)

    async def history(self, arguments: str) -> None:
        if arguments not in list(History):
            raise slash_commands.usage_error("history")
        await self.client.chats.update(self.require_group().id, history=History(arguments))

    async def leave(self, arguments: str) -> None:
        chat = self.require_group()
        if await self.confirm(f"Leave {labels.of_chat(chat, chat.my_id)}?", "Leave"):
            await self.client.chats.leave(chat.id)

    async def delete_chat(self, arguments: str) -> None:
        chat = self.require_chat()
        question = f"Delete {labels.of_chat(chat, chat.my_id)} and all its messages for all members?"
        if await self.confirm(question, "Delete"):
            await self.client.chats.delete(chat.id)

    async def chat_command(self, text: str) -> None:
        """Run a command that the open chat might have, since the app does not have it.

        `text` is the whole line.
        """
        word = text.split(None, 1)[0]
        try:
            result = await self.client.slash_commands.invoke(self.require_chat().id, text)
        except NotFound:
            raise slash_commands.UsageError(
                f"There is no command {word}. /help lists the commands. To send it as a message, type //."
            ) from None
        if result.content is not None:
            self.view.show_response(f"{word} (only you see this)", result.content)

    async def _open_when_known(self, chat_id: int) -> None:
        """Open a new chat as soon as its event has arrived. Raises CommandRefused after a timeout."""
        for _ in range(int(NEW_CHAT_TIMEOUT_SECONDS / NEW_CHAT_POLL_SECONDS)):
            if chat_id in self.client.state.chats:
                self.view.open_chat(chat_id)
                return
            await asyncio.sleep(NEW_CHAT_POLL_SECONDS)
        raise CommandRefused("The chat is created. It appears in the list when you are online.")


def _member_line(member: Member) -> Text:
    line = Text(labels.of_user(member), no_wrap=True, overflow="ellipsis")
    line.append(f"  @{member.username}", "dim")
    if member.is_bot:
        line.append("  bot", "dim")
    if member.role is not Role.MEMBER:
        line.append(f"  {member.role.value}", "italic")
    line.append(f"  {member.status.value}", "dim")
    return line
