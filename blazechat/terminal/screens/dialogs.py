"""Dialogs over the chat screen: a confirmation, a text prompt, a list of choices, the last notices."""

from collections.abc import Callable, Sequence
from dataclasses import dataclass
from typing import ClassVar

from rich.table import Table
from rich.text import Text
from textual import events
from textual.app import ComposeResult
from textual.binding import Binding, BindingType
from textual.containers import Horizontal, Vertical, VerticalScroll
from textual.screen import ModalScreen
from textual.widgets import Button, Input, Label, OptionList, Static
from textual.widgets.option_list import Option

from blazechat.terminal.widgets.key_order import KeyOrder, TakeText
from blazechat.terminal.widgets.notice_line import MARKS, Notice

MAX_PROMPT_CHARACTERS = 1000

BOX_CSS = """
    align: center middle;
    & > .box {
        width: 70; max-width: 95%; height: auto; max-height: 90%;
        padding: 1 2; background: $surface; border: round $primary;
    }
    & .title { text-style: bold; width: 100%; }
    & .hint { color: $text-muted; width: 100%; margin-top: 1; }
"""


class ConfirmDialog(KeyOrder, ModalScreen[bool]):
    """Asks before an action. Returns True if the user confirms it.

    Only the keys of the question confirm it. All others close it; text goes to `take_text`. No button has
    the focus, so that each key arrives here, in order.
    """

    AUTO_FOCUS = ""
    DEFAULT_CSS = f"""
    ConfirmDialog {{ {BOX_CSS} }}
    ConfirmDialog Horizontal {{ height: auto; margin-top: 1; align-horizontal: right; }}
    ConfirmDialog Button {{ margin-left: 2; }}
    ConfirmDialog Button.-chosen {{ text-style: bold reverse; }}
    """

    def __init__(self, question: str, action: str, take_text: TakeText) -> None:
        super().__init__()
        self._question, self._action = question, action
        self._is_yes_chosen = False
        self._pass_to, self.take_text = take_text, self._pass_text
        choose = dict.fromkeys(("left", "right", "tab", "shift+tab"), self._choose_other)
        self.key_actions = {
            **choose,
            "y": lambda: self._close(True),
            "n": lambda: self._close(False),
            "escape": lambda: self._close(False),
            "enter": lambda: self._close(self._is_yes_chosen),
        }

    def compose(self) -> ComposeResult:
        with Vertical(classes="box"):
            yield Label(Text(self._question), classes="title")
            with Horizontal():
                yield Button("No (n)", id="no", classes="-chosen")
                yield Button(f"{self._action} (y)", id="yes", variant="error")

    def on_mount(self) -> None:
        for button in self.query(Button):
            button.can_focus = False

    def on_button_pressed(self, event: Button.Pressed) -> None:
        self._close(event.button.id == "yes")

    async def _on_key(self, event: events.Key) -> None:
        """Close on a key that is neither one of the question nor text."""
        if self.is_active and event.key not in self.key_actions and not event.is_printable:
            self._close(False)
            event.stop()
            event.prevent_default()

    def _pass_text(self, event: events.Key | events.Paste) -> None:
        self._close(False)
        self._pass_to(event)

    def _choose_other(self) -> None:
        self._is_yes_chosen = not self._is_yes_chosen
        for button in self.query(Button):
            button.set_class((button.id == "yes") == self._is_yes_chosen, "-chosen")

    def _close(self, is_confirmed: bool) -> None:
        if self.is_active:
            self.dismiss(is_confirmed)


class Prompt(ModalScreen[str | None]):
    """Asks for one line of text. Returns the text, or None if the user closes the prompt."""

    DEFAULT_CSS = f"""
    Prompt {{ {BOX_CSS} }}
    Prompt Input {{ margin-top: 1; }}
    """
    BINDINGS: ClassVar[list[BindingType]] = [Binding("escape", "close", "Close")]

    def __init__(self, question: str, example: str = "") -> None:
        super().__init__()
        self._question, self._example = question, example

    def compose(self) -> ComposeResult:
        with Vertical(classes="box"):
            yield Label(Text(self._question), classes="title")
            yield Input(placeholder=self._example, max_length=MAX_PROMPT_CHARACTERS)

    def on_input_submitted(self, event: Input.Submitted) -> None:
        self.dismiss(event.value)

    def action_close(self) -> None:
        self.dismiss(None)


@dataclass(frozen=True)
class Choice:
    """One line of a list. `key` is the result if the user selects it."""

    key: str
    text: Text


class ChoiceDialog(ModalScreen[str | None]):
    """Shows a list. Returns the key of the selected choice, or None if the user closes the list."""

    DEFAULT_CSS = f"""
    ChoiceDialog {{ {BOX_CSS} }}
    ChoiceDialog OptionList, ChoiceDialog OptionList:focus {{
        height: auto; max-height: 55vh; margin-top: 1; border: none; padding: 0; background: $surface;
        text-wrap: nowrap; text-overflow: ellipsis;
    }}
    """
    BINDINGS: ClassVar[list[BindingType]] = [Binding("escape,q", "close", "Close")]

    def __init__(
        self,
        title: str,
        choices: Sequence[Choice],
        hint: str = "",
        current: str | None = None,
        preview: Callable[[str], None] | None = None,
    ) -> None:
        super().__init__()
        self._title, self._choices, self._hint = title, choices, hint
        self._current, self._preview = current, preview

    def compose(self) -> ComposeResult:
        with Vertical(classes="box"):
            yield Label(Text(self._title), classes="title")
            yield OptionList(*(Option(choice.text, id=choice.key) for choice in self._choices))
            yield Label(f"{self._hint} Esc closes.".strip(), classes="hint")

    def on_mount(self) -> None:
        keys = [choice.key for choice in self._choices]
        if self._current in keys:
            self.query_one(OptionList).highlighted = keys.index(self._current)

    def on_option_list_option_highlighted(self, event: OptionList.OptionHighlighted) -> None:
        if self._preview is not None and event.option.id is not None:
            self._preview(event.option.id)

    def on_option_list_option_selected(self, event: OptionList.OptionSelected) -> None:
        self.dismiss(event.option.id)

    def action_close(self) -> None:
        self.dismiss(None)


class NoticesDialog(ModalScreen[None]):
    """Lists the last notices in full, the newest first."""

    DEFAULT_CSS = f"""
    NoticesDialog {{ {BOX_CSS} }}
    NoticesDialog > .box {{ width: 90; }}
    """
    BINDINGS: ClassVar[list[BindingType]] = [Binding("escape,q,f2,enter", "close", "Close")]

    def __init__(self, notices: Sequence[Notice]) -> None:
        super().__init__()
        self._notices = notices

    def compose(self) -> ComposeResult:
        table = Table.grid(padding=(0, 2, 0, 0))
        for notice in self._notices:
            text = Text(f"{notice.text}\n{notice.details}".rstrip())
            table.add_row(
                Text(f"{notice.shown_at.astimezone():%H:%M:%S}", "dim"), MARKS[notice.severity], text
            )
        with VerticalScroll(classes="box", can_focus=True):
            yield Label("Notices and errors", classes="title")
            yield Static(table if self._notices else Text("There were none.", "dim"))
            yield Label("Esc closes.", classes="hint")

    def action_close(self) -> None:
        self.dismiss(None)
