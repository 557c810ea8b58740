"""Presence: which users are online, and which connections get their status.

It is kept in memory. After a restart, clients connect again and so rebuild it. A user stays online for a
grace period after the last disconnect, since most reconnect soon. Changes are gathered for a moment, stored
with one statement, and sent to the connections that watch the user. Membership in a chat alone does not
make a connection watch its members.
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

CHOSEN_STATUS_SECONDS = 300.0
"""How long a status that was set without a connection is valid."""
MAX_CHOSEN = 100_000
GATHER_SECONDS = 0.1
"""How long changes are gathered before they are published."""

RecordLastSeen = Callable[[list[int]], Awaitable[dict[int, datetime]]]
"""Stores that users are online now, and returns the stored time per user."""


class PresenceTracker:
    """A user is online while a connection is open, or after choosing so lately; away and offline can be
    chosen.

    `grace` is the time in seconds for which a user stays online after the last connection was lost.
    """

    def __init__(self, grace: float = 0.0, clock: Callable[[], float] = time.monotonic) -> None:
        self._grace = grace
        self._clock = clock
        self._connections: dict[int, int] = {}
        self._leaving: dict[int, float] = {}  # by user: when the grace period ends; in that order
        self._chosen: dict[int, tuple[Status, float]] = {}  # status, and when it was chosen
        # Users whose status is to be published, and their last-seen time if it is stored already.
        self._changed: dict[int, datetime | None] = {}
        self._wake = asyncio.Event()

    def status_of(self, user_id: int) -> Status:
        status, since = self._chosen.get(user_id, (None, 0.0))
        if user_id in self._connections or user_id in self._leaving:
            return status or Status.ONLINE
        if status is not None and self._clock() - since < CHOSEN_STATUS_SECONDS:
            return status
        return Status.OFFLINE

    def connect(self, user_id: int) -> None:
        """A connection of the user was opened."""
        count = self._connections.get(user_id, 0)
        self._connections[user_id] = count + 1
        if self._leaving.pop(user_id, None) is None and not count:
            self._change(user_id)

    def disconnect(self, user_id: int) -> None:
        """A connection of the user was lost."""
        left = self._connections[user_id] - 1
        if left:
            self._connections[user_id] = left
            return
        del self._connections[user_id]
        self._leaving[user_id] = self._clock() + self._grace
        self._wake.set()

    def choose(self, user_id: int, status: Status, seen: datetime | None = None) -> None:
        """Set a status. `seen` is the last-seen time, if it is stored already."""
        self._chosen.pop(user_id, None)
        self._chosen[user_id] = (status, self._clock())
        if len(self._chosen) > MAX_CHOSEN:
            del self._chosen[next(iter(self._chosen))]
        self._change(user_id, seen)

    def connections_of(self, user_id: int) -> int:
        return self._connections.get(user_id, 0)

    async def run(
        self, record_last_seen: RecordLastSeen, publish: Callable[[PresenceChanged], None]
    ) -> None:
        """Publish changes until cancelled. While the database is away they are dropped: presence is best
        effort."""
        while True:
            await self._wake.wait()
            await asyncio.sleep(GATHER_SECONDS)
            self.expire_leaving()
            if not self._leaving:
                self._wake.clear()
            changed, self._changed = self._changed, {}
            seen = {user_id: at for user_id, at in changed.items() if at is not None}
            with suppress(Error):
                if len(seen) < len(changed):
                    seen |= await record_last_seen([user_id for user_id in changed if user_id not in seen])
                for user_id, at in seen.items():
                    publish(PresenceChanged(user_id, self.status_of(user_id), at))

    def expire_leaving(self) -> None:
        """Set users whose grace period is over offline, and forget the status they chose."""
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
    """Which connections watch which users. The caller checks whether they may."""

    def __init__(self) -> None:
        self._by_user: dict[int, set[Connection]] = {}  # by the watched user

    def watch(self, connection: Connection, user_ids: Collection[int]) -> None:
        if connection.watched is None:
            connection.watched = set()
        for user_id in user_ids:
            connection.watched.add(user_id)
            self._by_user.setdefault(user_id, set()).add(connection)

    def unwatch(self, connection: Connection, user_ids: Collection[int]) -> None:
        for user_id in user_ids:
            others = self._by_user.get(user_id)
            if others is not None:
                others.discard(connection)
                if not others:
                    del self._by_user[user_id]
        if connection.watched is not None:
            connection.watched.difference_update(user_ids)

    def forget(self, connection: Connection) -> None:
        self.unwatch(connection, list(connection.watched or ()))

    def watchers_of(self, user_id: int) -> set[Connection]:
        """The connections that watch a user."""
        return set(self._by_user.get(user_id, ()))

    def handle(self, event: PresenceChanged | UserUpdated) -> None:
        """Send the event to the connections that watch its user."""
        user_id = event.user.id if isinstance(event, UserUpdated) else event.user_id
        encoded: dict[Kind, bytes | None] = {}
        for connection in self._by_user.get(user_id, ()):
            if connection.kind not in encoded:
                encoded[connection.kind] = wire.user_event(connection.kind, event)
            frame = encoded[connection.kind]
            if frame is not None:
                connection.send(frame)
