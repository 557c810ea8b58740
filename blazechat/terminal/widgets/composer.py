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
from blazechat.terminal.widgets.key_order import KeyOrder, Keys

LONGEST = 10_000
"""Characters that a server takes in one message."""
NEAR_THE_END = 9_000
HISTORY = 200
PASTED_AT_ONCE = 4 * LONGEST
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

    class Candidates(Notice):
        """What one may be about to write; none, if there is nothing to offer. `at` is the one chosen."""

        def __init__(self, candidates: list[Candidate], at: int) -> None:
            super().__init__()
            self.candidates = candidates
            self.at = at

    @dataclass
    class Offer:
        candidates: list[Candidate]
        at: int = 0

    def __init__(
        self, people: completion.People, submit: Submit, leave: Callable[[], None], keys: Keys
    ) -> None:
        super().__init__(
            id="composer",
            show_line_numbers=False,
            highlight_cursor_line=False,
            placeholder="Write a message, or / for commands",
        )
        self._people = people
        self._submit = submit
        self._leave = leave
        self.keys = {**keys, "colon": self._colon}
        self._offer = self.Offer([])
        self._history: list[str] = []
        self._back = 0  # how far back in the history
        self._unfinished = ""

    def take(self, text: str) -> None:
        """Have this to write on, with the cursor at its end."""
        self.load_text(sanitize.typed(text))
        self.move_cursor(self.document.end)
        self._back = 0

    def remember(self, text: str) -> None:
        """Something was sent: it can be had again."""
        if text.strip() and (not self._history or self._history[-1] != text):
            self._history = [*self._history, text][-HISTORY:]
        self._back = 0

    # Keys

    def action_submit(self) -> None:
        self._look_ahead()
        if self._offer.candidates and self._is_worth_completing():
            self.action_complete()
        elif self._submit(self.text):
            self.take("")

    def action_newline(self) -> None:
        self.insert("\n")

    def action_up(self) -> None:
        if self._offer.candidates:
            self._choose(-1)
        elif self.cursor_at_first_line and (not self.text or self._back):
            self._recall(1)
        else:
            self.action_cursor_up()

    def action_down(self) -> None:
        if self._offer.candidates:
            self._choose(1)
        elif self.cursor_at_last_line and self._back:
            self._recall(-1)
        else:
            self.action_cursor_down()

    def action_complete(self) -> None:
        self._look_ahead()
        if not self._offer.candidates:
            return
        candidate = self._offer.candidates[self._offer.at]
        row, column = self.cursor_location
        self.replace(candidate.text, (row, column - candidate.replaces), (row, column))
        self._set_offer([])

    def action_leave(self) -> None:
        if self._offer.candidates:
            self._set_offer([])
        else:
            self._leave()

    async def _on_paste(self, event: events.Paste) -> None:
        """What is pasted is text, however long; what would steer a terminal is left out of it."""
        event.prevent_default()
        event.stop()
        if len(event.text) > PASTED_AT_ONCE:
            self.notify(
                f"That is {len(event.text):,} characters; {PASTED_AT_ONCE:,} of them were pasted.",
                severity="warning",
                markup=False,
            )
        start, end = sorted(self.selection)
        self.replace(sanitize.typed(event.text[:PASTED_AT_ONCE]), start, end)
        self._set_offer([])

    def on_text_area_changed(self) -> None:
        if self._back and self.text == self._history[-self._back]:
            self._set_offer([])
        else:
            self._back = 0
            self._look_ahead()

    # How it is done

    def _colon(self) -> None:
        """What stands before it may be the short code of an emoji."""
        self.replace(":", *self.selection)
        emoji = completion.finished_emoji(self._before_cursor())
        if emoji is not None:
            row, column = self.cursor_location
            self.replace(emoji.text, (row, column - emoji.replaces), (row, column))

    def _look_ahead(self) -> None:
        """Offer what fits to what is written now."""
        is_start = self.cursor_location[0] == 0
        candidates = completion.candidates(self._before_cursor(), self._people, is_start=is_start)
        if candidates != self._offer.candidates:
            self._set_offer(candidates)

    def _before_cursor(self) -> str:
        row, column = self.cursor_location
        return self.document.get_line(row)[:column]

    def _is_worth_completing(self) -> bool:
        """Whether Enter means the candidate: not where one is written out already, and none was gone to."""
        offer, before = self._offer, self._before_cursor()
        chosen = offer.candidates[offer.at : offer.at + 1] if offer.at else offer.candidates
        return not any(before.endswith(candidate.text.rstrip()) for candidate in chosen)

    def _choose(self, by: int) -> None:
        offer = self._offer
        offer.at = (offer.at + by) % len(offer.candidates)
        self.post_message(self.Candidates(offer.candidates, offer.at))

    def _set_offer(self, candidates: list[Candidate]) -> None:
        if candidates or self._offer.candidates:
            self._offer = self.Offer(candidates)
            self.post_message(self.Candidates(candidates, 0))

    def _recall(self, by: int) -> None:
        if not self._back:
            self._unfinished = self.text
        back = min(max(self._back + by, 0), len(self._history))
        if back != self._back:
            self.take(self._history[-back] if back else self._unfinished)
            self._back = back
