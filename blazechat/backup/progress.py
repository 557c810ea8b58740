"""Progress lines of a backup or a restore."""

import time
from collections.abc import Callable

LINE_SECONDS = 2.0
"""Minimum interval between two lines of one step."""

Print = Callable[[str], None]


class Progress:
    """Prints a line when a step begins, and every LINE_SECONDS while it lasts."""

    def __init__(self, print_line: Print) -> None:
        self._print = print_line
        self._last_line = 0.0

    def step(self, text: str) -> None:
        self._print(text)
        self._last_line = time.monotonic()

    def at(self, text: str) -> None:
        """Print how far the step is, unless the last line is recent."""
        if time.monotonic() - self._last_line >= LINE_SECONDS:
            self.step(f"  {text}")

    def files(self, done: int, total: int, done_bytes: int, total_bytes: int) -> None:
        self.at(f"{done:,} of {total:,} files, {in_words(done_bytes)} of {in_words(total_bytes)}")


def in_words(size: int) -> str:
    """Return a number of bytes as people write it."""
    for unit, factor in (("GB", 10**9), ("MB", 10**6), ("kB", 10**3)):
        if size >= factor:
            return f"{size / factor:.1f} {unit}"
    return f"{size} bytes"
