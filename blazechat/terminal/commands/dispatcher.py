"""Runs slash commands and the keys that act on messages, and shows their errors as notices."""

from collections.abc import Awaitable, Callable
from functools import partial

from blazechat.client import BlazeChatError, Message, PendingMessage, SendState
from blazechat.client.errors import ApiError
from blazechat.terminal import slash_commands
from blazechat.terminal.commands.account import AccountCommands
from blazechat.terminal.commands.base import CommandRefused, ScreenCommands, escape_slash
from blazechat.terminal.commands.chats import ChatCommands
from blazechat.terminal.commands.files import FileCommands
from blazechat.terminal.commands.invite import InviteCommands
from blazechat.terminal.commands.messages import MessageCommands
from blazechat.terminal.commands.view import ChatView, Work
from blazechat.terminal.deletions import quote


class Dispatcher:
    """The commands of one screen."""

    def __init__(self, view: ChatView) -> None:
        self._view = view
        self._client = view.client
        self._messages = MessageCommands(view)
        self._groups: tuple[ScreenCommands, ...] = (
            ChatCommands(view),
            self._messages,
            FileCommands(view),
            AccountCommands(view),
            InviteCommands(view),
        )

    def run(self, name: str, arguments: str = "", typed: str = "") -> None:
        """Run a command in the background.

        If it fails and the composer is empty, the text `typed` returns to the composer.
        """
        method_name = name.replace("-", "_")
        group = next(group for group in self._groups if hasattr(group, method_name))
        method: Callable[[str], Awaitable[None]] = getattr(group, method_name)
        if name in slash_commands.BY_NAME:
            self._view.app_actions.usage.add(f"/{name}")
        self.start(partial(method, arguments), typed)

    def most_used_commands(self) -> list[slash_commands.CommandHelp]:
        """Return the commands, those first that the user uses most."""
        names = [f"/{command.name}" for command in slash_commands.COMMANDS]
        ordered = self._view.app_actions.usage.most_used_first(names)
        return [slash_commands.BY_NAME[name.removeprefix("/")] for name in ordered]

    def act(self, action: str, target: Message | PendingMessage) -> None:
        """Run the action of a key on a message or on a pending message.

        What moves the focus or asks a question does so before the next key is handled.
        """
        if isinstance(target, PendingMessage):
            self._act_on_pending(action, target)
        else:
            self._report_refusal(partial(self._act_on_message, action, target))

    def undo(self) -> None:
        """Take back the deletion of the selected message, else the newest one."""
        self._report_refusal(self._messages.undo_deletion)

    def _act_on_message(self, action: str, target: Message) -> None:
        view = self._view
        if action == "delete":
            self._messages.ask_to_delete(target)
        elif view.deletions.is_deleted(target):
            raise CommandRefused("This message is deleted.")
        elif action == "reply":
            view.entry.reply(target)
        elif action == "edit":
            self._messages.start_edit(target)
        elif action == "react":
            self._messages.pick_reaction(target)
        elif action == "copy":
            view.app.copy_to_clipboard(target.content)
            view.show_notice("Copied.")
        elif action == "follow":
            if target.reply_to is not None:
                self.start(partial(self._messages.go_to, target.reply_to))
        else:
            self.run(action)

    def save_edit(self, message: Message, text: str) -> None:
        """Change a message in the background. If that works, the edit ends."""

        async def save() -> None:
            if self._view.deletions.is_deleted(message):
                raise CommandRefused("This message is deleted. Your text is still in the composer.")
            await self._client.messages.edit(message.chat_id, message.id, text)
            self._view.composer.add_to_history(text)
            if self._view.composer.text == text:
                self._view.entry.cancel()

        self.start(save)

    def _report_refusal(self, action: Callable[[], None]) -> None:
        try:
            action()
        except CommandRefused as error:
            self._view.show_notice(str(error), severity="warning")

    def start(self, work: Work, typed: str = "") -> None:
        """Run a task in the background. If it fails and the composer is empty, `typed` returns to it."""
        self._view.run_in_background(partial(self._run_and_report, work, typed), group="command")

    async def _run_and_report(self, work: Work, typed: str) -> None:
        view = self._view
        succeeded = False
        try:
            await work()
            succeeded = True
        except slash_commands.UsageError as error:
            view.show_notice(str(error), severity="error")
        except CommandRefused as error:
            view.show_notice(str(error), severity="warning")
        except ApiError as error:
            details = " ".join(each.detail for each in error.fields)
            view.show_notice(details or str(error), severity="error")
        except BlazeChatError as error:
            text = f"{error} Try again when you are online."
            view.show_notice(text, severity="error")
        if not succeeded and view.is_mounted and not view.composer.text:
            view.composer.set_text(typed)
        view.schedule_refresh()

    def _act_on_pending(self, action: str, message: PendingMessage) -> None:
        view, client = self._view, self._client
        if action in ("edit", "delete") and not client.outbox.discard(message):
            view.show_notice(
                "This message might be stored already. It cannot be taken back.", severity="warning"
            )
            return
        if action == "reply" and message.state is SendState.FAILED:
            client.retry(message)
        elif action == "edit":
            view.entry.append_text(escape_slash(message.content))
        elif action == "delete":
            self._note_discarded(message)
        elif action == "copy":
            view.app.copy_to_clipboard(message.content)
        view.message_list.unselect()
        view.message_list.update_pending()

    def _note_discarded(self, message: PendingMessage) -> None:
        view = self._view
        restore = partial(
            self._client.enqueue,
            message.chat_id,
            message.content,
            reply_to=message.reply_to,
            attachments=message.attachments,
        )
        view.deletions.note_discarded(quote(message), restore)
        seconds = view.deletions.undo_seconds
        view.show_notice(f"Discarded. Ctrl+Z undoes that for {seconds:.0f} s: {quote(message)}")
