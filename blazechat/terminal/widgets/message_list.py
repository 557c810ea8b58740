"""The messages of the open chat, drawn line by line. Older messages are added above without a jump."""

from collections.abc import Callable
from typing import ClassVar

from rich.color import Color
from rich.style import Style
from textual import events
from textual.binding import Binding, BindingType
from textual.message import Message as TextualMessage
from textual.strip import Strip

from blazechat.client import ChatState, Client, Message, PendingMessage
from blazechat.terminal import labels
from blazechat.terminal.deletions import Deletions
from blazechat.terminal.widgets import message_blocks
from blazechat.terminal.widgets.key_order import KeyActions, ListKeys, TakeText
from blazechat.terminal.widgets.message_layout import Anchor, Key, MessageLayout
from blazechat.terminal.widgets.message_text import RenderContext
from blazechat.terminal.widgets.strips import LineView

DARK_THEME_AUTHORS = (
    *("#7aa2f7", "#9ece6a", "#e0af68", "#bb9af7"),
    *("#7dcfff", "#f7768e", "#73daca", "#ff9e64"),
)
LIGHT_THEME_AUTHORS = (
    *("#2e5cb8", "#3a6b00", "#8a5a00", "#7a3fb0"),
    *("#00708a", "#b3244a", "#00725e", "#a34600"),
)


OnAction = Callable[[str, Message | PendingMessage], None]
"""Runs the action of a key on a message or a pending message."""


