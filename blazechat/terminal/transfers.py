"""Files on their way: how far each has come, in one line."""

from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass

from rich.text import Text

from blazechat.client.files import OnProgress


@dataclass(eq=False)
class Transfer:
    label: str
    done_bytes: int = 0
    total_bytes: int = 0

    @property
    def percent(self) -> int:
        return 100 * self.done_bytes // self.total_bytes if self.total_bytes else 0


class Transfers:
    """`changed` is called when there is something else to show, `stop_all` stops those who transfer."""

    def __init__(self, changed: Callable[[], None], stop_all: Callable[[], object]) -> None:
        self._changed = changed
        self._stop_all = stop_all
        self._active: list[Transfer] = []

    @contextmanager
    def track(self, label: str) -> Iterator[OnProgress]:
        """A file is on its way until the end of the block; the block tells how far it is."""
        transfer = Transfer(label)

        def tell(have: int, size: int) -> None:
            before = transfer.percent
            transfer.done_bytes, transfer.total_bytes = have, size
            if transfer.percent != before:
                self._changed()

        self._active.append(transfer)
        self._changed()
        try:
            yield tell
        finally:
            self._active.remove(transfer)
            self._changed()

    def cancel(self) -> bool:
        """Stop all; whether there were any."""
        if not self._active:
            return False
        self._stop_all()
        return True

    @property
    def status_line(self) -> Text | None:
        """How far they are; None if there is nothing on its way."""
        if not self._active:
            return None
        first, more = self._active[0], len(self._active) - 1
        others = f" and {more} more" if more else ""
        return Text(f"{first.label}: {first.percent} %{others}  (/cancel stops it)", no_wrap=True)
