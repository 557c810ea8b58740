"""How often somebody may fail before they have to wait. In memory, bounded, a node's own."""

import time
from collections import OrderedDict, deque
from collections.abc import Callable

from blazechat.errors import TooManyAttempts, TooManyPosts

WINDOW = 300.0
"""Seconds in which failures count."""
REMEMBERED = 100_000
"""Names and addresses whose failures are kept; beyond, the longest untouched are forgotten."""


class Pace:
    """Lets each key do something `per_minute` times, as many at once, and evenly after that (GCRA)."""

    def __init__(self, per_minute: int, clock: Callable[[], float] = time.monotonic) -> None:
        self._interval = 60 / per_minute
        self._clock = clock
        self._free_at: OrderedDict[bytes, float] = OrderedDict()  # when all that was done is worked off

    def admit(self, key: bytes) -> None:
        """Raises TooManyPosts, with the seconds to wait."""
        now = self._clock()
        free_at = max(self._free_at.get(key, now), now)
        wait = free_at + self._interval - now - 60
        if wait > 0:
            raise TooManyPosts(retry_after=int(wait) + 1)
        self._free_at[key] = free_at + self._interval
        self._free_at.move_to_end(key)
        if len(self._free_at) > REMEMBERED:
            self._free_at.popitem(last=False)


class Attempts:
    """Counts failures by key; `limit` of them within WINDOW close the door for a while."""

    def __init__(self, limit: int, clock: Callable[[], float] = time.monotonic) -> None:
        self._limit = limit
        self._clock = clock
        self._failures: OrderedDict[str, deque[float]] = OrderedDict()

    def begin(self, key: str) -> None:
        """Count an attempt, as failed until `succeeded()` says otherwise.

        So that a thousand attempts at once are not all let in before the first has failed. Raises
        TooManyAttempts, with the seconds to wait, if `key` has failed too often.
        """
        now = self._clock()
        times = self._failures.setdefault(key, deque())
        while times and times[0] <= now - WINDOW:
            times.popleft()
        if len(times) >= self._limit:
            raise TooManyAttempts(retry_after=int(times[0] + WINDOW - now) + 1)
        times.append(now)
        self._failures.move_to_end(key)
        if len(self._failures) > REMEMBERED:
            self._failures.popitem(last=False)

    def forget(self, key: str) -> None:
        """Forget all attempts of `key`."""
        self._failures.pop(key, None)

    def take_back(self, key: str) -> None:
        """Forget the newest attempt of `key`."""
        times = self._failures.get(key)
        if times:
            times.pop()
        if not times:
            self._failures.pop(key, None)
