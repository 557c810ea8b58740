"""One socket: who is behind it, its outbox, its limits and its clock. Nothing here ever waits."""

import asyncio
from collections import deque
from dataclasses import dataclass
from enum import IntEnum, StrEnum
from typing import Any, Protocol

from blazechat.domain.auth.scopes import EVERYTHING
from blazechat.realtime import frames


class Kind(StrEnum):
    """A kind of socket, and so a dialect."""

    MAIN = "all"
    """`/ws`: everything of all chats (docs/protocol.md)."""
    CHAT = "chat"
    """`/ws/chat/{chat_id}`: the new messages of one chat."""
    STATUS = "status"
    """`/ws/status`: changes of the list of chats, and who is here."""


class Close(IntEnum):
    """Why a socket was closed, and whether to come back (docs/protocol.md has the table)."""

    RESTARTING = 1012
    TRY_AGAIN = 1013
    SESSION_ENDED = 4401
    TOKEN_EXPIRED = 4402
    REMOVED = 4403
    CHAT_GONE = 4404
    SILENT = 4408
    TOO_MANY_COMMANDS = 4429


CLOSE_LIMIT = 5.0
"""Seconds that a socket gets to take what is left for it."""
IN_FLIGHT = 64
"""Commands of one socket that may be under way; while there are as many, nothing more is read from it."""


class Transport(Protocol):
    """What a connection writes to: a transport (`LiveSocket`), or an ASGI server (`AsgiSocket`)."""

    @property
    def clogged(self) -> bool:
        """Whether what was written before has not left yet."""

    def write(self, some: list[bytes]) -> None:
        """Write whole frames."""

    def close(self, code: int, reason: str) -> None:
        """Begin the closing handshake, behind what was written."""

    def abort(self) -> None:
        """End it now."""

    def read(self, more: bool) -> None:
        """Go on reading, or pause."""


class Owner(Protocol):
    """Whoever opened a connection and hears of it."""

    def receive(self, connection: "Connection", text: str | None) -> None:
        """A message has come; None for a binary one."""

    def closing(self, connection: "Connection") -> None:
        """It is being closed, and has to be looked at again in CLOSE_LIMIT seconds."""

    def gone(self, connection: "Connection") -> None:
        """The other side has left, or was cut off."""

    def expired(self, connection: "Connection") -> None:
        """Its `expires_at` is over."""


@dataclass(frozen=True, slots=True)
class SocketLimits:
    """What one socket may cost. Rates in commands a second, times in seconds, sizes in bytes."""

    outbox: int
    frame: int
    rate: float
    burst: int
    heartbeat: float
    handshake: float


class SendFlusher:
    """Has everything that piled up for a socket within one turn of the loop written at once."""

    def __init__(self) -> None:
        self._dirty: list[Connection] = []

    def add(self, connection: "Connection") -> None:
        if not self._dirty:
            asyncio.get_running_loop().call_soon(self._flush)
        self._dirty.append(connection)

    def _flush(self) -> None:
        dirty, self._dirty = self._dirty, []
        for connection in dirty:
            connection.flush()


PING = '{"type":"ping"}'
PINGS = {
    Kind.MAIN: frames.text(PING.encode()),  # browsers do not show their pages the other kind
    Kind.CHAT: frames.frame(frames.PING, b""),
    Kind.STATUS: frames.frame(frames.PING, b""),
}


