"""Small screens above the chat: a question, a list to choose from, the help."""

from collections.abc import Sequence
from dataclasses import dataclass
from typing import ClassVar

from rich.table import Table
from rich.text import Text
from textual.app import ComposeResult
from textual.binding import Binding, BindingType
from textual.containers import Horizontal, Vertical, VerticalScroll
from textual.screen import ModalScreen
from textual.widgets import Button, Input, Label, OptionList, Static
from textual.widgets.option_list import Option

from blazechat.terminal import slash_commands

BOX_CSS = """
    align: center middle;
    & > .box {
        width: 70; max-width: 95%; height: auto; max-height: 90%;
        padding: 1 2; background: $surface; border: round $primary;
    }
    & .title { text-style: bold; width: 100%; }
    & .hint { color: $text-muted; width: 100%; margin-top: 1; }
"""

KEY_HELP = (
    ("Enter", "send"),
    ("Alt+Enter, Ctrl+J", "begin another line"),
    ("Up, Down", "what you have sent before, when nothing is written"),
    ("Tab", "complete a @name, an :emoji or a /command"),
    ("Esc", "from writing to the messages, and back; or cancel a reply or an edit"),
    ("Ctrl+K", "find a chat by its name or its people"),
    ("Ctrl+Up, Ctrl+Down", "the chat above or below"),
    ("Ctrl+N", "the next chat with new messages"),
    ("Page Up, Page Down", "scroll the messages"),
    ("Ctrl+End", "to the newest message"),
    ("Ctrl+R", "try to connect now"),
    ("Ctrl+P", "all that can be done, to choose from"),
    ("F1", "this help"),
    ("Ctrl+Q", "leave"),
)

MESSAGE_KEY_HELP = (
    ("Up, Down", "choose a message"),
    ("r, e, d", "reply, edit, delete; of what was not sent: retry, edit, discard"),
    ("+, p, c", "react, pin or unpin, copy"),
    ("o, s", "show its picture or open its file, save its file"),
    ("Enter", "to the message that it replies to"),
)


class ConfirmDialog(ModalScreen[bool]):
    """A question before something that cannot be undone; answers whether to do it."""

    DEFAULT_CSS = f"""
    Confirm {{ {BOX_CSS} }}
    Confirm Horizontal {{ height: auto; margin-top: 1; align-horizontal: right; }}
    Confirm Button {{ margin-left: 2; }}
    """
    BINDINGS: ClassVar[list[BindingType]] = [
        Binding("y", "answer(True)", "Yes"),
        Binding("n,escape", "answer(False)", "No"),
        Binding("left,right", "app.focus_next", show=False),
    ]

    def __init__(self, question: str, yes: str) -> None:
        super().__init__()
        self._question, self._yes = question, yes

    def compose(self) -> ComposeResult:
        with Vertical(classes="box"):
            yield Label(Text(self._question), classes="title")
            with Horizontal():
                yield Button("No (n)", id="no")
                yield Button(f"{self._yes} (y)", id="yes", variant="error")

    def on_button_pressed(self, event: Button.Pressed) -> None:
        self.dismiss(event.button.id == "yes")

    def action_answer(self, answer: bool) -> None:
        self.dismiss(answer)


class Prompt(ModalScreen[str | None]):
    """A question that is answered by a line; None if it is not."""

    DEFAULT_CSS = f"""
    Ask {{ {BOX_CSS} }}
    Ask Input {{ margin-top: 1; }}
    """
    BINDINGS: ClassVar[list[BindingType]] = [Binding("escape", "close", "Close")]

    def __init__(self, question: str, example: str = "", answer: str = "") -> None:
        super().__init__()
        self._question, self._example, self._answer = question, example, answer

    def compose(self) -> ComposeResult:
        with Vertical(classes="box"):
            yield Label(Text(self._question), classes="title")
            yield Input(self._answer, placeholder=self._example, max_length=1000)

    def on_input_submitted(self, event: Input.Submitted) -> None:
        self.dismiss(event.value)

    def action_close(self) -> None:
        self.dismiss(None)


@dataclass(frozen=True)
class Choice:
    """One line of a list; `key` is what is answered."""

    key: str
    text: Text


class ChoiceDialog(ModalScreen[str | None]):
    """A list; answers the key of what was chosen, or None."""

    DEFAULT_CSS = f"""
    Listing {{ {BOX_CSS} }}
    Listing OptionList, Listing OptionList:focus {{
        height: auto; max-height: 20; margin-top: 1; border: none; padding: 0; background: $surface;
    }}
    """
    BINDINGS: ClassVar[list[BindingType]] = [Binding("escape,q", "close", "Close")]

    def __init__(self, title: str, choices: Sequence[Choice], hint: str = "") -> None:
        super().__init__()
        self._title, self._choices, self._hint = title, choices, hint

    def compose(self) -> ComposeResult:
        with Vertical(classes="box"):
            yield Label(Text(self._title), classes="title")
            yield OptionList(*(Option(choice.text, id=choice.key) for choice in self._choices))
            yield Label(f"{self._hint} Esc closes.".strip(), classes="hint")

    def on_option_list_option_selected(self, event: OptionList.OptionSelected) -> None:
        self.dismiss(event.option.id)

    def action_close(self) -> None:
        self.dismiss(None)


class HelpScreen(ModalScreen[None]):
    """The keys and the commands."""

    DEFAULT_CSS = f"""
    Help {{ {BOX_CSS} }}
    Help > .box {{ width: 90; height: 90%; }}
    """
    BINDINGS: ClassVar[list[BindingType]] = [Binding("escape,q,f1,enter", "close", "Close")]

    def compose(self) -> ComposeResult:
        with VerticalScroll(classes="box", can_focus=True):
            yield Label("Keys", classes="title")
            yield Static(_table(KEY_HELP))
            yield Label("Keys among the messages (Esc leads there)", classes="title")
            yield Static(_table(MESSAGE_KEY_HELP))
            yield Label("Commands", classes="title")
            yield Static(
                _table([(f"/{c.name} {c.usage}".strip(), c.help) for c in slash_commands.COMMANDS])
            )
            yield Label(
                "A message that begins with a slash is written with two. Esc closes.", classes="hint"
            )

    def action_close(self) -> None:
        self.dismiss(None)


def _table(rows: Sequence[tuple[str, str]]) -> Table:
    found = Table.grid(padding=(0, 2, 0, 0))
    for left, right in rows:
        found.add_row(Text(left, "bold"), Text(right))
    found.add_row()
    return found
