"""A live socket under `blazechat serve`: an asyncio protocol on the transport, without an ASGI task.

socket_protocol.py does the handshake, and then gives the transport to a `LiveSocket`.
"""

import asyncio
from collections import deque

from blazechat.realtime import frames
from blazechat.realtime.connection import Connection
from blazechat.realtime.frames import FrameReader, ProtocolError, Received

MESSAGES_PER_TURN = 64
"""Messages of one socket that are handled in one turn of the event loop; one packet can have thousands."""
MAX_DRAINED_BYTES = 1_048_576
"""Bytes that a client may still send after a protocol error, until it is disconnected."""


class DrainReader:
    """Discards what a client sends after a protocol error, until it disconnects.

    To close a connection with unread data would reset it, and the client might not get the close frame.
    """

    __slots__ = ("_size",)

    def __init__(self) -> None:
        self._size = 0

    def feed(self, data: bytes) -> list[Received]:
        """Return no messages. Raises ProtocolError after MAX_DRAINED_BYTES."""
        self._size += len(data)
        if self._size > MAX_DRAINED_BYTES:
            raise ProtocolError(frames.PROTOCOL_ERROR, "data after a protocol error")
        return []


class LiveSocket(asyncio.Protocol):
    """The transport of a connection: reads frames from it and writes frames to it."""

    __slots__ = (
        *("_backlog", "_connection", "_loop", "_may_read", "_reader", "_stopped", "_transport"),
        "is_paused",
    )

    def __init__(self, transport: asyncio.Transport, connection: Connection, frame_limit: int) -> None:
        self._transport = transport
        # What is longer than `high` uvloop writes at once, not at the end of the turn.
        transport.set_write_buffer_limits(high=1)
        self._connection = connection
        self._reader: FrameReader | DrainReader = FrameReader(frame_limit)
        self._loop = asyncio.get_running_loop()
        self._backlog: deque[Received] | None = None  # messages that arrived and are not handled yet
        self._may_read = True
        self._stopped = False  # paused within the backlog by read(more=False)
        self.is_paused = False

    # Transport

    def write(self, whole_frames: list[bytes]) -> None:
        self._transport.write(whole_frames[0] if len(whole_frames) == 1 else b"".join(whole_frames))

    def write_one(self, frame: bytes) -> None:
        self._transport.write(frame)

    def close(self, code: int, reason: str) -> None:
        self._transport.write(frames.close(code, reason))

    def abort(self) -> None:
        self._transport.abort()

    def read(self, more: bool) -> None:
        self._may_read = more
        if self._transport.is_closing():
            return
        if self._backlog is not None:
            if more and self._stopped:
                self._stopped = False
                self._loop.call_soon(self._continue)
        elif more:
            self._transport.resume_reading()
        else:
            self._transport.pause_reading()

    # asyncio.Protocol

    def data_received(self, data: bytes) -> None:
        self._connection.heard_at = self._loop.time()
        try:
            received = self._reader.feed(data)
            if len(received) > MESSAGES_PER_TURN:
                self._transport.pause_reading()
                self._backlog = deque(received)
                self._continue()
                return
            for opcode, payload in received:
                self._receive(opcode, payload)
        except ProtocolError as error:
            self._fail(error)

    def _continue(self) -> None:
        """Handle a part of the backlog; the next part follows in the next turn of the event loop."""
        backlog = self._backlog
        if backlog is None:
            return
        try:
            for _ in range(min(MESSAGES_PER_TURN, len(backlog))):
                if not self._may_read:
                    self._stopped = True
                    return
                self._receive(*backlog.popleft())
        except ProtocolError as error:
            backlog.clear()
            self._fail(error)
        if backlog:
            self._loop.call_soon(self._continue)
            return
        self._backlog = None
        if not self._transport.is_closing():
            self._transport.resume_reading()

    def _receive(self, opcode: int, payload: bytes) -> None:
        if opcode == frames.TEXT:
            self._connection.receive(frames.decoded(payload))
        else:
            self._receive_other(opcode, payload)

    def _receive_other(self, opcode: int, payload: bytes) -> None:
        if opcode == frames.PING:
            if self._connection.may_command():
                self._connection.send(frames.frame(frames.PONG, payload))
        elif opcode == frames.BINARY:
            self._connection.receive(None)
        elif opcode == frames.CLOSE:
            frames.close_code(payload)  # raises for an invalid one
            if not self._connection.closing and not self._transport.is_closing():
                self._transport.write(frames.frame(frames.CLOSE, payload[:2]))
            self._transport.close()

    def _fail(self, error: ProtocolError) -> None:
        if isinstance(self._reader, DrainReader):
            self._transport.abort()
            return
        self._reader = DrainReader()
        if not self._connection.closing:
            self._connection.discard_outbox()
            self._connection.close(error.code, error.reason)
            self._transport.write_eof()  # no close frame of the client can be read: it answers the end

    def pause_writing(self) -> None:
        self.is_paused = True

    def resume_writing(self) -> None:
        self.is_paused = False
        self._connection.flush()

    def eof_received(self) -> None:
        return None

    def connection_lost(self, error: Exception | None) -> None:
        self._backlog = None
        self._connection.connection_lost()
