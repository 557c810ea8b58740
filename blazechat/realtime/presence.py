"""Who is here, and who wants to know. In memory: a restart forgets it, and who is here connects again.

Somebody who has left counts as here for a while yet, since most come back at once. Changes are gathered for
a moment, noted in the database with one statement, and told to those who watch; nobody watches by merely
being in a chat with many others.
"""

import asyncio
import time
from collections.abc import Awaitable, Callable, Collection
from contextlib import suppress
from datetime import datetime

from blazechat.domain.events import PresenceChanged, UserUpdated
from blazechat.errors import Error
from blazechat.realtime import wire
from blazechat.realtime.connection import Connection, Kind
from blazechat.vocabulary import Status

CHOICE_LASTS = 300.0
"""Seconds for which a status set without a connection stands."""
REMEMBERED = 100_000
TICK = 0.1
"""Seconds for which changes are gathered."""

NoteSeen = Callable[[list[int]], Awaitable[dict[int, datetime]]]
"""Notes that users were here just now, and tells when that was."""


class Presence:
    """Online is who has a connection, or said so lately; away and offline can be chosen.

    `grace` is for how many seconds somebody counts as here after their last connection has gone.
    """

    def __init__(self, grace: float = 0.0, clock: Callable[[], float] = time.monotonic) -> None:
        self._grace = grace
        self._clock = clock
        self._connections: dict[int, int] = {}
        self._leaving: dict[int, float] = {}  # when those without a connection will be gone; by time
        self._chosen: dict[int, tuple[Status, float]] = {}  # the status, and when it was chosen
        # Users of whom something is to be told, and when they were seen if that is noted already.
        self._changed: dict[int, datetime | None] = {}
        self._wake = asyncio.Event()

    def status_of(self, user_id: int) -> Status:
        status, since = self._chosen.get(user_id, (None, 0.0))
        if user_id in self._connections or user_id in self._leaving:
            return status or Status.ONLINE
        if status is not None and self._clock() - since < CHOICE_LASTS:
            return status
        return Status.OFFLINE

    def arrive(self, user_id: int) -> None:
        """Count a connection."""
        count = self._connections.get(user_id, 0)
        self._connections[user_id] = count + 1
        if self._leaving.pop(user_id, None) is None and not count:
            self._change(user_id)

    def depart(self, user_id: int) -> None:
        """Take a connection away."""
        left = self._connections[user_id] - 1
        if left:
            self._connections[user_id] = left
            return
        del self._connections[user_id]
        self._leaving[user_id] = self._clock() + self._grace
        self._wake.set()

    def choose(self, user_id: int, status: Status, seen: datetime | None = None) -> None:
        """Set a status; `seen` is when the database was told that the user is here, if it was."""
        self._chosen.pop(user_id, None)
        self._chosen[user_id] = (status, self._clock())
        if len(self._chosen) > REMEMBERED:
            del self._chosen[next(iter(self._chosen))]
        self._change(user_id, seen)

    def connections_of(self, user_id: int) -> int:
        return self._connections.get(user_id, 0)

    async def run(self, note_seen: NoteSeen, publish: Callable[[PresenceChanged], None]) -> None:
        """Tell of changes until cancelled; not while the database is away, for this is no promise."""
        while True:
            await self._wake.wait()
            await asyncio.sleep(TICK)
            self.let_go()
            if not self._leaving:
                self._wake.clear()
            changed, self._changed = self._changed, {}
            seen = {user_id: at for user_id, at in changed.items() if at is not None}
            with suppress(Error):
                if len(seen) < len(changed):
                    seen |= await note_seen([user_id for user_id in changed if user_id not in seen])
                for user_id, at in seen.items():
                    publish(PresenceChanged(user_id, self.status_of(user_id), at))

    def let_go(self) -> None:
        """Those whose time to come back is over are gone, and so is what they chose."""
        now = self._clock()
        while self._leaving:
            user_id, until = next(iter(self._leaving.items()))
            if until > now:
                break
            del self._leaving[user_id]
            self._chosen.pop(user_id, None)
            self._change(user_id)

    def _change(self, user_id: int, seen: datetime | None = None) -> None:
        self._changed[user_id] = seen
        self._wake.set()


class Watchers:
    """Which connections want to know of which users. Whether they may is for the caller to find out."""

    def __init__(self) -> None:
        self._of: dict[int, set[Connection]] = {}  # by the user who is watched

    def watch(self, connection: Connection, user_ids: Collection[int]) -> None:
        if connection.watched is None:
            connection.watched = set()
        for user_id in user_ids:
            connection.watched.add(user_id)
            self._of.setdefault(user_id, set()).add(connection)

    def unwatch(self, connection: Connection, user_ids: Collection[int]) -> None:
        for user_id in user_ids:
            others = self._of.get(user_id)
            if others is not None:
                others.discard(connection)
                if not others:
                    del self._of[user_id]
        if connection.watched is not None:
            connection.watched.difference_update(user_ids)

    def forget(self, connection: Connection) -> None:
        self.unwatch(connection, list(connection.watched or ()))

    def around(self, user_id: int) -> set[Connection]:
        """Connections that watch this user."""
        return set(self._of.get(user_id, ()))

    def handle(self, event: PresenceChanged | UserUpdated) -> None:
        """Tell those who watch."""
        user_id = event.user.id if isinstance(event, UserUpdated) else event.user_id
        encoded: dict[Kind, bytes | None] = {}
        for connection in self._of.get(user_id, ()):
            if connection.kind not in encoded:
                encoded[connection.kind] = wire.about_people(connection.kind, event)
            frame = encoded[connection.kind]
            if frame is not None:
                connection.send(frame)
