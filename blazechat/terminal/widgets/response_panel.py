"""Shows a text of several lines that only this user sees, such as the response to a slash command."""

from rich.text import Text
from textual.app import ComposeResult
from textual.containers import VerticalScroll
from textual.widgets import Static


class ResponsePanel(VerticalScroll, can_focus=False):
    """It stands between the messages and the composer until Esc closes it. The mouse wheel scrolls it."""

    DEFAULT_CSS = """
    ResponsePanel {
        display: none; height: auto; max-height: 10; padding: 0 1;
        background: $panel; border-left: thick $accent; scrollbar-size-vertical: 1;
    }
    ResponsePanel.-shown { display: block; }
    """

    def compose(self) -> ComposeResult:
        yield Static()

    def show(self, title: str, lines: list[str]) -> None:
        """Show lines under a title. All of them are sanitized."""
        text = Text.assemble((title, "bold"), ("  Esc closes", "dim"))
        for line in lines:
            text.append(f"\n{line}")
        self.query_one(Static).update(text)
        self.set_class(True, "-shown")
        self.scroll_home(animate=False)

    def close(self) -> bool:
        """Close the panel. Returns False if it is closed already."""
        was_shown = self.has_class("-shown")
        self.remove_class("-shown")
        return was_shown
