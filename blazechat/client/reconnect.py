"""The reconnect policy: which errors end the connection for good, and the pause after all others.

It follows docs/protocol.md: the first pause is a random part of one second, and this maximum doubles with
each failed attempt, up to half a minute.
"""

import random

from blazechat.client.errors import (
    ApiError,
    BlazeChatError,
    LoggedOut,
    OriginNotAllowed,
    SessionEnded,
    Unauthenticated,
)
from blazechat.client.socket import ConnectionClosed

FIRST_PAUSE_SECONDS, MAX_PAUSE_SECONDS = 1.0, 30.0
TRY_LATER_PAUSE_SECONDS = 3.0
"""Added to the pause after a close code of TRY_LATER_CODES."""
TRY_LATER_CODES = frozenset({1013, 4429})
TOKEN_CODES = frozenset({4401, 4402})
"""Close codes after which the client needs a new token: the session has ended, or the token has expired."""
CLIENT_ERROR_CODES = frozenset({1002, 1003, 1007, 1010})
"""Close codes after errors in this program: a new connection would end in the same way."""


def is_final(error: BlazeChatError) -> bool:
    """Return True if a new connection cannot succeed."""
    if isinstance(error, ConnectionClosed):
        return error.code in CLIENT_ERROR_CODES
    return isinstance(error, LoggedOut | SessionEnded | Unauthenticated | OriginNotAllowed)


def needs_new_token(error: BlazeChatError) -> bool:
    return isinstance(error, ConnectionClosed) and error.code in TOKEN_CODES


def pause_after(error: BlazeChatError, failed_attempts: int) -> float:
    """Return the seconds to wait before the next attempt."""
    longest = min(FIRST_PAUSE_SECONDS * 2**failed_attempts, MAX_PAUSE_SECONDS)
    pause = random.uniform(0, longest)  # noqa: S311
    if isinstance(error, ConnectionClosed) and error.code in TRY_LATER_CODES:
        pause += TRY_LATER_PAUSE_SECONDS
    return max(pause, getattr(error, "retry_after", None) or 0.0)


def most_severe(raised: BaseExceptionGroup[BlazeChatError]) -> BlazeChatError:
    """Return the error that decides how to go on, of several that were raised at the same time."""
    found = [
        most_severe(each) if isinstance(each, BaseExceptionGroup) else each for each in raised.exceptions
    ]

    def rank(error: BlazeChatError) -> int:
        order = (LoggedOut, Unauthenticated, ConnectionClosed, ApiError, BlazeChatError)
        return next(i for i, kind in enumerate(order) if isinstance(error, kind))

    return min(found, key=rank)
