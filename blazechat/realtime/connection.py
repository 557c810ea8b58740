"""A connection: the state of one socket, its bounded outbox, its rate limit and its timeouts.

All methods but `wait_for_room()` return at once.
"""

import asyncio
from collections import deque
from dataclasses import dataclass
from enum import IntEnum, StrEnum
from typing import Any, Protocol

from blazechat.domain.auth.scopes import FULL_GRANT
from blazechat.realtime import frames


class Kind(StrEnum):
    """The kind of a socket, which decides its protocol."""

    MAIN = "main"
    """`/ws`: all chats of a user, with commands (docs/protocol.md)."""
    CHAT = "chat"
    """`/ws/chat/{chat_id}`: the new messages of one chat (docs/api.md)."""
    STATUS = "status"
    """`/ws/status`: changes of the list of chats, and the online status of its members (docs/api.md)."""


class Close(IntEnum):
    """Why the server closes a socket. The code tells a client whether to reconnect (table in
    docs/protocol.md)."""

    RESTARTING = 1012
    TRY_AGAIN = 1013
    SESSION_ENDED = 4401
    TOKEN_EXPIRED = 4402
    REMOVED = 4403
    CHAT_GONE = 4404
    SILENT = 4408
    TOO_MANY_COMMANDS = 4429


CLOSE_TIMEOUT_SECONDS = 5.0
"""After a close frame was sent: how long the client gets to close, before the transport is aborted."""
MAX_IN_FLIGHT = 64
"""Commands of one socket in flight. At this number the server stops to read from the socket
(backpressure)."""


class Transport(Protocol):
    """What a connection writes to: `LiveSocket`, or `AsgiSocket` under another ASGI server."""

    @property
    def is_paused(self) -> bool:
        """True while earlier writes fill the send buffer."""

    def write(self, whole_frames: list[bytes]) -> None:
        """Write whole frames."""

    def write_one(self, frame: bytes) -> None:
        """Write one frame."""

    def close(self, code: int, reason: str) -> None:
        """Send a close frame after what was written (RFC 6455 section 7)."""

    def abort(self) -> None:
        """Disconnect at once."""

    def read(self, more: bool) -> None:
        """Resume reading, or pause it."""


class Owner(Protocol):
    """The owner of connections, which is called when something happens to one."""

    def receive(self, connection: "Connection", text: str | None) -> None:
        """A message has arrived; `text` is None for a binary one."""

    def closing(self, connection: "Connection") -> None:
        """The connection is being closed; its `on_tick()` has to be called in CLOSE_TIMEOUT_SECONDS."""

    def lost(self, connection: "Connection") -> None:
        """The client has left, or was disconnected."""

    def expired(self, connection: "Connection") -> None:
        """Its `expires_at` has passed."""


@dataclass
class SocketLimits:
    """Limits per socket. Rates in commands per second, times in seconds, sizes in bytes."""

    outbox: int
    frame: int
    rate: float
    burst: int
    heartbeat: float
    handshake: float


class SendFlusher:
    """Joins the frames of each connection that were queued in one turn of the event loop into one write."""

    def __init__(self) -> None:
        self._connections: list[Connection] = []

    def add(self, connection: "Connection") -> None:
        if not self._connections:
            asyncio.get_running_loop().call_soon(self._flush)
        self._connections.append(connection)

    def _flush(self) -> None:
        connections, self._connections = self._connections, []
        for connection in connections:
            connection.flush()


PING = '{"type":"ping"}'
PINGS = {
    Kind.MAIN: frames.text(PING.encode()),  # a text frame: browsers do not report ping frames to pages
    Kind.CHAT: frames.frame(frames.PING, b""),
    Kind.STATUS: frames.frame(frames.PING, b""),
}


