"""The ledger's queue: round-robin over authors, so that an author who sends a lot delays only
themselves."""

from collections import deque
from collections.abc import Callable, Iterable, Iterator

from blazechat.domain.messaging.sends import QueuedSend

SENDS_PER_TURN = 16
"""Sends that one author may store before the next author's turn. More than one, because sends to the same
chats and sockets are cheaper together."""


class FairQueue:
    """Keeps the sends of each author in order; `pop()` takes a few of each author in turn."""

    def __init__(self) -> None:
        self._taken = 0  # sends taken of the first author in this turn
        self._by_author: dict[int, deque[QueuedSend]] = {}  # none of them empty
        self._authors: deque[int] = deque()  # the keys of `_by_author`, in the order of their turns
        self._size = 0

    def __len__(self) -> int:
        return self._size

    def __iter__(self) -> Iterator[QueuedSend]:
        """Yield all sends, author by author."""
        for sends in self._by_author.values():
            yield from sends

    def append(self, send: QueuedSend) -> None:
        sends = self._by_author.get(send.author_id)
        if sends is None:
            sends = self._by_author[send.author_id] = deque()
            self._authors.append(send.author_id)
        sends.append(send)
        self._size += 1

    def put_back(self, sends_taken: Iterable[QueuedSend]) -> None:
        """Put sends that were taken back at the head of the queue, in their order."""
        for send in reversed(list(sends_taken)):
            sends = self._by_author.get(send.author_id)
            if sends is None:
                sends = self._by_author[send.author_id] = deque()
                self._authors.appendleft(send.author_id)
            sends.appendleft(send)
            self._size += 1
        self._taken = 0

    def pop(self) -> QueuedSend:
        """Take the next send. Raises IndexError if the queue is empty."""
        author_id = self._authors[0]
        sends = self._by_author[author_id]
        send = sends.popleft()
        self._taken += 1
        if not sends:
            del self._by_author[self._authors.popleft()]
            self._taken = 0
        elif self._taken >= SENDS_PER_TURN:
            self._authors.rotate(-1)
            self._taken = 0
        self._size -= 1
        return send

    def keep(self, wanted: Callable[[QueuedSend], bool]) -> None:
        """Keep only the sends for which `wanted` is true."""
        kept = list(filter(wanted, self))
        self._by_author.clear()
        self._authors.clear()
        self._size = self._taken = 0
        for send in kept:
            self.append(send)
