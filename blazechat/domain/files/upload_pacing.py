"""Paces uploads, so that messages go first: the chunks of all uploads wait in one queue.

A chunk costs the event loop, the disk and the processor far more than a message does, and the client of a
large upload waits anyway. So the queue admits one chunk per turn of the event loop. While chat is active,
it also limits the bytes per second of all uploads together.
"""

import asyncio
import time
from collections import deque
from collections.abc import Callable

CHAT_ACTIVE_SECONDS = 1.0
"""Chat counts as active for this long after a message: another one is expected."""


class UploadPacer:
    """First come, first served. While chat is active, at most `bytes_per_second`; 0 means no limit.

    `last_send` returns when the last send was queued, by `time.monotonic()`.
    """

    def __init__(self, bytes_per_second: int, last_send: Callable[[], float]) -> None:
        self._bytes_per_second = bytes_per_second
        self._last_send = last_send
        self._queue: deque[tuple[int, asyncio.Future[None]]] = deque()  # size of the chunk, and its turn
        self._next_at = 0.0  # when the rate admits the next chunk, by `time.monotonic()`

    async def wait(self, size: int) -> None:
        """Return when a chunk of `size` bytes may be processed."""
        turn: asyncio.Future[None] = asyncio.get_running_loop().create_future()
        self._queue.append((size, turn))
        if len(self._queue) == 1:
            self._schedule()
        await turn

    @property
    def is_chat_active(self) -> bool:
        """True if chat is active, so that background work slows down; always false without a limit."""
        return self._bytes_per_second > 0 and time.monotonic() - self._last_send() < CHAT_ACTIVE_SECONDS

    def _schedule(self) -> None:
        loop = asyncio.get_running_loop()
        wait_seconds = self._next_at - time.monotonic()
        if wait_seconds > 0 and self.is_chat_active:
            loop.call_later(wait_seconds, self._admit)
        else:
            loop.call_soon(self._admit)

    def _admit(self) -> None:
        """Admit the next chunk whose upload was not cancelled."""
        while self._queue:
            size, turn = self._queue.popleft()
            if not turn.done():
                turn.set_result(None)
                if self.is_chat_active:
                    self._next_at = max(self._next_at, time.monotonic()) + size / self._bytes_per_second
                break
        if self._queue:
            self._schedule()
