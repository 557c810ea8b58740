"""Rate limits per key: a steady rate of operations, and a number of failed attempts.

Both are kept in the memory of one node and forget the least recently used keys beyond `MAX_KEYS`.
"""

import time
from collections import OrderedDict, deque
from collections.abc import Callable, Hashable
from typing import Generic, TypeVar

from blazechat.errors import TooManyAttempts, TooManyPosts

RATE_SECONDS = 60.0
"""The period of a RateLimiter's rate."""
WINDOW_SECONDS = 300.0
"""How long an AttemptLimiter counts an attempt."""
MAX_KEYS = 100_000

K = TypeVar("K", bound=Hashable)
V = TypeVar("V")


class _RecentKeys(OrderedDict[K, V], Generic[K, V]):
    """A dict that evicts the least recently stored keys beyond `MAX_KEYS`."""

    def store(self, key: K, value: V) -> None:
        self[key] = value
        self.move_to_end(key)
        if len(self) > MAX_KEYS:
            self.popitem(last=False)


class RateLimiter:
    """Admits `per_minute` operations of a key in a burst, and evenly spaced ones after that (GCRA)."""

    def __init__(self, per_minute: int, clock: Callable[[], float] = time.monotonic) -> None:
        self._interval = RATE_SECONDS / per_minute
        self._clock = clock
        self._next_arrivals: _RecentKeys[bytes, float] = _RecentKeys()
        """GCRA's theoretical arrival time of each key's next operation, by `clock`."""

    def admit(self, key: bytes) -> None:
        """Count an operation of `key`. Raises TooManyPosts, with the seconds until the next is admitted."""
        now = self._clock()
        next_arrival = max(self._next_arrivals.get(key, now), now) + self._interval
        wait = next_arrival - now - RATE_SECONDS
        if wait > 0:
            raise TooManyPosts(retry_after=int(wait) + 1)
        self._next_arrivals.store(key, next_arrival)


class AttemptLimiter:
    """Admits `limit` failed attempts of a key within `WINDOW_SECONDS`."""

    def __init__(self, limit: int, clock: Callable[[], float] = time.monotonic) -> None:
        self._limit = limit
        self._clock = clock
        self._attempts: _RecentKeys[str, deque[float]] = _RecentKeys()
        """The times of each key's attempts, by `clock`, oldest first."""

    def admit(self, key: str) -> None:
        """Count an attempt of `key` as failed, until `undo()` or `reset()`.

        It counts before its result is known, so that a thousand concurrent attempts are not all admitted
        before the first one fails. Raises TooManyAttempts, with the seconds to wait.
        """
        now = self._clock()
        times = self._attempts.get(key) or deque()
        while times and times[0] <= now - WINDOW_SECONDS:
            times.popleft()
        if len(times) >= self._limit:
            raise TooManyAttempts(retry_after=int(times[0] + WINDOW_SECONDS - now) + 1)
        times.append(now)
        self._attempts.store(key, times)

    def undo(self, key: str) -> None:
        """Forget the newest attempt of `key`."""
        times = self._attempts.get(key)
        if times:
            times.pop()
        if not times:
            self.reset(key)

    def reset(self, key: str) -> None:
        """Forget all attempts of `key`."""
        self._attempts.pop(key, None)
