"""The picker of reactions: the emoji that the user uses most, and a search by name."""

from collections.abc import Sequence
from typing import ClassVar

from rich.text import Text
from textual import events, on
from textual.app import ComposeResult
from textual.binding import Binding, BindingType
from textual.containers import Vertical
from textual.screen import ModalScreen
from textual.widgets import Input, Label, OptionList
from textual.widgets.option_list import Option

from blazechat.terminal import emoji_names, sanitize
from blazechat.terminal.emoji_names import NamedEmoji
from blazechat.terminal.screens.dialogs import BOX_CSS
from blazechat.terminal.widgets.key_order import KeyActions, KeyOrder, forward

MAX_MOST_USED = 12
MAX_FOUND = 50
MAX_SEARCH_CHARACTERS = 100
VARIATION_SELECTOR = "\ufe0f"
"""Asks for the coloured form of a character. The server treats an emoji with and without it as one."""


class SearchField(KeyOrder, Input):
    """The input field of the picker. Arrow keys and Enter act on the list."""

    def __init__(self, keys: KeyActions) -> None:
        super().__init__(placeholder="Search by name, such as heart", max_length=MAX_SEARCH_CHARACTERS)
        self.key_actions = keys


class ReactionPicker(ModalScreen[str | None]):
    """Returns the emoji that the user picks, or None.

    `used` are the names that the user has used, the most used first; those that are no emoji are left out.
    `mine` are the user's own reactions to the message.
    """

    DEFAULT_CSS = f"""
    ReactionPicker {{ {BOX_CSS} }}
    ReactionPicker > .box {{ width: 50; }}
    ReactionPicker Input, ReactionPicker Input:focus {{
        border: none; height: 1; padding: 0; margin-top: 1;
    }}
    ReactionPicker OptionList, ReactionPicker OptionList:focus {{
        height: 12; max-height: 40vh; margin-top: 1; border: none; padding: 0; background: $surface;
        text-wrap: nowrap; text-overflow: ellipsis;
    }}
    ReactionPicker OptionList > .option-list--option-highlighted {{
        background: $block-cursor-background; color: $block-cursor-foreground; text-style: bold;
    }}
    """
    BINDINGS: ClassVar[list[BindingType]] = [Binding("escape", "close", "Close")]

    def __init__(self, used: Sequence[str], mine: Sequence[str]) -> None:
        super().__init__()
        self._mine = mine
        used_emoji = [name for name in used if emoji_names.is_emoji(name)]
        self._most_used = list(dict.fromkeys([*mine, *used_emoji, *emoji_names.COMMON]))[:MAX_MOST_USED]
        self._found: list[NamedEmoji] = []

    @staticmethod
    def is_among(emoji: str, others: Sequence[str]) -> bool:
        """Return True if an emoji is one of the others, with or without a variation selector."""
        plain = [other.replace(VARIATION_SELECTOR, "") for other in others]
        return emoji.replace(VARIATION_SELECTOR, "") in plain

    def compose(self) -> ComposeResult:
        keys: KeyActions = {
            "up": lambda: self.query_one(OptionList).action_cursor_up(),
            "down": lambda: self.query_one(OptionList).action_cursor_down(),
            "enter": self._pick,
            "escape": self.action_close,
        }
        with Vertical(classes="box"):
            yield Label("React with", classes="title")
            yield SearchField(keys)
            yield OptionList()
            yield Label("Enter adds it, or removes yours. Esc closes.", classes="hint")

    def on_mount(self) -> None:
        self.query_one(OptionList).can_focus = False
        self._search("")

    def on_key(self, event: events.Key) -> None:
        """Pass on what was typed before the search field had the focus. Later keys do not arrive here."""
        if event.is_printable or event.key == "enter":
            event.stop()
            forward(event, self.query_one(SearchField))

    @on(Input.Changed)
    def _changed(self, event: Input.Changed) -> None:
        self._search(event.value)

    @on(OptionList.OptionSelected)
    def _clicked(self, event: OptionList.OptionSelected) -> None:
        self.dismiss(self._found[event.option_index].emoji)

    def action_close(self) -> None:
        self.dismiss(None)

    def _pick(self) -> None:
        self._search(self.query_one(Input).value)
        index = self.query_one(OptionList).highlighted
        if index is not None:
            self.dismiss(self._found[index].emoji)

    def _search(self, words: str) -> None:
        """List what is found. The highlight stays where it is if the list is the same."""
        if words.strip():
            found = emoji_names.search(words, MAX_FOUND)
        else:
            found = [emoji_names.named(emoji) for emoji in self._most_used]
        if found == self._found:
            return
        self._found = found
        option_list = self.query_one(OptionList)
        option_list.clear_options()
        option_list.add_options([Option(self._line(each)) for each in found])
        option_list.highlighted = 0 if found else None

    def _line(self, found: NamedEmoji) -> Text:
        line = Text(f"{sanitize.line(found.emoji)}  {found.name}")
        if found.code.replace("_", " ") != found.name:
            line.append(f"  :{found.code}:", "dim")
        if self.is_among(found.emoji, self._mine):
            line.append("  ✓ yours", "bold")
        return line
