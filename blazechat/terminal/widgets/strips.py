"""Drawing by the line: what it takes of Textual and Rich."""

from rich.console import Console
from rich.segment import Segment
from rich.style import Style
from rich.text import Text
from textual.geometry import Region, Size
from textual.scroll_view import ScrollView
from textual.strip import Strip
from textual.widget import Widget


class LineView(ScrollView):
    """A widget that is drawn by the line, and as high as it says."""

    def set_line_count(self, lines: int) -> None:
        """It has so many lines now.

        To set `virtual_size` would lay out the whole screen anew, which takes longer than to draw it.
        """
        size = Size(self.scrollable_content_region.width, max(lines, 1))
        if size != self.virtual_size:
            self.set_reactive(Widget.virtual_size, size)
            self._scroll_update(size)
        self.refresh()

    def render_lines(self, crop: Region) -> list[Strip]:
        """Without the frame that other widgets have: lines are kept where they are made."""
        if self.app.current_theme.ansi:
            return super().render_lines(crop)
        _, background = self.background_colors
        strips = [self.render_line(y) for y in crop.line_range]
        for line_filter in self.get_line_filters():
            strips = [strip.apply_filter(line_filter, background) for strip in strips]
        if crop.column_span != (0, self.size.width):
            strips = [strip.crop(*crop.column_span) for strip in strips]
        return strips


def strip_of(text: Text, console: Console, width: int, base: Style) -> Strip:
    """A line as Textual draws it, padded or cut to the width."""
    own = (
        text.style if isinstance(text.style, Style) else None
    )  # which `render` forgets if it is the only one
    strip = Strip(Segment.apply_style(text.render(console), own))
    return strip.adjust_cell_length(width).apply_style(base)
