"""Handles the composer's text: sends it as a new message or a reply, saves it as an edit, runs commands."""

import time
from functools import partial

from rich.text import Text
from textual import events

from blazechat.client import Message
from blazechat.terminal import attachment_lines, labels, slash_commands
from blazechat.terminal.commands.dispatcher import Dispatcher
from blazechat.terminal.commands.view import ChatView
from blazechat.terminal.drafts import Drafts
from blazechat.terminal.widgets.composer import COUNTER_FROM_CHARACTERS, MAX_MESSAGE_CHARACTERS
from blazechat.terminal.widgets.key_order import forward

TYPING_SECONDS = 4.0
"""While the user types, the server is notified once per this time."""


class MessageEntry:
    """What the composer's text is; implements `commands.view.Entry`.

    At most one of `edit_target` and `reply_target` is set. With neither, the text is a new message.
    """

    def __init__(self, view: ChatView, drafts: Drafts, dispatcher: Dispatcher) -> None:
        self.edit_target: Message | None = None
        self.reply_target: Message | None = None
        self._view = view
        self._drafts = drafts
        self._dispatcher = dispatcher
        self._typing_sent_at = 0.0

    def start(self, chat_id: int, typed: str) -> None:
        """Load the draft of a chat that was opened. `typed` was entered while no chat was open: keep it."""
        is_edit = self.edit_target is not None
        self.edit_target = self.reply_target = None
        draft = self._drafts.get(chat_id)
        is_lost = not is_edit and typed.strip() and typed != draft
        self._view.composer.set_text("\n".join(filter(None, (draft, typed))) if is_lost else draft)
        self._update_banner()

    def keep_draft(self) -> None:
        """Make the composer's text the draft of the open chat, unless it is an edit."""
        if self._view.chat is not None and self.edit_target is None:
            self._drafts.set(self._view.chat.id, self._view.composer.text)

    @property
    def has_unsaved_edit(self) -> bool:
        return self.edit_target is not None and self._view.composer.text != self.edit_target.content

    def submit(self, text: str) -> bool:
        """Handle Enter in the composer. Return True if the composer can be emptied."""
        if self.edit_target is not None:  # an edited message may start with a slash
            return self._send(text)
        command = slash_commands.parse(text)
        if command is not None:
            self._view.composer.add_to_history(text)
            self._dispatcher.run(*command, typed=text)
            return True
        return self._send(text[1:] if text.startswith("//") else text, typed=text)

    def text_changed(self, text: str) -> None:
        """Handle a change of the composer's text: update the draft, and notify the server of typing."""
        view, chat = self._view, self._view.chat
        is_new = chat is not None and text != self._drafts.get(chat.id)
        if chat is not None and is_new and self.edit_target is None:
            self._drafts.set(chat.id, text)
        if len(text) > COUNTER_FROM_CHARACTERS:
            view.update_status_lines()
        is_message = text and not text.startswith("/") and self.edit_target is None
        if not is_message or chat is None or view.gone_reason:
            return
        now = time.monotonic()
        if is_new and now - self._typing_sent_at > TYPING_SECONDS:
            self._typing_sent_at = now
            view.run_in_background(partial(view.client.set_typing, chat.id), group="typing")

    def leave(self) -> None:
        """Handle Esc in the composer: close a response, cancel an edit or a reply, go to the messages."""
        if self._view.close_response():
            return
        if self.edit_target is not None or self.reply_target is not None:
            self.cancel()
        elif self._view.chat is None:
            self._view.welcome.focus_people()
        else:
            self._view.set_focus(self._view.message_list)
            if self._view.message_list.selected is None:
                self._view.message_list.action_select(0)

    def take_text(self, event: events.Key | events.Paste) -> None:
        """Move the focus to the composer, and enter there what was typed or pasted elsewhere."""
        self._view.set_focus(self._view.composer)
        forward(event, self._view.composer)

    def edit(self, message: Message) -> None:
        self._view.save_draft()
        self.edit_target, self.reply_target = message, None
        self._view.composer.set_text(message.content)
        self._view.set_focus(self._view.composer)
        self._update_banner()

    def reply(self, message: Message) -> None:
        self.cancel()
        self.reply_target = message
        self._view.set_focus(self._view.composer)
        self._update_banner()

    def append_text(self, text: str) -> None:
        self.cancel()
        existing = self._view.composer.text
        self._view.composer.set_text(f"{existing}\n{text}" if existing.strip() else text)
        self._view.set_focus(self._view.composer)

    def cancel(self) -> None:
        if self.edit_target is not None and self._view.chat is not None:
            self.edit_target = None
            self._view.composer.set_text(self._drafts.get(self._view.chat.id))
        self.edit_target = self.reply_target = None
        self._update_banner()

    def _send(self, text: str, typed: str = "") -> bool:
        view = self._view
        if not text.strip():
            return False
        if len(text) > MAX_MESSAGE_CHARACTERS:
            view.show_notice(
                f"A message has at most {MAX_MESSAGE_CHARACTERS:,} characters; this has {len(text):,}."
                " Nothing was sent.",
                severity="error",
            )
            return False
        if self.edit_target is not None:
            self._dispatcher.save_edit(self.edit_target, text)
            return False
        if view.chat is None or view.gone_reason:
            reason = view.gone_reason or "No chat is open."
            view.show_notice(f"{reason} Your text is still in the composer.", severity="error")
            return False
        reply_to = self.reply_target.id if self.reply_target is not None else None
        view.client.enqueue(view.chat.id, text, reply_to=reply_to)
        view.composer.add_to_history(typed)
        self.reply_target = None
        self._drafts.set(view.chat.id, "")
        self._typing_sent_at = 0.0
        self._update_banner()
        view.message_list.clear_unread_mark()
        view.message_list.action_newest()
        return True

    def _update_banner(self) -> None:
        target = self.edit_target or self.reply_target
        if target is None:
            self._view.show_banner(None)
            return
        author = labels.of_author(target, self._view.client.state)
        action = "Editing" if self.edit_target is not None else f"Replying to {author}"
        line = f"{action}: {attachment_lines.summary_line(target)}"
        text = Text(line, no_wrap=True, overflow="ellipsis")
        text.truncate(max(20, self._view.message_list.size.width - 20), overflow="ellipsis")
        text.append("  Esc cancels", "dim")
        self._view.show_banner(text)
