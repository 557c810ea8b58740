"""The ledger's queue: authors take turns, so that whoever sends much waits behind themselves alone."""

from collections import deque
from collections.abc import Callable, Iterable, Iterator

from blazechat.domain.messaging.append import QueuedSend

TURN = 16
"""Sends that one author may have stored before it is the next one's turn. More than one, because what goes
to the same chats and sockets together is cheaper."""


class FairQueue:
    """Sends, each author's in their order; `pop()` takes a few of each author in turn."""

    def __init__(self) -> None:
        self._taken = 0  # of the first author, in this turn
        self._of: dict[int, deque[QueuedSend]] = {}  # none of them empty
        self._authors: deque[int] = deque()  # those in `_of`, in the order of their turns
        self._size = 0

    def __len__(self) -> int:
        return self._size

    def __iter__(self) -> Iterator[QueuedSend]:
        """All of them, author by author."""
        for sends in self._of.values():
            yield from sends

    def append(self, send: QueuedSend) -> None:
        sends = self._of.get(send.author_id)
        if sends is None:
            sends = self._of[send.author_id] = deque()
            self._authors.append(send.author_id)
        sends.append(send)
        self._size += 1

    def put_back(self, some: Iterable[QueuedSend]) -> None:
        """Sends that were taken before all that is here go to the head again, in their order."""
        for send in reversed(list(some)):
            sends = self._of.get(send.author_id)
            if sends is None:
                sends = self._of[send.author_id] = deque()
                self._authors.appendleft(send.author_id)
            sends.appendleft(send)
            self._size += 1
        self._taken = 0

    def pop(self) -> QueuedSend:
        """Raises IndexError if there is none."""
        author_id = self._authors[0]
        sends = self._of[author_id]
        send = sends.popleft()
        self._taken += 1
        if not sends:
            del self._of[self._authors.popleft()]
            self._taken = 0
        elif self._taken >= TURN:
            self._authors.rotate(-1)
            self._taken = 0
        self._size -= 1
        return send

    def keep(self, wanted: Callable[[QueuedSend], bool]) -> None:
        """Drop all others."""
        kept = list(filter(wanted, self))
        self._of.clear()
        self._authors.clear()
        self._size = self._taken = 0
        for send in kept:
            self.append(send)