class Connection:
    """`send()` queues a finished frame; a reader that does not keep up is closed, not waited for.

    A connection may be sent to before its socket is accepted: what comes then waits in the outbox.
    """

    __slots__ = (
        "__weakref__",
        "_close",
        "_deadline",
        "_dirty",
        "_in_flight",
        "_limits",
        "_line",
        "_outbox",
        "_owner",
        "_ready_at",
        "_refused",
        "_waiting",
        "_writer",
        "chat_ids",
        "counted",
        "expires_at",
        "grant",
        "heard_at",
        "kind",
        "lost",
        "open_chats",
        "queue",
        "room_wanted",
        "session_id",
        "user_id",
        "verified",
        "watched",
    )

    def __init__(self, kind: Kind, owner: Owner, writer: SendFlusher, limits: SocketLimits) -> None:
        self.kind = kind
        self.user_id = 0  # until it is known
        self.session_id = 0
        self.grant = EVERYTHING
        self.expires_at = 0.0  # in the loop's time: when the token or the session runs out
        self.heard_at = 0.0  # in the loop's time
        self.chat_ids: set[int] = set()  # what the hub has it listening to
        self.open_chats: set[int] | None = None  # those whose typing and reading it hears too
        self.watched: set[int] | None = None  # users of whom it hears whether they are here
        self.lost = False
        self.verified = False  # whether the database knows the session; nothing leaves before
        self.counted = False  # among those who are here
        self.queue: deque[Any] | None = None  # commands that have to follow one another
        self.room_wanted: asyncio.Future[None] | None = None  # set while somebody waits for room
        self._owner = owner
        self._writer = writer
        self._limits = limits
        self._line: Transport | None = None  # set once the socket is accepted
        self._outbox: list[bytes] = []
        self._waiting = 0  # bytes in the outbox
        self._dirty = False  # whether it is going to be flushed
        self._close: tuple[int, str] | None = None  # set when it is to end
        self._deadline = 0.0  # in the loop's time: when it is cut off, or has to be logged in
        self._in_flight = 0
        self._ready_at = 0.0  # in the loop's time: when the next command is free (GCRA)
        self._refused = 0  # commands in a row that came too fast

    @property
    def closing(self) -> bool:
        return self._close is not None

    # Out

    def send(self, frame: bytes) -> None:
        """Queue a frame."""
        if self._close is not None or self.lost:
            return
        self._waiting += len(frame)
        self._outbox.append(frame)
        if self._waiting > self._limits.outbox:
            self.discard_outbox()
            self.close(Close.TRY_AGAIN, "too slow; come back and resume")
        elif not self._dirty:
            self._dirty = True
            self._writer.add(self)

    def welcome(self, frame: bytes) -> None:
        """The session was found alive: send what is queued, and this before all."""
        self.verified = True
        self._outbox.insert(0, frame)
        self.flush()

    def answer(self, frame: bytes) -> None:
        """Send a frame to somebody who is not logged in yet, past the outbox."""
        if self._line is not None and not self.closing:
            self._line.write([frame])

    def flush(self) -> None:
        """Write what is queued, unless what was written before has not left yet."""
        self._dirty = False
        line = self._line
        if line is None or line.clogged or not self._outbox or not self.verified:
            return
        line.write(self._outbox)
        self._outbox = []
        self._waiting = 0
        if self.room_wanted is not None:
            self._grant_room()

    async def room(self) -> None:
        """Wait until at least half of the outbox is free, or the connection ends."""
        while self._waiting * 2 > self._limits.outbox and not (self.closing or self.lost):
            self.room_wanted = asyncio.get_running_loop().create_future()
            await self.room_wanted

    def discard_outbox(self) -> None:
        """Drop what is queued: whoever listens may not hear it any more."""
        self._outbox = []
        self._waiting = 0

    def close(self, code: int, reason: str) -> None:
        """End the connection after what is queued. The first reason stands.

        A socket that does not take even that within CLOSE_LIMIT is cut off.
        """
        if self._close is not None or self.lost:
            return
        self._close = code, reason
        self._deadline = asyncio.get_running_loop().time() + CLOSE_LIMIT
        self._grant_room()
        self._owner.closing(self)
        if self._line is not None:
            self._finish(self._line)

    def accepted(self, line: Transport) -> None:
        """The socket is there: from now on it is written to."""
        self._line = line
        if self._close is not None:
            self._finish(line)
        else:
            self.flush()

    def abort(self) -> None:
        """End it now."""
        if self._line is not None:
            self._line.abort()

    def _finish(self, line: Transport) -> None:
        assert self._close is not None
        if self._outbox and self.verified:
            line.write(self._outbox)
        self.discard_outbox()
        line.read(more=True)  # the other side's closing frame has to come through
        line.close(*self._close)

    def _grant_room(self) -> None:
        if self.room_wanted is not None and not self.room_wanted.done():
            self.room_wanted.set_result(None)
        self.room_wanted = None

    # In

    def receive(self, text: str | None) -> None:
        """A message has come; None for a binary one."""
        if self._close is None and not self.lost:
            self._owner.receive(self, text)

    def may_command(self) -> bool:
        """Whether a command comes slowly enough (a token bucket); closes the connection if that goes on."""
        limits = self._limits
        free = self._ready_at - self.heard_at
        if free > limits.burst / limits.rate:
            self._refused += 1
            if self._refused > limits.burst:
                self.close(Close.TOO_MANY_COMMANDS, "too many commands; come back more slowly")
            return False
        if free <= 0:
            self._refused = 0
            self._ready_at = self.heard_at
        self._ready_at += 1 / limits.rate
        return True

    def begin(self) -> None:
        """A command is under way."""
        self._in_flight += 1
        if self._in_flight == IN_FLIGHT and self._line is not None:
            self._line.read(more=False)

    def end(self) -> None:
        """One command less is."""
        self._in_flight -= 1
        if self._in_flight == IN_FLIGHT - 1 and self._line is not None and not self.lost:
            self._line.read(more=True)

    def end_of_line(self) -> None:
        """The other side has left, or was cut off."""
        if not self.lost:
            self.lost = True
            self.discard_outbox()
            self._grant_room()
            self._owner.gone(self)

    # Time

    def await_login(self) -> None:
        """From now, there is so much time for a log-in."""
        self._deadline = self.heard_at + self._limits.handshake

    def on_tick(self, now: float) -> float | None:
        """What time brings; seconds until the next look at it, None if there is no need for one."""
        if self.lost:
            return None
        if self._close is not None or not self.verified:
            return self._wait_for_deadline(now)
        if self.expires_at <= now:
            self._owner.expired(self)
        quiet = now - self.heard_at
        beat = self._limits.heartbeat
        if quiet >= 2 * beat:
            self.discard_outbox()
            self.close(Close.SILENT, "nothing was heard for too long; come back")
            return None
        if quiet >= beat:
            self.send(PINGS[self.kind])
        until_beat = beat - quiet if quiet < beat else 2 * beat - quiet
        return max(0.0, min(until_beat, self.expires_at - now))

    def _wait_for_deadline(self, now: float) -> float | None:
        if now < self._deadline:
            return self._deadline - now
        if self._close is None:
            self.close(Close.SILENT, "no log-in came in time; come back")
        elif self._line is not None:
            self._line.abort()
        return None
