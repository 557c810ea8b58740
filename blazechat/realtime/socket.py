"""Sockets from the inside, under our own server.

Under `blazechat serve`, uvicorn, FastAPI and the `websockets` package do the handshake; then the transport
is handed to a `LiveSocket`, and all that was needed for the handshake is let go: an idle socket costs a
tenth of what it costs as an ASGI task, and a delivery is one call (docs/decisions/0004-sockets.md). What is
leant on of uvicorn here is held by tests/realtime/test_sockets.py. Under another server, asgi.py does the
same.
"""

import asyncio
from collections import deque

from uvicorn._types import ASGISendEvent
from uvicorn.protocols.websockets.websockets_sansio_impl import WebSocketsSansIOProtocol
from websockets.http11 import Request

from blazechat.realtime import frames
from blazechat.realtime.connection import Connection
from blazechat.realtime.frames import FrameReader, ProtocolError, Received

PROTOCOL = "blazechat.protocol"
"""The name under which `scope["extensions"]` has the protocol, which `hand_over()` is called on."""
AT_ONCE = 64
"""Messages of one socket that are looked at in a turn of the loop; thousands may come in one packet."""
LEFTOVERS = 1_048_576
"""Bytes that somebody who is being closed may still send."""


class SocketProtocol(WebSocketsSansIOProtocol):
    """uvicorn's, which does the handshake and then makes way."""

    def handle_connect(self, event: Request) -> None:
        super().handle_connect(event)
        if not self.handshake_complete:  # else it was refused, and there is no scope
            self.scope["extensions"][PROTOCOL] = self  # type: ignore[assignment]

    async def send(self, message: ASGISendEvent) -> None:
        await super().send(message)
        if message["type"] == "websocket.http.response.body" and not message.get("more_body"):
            # A refusal is an end, too; else uvicorn logs each as an error of the application.
            self.handshake_complete = True

    def on_task_complete(self, task: asyncio.Task[None]) -> None:
        super().on_task_complete(task)
        if isinstance(self.transport, _Nothing):
            # Open the circles, or the collector has to find them, all at once after a storm.
            self.conn.parser.close()
            self.scope.clear()  # type: ignore[attr-defined]

    def hand_over(self, connection: Connection, frame_limit: int) -> None:
        """Give the accepted socket to a connection. The ASGI task may end; this protocol is done.

        Has to be called in the same turn of the loop as the handshake's answer was written.
        """
        self.stop_keepalive()
        self.handshake_complete = True  # even if the other side left in the middle of it
        self.connections.discard(self)
        transport, self.transport = self.transport, _Nothing()  # type: ignore[assignment]
        live = LiveSocket(transport, connection, frame_limit)
        transport.set_protocol(live)
        if not self.queue.empty() or self.conn.reader.buffer:
            transport.abort()  # it sent frames before it could know that it was let in
        elif transport.is_closing():
            connection.end_of_line()
        else:
            connection.accepted(live)


class _Nothing:
    """What is left to uvicorn of a transport that was handed over."""

    def close(self) -> None:
        pass

    def is_closing(self) -> bool:
        return True


class Leftovers:
    """Reads what still comes from somebody whose frames cannot be understood, until they leave.

    To end a connection of which something is unread would reset it, and they might never see why.
    """

    __slots__ = ("_size",)

    def __init__(self) -> None:
        self._size = 0

    def feed(self, data: bytes) -> list[Received]:
        """Nothing. Raises ProtocolError when it has been enough."""
        self._size += len(data)
        if self._size > LEFTOVERS:
            raise ProtocolError(frames.PROTOCOL_ERROR, "still talking")
        return []


class LiveSocket(asyncio.Protocol):
    """A socket on its transport."""

    __slots__ = (
        *("_backlog", "_connection", "_loop", "_may_read", "_reader", "_stopped", "_transport"),
        "clogged",
    )

    def __init__(self, transport: asyncio.Transport, connection: Connection, frame_limit: int) -> None:
        self._transport = transport
        self._connection = connection
        self._reader: FrameReader | Leftovers = FrameReader(frame_limit)
        self._loop = asyncio.get_running_loop()
        self._backlog: deque[Received] | None = None  # messages that have come and are not looked at yet
        self._may_read = True
        self._stopped = False  # in the middle of a backlog, because no more is to be read
        self.clogged = False

    # Line

    def write(self, some: list[bytes]) -> None:
        self._transport.write(some[0] if len(some) == 1 else b"".join(some))

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
                self._loop.call_soon(self._go_on)
        elif more:
            self._transport.resume_reading()
        else:
            self._transport.pause_reading()

    # asyncio.Protocol

    def data_received(self, data: bytes) -> None:
        self._connection.heard_at = self._loop.time()
        try:
            received = self._reader.feed(data)
            if len(received) > AT_ONCE:
                self._transport.pause_reading()
                self._backlog = deque(received)
                self._go_on()
                return
            for opcode, payload in received:
                self._receive(opcode, payload)
        except ProtocolError as error:
            self._violated(error)

    def _go_on(self) -> None:
        """Look at a part of what has come; the next part is for the next turn of the loop."""
        backlog = self._backlog
        if backlog is None:
            return
        try:
            for _ in range(min(AT_ONCE, len(backlog))):
                if not self._may_read:
                    self._stopped = True
                    return
                self._receive(*backlog.popleft())
        except ProtocolError as error:
            backlog.clear()
            self._violated(error)
        if backlog:
            self._loop.call_soon(self._go_on)
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
            frames.close_code(payload)  # may be none
            if not self._connection.closing and not self._transport.is_closing():
                self._transport.write(frames.frame(frames.CLOSE, payload[:2]))
            self._transport.close()

    def _violated(self, error: ProtocolError) -> None:
        if isinstance(self._reader, Leftovers):
            self._transport.abort()
            return
        self._reader = Leftovers()
        if not self._connection.closing:
            self._connection.discard_outbox()
            self._connection.close(error.code, error.reason)

    def pause_writing(self) -> None:
        self.clogged = True

    def resume_writing(self) -> None:
        self.clogged = False
        self._connection.flush()

    def eof_received(self) -> None:
        return None

    def connection_lost(self, error: Exception | None) -> None:
        self._backlog = None
        self._connection.end_of_line()
