"""Tracks uploads and downloads in progress, and shows their progress as one line."""

from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass

from rich.text import Text

from blazechat.client.files import OnProgress


@dataclass(eq=False)
class Transfer:
    """One upload or download. `total_bytes` is 0 until the size is known."""

    label: str
    done_bytes: int = 0
    total_bytes: int = 0

    @property
    def percent(self) -> int:
        return 100 * self.done_bytes // self.total_bytes if self.total_bytes else 0


class Transfers:
    """The transfers of one screen.

    `on_change` is called when `status_line` changes. `cancel_all` cancels the tasks that transfer.
    """

    def __init__(self, on_change: Callable[[], None], cancel_all: Callable[[], object]) -> None:
        self._on_change = on_change
        self._cancel_all = cancel_all
        self._active: list[Transfer] = []

    @contextmanager
    def track(self, label: str) -> Iterator[OnProgress]:
        """List a transfer until the end of the block. Yields the callback that reports its progress."""
        transfer = Transfer(label)

        def on_progress(done_bytes: int, total_bytes: int) -> None:
            previous = transfer.percent
            transfer.done_bytes, transfer.total_bytes = done_bytes, total_bytes
            if transfer.percent != previous:
                self._on_change()

        self._active.append(transfer)
        self._on_change()
        try:
            yield on_progress
        finally:
            self._active.remove(transfer)
            self._on_change()

    def cancel(self) -> bool:
        """Cancel all transfers; return False if there were none."""
        if not self._active:
            return False
        self._cancel_all()
        return True

    @property
    def status_line(self) -> Text | None:
        """The progress of the first transfer and the number of others; None without transfers."""
        if not self._active:
            return None
        first, others = self._active[0], len(self._active) - 1
        more = f" and {others} more" if others else ""
        return Text(f"{first.label}: {first.percent} %{more}  (/cancel stops it)", no_wrap=True)
