"""The reconnect policy: which errors end the connection for good, and the pause after all others.

While no server answers, the pauses stay below two seconds: a refused connection costs nothing, and these
seconds spread the clients when the server is back. While a server answers and refuses, the pauses grow up
to half a minute. docs/protocol.md has the same rules.
"""

import random

from blazechat.client.errors import (
    ApiError,
    BlazeChatError,
    LoggedOut,
    NotBlazeChat,
    OriginNotAllowed,
    SessionEnded,
    ShuttingDown,
    Unauthenticated,
    Unreachable,
)
from blazechat.client.socket import ConnectionClosed

FIRST_PAUSE_SECONDS, MAX_PAUSE_SECONDS = 1.0, 30.0
"""The maximum pause while the server refuses: it doubles from the first to the second."""
MAX_AWAY_PAUSE_SECONDS = 2.0
"""The maximum pause while no server answers: with the time to connect and to catch up, a client is online
within three seconds after the server is ready."""
TRY_LATER_PAUSE_SECONDS = 3.0
"""Added to the pause after a close code of TRY_LATER_CODES."""
TRY_LATER_CODES = frozenset({1013, 4429})
TOKEN_CODES = frozenset({4401, 4402})
"""Close codes after which the client needs a new token: the session has ended, or the token has expired."""
CLIENT_ERROR_CODES = frozenset({1002, 1003, 1007, 1010})
"""Close codes after errors in this program: a new connection would end in the same way."""


class Backoff:
    """Decides how long to pause after each failed attempt in a row."""

    def __init__(self) -> None:
        self._attempts_away = 0  # in which no server answered
        self._attempts_refused = 0

    def reset(self) -> None:
        """Call this when the connection is online."""
        self._attempts_away = self._attempts_refused = 0

    def pause_after(self, error: BlazeChatError) -> float:
        """Return the seconds to wait before the next attempt."""
        if isinstance(error, Unreachable | ShuttingDown):
            self._attempts_away += 1
            shortest = 0 if self._attempts_away == 1 else MAX_AWAY_PAUSE_SECONDS / 2
            return random.uniform(shortest, shortest + MAX_AWAY_PAUSE_SECONDS / 2)  # noqa: S311
        longest = min(FIRST_PAUSE_SECONDS * 2**self._attempts_refused, MAX_PAUSE_SECONDS)
        self._attempts_refused += 1
        pause = random.uniform(0, longest)  # noqa: S311
        if isinstance(error, ConnectionClosed) and error.code in TRY_LATER_CODES:
            pause += TRY_LATER_PAUSE_SECONDS
        # Added, and not the minimum: clients that were refused together must not come back together.
        return pause + (getattr(error, "retry_after", None) or 0.0)


def is_final(error: BlazeChatError) -> bool:
    """Return True if a new connection cannot succeed."""
    if isinstance(error, ConnectionClosed):
        return error.code in CLIENT_ERROR_CODES
    return isinstance(error, LoggedOut | SessionEnded | Unauthenticated | OriginNotAllowed)


def is_wrong_address(error: BlazeChatError) -> bool:
    """Return True for errors of an address at which there is no BlazeChat server, or not this one."""
    return isinstance(error, NotBlazeChat)


def needs_new_token(error: BlazeChatError) -> bool:
    return isinstance(error, ConnectionClosed) and error.code in TOKEN_CODES


def most_severe(raised: BaseExceptionGroup[BlazeChatError]) -> BlazeChatError:
    """Return the error that decides how to go on, of several that were raised at the same time."""
    found = [
        most_severe(each) if isinstance(each, BaseExceptionGroup) else each for each in raised.exceptions
    ]

    def rank(error: BlazeChatError) -> int:
        order = (LoggedOut, Unauthenticated, ConnectionClosed, ApiError, BlazeChatError)
        return next(i for i, kind in enumerate(order) if isinstance(error, kind))

    return min(found, key=rank)
