"""The line for notices and errors between the messages and the composer. Without a notice it is a rule."""

from collections import deque
from dataclasses import dataclass
from datetime import UTC, datetime
from typing import ClassVar

from rich.style import Style
from rich.text import Text
from textual.notifications import SeverityLevel
from textual.strip import Strip
from textual.timer import Timer
from textual.widget import Widget

from blazechat.terminal import sanitize
from blazechat.terminal.widgets.strips import strip_of

MIN_SECONDS, SECONDS_PER_CHARACTER = 4.0, 0.08
"""A notice stays for as long as it takes to read it, and no shorter than the first of these."""
MIN_ERROR_SECONDS = 8.0
TICK_SECONDS = 0.5
MAX_KEPT_NOTICES = 50
RULE = "▔"
MARKS: dict[SeverityLevel, str] = {"information": "•", "warning": "!", "error": "✗"}
MORE = " … F2"
"""Stands at the end of a notice that is longer than the line."""


@dataclass(frozen=True)
class Notice:
    """A text for the user, sanitized. `text` is one line; `details` are more lines, for `F2` only."""

    text: str
    severity: SeverityLevel
    shown_at: datetime
    details: str = ""

    @property
    def reading_seconds(self) -> float:
        shortest = MIN_SECONDS if self.severity == "information" else MIN_ERROR_SECONDS
        return max(shortest, 2 + SECONDS_PER_CHARACTER * len(self.text))


class NoticeLine(Widget):
    """Shows the newest notice for as long as it takes to read it. It covers nothing, and needs no layout.

    An error or a warning is replaced by another one only, until it was displayed long enough. The time does
    not pass while the user works in another window. `kept` has the last notices, the newest first.
    """

    DEFAULT_CSS = """
    NoticeLine { height: 1; color: $panel-lighten-2; background: $background; }
    NoticeLine > .information { color: $foreground; background: $panel; }
    NoticeLine > .warning { color: $text-warning; background: $warning-muted; }
    NoticeLine > .error { color: $text-error; background: $error-muted; text-style: bold; }
    """
    COMPONENT_CLASSES: ClassVar[set[str]] = {"information", "warning", "error"}

    def __init__(self, *, has_rule: bool = True) -> None:
        super().__init__()
        self.kept: deque[Notice] = deque(maxlen=MAX_KEPT_NOTICES)
        self.current: Notice | None = None
        self._waiting: Notice | None = None
        self._seconds_left = 0.0
        self._has_rule = has_rule
        self._timer: Timer | None = None

    def on_mount(self) -> None:
        self._timer = self.set_interval(TICK_SECONDS, self._tick, pause=True)

    def show(self, text: str, severity: SeverityLevel = "information") -> None:
        """Show a notice now; or after the error that is displayed, if that was not read yet."""
        notice = self.keep(text, severity)
        is_held = self.current is not None and self.current.severity != "information"
        if is_held and notice.severity == "information":
            self._waiting = notice
        else:
            self._set(notice)

    def keep(self, text: str, severity: SeverityLevel = "information", details: str = "") -> Notice:
        """Add a notice to the kept ones without showing it. The texts are sanitized."""
        details = "\n".join(sanitize.lines(details))
        notice = Notice(sanitize.line(text), severity, datetime.now(UTC), details)
        self.kept.appendleft(notice)
        return notice

    def pass_time(self, seconds: float) -> None:
        """Let the time pass in which the user reads."""
        self._seconds_left -= seconds
        if self.current is not None and self._seconds_left <= 0:
            waiting, self._waiting = self._waiting, None
            self._set(waiting)

    def render_line(self, y: int) -> Strip:
        width, notice = self.size.width, self.current
        if notice is None:
            rule = Text(RULE * width if self._has_rule else "")
            return strip_of(rule, self.app.console, width, self.rich_style)
        style = self.get_component_rich_style(notice.severity)
        text = Text(f" {MARKS[notice.severity]} {notice.text}", no_wrap=True)
        if text.cell_len > width:
            text.truncate(max(0, width - len(MORE)))
            text.append(MORE, Style(bold=True))
        return strip_of(text, self.app.console, width, style)

    def _tick(self) -> None:
        if self.app.app_focus:
            self.pass_time(TICK_SECONDS)

    def _set(self, notice: Notice | None) -> None:
        self.current = notice
        self._seconds_left = notice.reading_seconds if notice is not None else 0.0
        if self._timer is not None:
            if notice is None:
                self._timer.pause()
            else:
                self._timer.resume()
        self.refresh()
