"""The input field for messages: several lines, a history, completion of names, emoji and commands."""

from collections.abc import Callable
from dataclasses import dataclass
from typing import ClassVar

from textual import events
from textual.binding import Binding, BindingType
from textual.message import Message as TextualMessage
from textual.widgets import TextArea

from blazechat.terminal import sanitize
from blazechat.terminal.widgets import completion
from blazechat.terminal.widgets.completion import Candidate
from blazechat.terminal.widgets.key_order import KeyActions, KeyOrder

MAX_MESSAGE_CHARACTERS = 10_000
"""The server's limit for one message."""
COUNTER_FROM_CHARACTERS = 9_000
"""The number of characters is displayed if a text has more than this."""
MAX_HISTORY_ENTRIES = 200
MAX_PASTE_CHARACTERS = 4 * MAX_MESSAGE_CHARACTERS
"""The app does not respond while a longer text is laid out."""

Submit = Callable[[str], bool]
"""Handles the text when Enter is pressed. Returns True if the composer can be emptied."""


class Composer(KeyOrder, TextArea):
    """Enter submits the text. Alt+Enter and Ctrl+J start a line, Shift+Enter if the terminal reports it.

    `submit` and `leave` are called for Enter and Esc. `keys` are handled before the bindings.
    """

    ALLOW_MAXIMIZE = False

    DEFAULT_CSS = """
    Composer {
        height: auto; min-height: 1; max-height: 8; border: none; padding: 0 1;
        background: $background; color: $text-muted; scrollbar-size-vertical: 1;
    }
    Composer:focus { border: none; background: $surface; color: $foreground; }
    """
    BINDINGS: ClassVar[list[BindingType]] = [
        Binding("enter", "submit", "Send"),
        Binding("alt+enter,shift+enter,ctrl+j", "newline", "New line", key_display="alt+⏎"),
        Binding("up", "up", show=False),
        Binding("down", "down", show=False),
        Binding("tab", "complete", show=False),
        Binding("escape", "leave", show=False),
    ]

    class CandidatesChanged(TextualMessage):
        """Other completions are offered, or none. `selected` is the index of the selected one."""

        def __init__(self, candidates: list[Candidate], selected: int) -> None:
            super().__init__()
            self.candidates = candidates
            self.selected = selected

    @dataclass
    class Completions:
        """The completions that are offered now, and the index of the selected one."""

        candidates: list[Candidate]
        selected: int = 0

    def __init__(
        self, sources: completion.Sources, submit: Submit, leave: Callable[[], None], keys: KeyActions
    ) -> None:
        super().__init__(
            id="composer",
            show_line_numbers=False,
            highlight_cursor_line=False,
            placeholder="Write a message, or / for commands",
        )
        self._sources = sources
        self._submit = submit
        self._leave = leave
        self.key_actions = {**keys, "colon": self._insert_colon}
        self._completions = self.Completions([])
        self._sent_texts: list[str] = []
        self._history_steps = 0  # entries back in the history; 0 for the unsent text
        self._unsent_text = ""

    def set_text(self, text: str) -> None:
        """Replace the text, and move the cursor to its end."""
        self.load_text(sanitize.for_input(text))
        self.move_cursor(self.document.end)
        self._history_steps = 0

    @property
    def can_undo(self) -> bool:
        """True if a change of the text can be undone."""
        return bool(self.history.undo_stack)

    def add_to_history(self, text: str) -> None:
        """Add a sent text to the history."""
        if text.strip() and (not self._sent_texts or self._sent_texts[-1] != text):
            self._sent_texts = [*self._sent_texts, text][-MAX_HISTORY_ENTRIES:]
        self._history_steps = 0

    def refresh_candidates(self) -> None:
        """Offer the completions of users that were found after the last key."""
        if self._completions.candidates or not self._history_steps:
            self._update_candidates()

    # Keys

    def action_submit(self) -> None:
        self._update_candidates()
        if self._completions.candidates and self._should_complete():
            self.action_complete()
        elif self._submit(self.text):
            self.set_text("")

    def action_newline(self) -> None:
        self.insert("\n")

    def action_up(self) -> None:
        if self._completions.candidates:
            self._move_choice(-1)
        elif self.cursor_at_first_line and (not self.text or self._history_steps):
            self._recall(1)
        else:
            self.action_cursor_up()

    def action_down(self) -> None:
        if self._completions.candidates:
            self._move_choice(1)
        elif self.cursor_at_last_line and self._history_steps:
            self._recall(-1)
        else:
            self.action_cursor_down()

    def action_complete(self) -> None:
        self._update_candidates()
        if not self._completions.candidates:
            return
        self._insert_candidate(self._completions.candidates[self._completions.selected])
        self._set_candidates([])

    def action_leave(self) -> None:
        if self._completions.candidates:
            self._set_candidates([])
        else:
            self._leave()

    async def _on_paste(self, event: events.Paste) -> None:
        """Insert pasted text without control characters, up to a limit."""
        event.prevent_default()
        event.stop()
        if len(event.text) > MAX_PASTE_CHARACTERS:
            self.notify(
                f"The pasted text has {len(event.text):,} characters."
                f" Only the first {MAX_PASTE_CHARACTERS:,} were inserted.",
                severity="warning",
                markup=False,
            )
        start, end = sorted(self.selection)
        self.replace(sanitize.for_input(event.text[:MAX_PASTE_CHARACTERS]), start, end)
        self._set_candidates([])

    def on_text_area_changed(self) -> None:
        if self._history_steps and self.text == self._sent_texts[-self._history_steps]:
            self._set_candidates([])
        else:
            self._history_steps = 0
            self._update_candidates()

    # Completion and history

    def _insert_colon(self) -> None:
        """Insert a colon. If it completes an emoji's short code, replace that by the emoji."""
        self.replace(":", *self.selection)
        emoji = completion.completed_emoji(self._before_cursor())
        if emoji is not None:
            self._insert_candidate(emoji)

    def _insert_candidate(self, candidate: Candidate) -> None:
        row, column = self.cursor_location
        start = (row, column - candidate.replaced_characters)
        self.replace(candidate.text, start, (row, column))

    def _update_candidates(self) -> None:
        is_first_line = self.cursor_location[0] == 0
        candidates = completion.candidates(
            self._before_cursor(), self._sources, is_first_line=is_first_line
        )
        if candidates != self._completions.candidates:
            self._set_candidates(candidates)

    def _before_cursor(self) -> str:
        row, column = self.cursor_location
        return self.document.get_line(row)[:column]

    def _should_complete(self) -> bool:
        """Return True if Enter completes, and does not submit.

        It submits if a candidate is typed in full: the selected one, or any one if none was selected.
        """
        completions, before_cursor = self._completions, self._before_cursor()
        relevant = completions.candidates
        if completions.selected:
            relevant = [completions.candidates[completions.selected]]
        return not any(before_cursor.endswith(candidate.text.rstrip()) for candidate in relevant)

    def _move_choice(self, step: int) -> None:
        completions = self._completions
        completions.selected = (completions.selected + step) % len(completions.candidates)
        self.post_message(self.CandidatesChanged(completions.candidates, completions.selected))

    def _set_candidates(self, candidates: list[Candidate]) -> None:
        if candidates or self._completions.candidates:
            self._completions = self.Completions(candidates)
            self.post_message(self.CandidatesChanged(candidates, 0))

    def _recall(self, steps: int) -> None:
        """Go back in the history, or forward with a negative number."""
        if not self._history_steps:
            self._unsent_text = self.text
        back = min(max(self._history_steps + steps, 0), len(self._sent_texts))
        if back != self._history_steps:
            self.set_text(self._sent_texts[-back] if back else self._unsent_text)
            self._history_steps = back
