"""The help: the keys, those that act on messages, and the slash commands."""

from collections.abc import Sequence
from typing import ClassVar

from rich.table import Table
from rich.text import Text
from textual.app import ComposeResult
from textual.binding import Binding, BindingType
from textual.containers import VerticalScroll
from textual.screen import ModalScreen
from textual.widgets import Label, Static

from blazechat.terminal import slash_commands
from blazechat.terminal.screens.dialogs import BOX_CSS

KEY_HELP = (
    ("Enter", "send the message"),
    ("Alt+Enter, Ctrl+J", "start a new line"),
    ("Up, Down", "previous and next sent message, in an empty composer"),
    ("Tab", "complete a @name, :emoji, /command or value"),
    ("Esc", "go from the composer to the messages and back; cancel a reply or an edit"),
    ("Ctrl+K", "find a chat by its name or its members"),
    ("Ctrl+Up, Ctrl+Down", "open the chat above or below"),
    ("Ctrl+N", "open the next chat with unread messages"),
    ("Page Up, Page Down", "scroll the messages"),
    ("Ctrl+End", "go to the newest message"),
    ("Ctrl+R", "connect now"),
    ("Ctrl+P", "open the command palette"),
    ("F1", "show this help"),
    ("F2", "show the last notices and errors in full"),
    ("Ctrl+C", "copy the selected text; without one, say how to quit"),
    ("Ctrl+Q", "quit"),
)

MESSAGE_KEY_HELP = (
    ("Up, Down", "select a message"),
    ("r, e, d", "reply, edit, delete; if it was not sent: retry, edit, discard"),
    ("u, Ctrl+Z", "undo the last deletion, within ten seconds"),
    ("+, p, c", "react, pin or unpin, copy"),
    ("o, s", "open its file or link, save its file"),
    ("Enter", "go to the message that it replies to"),
    ("other letters", "go to the composer"),
)


class HelpScreen(ModalScreen[None]):
    """Lists the keys and the slash commands."""

    DEFAULT_CSS = f"""
    HelpScreen {{ {BOX_CSS} }}
    HelpScreen > .box {{ width: 90; height: 90%; }}
    """
    BINDINGS: ClassVar[list[BindingType]] = [Binding("escape,q,f1,enter", "close", "Close")]

    def compose(self) -> ComposeResult:
        with VerticalScroll(classes="box", can_focus=True):
            yield Label("Keys", classes="title")
            yield Static(_table(KEY_HELP))
            yield Label("Keys in the message list (Esc goes there)", classes="title")
            yield Static(_table(MESSAGE_KEY_HELP))
            yield Label("Commands", classes="title")
            yield Static(
                _table([(f"/{c.name} {c.usage}".strip(), c.help) for c in slash_commands.COMMANDS])
            )
            yield Label(
                "To send a message that starts with a slash, type two slashes. Esc closes.", classes="hint"
            )

    def action_close(self) -> None:
        self.dismiss(None)


def _table(rows: Sequence[tuple[str, str]]) -> Table:
    table = Table.grid(padding=(0, 2, 0, 0))
    for left, right in rows:
        table.add_row(Text(left, "bold"), Text(right))
    table.add_row()
    return table
