"""Lines of text as Textual draws them."""

from rich.console import Console
from rich.segment import Segment
from rich.style import Style
from rich.text import Text
from textual.strip import Strip


def strip_of(text: Text, console: Console, width: int, base: Style) -> Strip:
    """A line as Textual draws it, padded or cut to the width."""
    own = (
        text.style if isinstance(text.style, Style) else None
    )  # which `render` forgets if it is the only one
    strip = Strip(Segment.apply_style(text.render(console), own))
    return strip.adjust_cell_length(width).apply_style(base)
