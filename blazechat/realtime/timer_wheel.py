"""A timer wheel: the timeouts of all sockets in a ring of slots, of which each tick handles one.

One timer per socket would cost more memory than the socket, and a heap to keep in order.
"""

import asyncio
from typing import Protocol

TICK_SECONDS = 0.5
SLOTS = 256


class Timed(Protocol):
    def on_tick(self, now: float) -> float | None:
        """Handle the timeout; return the seconds until the next call, None if none is needed."""


class TimerWheel:
    def __init__(self) -> None:
        self._slots: list[list[Timed]] = [[] for _ in range(SLOTS)]
        self._current = 0

    def add(self, item: Timed, after: float) -> None:
        """Call `item.on_tick()` in `after` seconds, or after one revolution of the wheel if that is
        sooner."""
        ticks = min(max(1, int(after / TICK_SECONDS) + 1), SLOTS - 1)
        self._slots[(self._current + ticks) % SLOTS].append(item)

    async def run(self) -> None:
        """Tick until cancelled."""
        loop = asyncio.get_running_loop()
        due = loop.time()
        while True:
            due += TICK_SECONDS
            await asyncio.sleep(max(0, due - loop.time()))
            self.tick(loop.time())

    def tick(self, now: float) -> None:
        """Handle the next slot."""
        self._current = (self._current + 1) % SLOTS
        items, self._slots[self._current] = self._slots[self._current], []
        for item in items:
            after = item.on_tick(now)
            if after is not None:
                self.add(item, after)
