"""Shows the completions that the composer offers, and which of them is selected."""

from collections.abc import Sequence

from rich.text import Text
from textual.widgets import Static

from blazechat.terminal.widgets.completion import Candidate

MAX_LINES = 6


class CandidateList(Static):
    """Hidden while there are none. Of a longer list, the lines around the selected one are visible."""

    DEFAULT_CSS = f"""
    CandidateList {{
        display: none; height: auto; max-height: {MAX_LINES}; padding: 0 1; background: $panel;
        text-wrap: nowrap; text-overflow: ellipsis;
    }}
    CandidateList.-shown {{ display: block; }}
    """

    def show(self, candidates: Sequence[Candidate], selected: int) -> None:
        self.set_class(bool(candidates), "-shown")
        first = min(max(0, selected - MAX_LINES // 2), max(0, len(candidates) - MAX_LINES))
        text = Text(no_wrap=True, overflow="ellipsis")
        for index, candidate in list(enumerate(candidates))[first : first + MAX_LINES]:
            text.append(f"{candidate.label}\n", "reverse" if index == selected else "")
        text.rstrip()
        self.update(text)
