"""Uploads give way to messages: whoever brings bytes waits in line, chunk by chunk.

A chunk costs the event loop, the disk and the processor far more than a message does, and whoever brings
many of them waits anyway. So one goes on in each turn of the loop; and while people chat, only so many
bytes a second of all uploads together.
"""

import asyncio
import time
from collections import deque
from collections.abc import Callable

LIVELY = 1.0
"""Seconds after a message in which another is expected."""


class UploadPacer:
    """First come, first served. At most `rate` bytes a second within LIVELY of a message; 0: any number.

    `last_message` tells when the last one came, as `time.monotonic()` does.
    """

    def __init__(self, rate: int, last_message: Callable[[], float]) -> None:
        self._rate = rate
        self._last_message = last_message
        self._waiting: deque[tuple[int, asyncio.Future[None]]] = deque()  # bytes, and who waits with them
        self._free_at = 0.0

    async def wait(self, size: int) -> None:
        """Return when a chunk of `size` bytes may be dealt with."""
        turn: asyncio.Future[None] = asyncio.get_running_loop().create_future()
        self._waiting.append((size, turn))
        if len(self._waiting) == 1:
            self._schedule()
        await turn

    @property
    def is_paced(self) -> bool:
        """Whether people chat just now, and uploads give way to them."""
        return self._rate > 0 and time.monotonic() - self._last_message() < LIVELY

    def _schedule(self) -> None:
        loop = asyncio.get_running_loop()
        wait = self._free_at - time.monotonic()
        if wait > 0 and self.is_paced:
            loop.call_later(wait, self._open)
        else:
            loop.call_soon(self._open)

    def _open(self) -> None:
        """Let the next one through who is still there."""
        while self._waiting:
            size, turn = self._waiting.popleft()
            if not turn.done():
                turn.set_result(None)
                if self.is_paced:
                    self._free_at = max(self._free_at, time.monotonic()) + size / self._rate
                break
        if self._waiting:
            self._schedule()
