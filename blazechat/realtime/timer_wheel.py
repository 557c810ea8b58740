"""One clock for all sockets: a wheel of slots, one of which is looked at each tick.

A timer a socket would cost more than the socket: memory, and a heap to keep in order.
"""

import asyncio
from typing import Protocol

TICK = 0.5
"""Seconds."""
SLOTS = 256


class Timed(Protocol):
    def on_tick(self, now: float) -> float | None:
        """What time brings; seconds until the next look, None if there is no need for one."""


class TimerWheel:
    def __init__(self) -> None:
        self._slots: list[list[Timed]] = [[] for _ in range(SLOTS)]
        self._at = 0

    def add(self, item: Timed, after: float) -> None:
        """Have `item` looked at in `after` seconds, or earlier: at the latest after one whole turn."""
        ticks = min(max(1, int(after / TICK) + 1), SLOTS - 1)
        self._slots[(self._at + ticks) % SLOTS].append(item)

    async def run(self) -> None:
        """Turn until cancelled."""
        loop = asyncio.get_running_loop()
        due = loop.time()
        while True:
            due += TICK
            await asyncio.sleep(max(0, due - loop.time()))
            self.tick(loop.time())

    def tick(self, now: float) -> None:
        """Go on to the next slot."""
        self._at = (self._at + 1) % SLOTS
        items, self._slots[self._at] = self._slots[self._at], []
        for item in items:
            after = item.on_tick(now)
            if after is not None:
                self.add(item, after)
