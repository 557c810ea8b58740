"""Base of all command groups: finds the chat, message or users that a command means, and asks the user."""

from collections.abc import Callable

from blazechat.client import ChatState, Message, User
from blazechat.terminal.commands.view import ChatView
from blazechat.terminal.screens.dialogs import Choice, ChoiceDialog, ConfirmDialog


class CommandRefused(Exception):
    """A command cannot be run now. The text is for the user and says why."""


def escape_slash(content: str) -> str:
    """Return what has to be typed to send `content` as a message, since a slash starts a command."""
    return f"/{content}" if content.startswith("/") else content


class ScreenCommands:
    """A group of commands of one screen.

    Each command is a method with the command's name. It takes the text after the name.
    """

    def __init__(self, view: ChatView) -> None:
        self.view = view
        self.client = view.client

    def require_chat(self) -> ChatState:
        """Return the open chat. Raises CommandRefused."""
        if self.view.chat is None or self.view.gone_reason:
            raise CommandRefused(self.view.gone_reason or "No chat is open. Open one with /dm @user.")
        return self.view.chat

    def require_group(self) -> ChatState:
        """Return the open chat if it is a group. Raises CommandRefused."""
        chat = self.require_chat()
        if not chat.is_group:
            raise CommandRefused("This is a direct chat. Create a group with /group.")
        return chat

    def target_message(self, *, own: bool = False) -> Message:
        """Return the selected message, or the last one that is not deleted. Raises CommandRefused.

        A selected message whose deletion can be taken back is refused.

        With `own`, the last one of this user is returned.
        """
        self.require_chat()
        selected = self.view.message_list.selected
        if isinstance(selected, Message):
            if self.view.deletions.seconds_left(selected) is not None:
                raise CommandRefused("This message is deleted. u takes that back.")
            return selected
        for message in reversed(self.require_chat().ordered_messages()):
            is_eligible = not own or message.user_id == self.client.state.my_id
            if is_eligible and not self.view.deletions.is_deleted(message):
                return message
        raise CommandRefused("There is no such message among the loaded ones.")

    async def find_user(self, name: str) -> User:
        """Return the user with this name, with or without `@`. Raises CommandRefused."""
        user = await self.client.users.find(name)
        if user is None:
            raise CommandRefused(f"There is no user {name}.")
        return user

    async def find_users(self, names: list[str]) -> list[User]:
        return [await self.find_user(name) for name in names]

    async def confirm(self, question: str, action: str) -> bool:
        """Ask before an action. `action` is the label of the button that does it."""
        dialog = ConfirmDialog(question, action, self.view.entry.take_text)
        is_confirmed: bool = await self.view.app.push_screen_wait(dialog)
        return is_confirmed

    def ask(self, question: str, action: str, then: Callable[[], None]) -> None:
        """Ask as `confirm` does, without waiting: the next key is already one of the question."""

        def on_closed(is_confirmed: bool | None) -> None:
            if is_confirmed:
                then()

        self.view.app.push_screen(ConfirmDialog(question, action, self.view.entry.take_text), on_closed)

    async def choose(
        self,
        title: str,
        choices: list[Choice],
        hint: str = "",
        current: str | None = None,
        preview: Callable[[str], None] | None = None,
    ) -> str | None:
        """Show a list; return the key of the selected choice, or None if the user closes it.

        `current` is the key of the choice that is highlighted first. `preview` is called with the key of
        each choice that is highlighted.
        """
        dialog = ChoiceDialog(title, choices, hint, current, preview)
        return await self.view.app.push_screen_wait(dialog)