class Connection:
    """One socket. `send()` queues an encoded frame; a client that does not keep up is closed, not waited
    for.

    Frames may be queued before the socket is accepted. They wait in the outbox.
    """

    __slots__ = (
        "__weakref__",
        "_close",
        "_deadline",
        "_flusher",
        "_in_flight",
        "_limits",
        "_next_free_at",
        "_outbox",
        "_outbox_bytes",
        "_owner",
        "_refused_in_a_row",
        "_transport",
        "_will_flush",
        "chat_ids",
        "counted",
        "expires_at",
        "grant",
        "heard_at",
        "kind",
        "lost",
        "open_chats",
        "queue",
        "room_waiter",
        "session_id",
        "user_id",
        "verified",
        "watched",
    )

    def __init__(self, kind: Kind, owner: Owner, flusher: SendFlusher, limits: SocketLimits) -> None:
        self.kind = kind
        self.user_id = 0  # 0 until the user is known
        self.session_id = 0
        self.grant = FULL_GRANT
        self.expires_at = 0.0  # loop time: when the token or the session expires
        self.heard_at = 0.0  # loop time of the last incoming data
        self.chat_ids: set[int] = set()  # the chats that the hub has subscribed it to
        self.open_chats: set[int] | None = None  # chats whose typing and read events it gets
        self.watched: set[int] | None = None  # users whose presence it gets
        self.lost = False
        self.verified = False  # the session was checked; nothing is sent before
        self.counted = False  # counted as online by Presence
        self.queue: deque[Any] | None = None  # commands that are executed one after another
        self.room_waiter: asyncio.Future[None] | None = None  # set while wait_for_room() waits
        self._owner = owner
        self._flusher = flusher
        self._limits = limits
        self._transport: Transport | None = None  # set once the socket is accepted
        self._outbox: list[bytes] = []
        self._outbox_bytes = 0
        self._will_flush = False  # flush() is scheduled for this turn
        self._close: tuple[int, str] | None = None  # code and reason; set once it is closing
        self._deadline = 0.0  # loop time: when it is aborted, or must be logged in
        self._in_flight = 0
        self._next_free_at = 0.0  # loop time: when the next command costs no burst (GCRA)
        self._refused_in_a_row = 0  # commands over the rate

    @property
    def closing(self) -> bool:
        return self._close is not None

    # Sending

    def send(self, frame: bytes) -> None:
        """Queue a frame."""
        if self._close is not None or self.lost:
            return
        self._outbox_bytes += len(frame)
        self._outbox.append(frame)
        if self._outbox_bytes > self._limits.outbox:
            self.discard_outbox()
            self.close(Close.TRY_AGAIN, "too slow; connect again and resume")
        elif not self._will_flush:
            self._will_flush = True
            self._flusher.add(self)

    def send_now(self, frame: bytes) -> None:
        """Write a frame at once if none is queued before it and the socket can take it; else queue it."""
        transport = self._transport
        if (
            not self._outbox
            and self.verified
            and transport is not None
            and not transport.is_paused
            and self._close is None
            and not self.lost
        ):
            transport.write_one(frame)
        else:
            self.send(frame)

    def welcome(self, frame: bytes) -> None:
        """The session is checked: send `frame` first, then what is queued."""
        self.verified = True
        self._outbox.insert(0, frame)
        self.flush()

    def send_before_login(self, frame: bytes) -> None:
        """Send a frame to a client that is not logged in yet, past the outbox."""
        if self._transport is not None and not self.closing:
            self._transport.write([frame])

    def flush(self) -> None:
        """Write what is queued, unless the transport is paused or the session is not checked."""
        self._will_flush = False
        transport = self._transport
        if transport is None or transport.is_paused or not self._outbox or not self.verified:
            return
        transport.write(self._outbox)
        self._outbox = []
        self._outbox_bytes = 0
        if self.room_waiter is not None:
            self._wake_room_waiter()

    async def wait_for_room(self) -> None:
        """Wait until at least half of the outbox is free, or the connection ends."""
        while self._outbox_bytes * 2 > self._limits.outbox and not (self.closing or self.lost):
            self.room_waiter = asyncio.get_running_loop().create_future()
            await self.room_waiter

    def discard_outbox(self) -> None:
        """Drop the queued frames."""
        self._outbox = []
        self._outbox_bytes = 0

    def close(self, code: int, reason: str) -> None:
        """Close the socket after the queued frames. Only the first call counts.

        If the client does not read these within CLOSE_TIMEOUT_SECONDS, the transport is aborted.
        """
        if self._close is not None or self.lost:
            return
        self._close = code, reason
        self._deadline = asyncio.get_running_loop().time() + CLOSE_TIMEOUT_SECONDS
        self._wake_room_waiter()
        self._owner.closing(self)
        if self._transport is not None:
            self._finish(self._transport)

    def accepted(self, transport: Transport) -> None:
        """The handshake is finished: write to this transport from now on."""
        self._transport = transport
        if self._close is not None:
            self._finish(transport)
        else:
            self.flush()

    def abort(self) -> None:
        """Disconnect at once."""
        if self._transport is not None:
            self._transport.abort()

    def _finish(self, transport: Transport) -> None:
        assert self._close is not None
        if self._outbox and self.verified:
            transport.write(self._outbox)
        self.discard_outbox()
        transport.read(more=True)  # the client's close frame must be read
        transport.close(*self._close)

    def _wake_room_waiter(self) -> None:
        if self.room_waiter is not None and not self.room_waiter.done():
            self.room_waiter.set_result(None)
        self.room_waiter = None

    # Receiving

    def receive(self, text: str | None) -> None:
        """A message has arrived; `text` is None for a binary one."""
        if self._close is None and not self.lost:
            self._owner.receive(self, text)

    def may_command(self) -> bool:
        """Apply the rate limit (GCRA): return False for a command over it; close the socket after too
        many."""
        limits = self._limits
        free = self._next_free_at - self.heard_at
        if free > limits.burst / limits.rate:
            self._refused_in_a_row += 1
            if self._refused_in_a_row > limits.burst:
                self.close(Close.TOO_MANY_COMMANDS, "too many commands; connect again and send fewer")
            return False
        if free <= 0:
            self._refused_in_a_row = 0
            self._next_free_at = self.heard_at
        self._next_free_at += 1 / limits.rate
        return True

    def begin_command(self) -> None:
        """A command is in flight."""
        self._in_flight += 1
        if self._in_flight == MAX_IN_FLIGHT and self._transport is not None:
            self._transport.read(more=False)

    def end_command(self) -> None:
        """A command is finished."""
        self._in_flight -= 1
        if self._in_flight == MAX_IN_FLIGHT - 1 and self._transport is not None and not self.lost:
            self._transport.read(more=True)

    def connection_lost(self) -> None:
        """The client has left, or was disconnected."""
        if not self.lost:
            self.lost = True
            self.discard_outbox()
            self._wake_room_waiter()
            self._owner.lost(self)

    # Time

    def await_login(self) -> None:
        """Start the timeout for the log-in."""
        self._deadline = self.heard_at + self._limits.handshake

    def on_tick(self, now: float) -> float | None:
        """Apply the timeouts; return the seconds until the next call, None if none is needed."""
        if self.lost:
            return None
        if self._close is not None or not self.verified:
            return self._wait_for_deadline(now)
        if self.expires_at <= now:
            self._owner.expired(self)
        quiet = now - self.heard_at
        heartbeat = self._limits.heartbeat
        if quiet >= 2 * heartbeat:
            self.discard_outbox()
            self.close(Close.SILENT, "no data arrived for too long; connect again")
            return None
        if quiet >= heartbeat:
            self.send(PINGS[self.kind])
        until_heartbeat = heartbeat - quiet if quiet < heartbeat else 2 * heartbeat - quiet
        return max(0.0, min(until_heartbeat, self.expires_at - now))

    def _wait_for_deadline(self, now: float) -> float | None:
        if now < self._deadline:
            return self._deadline - now
        if self._close is None:
            self.close(Close.SILENT, "no log-in within the time limit; connect again")
        elif self._transport is not None:
            self._transport.abort()
        return None
