"""Where one writes: several lines, a history, completion of names, emoji and commands."""

from collections.abc import Callable
from dataclasses import dataclass
from typing import ClassVar

from textual import events
from textual.binding import Binding, BindingType
from textual.message import Message as Notice
from textual.widgets import TextArea

from blazechat.terminal import sanitize
from blazechat.terminal.widgets import completion
from blazechat.terminal.widgets.completion import Candidate
from blazechat.terminal.widgets.key_order import KeyOrder, KeyActions

MAX_MESSAGE_CHARACTERS = 10_000
"""Characters that a server takes in one message."""
COUNTER_FROM_CHARACTERS = 9_000
MAX_HISTORY_ENTRIES = 200
MAX_PASTE_CHARACTERS = 4 * MAX_MESSAGE_CHARACTERS
"""Characters; a terminal stands still while more are laid out."""


Submit = Callable[[str], bool]
"""Takes what was written when Enter is pressed; whether it was taken, and the composer is to be emptied."""


class Composer(KeyOrder, TextArea):
    """Enter sends, Alt+Enter (also Shift+Enter, where the terminal tells it, and Ctrl+J) begins a line."""

    ALLOW_MAXIMIZE = False

    DEFAULT_CSS = """
    Composer {
        height: auto; min-height: 1; max-height: 8; border: none; padding: 0 1;
        background: $surface; scrollbar-size-vertical: 1;
    }
    Composer:focus { border: none; background: $surface; }
    """
    BINDINGS: ClassVar[list[BindingType]] = [
        Binding("enter", "submit", "Send"),
        Binding("alt+enter,shift+enter,ctrl+j", "newline", "New line", key_display="alt+⏎"),
        Binding("up", "up", show=False),
        Binding("down", "down", show=False),
        Binding("tab", "complete", show=False),
        Binding("escape", "leave", show=False),
    ]

    class CandidatesChanged(Notice):
        """What one may be about to write; none, if there is nothing to offer. `at` is the one chosen."""

        def __init__(self, candidates: list[Candidate], at: int) -> None:
            super().__init__()
            self.candidates = candidates
            self.at = at

    @dataclass
    class Completions:
        candidates: list[Candidate]
        at: int = 0

    def __init__(
        self, people: completion.ListUsers, submit: Submit, leave: Callable[[], None], keys: KeyActions
    ) -> None:
        super().__init__(
            id="composer",
            show_line_numbers=False,
            highlight_cursor_line=False,
            placeholder="Write a message, or / for commands",
        )
        self._list_users = people
        self._submit = submit
        self._leave = leave
        self.key_actions = {**keys, "colon": self._insert_colon}
        self._completions = self.Completions([])
        self._sent_texts: list[str] = []
        self._history_steps = 0  # how far back in the history
        self._unsent_text = ""

    def set_text(self, text: str) -> None:
        """Have this to write on, with the cursor at its end."""
        self.load_text(sanitize.for_input(text))
        self.move_cursor(self.document.end)
        self._history_steps = 0

    def add_to_history(self, text: str) -> None:
        """Something was sent: it can be had again."""
        if text.strip() and (not self._sent_texts or self._sent_texts[-1] != text):
            self._sent_texts = [*self._sent_texts, text][-MAX_HISTORY_ENTRIES:]
        self._history_steps = 0

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
        candidate = self._completions.candidates[self._completions.at]
        row, column = self.cursor_location
        self.replace(candidate.text, (row, column - candidate.replaces), (row, column))
        self._set_candidates([])

    def action_leave(self) -> None:
        if self._completions.candidates:
            self._set_candidates([])
        else:
            self._leave()

    async def _on_paste(self, event: events.Paste) -> None:
        """What is pasted is text, however long; what would steer a terminal is left out of it."""
        event.prevent_default()
        event.stop()
        if len(event.text) > MAX_PASTE_CHARACTERS:
            self.notify(
                f"That is {len(event.text):,} characters; {MAX_PASTE_CHARACTERS:,} of them were pasted.",
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

    # How it is done

    def _insert_colon(self) -> None:
        """What stands before it may be the short code of an emoji."""
        self.replace(":", *self.selection)
        emoji = completion.completed_emoji(self._before_cursor())
        if emoji is not None:
            row, column = self.cursor_location
            self.replace(emoji.text, (row, column - emoji.replaces), (row, column))

    def _update_candidates(self) -> None:
        """Offer what fits to what is written now."""
        is_start = self.cursor_location[0] == 0
        candidates = completion.candidates(self._before_cursor(), self._list_users, is_start=is_start)
        if candidates != self._completions.candidates:
            self._set_candidates(candidates)

    def _before_cursor(self) -> str:
        row, column = self.cursor_location
        return self.document.get_line(row)[:column]

    def _should_complete(self) -> bool:
        """Whether Enter means the candidate: not where one is written out already, and none was gone to."""
        offer, before = self._completions, self._before_cursor()
        chosen = offer.candidates[offer.at : offer.at + 1] if offer.at else offer.candidates
        return not any(before.endswith(candidate.text.rstrip()) for candidate in chosen)

    def _move_choice(self, by: int) -> None:
        offer = self._completions
        offer.at = (offer.at + by) % len(offer.candidates)
        self.post_message(self.CandidatesChanged(offer.candidates, offer.at))

    def _set_candidates(self, candidates: list[Candidate]) -> None:
        if candidates or self._completions.candidates:
            self._completions = self.Completions(candidates)
            self.post_message(self.CandidatesChanged(candidates, 0))

    def _recall(self, by: int) -> None:
        if not self._history_steps:
            self._unsent_text = self.text
        back = min(max(self._history_steps + by, 0), len(self._sent_texts))
        if back != self._history_steps:
            self.set_text(self._sent_texts[-back] if back else self._unsent_text)
            self._history_steps = back
