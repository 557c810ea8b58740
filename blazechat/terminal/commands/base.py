"""What all commands lean on: what is meant by "this chat" or "that message", and asking back."""

from typing import TYPE_CHECKING

from blazechat.client import ChatState, Message, User
from blazechat.terminal.screens.dialogs import Choice, ConfirmDialog, ChoiceDialog

if TYPE_CHECKING:
    from blazechat.terminal.screens.chat import ChatScreen


class CommandRefused(Exception):
    """It cannot be done; the text says why."""


def escape_slash(content: str) -> str:
    """How a message has to be typed to be sent as it is, and not taken for a command."""
    return f"/{content}" if content.startswith("/") else content


class ScreenCommands:
    """Base of the commands of one screen: each is a method of its name, and takes what follows it."""

    def __init__(self, view: "ChatScreen") -> None:
        self.screen = view
        self.client = view.client

    def require_chat(self) -> ChatState:
        if self.screen.chat is None or self.screen.gone_reason:
            raise CommandRefused(self.screen.gone_reason or "No chat is open: /dm @user begins one.")
        return self.screen.chat

    def require_group(self) -> ChatState:
        chat = self.require_chat()
        if not chat.is_group:
            raise CommandRefused("This is a direct chat; /group makes one for more people.")
        return chat

    def target_message(self, *, own: bool = False) -> Message:
        """The chosen message, else the last one that fits."""
        self.require_chat()
        chosen = self.screen.message_list.selected
        if isinstance(chosen, Message):
            return chosen
        for message in reversed(self.require_chat().ordered_messages()):
            if message.deleted_at is None and (not own or message.user_id == self.client.state.my_id):
                return message
        raise CommandRefused("There is no such message among those that are loaded.")

    async def find_user(self, name: str) -> User:
        user = await self.client.users.find(name)
        if user is None:
            raise CommandRefused(f"There is no user {name}.")
        return user

    async def find_users(self, words: list[str]) -> list[User]:
        return [await self.find_user(word) for word in words]

    async def confirm(self, question: str, yes: str) -> bool:
        sure: bool = await self.screen.app.push_screen_wait(ConfirmDialog(question, yes))
        return sure

    async def choose(self, title: str, choices: list[Choice], hint: str = "") -> str | None:
        return await self.screen.app.push_screen_wait(ChoiceDialog(title, choices, hint))
