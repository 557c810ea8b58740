"""The messages of the open chat, with a selected one. Older messages are added above without a jump."""

from collections.abc import Callable
from typing import ClassVar

from textual import events
from textual.binding import Binding, BindingType
from textual.message import Message as TextualMessage

from blazechat.client import ChatState, Client, Message, PendingMessage
from blazechat.terminal import labels
from blazechat.terminal.deletions import Deletions
from blazechat.terminal.widgets.key_order import KeyActions, ListKeys, TakeText
from blazechat.terminal.widgets.message_layout import Key
from blazechat.terminal.widgets.message_view import MessageView

OnAction = Callable[[str, Message | PendingMessage], None]
"""Runs the action of a key on a message or a pending message."""


class MessageList(ListKeys, MessageView, can_focus=True):
    """Shows the messages of one chat; the selected message is the target of commands and keys.

    The view follows new messages while it is at the end, and stays in its place after the user scrolls up.
    `on_action` runs the keys that act on a message. `keys` are handled before the bindings. Text that is no
    key of the list goes to `take_text`.
    """

    BINDINGS: ClassVar[list[BindingType]] = [
        Binding("up,k", "select(-1)", "Select", show=False),
        Binding("down,j", "select(1)", "Select", show=False),
        Binding("r", "act('reply')", "Reply"),
        Binding("e", "act('edit')", "Edit"),
        Binding("d,delete", "act('delete')", "Delete"),
        Binding("plus", "act('react')", "React"),
        Binding("p", "act('pin')", "Pin"),
        Binding("c", "act('copy')", "Copy"),
        Binding("o", "act('open')", "Open", show=False),
        Binding("s", "act('save')", "Save", show=False),
        Binding("enter", "act('follow')", "Go to", show=False),
        Binding("home,g", "oldest", "Oldest", show=False),
        Binding("end,G", "newest", "Newest", show=False),
    ]

    class OlderNeeded(TextualMessage):
        """The view is near the oldest loaded message: older ones have to be loaded."""

    class LinkClicked(TextualMessage):
        """The user clicked a link of a message."""

        def __init__(self, url: str) -> None:
            super().__init__()
            self.url = url

    def __init__(
        self,
        client: Client,
        deletions: Deletions,
        on_action: OnAction,
        keys: KeyActions,
        take_text: TakeText,
    ) -> None:
        super().__init__(client, deletions, "messages")
        self.key_actions = keys
        self.take_text = take_text
        self._on_action = on_action

    # Content

    @property
    def chat(self) -> ChatState | None:
        return self._message_layout.chat

    @chat.setter
    def chat(self, chat: ChatState | None) -> None:
        """Replace the chat's state. The messages stay as they are until the next rebuild."""
        self._message_layout.chat = chat

    @property
    def selected(self) -> Message | PendingMessage | None:
        """The selected message or pending message."""
        if isinstance(self._selected_key, int):
            return self._message_layout.messages.get(self._selected_key)
        pending = self._message_layout.pending
        return next((message for message in pending if message.client_id == self._selected_key), None)

    def show_chat(self, chat: ChatState) -> None:
        """Show the loaded messages of another chat, scrolled to the end."""
        self._message_layout.chat = chat
        self._message_layout.first_unread = chat.read_id + 1 if chat.unread else None
        self._selected_key = None
        self._follows_end = True
        self.rebuild()
        self._scroll_to_end()

    def show_first_page(self) -> None:
        """Show the page that was loaded after `show_chat`, scrolled to the first unread message."""
        self.rebuild()
        self._scroll_to_end()
        layout, context = self._message_layout, self._current_context()
        if layout.first_unread is not None and context is not None:
            index = layout.index_of(layout.first_unread)
            if index is not None:
                top, _ = layout.position(index, context)
                if top < self.max_scroll_y:
                    self._follows_end = False
                    self._move_to(top)
        self._request_older()

    def rebuild(self) -> None:
        """Read all messages from the chat's state."""
        self._message_layout.rebuild(self._current_context())
        self.update_pending()

    def rebuild_in_place(self) -> None:
        """Read all messages from the chat's state, and keep the view at its message."""
        if self.chat is not None:
            self._keep_place(self.rebuild)
            self._request_older()

    def update_messages(self, changed_ids: set[int]) -> None:
        """Read the messages with these ids, new or changed, from the chat's state."""

        def update() -> None:
            if not self._message_layout.update(changed_ids, self._current_context()):
                self.rebuild()
            self._update_height()

        if self.chat is not None:
            self._keep_place(update)

    def update_pending(self) -> None:
        """Read the messages that are not stored yet from the outbox."""
        pending = [] if self.chat is None else self._client.outbox.for_chat(self.chat.id)
        self._message_layout.update_pending(pending)
        self._update_height()

    def update_read_marks(self) -> None:
        """Read how far the other members have read."""
        if self.chat is not None:
            self._message_layout.update_read_marks()
            self.refresh()

    def clear_unread_mark(self) -> None:
        """Remove the line "new messages"."""
        if self._message_layout.first_unread is not None:
            self._message_layout.first_unread = None
            self.rebuild()

    def check_day_change(self) -> None:
        """Draw everything again after midnight: "Today" becomes "Yesterday"."""
        context = self._render_context
        if context is not None and labels.day(context.now, self._client.server_time) != "Today":
            self._render_context = None
            self.rebuild()

    # Selection

    def action_select(self, step: int) -> None:
        """Select the message `step` places below; at first, the one at the bottom of the view."""
        keys = self._message_layout.keys
        if not keys:
            return
        if self._selected_key in keys:
            index = min(max(keys.index(self._selected_key) + step, 0), len(keys) - 1)
        else:
            bottom = self.scroll_offset.y + self.size.height - 1
            index = self._message_layout.index_at(bottom, self._current_context())
        if index == 0 and step < 0:
            self.scroll_to(y=0, animate=False)
        self._select_block(keys[index], index)

    def action_act(self, action: str) -> None:
        if self.selected is None:
            self.action_select(0)
        if self.selected is not None:
            self._on_action(action, self.selected)

    def select_message(self, message_id: int) -> bool:
        """Select a message and scroll to it; return False if it is not loaded."""
        index = self._message_layout.index_of(message_id)
        if index is None:
            return False
        self._select_block(message_id, index)
        return True

    def unselect(self) -> None:
        self._selected_key = None
        self.refresh()

    def on_click(self, event: events.Click) -> None:
        """Select the clicked message. A click on a link opens it as well."""
        layout, context = self._message_layout, self._current_context()
        line = event.y + self.scroll_offset.y
        index = layout.index_at(line, context)
        block, key = layout.block_and_key(index)
        top, _ = layout.position(index, context)
        if block is None or line < top + block.rule_lines:
            return
        self._selected_key = key
        self.refresh()
        if event.style.link is not None:
            self.post_message(self.LinkClicked(event.style.link))

    def _select_block(self, key: Key, index: int) -> None:
        self._selected_key = key
        self._show_block(index)
        self.refresh()

    # Scrolling

    def action_oldest(self) -> None:
        self.scroll_to(y=0, animate=False)

    def action_newest(self) -> None:
        self.unselect()
        self._scroll_to_end()

    def on_resize(self, event: events.Resize) -> None:
        self._measure_again()
        self._request_older()

    def watch_scroll_y(self, old_value: float, new_value: float) -> None:
        super().watch_scroll_y(old_value, new_value)
        self._request_older()

    def _request_older(self) -> None:
        """Request older messages if less than a page of the loaded ones is above the view."""
        if self.scroll_y <= self.size.height and self.chat is not None and not self.chat.has_all_messages:
            self.post_message(self.OlderNeeded())
