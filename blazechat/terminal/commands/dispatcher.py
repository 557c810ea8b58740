"""Carrying out commands, and what the keys on messages stand for; and saying what went wrong."""

from collections.abc import Awaitable, Callable
from functools import partial
from typing import TYPE_CHECKING

from blazechat.client import BlazeChatError, Message, PendingMessage, SendState
from blazechat.client.errors import ApiError
from blazechat.terminal import slash_commands
from blazechat.terminal.commands.account import AccountCommands
from blazechat.terminal.commands.base import CommandRefused, ScreenCommands, as_typed
from blazechat.terminal.commands.chats import ChatCommands
from blazechat.terminal.commands.files import FileCommands
from blazechat.terminal.commands.messages import MessageCommands
from blazechat.terminal.screens.dialogs import Ask
from blazechat.terminal.widgets import completion

if TYPE_CHECKING:
    from blazechat.terminal.screens.chat import ChatScreen


class Dispatcher:
    """Of one screen."""

    def __init__(self, screen: "ChatScreen") -> None:
        self._screen = screen
        self._client = screen.client
        self._parts: tuple[ScreenCommands, ...] = (
            ChatCommands(screen),
            MessageCommands(screen),
            FileCommands(screen),
            AccountCommands(screen),
        )

    def run(self, name: str, rest: str = "", typed: str = "") -> None:
        """Carry out a command. What was typed comes back into the composer if it does not work."""
        method_name = name.replace("-", "_")
        part = next(part for part in self._parts if hasattr(part, method_name))
        method: Callable[[str], Awaitable[None]] = getattr(part, method_name)
        self._screen.background(partial(self._explained, partial(method, rest), typed), group="deed")

    def act(self, action: str, target: Message | PendingMessage) -> None:
        """Do what a key on a message, or on a draft, stands for."""
        if isinstance(target, PendingMessage):
            self._act_on_draft(action, target)
            return
        screen = self._screen
        if action == "reply":
            screen.reply(target)
        elif action == "edit":
            self.run("edit")
        elif action == "react":
            screen.app.push_screen(Ask("React with", ":thumbsup: or 👍"), self._react_to(target))
        elif action == "copy":
            screen.app.copy_to_clipboard(target.content)
            screen.say("Copied.", timeout=2)
        elif action == "follow":
            if target.reply_to is not None and not screen.conversation.go_to(target.reply_to):
                screen.say("That message is further up; scroll there to load it.")
        else:
            self.run(action)

    def save_edit(self, message: Message, text: str) -> None:
        async def save() -> None:
            await self._client.messages.edit(message.chat_id, message.id, text)
            self._screen.composer.remember(text)
            if self._screen.composer.text == text:
                self._screen.stop_editing()

        self._screen.background(partial(self._explained, save), group="deed")

    async def _explained(self, deed: Callable[[], Awaitable[object]], typed: str = "") -> None:
        screen = self._screen
        worked = False
        try:
            await deed()
            worked = True
        except slash_commands.WrongUsage as wrong:
            screen.say(str(wrong), severity="error", timeout=8)
        except CommandRefused as refused:
            screen.say(str(refused), severity="warning")
        except ApiError as error:
            details = " ".join(each.detail for each in error.fields)
            screen.say(details or str(error), severity="error", timeout=8)
        except BlazeChatError as error:
            screen.say(f"{error} Try again when you are online.", severity="error", timeout=8)
        if not worked and screen.is_mounted and not screen.composer.text:
            screen.composer.take(typed)
        screen.show_soon()

    def _react_to(self, message: Message) -> Callable[[str | None], None]:
        def react(emoji: str | None) -> None:
            if emoji:
                react_with = partial(self._client.messages.react, message.chat_id, message.id)
                deed = partial(react_with, completion.emoji_of(emoji.strip()))
                self._screen.background(partial(self._explained, deed), group="deed")

        return react

    def _act_on_draft(self, action: str, draft: PendingMessage) -> None:
        screen, client = self._screen, self._client
        if action in ("edit", "delete") and not client.outbox.discard(draft):
            screen.say("It may have been stored already, so it cannot be taken back.", severity="warning")
            return
        if action == "reply" and draft.condition is SendState.FAILED:
            client.retry(draft)
        elif action == "edit":
            screen.write_on(as_typed(draft.content))
        elif action == "copy":
            screen.app.copy_to_clipboard(draft.content)
        screen.conversation.unselect()
        screen.conversation.update_drafts()
