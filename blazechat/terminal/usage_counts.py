"""Counts how often commands and emoji are used, so that the most used ones are offered first."""

import contextlib
from collections.abc import Iterable
from pathlib import Path

from blazechat.terminal.json_files import read_file, write_file

MAX_NAMES = 500


class UsageCounts:
    """Counts by name, stored in a file for all accounts. Commands have a slash before their names."""

    def __init__(self, path: Path) -> None:
        self._path = path
        self._counts = read_file(path, dict[str, int]) or {}

    def add(self, name: str) -> None:
        """Count one use. A file that cannot be written loses it, which is not worth an error."""
        counts = read_file(self._path, dict[str, int]) or self._counts
        counts[name] = counts.get(name, 0) + 1
        kept = sorted(counts, key=counts.__getitem__, reverse=True)[:MAX_NAMES]
        self._counts = {each: counts[each] for each in {*kept, name}}
        with contextlib.suppress(OSError):
            write_file(self._path, self._counts)

    def most_used_first(self, names: Iterable[str]) -> list[str]:
        """Return the names in the order of their use. Those of equal use keep their order."""
        return sorted(names, key=lambda name: -self._counts.get(name, 0))

    def used(self) -> list[str]:
        """Return the names with a use, the most used first."""
        return self.most_used_first(self._counts)
