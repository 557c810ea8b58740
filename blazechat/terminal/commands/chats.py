"""What the commands about chats and their members do."""

import asyncio

from rich.text import Text

from blazechat.client import History, Member, Role
from blazechat.client.errors import NotFound
from blazechat.terminal import labels, slash_commands
from blazechat.terminal.commands.base import CommandRefused, ScreenCommands
from blazechat.terminal.screens.dialogs import Choice

LISTED = 500
HEARD_OF_WITHIN = 5.0


class ChatCommands(ScreenCommands):
    async def dm(self, rest: str) -> None:
        if not rest:
            raise slash_commands.usage("dm")
        chat = await self.client.chats.direct((await self.user_of(rest)).id)
        await self._opened(chat.id)

    async def group(self, rest: str) -> None:
        words = rest.split()
        people = [word for word in words if word.startswith("@")]
        name = " ".join(word for word in words if not word.startswith("@"))
        if not name:
            raise slash_commands.usage("group")
        users = await self.users_of(people)
        chat = await self.client.chats.group(name, [user.id for user in users])
        await self._opened(chat.id)

    async def _opened(self, chat_id: int) -> None:
        """Open a chat as soon as it has been heard of."""
        for _ in range(int(HEARD_OF_WITHIN / 0.05)):
            if chat_id in self.client.state.chats:
                self.screen.open_chat(chat_id)
                return
            await asyncio.sleep(0.05)
        raise CommandRefused("The chat is there, and will be listed when you are online.")

    async def add(self, rest: str) -> None:
        if not rest:
            raise slash_commands.usage("add")
        users = await self.users_of(rest.split())
        await self.client.chats.add(self.the_group().id, [user.id for user in users])

    async def remove(self, rest: str) -> None:
        if not rest:
            raise slash_commands.usage("remove")
        chat = self.the_group()
        users = await self.users_of(rest.split())
        names = ", ".join(labels.of_user(user) for user in users)
        if await self.is_sure(f"Remove {names} from {labels.of_chat(chat, chat.me)}?", "Remove"):
            for user in users:
                await self.client.chats.remove(chat.id, user.id)

    async def members(self, rest: str) -> None:
        chat = self.the_chat()
        choices = []
        async for member in self.client.chats.members(chat.id):
            choices.append(Choice(member.username, _member_line(member)))
            if len(choices) == LISTED:
                break
        chosen = await self.ask_which(
            f"{chat.member_count} in {labels.of_chat(chat, chat.me)}",
            choices,
            "Enter opens the direct chat.",
        )
        if chosen is not None and chosen != (self.client.login.username if self.client.login else ""):
            await self.dm(f"@{chosen}")

    async def other(self, typed: str) -> None:
        """A command that is none of the app's, and so perhaps one of the chat's."""
        word = typed.split(None, 1)[0]
        try:
            answer = await self.client.slash_commands.give(self.the_chat().id, typed)
        except NotFound:
            raise slash_commands.WrongUsage(
                f"There is no command {word}; /help lists them. Begin with // to send it as a message."
            ) from None
        if answer.content is not None:
            self.screen.hand(f"{word} (only you see this)", answer.content)

    async def role(self, rest: str) -> None:
        name, _, role = rest.partition(" ")
        if not name or role.strip() not in list(Role):
            raise slash_commands.usage("role")
        await self.client.chats.set_role(
            self.the_group().id, (await self.user_of(name)).id, Role(role.strip())
        )

    async def rename(self, rest: str) -> None:
        if not rest:
            raise slash_commands.usage("rename")
        await self.client.chats.change(self.the_group().id, name=rest)

    async def history(self, rest: str) -> None:
        if rest not in list(History):
            raise slash_commands.usage("history")
        await self.client.chats.change(self.the_group().id, history=History(rest))

    async def leave(self, rest: str) -> None:
        chat = self.the_group()
        if await self.is_sure(f"Leave {labels.of_chat(chat, chat.me)}?", "Leave"):
            await self.client.chats.leave(chat.id)

    async def delete_chat(self, rest: str) -> None:
        chat = self.the_chat()
        question = f"Delete {labels.of_chat(chat, chat.me)} for everybody, with all that was said in it?"
        if await self.is_sure(question, "Delete"):
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