class MessageList(ListKeys, LineView, can_focus=True):
    """Shows the messages of one chat; the selected message is the target of commands and keys.

    The view follows new messages while it is at the end, and stays in its place after the user scrolls up.
    `on_action` runs the keys that act on a message. `keys` are handled before the bindings. Text that is no
    key of the list goes to `take_text`.
    """

    DEFAULT_CSS = """
    MessageList { width: 1fr; height: 1fr; overflow: hidden scroll; scrollbar-size-vertical: 1; }
    MessageList > .text { color: $foreground; background: $background; }
    MessageList > .selected { background: $primary 25%; }
    MessageList > .quiet { color: $text-muted; }
    MessageList > .day { color: $text-muted; }
    MessageList > .new { color: $text-error; text-style: bold; }
    MessageList > .pending { color: $text-muted; text-style: italic; }
    MessageList > .failed { color: $text-error; }
    MessageList > .mention { color: $text-warning; text-style: bold; }
    MessageList > .reaction { color: $text-secondary; }
    MessageList > .file { color: $text-accent; }
    MessageList > .own { color: $text-accent; text-style: bold; }
    """
    COMPONENT_CLASSES: ClassVar[set[str]] = {
        *("text", "selected", "quiet", "day", "new", "pending"),
        *("failed", "mention", "reaction", "own", "file"),
    }
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

    class Scrolled(TextualMessage):
        """Other lines are visible."""

    def __init__(
        self,
        client: Client,
        deletions: Deletions,
        on_action: OnAction,
        keys: KeyActions,
        take_text: TakeText,
    ) -> None:
        super().__init__(id="messages")
        self.notice = ""
        self.key_actions = keys
        self.take_text = take_text
        self._client = client
        self._deletions = deletions
        self._on_action = on_action
        self._message_layout = MessageLayout()
        self._notice_block = message_blocks.for_notice("")
        self._render_context: RenderContext | None = None  # None before the first line is drawn
        self._selected_key: Key | None = None
        self._follows_end = True
        self._is_moving = False  # while this class scrolls, not the user

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

    def set_notice(self, text: str) -> None:
        """Change the line above the first message."""
        if text != self.notice:
            self.notice = text
            self._notice_block = message_blocks.for_notice(text)
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
        line = event.y + self.scroll_offset.y
        if line <= self._message_layout.padding:
            return
        _, key = self._message_layout.block_and_key(
            self._message_layout.index_at(line, self._current_context())
        )
        if key is not None:
            self._selected_key = key
            self.refresh()

    def _select_block(self, key: Key, index: int) -> None:
        self._selected_key = key
        top, height = self._message_layout.position(index, self._current_context())
        view_top = self.scroll_offset.y
        if top < view_top:
            self._follows_end = False
            self._move_to(top)
        elif top + height > view_top + self.size.height:
            self._move_to(top + height - self.size.height)
        self._follows_end = self.is_at_end
        self.refresh()

    # Scrolling

    @property
    def is_at_end(self) -> bool:
        """True if the newest message is visible."""
        return self.scroll_offset.y >= self.max_scroll_y

    def action_oldest(self) -> None:
        self.scroll_to(y=0, animate=False)

    def action_newest(self) -> None:
        self.unselect()
        self._scroll_to_end()

    def on_resize(self, event: events.Resize) -> None:
        def measure() -> None:
            self._render_context = None
            self._message_layout.measure(0, self._current_context())
            self._update_height()

        self._keep_place(measure)
        self._request_older()

    def watch_scroll_y(self, old_value: float, new_value: float) -> None:
        super().watch_scroll_y(old_value, new_value)
        # When the view becomes higher, Textual moves it up to its end. That is not the user's scrolling.
        if not self._is_moving and (new_value > old_value) == self.is_at_end:
            self._follows_end = self.is_at_end
        self._request_older()
        self.post_message(self.Scrolled())

    def _keep_place(self, change: Callable[[], None]) -> None:
        """Call `change`, which changes the content, and scroll so that the message at the top stays there.

        A view that follows the end stays at the end.
        """
        anchor = None if self._follows_end else self._anchor()
        change()
        if anchor is not None:
            line = self._message_layout.line_of(anchor, self._current_context())
            if line is not None:
                self._move_to(line)

    def _anchor(self) -> Anchor | None:
        return self._message_layout.anchor_at(self.scroll_offset.y, self._current_context())

    def _update_height(self) -> None:
        layout, context = self._message_layout, self._current_context()
        if not layout.is_measured:
            layout.measure(0, context)
        lines = layout.height(context)
        layout.padding = max(0, self.size.height - lines)
        self.set_line_count(lines)
        if self._follows_end:
            self._scroll_to_end()

    def _scroll_to_end(self) -> None:
        self._follows_end = True
        self._move_to(self.max_scroll_y)

    def _move_to(self, line: int) -> None:
        self._is_moving = True
        self.scroll_to(y=line, animate=False, immediate=True, force=True)
        self._is_moving = False

    def _request_older(self) -> None:
        """Request older messages if less than a page of the loaded ones is above the view."""
        if self.scroll_y <= self.size.height and self.chat is not None and not self.chat.has_all_messages:
            self.post_message(self.OlderNeeded())

    # Drawing

    def render_line(self, y: int) -> Strip:
        context = self._current_context()
        if context is None:
            return Strip.blank(self._width, self.rich_style)
        layout = self._message_layout
        line = y + self.scroll_offset.y
        if line == layout.padding:
            return self._notice_block.strips(context, False)[0]
        if line > layout.padding:
            index = layout.index_at(line, context)
            block, key = layout.block_and_key(index)
            if block is not None:
                top, _ = layout.position(index, context)
                strips = block.strips(context, key == self._selected_key and key is not None)
                if line - top < len(strips):
                    return strips[line - top]
        return Strip.blank(context.width, context.styles["text"])

    def notify_style_update(self) -> None:
        super().notify_style_update()
        self._render_context = None

    @property
    def _width(self) -> int:
        """Columns without the scrollbar."""
        return self.scrollable_content_region.width

    def _current_context(self) -> RenderContext | None:
        """Return the context that blocks are drawn with; None while the widget has no size."""
        if self._render_context is None and self._width > 0:
            colors = DARK_THEME_AUTHORS if self.app.current_theme.dark else LIGHT_THEME_AUTHORS
            self._render_context = RenderContext(
                self._width,
                {name: self._component_style(name) for name in self.COMPONENT_CLASSES},
                [Style(color=Color.parse(color), bold=True) for color in colors],
                self.app.console,
                self._client.state,
                self._deletions,
                self._client.server_time,
            )
        return self._render_context

    def _component_style(self, name: str) -> Style:
        style = self.get_component_rich_style(name)
        if name in ("text", "selected"):
            return style
        return Style(color=style.color, bold=style.bold, italic=style.italic)  # without a background
