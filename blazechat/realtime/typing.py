"""Typing indicators. A client repeats the typing command while its user types; otherwise it expires."""

import asyncio
from collections.abc import Callable

from blazechat.domain.events import Typing

TYPING_SECONDS = 6.0
"""After which a typing indicator expires."""
REPEAT_SECONDS = 2.0
"""Repetitions within this time are not published."""
MAX_TYPING = 100_000


class TypingNow:
    """Which users are typing in which chats. Publishes when a user starts, continues and stops."""

    def __init__(self, publish: Callable[[Typing], None]) -> None:
        self._publish = publish
        # By chat and user: the loop time at which the indicator expires, in that order.
        self._until: dict[tuple[int, int], float] = {}

    def receive(self, event: Typing) -> None:
        """Take a member's typing command."""
        key, now = (event.chat_id, event.user_id), asyncio.get_running_loop().time()
        until = self._until.pop(key, 0.0)
        if not event.typing:
            if until > now:
                self._publish(event)
            return
        if until - TYPING_SECONDS + REPEAT_SECONDS > now:
            self._until[key] = until  # it moves to the end of the order; on_tick() checks all of them
            return
        if len(self._until) < MAX_TYPING:
            self._until[key] = now + TYPING_SECONDS
            self._publish(event)

    def on_tick(self, now: float) -> float:
        """Publish a stop for each indicator that has expired. Called once per second."""
        for (chat_id, user_id), until in list(self._until.items()):
            if until <= now:
                del self._until[chat_id, user_id]
                self._publish(Typing(chat_id, user_id, False))
        return 1.0
