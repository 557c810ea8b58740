"""What messages are drawn with: widths, styles, and the state of the client."""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from datetime import datetime

from rich.color import Color
from rich.console import Console
from rich.style import Style

from blazechat.client import State
from blazechat.terminal import mentions
from blazechat.terminal.deletions import Deletions
from blazechat.terminal.markdown.drawing import Canvas

INDENT_COLUMNS = 3
GUTTER_COLUMNS = 3
"""Columns at the right for the marks of the user's own messages."""
MIN_TEXT_COLUMNS = 8
DEFAULT_TEXT_COLUMNS = 100
"""Longer lines are hard to read: the eye loses the start of the next one."""
DARK_THEME_AUTHORS = (
    *("#7aa2f7", "#9ece6a", "#e0af68", "#bb9af7"),
    *("#7dcfff", "#f7768e", "#73daca", "#ff9e64"),
)
LIGHT_THEME_AUTHORS = (
    *("#2e5cb8", "#3a6b00", "#8a5a00", "#7a3fb0"),
    *("#00708a", "#b3244a", "#00725e", "#a34600"),
)


@dataclass(frozen=True)
class RenderContext:
    """If it changes, everything is drawn again. Widths are in columns."""

    width: int
    max_text_columns: int
    styles: Mapping[str, Style]
    author_styles: Sequence[Style]
    console: Console
    state: State = field(repr=False)
    deletions: Deletions = field(repr=False, compare=False)
    now: datetime = field(compare=False)
    content_heights: dict[tuple[str, str], int] = field(default_factory=dict, repr=False, compare=False)
    """Lines of contents that were drawn before, by the content and the text after it."""

    def author_style(self, user_id: int) -> Style:
        return self.author_styles[user_id % len(self.author_styles)]

    @property
    def block_width(self) -> int:
        """Columns of a message, with its indent and its gutter."""
        return min(self.width, self.max_text_columns + INDENT_COLUMNS + GUTTER_COLUMNS)

    @property
    def text_width(self) -> int:
        """Columns for content, between the indent and the gutter."""
        return max(MIN_TEXT_COLUMNS, self.block_width - INDENT_COLUMNS - GUTTER_COLUMNS)

    def canvas(self, base: Style) -> Canvas:
        """Return where the content of a message is drawn, in the style `base`."""
        me = self.state.me
        mention = mentions.pattern(me.username) if me is not None else None
        return Canvas(self.console, self.text_width, self.styles, mention, base)


def author_styles(*, is_dark: bool) -> list[Style]:
    """Return the styles of authors' names for a dark or a light theme."""
    colors = DARK_THEME_AUTHORS if is_dark else LIGHT_THEME_AUTHORS
    return [Style(color=Color.parse(color), bold=True) for color in colors]
