"""Who is here. In memory: a restart forgets it, and those who are here connect again."""

import time
from collections.abc import Callable

from blazechat.domain.shapes import Status

CHOICE_LASTS = 300.0
"""Seconds for which a status set without a connection stands."""
REMEMBERED = 100_000


class Presence:
    """Online is who has a connection, or said so lately; away and offline can be chosen."""

    def __init__(self, clock: Callable[[], float] = time.monotonic) -> None:
        self._clock = clock
        self._connections: dict[int, int] = {}
        self._chosen: dict[int, tuple[Status, float]] = {}  # the status, and when it was chosen

    def status_of(self, user_id: int) -> Status:
        status, since = self._chosen.get(user_id, (None, 0.0))
        if user_id in self._connections:
            return status or Status.ONLINE
        if status is not None and self._clock() - since < CHOICE_LASTS:
            return status
        return Status.OFFLINE

    def arrive(self, user_id: int) -> bool:
        """Count a connection; whether the user's status changed by it."""
        before = self.status_of(user_id)
        self._connections[user_id] = self._connections.get(user_id, 0) + 1
        return self.status_of(user_id) != before

    def depart(self, user_id: int) -> bool:
        """Take a connection away; whether the user's status changed by it."""
        before = self.status_of(user_id)
        left = self._connections[user_id] - 1
        if left:
            self._connections[user_id] = left
        else:
            del self._connections[user_id]
            self._chosen.pop(user_id, None)
        return self.status_of(user_id) != before

    def choose(self, user_id: int, status: Status) -> None:
        self._chosen.pop(user_id, None)
        self._chosen[user_id] = (status, self._clock())
        if len(self._chosen) > REMEMBERED:
            del self._chosen[next(iter(self._chosen))]

    def connections_of(self, user_id: int) -> int:
        return self._connections.get(user_id, 0)
