"""Somebody who listens: the events that one has not taken yet, in order."""

import asyncio
from collections import deque
from collections.abc import Callable

from blazechat.client.errors import BlazeChatError
from blazechat.client.events import Event, EventsDropped

BACKLOG = 100_000
"""Events that wait for who takes them slowly; beyond, the oldest are left out, and `Missed` says so."""


class EventStream:
    """Iterate over it with `async for`. Whoever stops before its end calls `close()`."""

    def __init__(self, closed: Callable[["EventStream"], None], backlog: int = BACKLOG) -> None:
        self._closed = closed
        self._backlog = backlog
        self._waiting: deque[Event] = deque()
        self._missed = 0
        self._come = asyncio.Event()
        self._ended: BlazeChatError | None = None
        self._is_over = False

    def __aiter__(self) -> "EventStream":
        return self

    async def __anext__(self) -> Event:
        while True:
            if self._missed:
                missed, self._missed = self._missed, 0
                return EventsDropped(missed)
            if self._waiting:
                return self._waiting.popleft()
            if self._ended is not None:
                raise self._ended
            if self._is_over:
                raise StopAsyncIteration
            self._come.clear()
            await self._come.wait()

    def close(self) -> None:
        """Nothing more is kept for this one."""
        if not self._is_over:
            self._closed(self)
        self.end()

    def put(self, event: Event) -> None:
        if len(self._waiting) >= self._backlog:
            self._waiting.popleft()
            self._missed += 1
        self._waiting.append(event)
        self._come.set()

    def end(self, error: BlazeChatError | None = None) -> None:
        """Nothing follows. Iterating ends then, or raises the error."""
        self._ended = error
        self._is_over = True
        self._come.set()
