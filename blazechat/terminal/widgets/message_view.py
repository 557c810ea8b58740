"""Draws the messages of a chat line by line, each block when it becomes visible."""

from collections.abc import Callable
from typing import ClassVar

from rich.style import Style
from textual.strip import Strip

from blazechat.client import Client
from blazechat.terminal.deletions import Deletions
from blazechat.terminal.widgets import message_blocks
from blazechat.terminal.widgets.following_view import FollowingView
from blazechat.terminal.widgets.message_layout import Anchor, Key, MessageLayout
from blazechat.terminal.widgets.render_context import DEFAULT_TEXT_COLUMNS, RenderContext, author_styles

WITH_BACKGROUND = ("text", "selected", "code", "sticky")
"""Styles with a background of their own. The others are drawn on that of the text or of the selection."""


class MessageView(FollowingView):
    """The drawing of the message list: its layout, its styles and its lines.

    The author of the first visible message stays at the top while the message's heading is above the view.
    """

    DEFAULT_CSS = """
    MessageView { width: 1fr; height: 1fr; overflow: hidden scroll; scrollbar-size-vertical: 1; }
    MessageView > .text { color: $foreground; background: $background; }
    MessageView > .selected { background: $primary 25%; }
    MessageView > .sticky { color: $foreground; background: $surface; }
    MessageView > .quiet { color: $text-muted; }
    MessageView > .day { color: $text-muted; }
    MessageView > .new { color: $text-error; text-style: bold; }
    MessageView > .pending { color: $text-muted; text-style: italic; }
    MessageView > .failed { color: $text-error; }
    MessageView > .mention { color: $text-warning; text-style: bold; }
    MessageView > .reaction { color: $text-secondary; }
    MessageView > .file { color: $text-accent; }
    MessageView > .own { color: $text-accent; text-style: bold; }
    MessageView > .code { color: $foreground; background: $panel; }
    MessageView > .link { color: $text-primary; text-style: underline; }
    """
    COMPONENT_CLASSES: ClassVar[set[str]] = {
        *("text", "selected", "sticky", "quiet", "day", "new", "pending", "failed"),
        *("mention", "reaction", "own", "file", "code", "link"),
    }

    def __init__(self, client: Client, deletions: Deletions, widget_id: str) -> None:
        super().__init__(widget_id)
        self.notice = ""
        self._client = client
        self._deletions = deletions
        self._max_text_columns = DEFAULT_TEXT_COLUMNS
        self._message_layout = MessageLayout()
        self._notice_block = message_blocks.for_notice("")
        self._render_context: RenderContext | None = None  # None before the first line is drawn
        self._selected_key: Key | None = None

    def set_notice(self, text: str) -> None:
        """Change the line above the first message."""
        if text != self.notice:
            self.notice = text
            self._notice_block = message_blocks.for_notice(text)
            self.refresh()

    def set_max_text_columns(self, columns: int) -> None:
        """Change the maximum width of text, and draw everything again."""
        if columns != self._max_text_columns:
            self._max_text_columns = columns
            self._measure_again()

    def notify_style_update(self) -> None:
        super().notify_style_update()
        self._render_context = None

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
                heading = block.sticky_heading(context, line - top) if y == 0 else None
                if heading is not None:
                    return heading
                strips = block.strips(context, key == self._selected_key and key is not None)
                if line - top < len(strips):
                    return strips[line - top]
        return Strip.blank(context.width, context.styles["text"])

    # Scrolling

    def _measure_again(self) -> None:
        """Measure all messages after a change of the width."""

        def measure() -> None:
            self._render_context = None
            self._message_layout.measure(0, self._current_context())
            self._update_height()

        self._keep_place(measure)

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

    def _show_block(self, index: int) -> None:
        """Scroll until the block is visible, and not below the heading that stays at the top."""
        top, height = self._message_layout.position(index, self._current_context())
        block, _ = self._message_layout.block_and_key(index)
        if block is not None and not block.has_heading:
            top, height = top - 1, height + 1
        view_top = self.scroll_offset.y
        if top < view_top:
            self._follows_end = False
            self._move_to(top)
        elif top + height > view_top + self.size.height:
            self._move_to(top + height - self.size.height)
        self._follows_end = self.is_at_end

    def _update_height(self) -> None:
        layout, context = self._message_layout, self._current_context()
        if not layout.is_measured:
            layout.measure(0, context)
        lines = layout.height(context)
        layout.padding = max(0, self.size.height - lines)
        self.set_line_count(lines)
        if self._follows_end:
            self._scroll_to_end()

    # Styles

    @property
    def _width(self) -> int:
        """Columns without the scrollbar."""
        return self.scrollable_content_region.width

    def _current_context(self) -> RenderContext | None:
        """Return the context that blocks are drawn with; None while the widget has no size."""
        if self._render_context is None and self._width > 0:
            self._render_context = RenderContext(
                self._width,
                self._max_text_columns,
                {name: self._component_style(name) for name in self.COMPONENT_CLASSES},
                author_styles(is_dark=self.app.current_theme.dark),
                self.app.console,
                self._client.state,
                self._deletions,
                self._client.server_time,
            )
        return self._render_context

    def _component_style(self, name: str) -> Style:
        style = self.get_component_rich_style(name)
        if name in WITH_BACKGROUND:
            return style
        return Style(color=style.color, bold=style.bold, italic=style.italic, underline=style.underline)
