"""Base of widgets that are drawn line by line, with a fast path past Textual's layout and borders."""

from rich.console import Console
from rich.segment import Segment
from rich.style import Style
from rich.text import Text
from textual.geometry import Region, Size
from textual.scroll_view import ScrollView
from textual.strip import Strip
from textual.widget import Widget


class LineView(ScrollView):
    """A scrollable widget that is drawn line by line. `set_line_count` sets its height."""

    def set_line_count(self, lines: int) -> None:
        """Change the number of lines, and redraw the widget.

        An assignment to `virtual_size` would lay out the whole screen, which takes longer than to draw it.
        """
        size = Size(self.scrollable_content_region.width, max(lines, 1))
        if size != self.virtual_size:
            self.set_reactive(Widget.virtual_size, size)
            self._scroll_update(size)
        self.refresh()

    def render_lines(self, crop: Region) -> list[Strip]:
        """Draw without the borders and the cache of other widgets: subclasses cache lines themselves."""
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
    """Return a line as a strip, padded or cut to `width` columns, over the style `base`."""
    own = text.style if isinstance(text.style, Style) else None  # `render` drops it if it is the only style
    strip = Strip(Segment.apply_style(text.render(console), own))
    return strip.adjust_cell_length(width).apply_style(base)
