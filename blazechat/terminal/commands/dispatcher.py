"""Carrying out commands, and what the keys on messages stand for; and saying what went wrong."""

from collections.abc import Awaitable, Callable
from functools import partial
from typing import TYPE_CHECKING

from blazechat.client import BlazeChatError, Message, PendingMessage, SendState
from blazechat.client.errors import ApiError
from blazechat.terminal import slash_commands
from blazechat.terminal.commands.account import AccountCommands
from blazechat.terminal.commands.base import CommandRefused, ScreenCommands, escape_slash
from blazechat.terminal.commands.chats import ChatCommands
from blazechat.terminal.commands.files import FileCommands
from blazechat.terminal.commands.messages import MessageCommands
from blazechat.terminal.screens.dialogs import Prompt
from blazechat.terminal.widgets import completion

if TYPE_CHECKING:
    from blazechat.terminal.screens.chat import ChatScreen


class Dispatcher:
    """Of one screen."""

    def __init__(self, screen: "ChatScreen") -> None:
        self._screen = screen
        self._client = screen.client
        self._groups: tuple[ScreenCommands, ...] = (
            ChatCommands(screen),
            MessageCommands(screen),
            FileCommands(screen),
            AccountCommands(screen),
        )

    def run(self, name: str, rest: str = "", typed: str = "") -> None:
        """Carry out a command. What was typed comes back into the composer if it does not work."""
        method_name = name.replace("-", "_")
        part = next(part for part in self._groups if hasattr(part, method_name))
        method: Callable[[str], Awaitable[None]] = getattr(part, method_name)
        self._screen.run_in_background(partial(self._report_errors, partial(method, rest), typed), group="deed")

    def act(self, action: str, target: Message | PendingMessage) -> None:
        """Do what a key on a message, or on a draft, stands for."""
        if isinstance(target, PendingMessage):
            self._act_on_pending(action, target)
            return
        screen = self._screen
        if action == "reply":
            screen.reply(target)
        elif action == "edit":
            self.run("edit")
        elif action == "react":
            screen.app.push_screen(Prompt("React with", ":thumbsup: or 👍"), self._react_to(target))
        elif action == "copy":
            screen.app.copy_to_clipboard(target.content)
            screen.show_toast("Copied.", timeout=2)
        elif action == "follow":
            if target.reply_to is not None and not screen.message_list.select_message(target.reply_to):
                screen.show_toast("That message is further up; scroll there to load it.")
        else:
            self.run(action)

    def save_edit(self, message: Message, text: str) -> None:
        async def save() -> None:
            await self._client.messages.edit(message.chat_id, message.id, text)
            self._screen.composer.add_to_history(text)
            if self._screen.composer.text == text:
                self._screen.cancel_edit()

        self._screen.run_in_background(partial(self._report_errors, save), group="deed")

    async def _report_errors(self, deed: Callable[[], Awaitable[object]], typed: str = "") -> None:
        screen = self._screen
        worked = False
        try:
            await deed()
            worked = True
        except slash_commands.UsageError as wrong:
            screen.show_toast(str(wrong), severity="error", timeout=8)
        except CommandRefused as refused:
            screen.show_toast(str(refused), severity="warning")
        except ApiError as error:
            details = " ".join(each.detail for each in error.fields)
            screen.show_toast(details or str(error), severity="error", timeout=8)
        except BlazeChatError as error:
            screen.show_toast(f"{error} Try again when you are online.", severity="error", timeout=8)
        if not worked and screen.is_mounted and not screen.composer.text:
            screen.composer.set_text(typed)
        screen.schedule_refresh()

    def _react_to(self, message: Message) -> Callable[[str | None], None]:
        def react(emoji: str | None) -> None:
            if emoji:
                react_with = partial(self._client.messages.react, message.chat_id, message.id)
                deed = partial(react_with, completion.emoji_of(emoji.strip()))
                self._screen.run_in_background(partial(self._report_errors, deed), group="deed")

        return react

    def _act_on_pending(self, action: str, draft: PendingMessage) -> None:
        screen, client = self._screen, self._client
        if action in ("edit", "delete") and not client.outbox.discard(draft):
            screen.show_toast("It may have been stored already, so it cannot be taken back.", severity="warning")
            return
        if action == "reply" and draft.state is SendState.FAILED:
            client.retry(draft)
        elif action == "edit":
            screen.append_text(escape_slash(draft.content))
        elif action == "copy":
            screen.app.copy_to_clipboard(draft.content)
        screen.message_list.unselect()
        screen.message_list.update_pending()
