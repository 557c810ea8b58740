"""One socket: what it listens to, and its outbox, which one writer empties and which has a bound."""

import asyncio
from collections import deque
from collections.abc import Callable
from contextlib import suppress
from enum import IntEnum
from typing import Protocol

from blazechat.realtime.wire import Kind


class Close(IntEnum):
    """Why a socket was closed, and whether to come back (docs/api.md has the table)."""

    RESTARTING = 1012  # come back in a moment
    TRY_AGAIN = 1013  # come back, and read what was missed
    SESSION_ENDED = 4401  # log in first
    REMOVED = 4403  # do not come back to this chat
    CHAT_GONE = 4404  # do not come back


CLOSE_LIMIT = 5.0
"""Seconds that a socket gets to take what is left for it."""


class Writable(Protocol):
    """What a connection writes to; Starlette's WebSocket is one."""

    async def send_text(self, data: str) -> None: ...

    async def close(self, code: int = 1000, reason: str | None = None) -> None: ...


class Connection:
    """`send()` and `close()` never wait; `write()` does, for the socket.

    A connection may be sent to before its socket is accepted: what comes then waits in the outbox.
    """

    def __init__(self, kind: Kind, user_id: int, session_id: int, outbox_limit: int) -> None:
        self.kind = kind
        self.user_id = user_id
        self.session_id = session_id
        self.chat_ids: set[int] = set()  # what the hub has it listening to
        self._outbox: deque[str] = deque()
        self._waiting = 0  # characters in the outbox
        self._limit = outbox_limit
        self._wake = asyncio.Event()
        self.cut_off: Callable[[], None] = lambda: None  # the gateway knows how
        self._close: tuple[Close, str] | None = None  # set when it is to end

    @property
    def closing(self) -> bool:
        return self._close is not None

    def send(self, frame: str) -> None:
        """Queue a frame. A reader that does not keep up is closed instead of being waited for."""
        if self._close is not None:
            return
        self._waiting += len(frame)
        if self._waiting > self._limit:
            self._outbox.clear()
            self.close(Close.TRY_AGAIN, "too slow; read what was missed and come back")
            return
        self._outbox.append(frame)
        self._wake.set()

    def close(self, code: Close, reason: str) -> None:
        """End the connection after what is queued. The first reason stands.

        A socket that does not take even that within CLOSE_LIMIT is cut off.
        """
        if self._close is None:
            self._close = code, reason
            self._wake.set()
            asyncio.get_running_loop().call_later(CLOSE_LIMIT, self.cut_off)

    def silence(self) -> None:
        """Drop what is queued: whoever listens may not hear it any more."""
        self._outbox.clear()

    async def write(self, socket: Writable) -> None:
        """Write until closed. Ends quietly when the other side is gone."""
        with suppress(RuntimeError, OSError):  # how ASGI servers say that the peer has left
            while True:
                while self._outbox:
                    frame = self._outbox.popleft()
                    await socket.send_text(frame)
                    self._waiting -= len(frame)
                if self._close is not None:
                    code, reason = self._close
                    await socket.close(code, reason)
                    return
                self._wake.clear()
                await self._wake.wait()
