"""The sends that have no result yet: bounds their number and size, and reports failures to their
senders."""

import asyncio
import time
from collections.abc import Iterable

from blazechat.domain.messaging.sends import QueuedSend
from blazechat.errors import Busy, Error, ShuttingDown

MAX_CHARACTERS = 64_000_000
"""Bounds the memory of all sends together, beside the limit on their number."""


class UnansweredSends:
    """A send is added when it is queued, and closed just before its result is reported."""

    def __init__(self, max_sends: int) -> None:
        self._max_sends = max_sends
        self._sends: dict[tuple[int, int, str], QueuedSend] = {}  # by idempotency key
        self._characters = 0
        self._none_left = asyncio.Event()
        self._none_left.set()

    def __contains__(self, send: QueuedSend) -> bool:
        return self._sends.get(send.key) is send

    def __len__(self) -> int:
        return len(self._sends)

    def add(self, send: QueuedSend, *, is_closed: bool = False) -> QueuedSend | None:
        """Add a send, or return the one that has the same idempotency key.

        With `is_closed`, no send is added. Raises Busy if there are too many, ShuttingDown.
        """
        key = send.key
        earlier = self._sends.get(key)
        if earlier is not None:
            return earlier
        if is_closed:
            raise ShuttingDown
        characters = self._characters + len(send.content)
        if len(self._sends) >= self._max_sends or characters > MAX_CHARACTERS:
            raise Busy(retry_after=1)
        if not self._sends:
            self._none_left.clear()
        self._characters = characters
        self._sends[key] = send
        return None

    def close(self, send: QueuedSend) -> None:
        """Remove a send whose result is about to be reported."""
        key = send.key
        if self._sends.get(key) is not send:
            return
        del self._sends[key]
        self._characters -= len(send.content)
        if not self._sends:
            self._none_left.set()

    def fail(self, sends: Iterable[QueuedSend], error: Error) -> None:
        """Close the sends and report the error to each sender, except those that have a result."""
        for send in sends:
            if send in self:
                self.close(send)
                send.report(error)

    def fail_expired(self, sends: Iterable[QueuedSend], error: Error) -> None:
        """Fail the sends whose deadline has passed."""
        now = time.monotonic()
        self.fail([send for send in sends if send.deadline <= now], error)

    async def wait_until_empty(self) -> None:
        await self._none_left.wait()
