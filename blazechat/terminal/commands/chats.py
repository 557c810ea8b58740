"""What the commands about chats and their members do."""

import asyncio

from rich.text import Text

from blazechat.client import History, Member, Role
from blazechat.client.errors import NotFound
from blazechat.terminal import labels, slash_commands
from blazechat.terminal.commands.base import CommandRefused, ScreenCommands
from blazechat.terminal.screens.dialogs import Choice

MAX_LISTED_MEMBERS = 500
NEW_CHAT_TIMEOUT_SECONDS = 5.0


class ChatCommands(ScreenCommands):
    async def dm(self, rest: str) -> None:
        if not rest:
            raise slash_commands.usage_error("dm")
        chat = await self.client.chats.create_direct((await self.find_user(rest)).id)
        await self._open_when_known(chat.id)

    async def group(self, rest: str) -> None:
        words = rest.split()
        people = [word for word in words if word.startswith("@")]
        name = " ".join(word for word in words if not word.startswith("@"))
        if not name:
            raise slash_commands.usage_error("group")
        users = await self.find_users(people)
        chat = await self.client.chats.create_group(name, [user.id for user in users])
        await self._open_when_known(chat.id)

    async def _open_when_known(self, chat_id: int) -> None:
        """Open a chat as soon as it has been heard of."""
        for _ in range(int(NEW_CHAT_TIMEOUT_SECONDS / 0.05)):
            if chat_id in self.client.state.chats:
                self.screen.open_chat(chat_id)
                return
            await asyncio.sleep(0.05)
        raise CommandRefused("The chat is there, and will be listed when you are online.")

    async def add(self, rest: str) -> None:
        if not rest:
            raise slash_commands.usage_error("add")
        users = await self.find_users(rest.split())
        await self.client.chats.add_members(self.require_group().id, [user.id for user in users])

    async def remove(self, rest: str) -> None:
        if not rest:
            raise slash_commands.usage_error("remove")
        chat = self.require_group()
        users = await self.find_users(rest.split())
        names = ", ".join(labels.of_user(user) for user in users)
        if await self.confirm(f"Remove {names} from {labels.of_chat(chat, chat.my_id)}?", "Remove"):
            for user in users:
                await self.client.chats.remove_member(chat.id, user.id)

    async def members(self, rest: str) -> None:
        chat = self.require_chat()
        choices = []
        async for member in self.client.chats.members(chat.id):
            choices.append(Choice(member.username, _member_line(member)))
            if len(choices) == MAX_LISTED_MEMBERS:
                break
        chosen = await self.choose(
            f"{chat.member_count} in {labels.of_chat(chat, chat.my_id)}",
            choices,
            "Enter opens the direct chat.",
        )
        if chosen is not None and chosen != (self.client.login.username if self.client.login else ""):
            await self.dm(f"@{chosen}")

    async def chat_command(self, typed: str) -> None:
        """A command that is none of the app's, and so perhaps one of the chat's."""
        word = typed.split(None, 1)[0]
        try:
            answer = await self.client.slash_commands.invoke(self.require_chat().id, typed)
        except NotFound:
            raise slash_commands.UsageError(
                f"There is no command {word}; /help lists them. Begin with // to send it as a message."
            ) from None
        if answer.content is not None:
            self.screen.show_notice(f"{word} (only you see this)", answer.content)

    async def role(self, rest: str) -> None:
        name, _, role = rest.partition(" ")
        if not name or role.strip() not in list(Role):
            raise slash_commands.usage_error("role")
        await self.client.chats.set_role(
            self.require_group().id, (await self.find_user(name)).id, Role(role.strip())
        )

    async def rename(self, rest: str) -> None:
        if not rest:
            raise slash_commands.usage_error("rename")
        await self.client.chats.update(self.require_group().id, name=rest)

    async def history(self, rest: str) -> None:
        if rest not in list(History):
            raise slash_commands.usage_error("history")
        await self.client.chats.update(self.require_group().id, history=History(rest))

    async def leave(self, rest: str) -> None:
        chat = self.require_group()
        if await self.confirm(f"Leave {labels.of_chat(chat, chat.my_id)}?", "Leave"):
            await self.client.chats.leave(chat.id)

    async def delete_chat(self, rest: str) -> None:
        chat = self.require_chat()
        question = f"Delete {labels.of_chat(chat, chat.my_id)} for everybody, with all that was said in it?"
        if await self.confirm(question, "Delete"):
            await self.client.chats.delete(chat.id)


def _member_line(member: Member) -> Text:
    line = Text(labels.of_user(member), no_wrap=True, overflow="ellipsis")
    line.append(f"  @{member.username}", "dim")
    if member.is_bot:
        line.append("  bot", "dim")
    if member.role is not Role.MEMBER:
        line.append(f"  {member.role.value}", "italic")
    line.append(f"  {member.status.value}", "dim")
    return line
