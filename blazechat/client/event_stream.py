"""A stream of events: one bounded queue per `client.events()`, read with `async for`."""

import asyncio
from collections import deque
from collections.abc import Callable

from blazechat.client.errors import BlazeChatError
from blazechat.client.events import Event, EventsDropped

BACKLOG_EVENTS = 100_000
"""Maximum queued events. Further events displace the oldest, and the stream yields `EventsDropped`."""


class EventStream:
    """Iterate over it with `async for`. Call `close()` if you stop before it ends."""

    def __init__(self, on_close: Callable[["EventStream"], None], backlog: int = BACKLOG_EVENTS) -> None:
        self._on_close = on_close
        self._backlog = backlog
        self._queue: deque[Event] = deque()
        self._dropped = 0
        self._changed = asyncio.Event()
        self._error: BlazeChatError | None = None
        self._has_ended = False

    def __aiter__(self) -> "EventStream":
        return self

    async def __anext__(self) -> Event:
        while True:
            if self._dropped:
                dropped, self._dropped = self._dropped, 0
                return EventsDropped(dropped)
            if self._queue:
                return self._queue.popleft()
            if self._error is not None:
                raise self._error
            if self._has_ended:
                raise StopAsyncIteration
            self._changed.clear()
            await self._changed.wait()

    def close(self) -> None:
        """End the stream. The client queues no more events for it."""
        if not self._has_ended:
            self._on_close(self)
        self.end()

    def put(self, event: Event) -> None:
        if len(self._queue) >= self._backlog:
            self._queue.popleft()
            self._dropped += 1
        self._queue.append(event)
        self._changed.set()

    def end(self, error: BlazeChatError | None = None) -> None:
        """End the stream after the queued events; iterating then stops, or raises `error`."""
        self._error = error
        self._has_ended = True
        self._changed.set()
