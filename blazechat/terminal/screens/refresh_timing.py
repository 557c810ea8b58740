"""Timing of redraws: changes are drawn together, between two keys, so that typing stays responsive."""

import time
from collections.abc import Callable

REFRESH_SECONDS, BUSY_REFRESH_SECONDS = 0.05, 0.25
"""Delay from a change to its redraw. The second one applies while changes arrive all the time."""
QUIET_SECONDS = 0.5
"""After this time without a redraw, the next change gets the short delay."""
KEY_PAUSE_SECONDS = 0.05
"""A redraw waits until no key was pressed for this time, since it takes as long as several keys."""
MAX_KEY_WAIT_SECONDS = 0.5
"""How long a redraw waits for such a pause."""

SetTimer = Callable[[float, Callable[[], None]], object]
"""Calls the function after that many seconds."""


class RefreshTimer:
    """Calls `refresh` soon after `schedule()`, once for all changes until then.

    `last_key_at` returns when the last key was pressed, by `time.monotonic()`.
    """

    def __init__(
        self, set_timer: SetTimer, last_key_at: Callable[[], float], refresh: Callable[[], None]
    ) -> None:
        self._set_timer = set_timer
        self._last_key_at = last_key_at
        self._refresh = refresh
        self._is_scheduled = False
        self._scheduled_at = self._refreshed_at = 0.0

    def schedule(self) -> None:
        if not self._is_scheduled:
            self._is_scheduled = True
            self._scheduled_at = now = time.monotonic()
            is_quiet = now - self._refreshed_at > QUIET_SECONDS
            delay = REFRESH_SECONDS if is_quiet else BUSY_REFRESH_SECONDS
            self._set_timer(delay, self._refresh_between_keys)

    def refresh_now(self) -> None:
        self._is_scheduled = False
        self._refreshed_at = time.monotonic()
        self._refresh()

    def _refresh_between_keys(self) -> None:
        now = time.monotonic()
        is_typing = now - self._last_key_at() < KEY_PAUSE_SECONDS
        if is_typing and now - self._scheduled_at < MAX_KEY_WAIT_SECONDS:
            self._set_timer(KEY_PAUSE_SECONDS / 2, self._refresh_between_keys)
        else:
            self.refresh_now()


class Throttle:
    """Calls a function at most once per `seconds`. A call that comes too soon is made later, once."""

    def __init__(self, seconds: float, set_timer: SetTimer, function: Callable[[], None]) -> None:
        self._seconds = seconds
        self._set_timer = set_timer
        self._function = function
        self._called_at = 0.0
        self._is_delayed = False

    def call(self) -> None:
        if time.monotonic() - self._called_at > self._seconds:
            self._called_at = time.monotonic()
            self._function()
        elif not self._is_delayed:
            self._is_delayed = True
            self._set_timer(self._seconds, self._call_delayed)

    def _call_delayed(self) -> None:
        self._is_delayed = False
        self.call()
