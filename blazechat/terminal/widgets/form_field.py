"""A labelled input field with its error below it."""

from rich.text import Text
from textual import on
from textual.app import ComposeResult
from textual.containers import Horizontal, Vertical
from textual.widgets import Input, Label

from blazechat.terminal import sanitize

MAX_INPUT_CHARACTERS = 400


class FormField(Vertical):
    """One field of a form. The input has the id `name`; `is_required` fields must not be empty.

    The label stands above the input; with the class `-short`, at its left. With `-tight`, no empty line
    follows.
    """

    DEFAULT_CSS = """
    FormField { height: auto; margin-bottom: 1; }
    FormField > Horizontal { height: auto; layout: vertical; }
    FormField > Horizontal > Label { color: $text-muted; width: 15; }
    FormField Input { border: tall $border-blurred; height: 3; width: 1fr; }
    FormField Input:focus { border: tall $border; }
    FormField > .reason { color: $text-error; width: 100%; display: none; }
    FormField.-invalid > .reason { display: block; }
    FormField.-invalid Input { border: tall $error; }
    FormField.-short > Horizontal { layout: horizontal; }
    FormField.-short > .reason { padding-left: 16; }
    FormField.-short Input, FormField.-short.-invalid Input {
        border: none; height: 1; padding: 0 1; background: $panel;
    }
    FormField.-short Input:focus { border: none; background: $primary 40%; }
    FormField.-tight { margin-bottom: 0; }
    """

    def __init__(
        self,
        name: str,
        label: str,
        value: str = "",
        *,
        placeholder: str = "",
        password: bool = False,
        is_required: bool = True,
        classes: str = "",
    ) -> None:
        super().__init__(classes=classes)
        self.is_required = is_required
        self.label = label
        self._label = Label(label)
        self._error = Label("", classes="reason")
        self.input = Input(
            value,
            id=name,
            placeholder=placeholder,
            password=password,
            max_length=MAX_INPUT_CHARACTERS,
            select_on_focus=password,  # a wrong password is typed again, other text is corrected
        )

    def compose(self) -> ComposeResult:
        with Horizontal():
            yield self._label
            yield self.input
        yield self._error

    @property
    def is_missing(self) -> bool:
        """True if the field is displayed, required and empty."""
        return self.display and self.is_required and not self.input.value.strip()

    def set_label(self, label: str) -> None:
        self.label = label
        self._label.update(label)

    def show_error(self, text: str) -> None:
        """Show an error below the input until it is edited; an empty text removes it."""
        self._error.update(Text(sanitize.line(text)))
        self.set_class(bool(text), "-invalid")

    @on(Input.Changed)
    def _remove_error(self) -> None:
        self.show_error("")
