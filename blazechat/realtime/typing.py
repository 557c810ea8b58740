"""Who is typing. Said once and then repeated for as long as it is so; else it runs out by itself."""

import asyncio
from collections.abc import Callable

from blazechat.domain.events import Typing

LASTS = 6.0
"""Seconds."""
REPEATED_AFTER = 2.0
"""Seconds within which saying it again tells nobody anything."""
REMEMBERED = 100_000


class TypingNow:
    """`publish` is told who begins, goes on and stops."""

    def __init__(self, publish: Callable[[Typing], None]) -> None:
        self._publish = publish
        self._until: dict[
            tuple[int, int], float
        ] = {}  # by chat and user; in the loop's time, the next first

    def tell(self, event: Typing) -> None:
        """A member says that they are writing, or have stopped."""
        key, now = (event.chat_id, event.user_id), asyncio.get_running_loop().time()
        until = self._until.pop(key, 0.0)
        if not event.typing:
            if until > now:
                self._publish(event)
            return
        if until - LASTS + REPEATED_AFTER > now:
            self._until[key] = (
                until  # put back behind those that came in between; it is looked at each tick
            )
            return
        if len(self._until) < REMEMBERED:
            self._until[key] = now + LASTS
            self._publish(event)

    def on_tick(self, now: float) -> float:
        """Tell of those whose time has run out; called once a second."""
        for (chat_id, user_id), until in list(self._until.items()):
            if until <= now:
                del self._until[chat_id, user_id]
                self._publish(Typing(chat_id, user_id, False))
        return 1.0
