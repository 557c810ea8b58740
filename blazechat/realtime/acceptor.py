"""Accepts TCP connections a few at a time, starts handshakes a few at a time, and closes idle ones.

It extends uvicorn's HTTP protocol class (docs/decisions/0009-uvicorn-internals.md).
"""

import asyncio
import socket
from collections import deque
from collections.abc import Callable
from typing import Any

import structlog
from uvicorn.protocols.http.httptools_impl import HttpToolsProtocol

log = structlog.get_logger("blazechat.acceptor")

ACCEPTS_PER_TURN = 8
"""Connections that are accepted in one turn of the event loop."""
HANDSHAKES_PER_TURN = 8
"""WebSocket handshakes that start in one turn of the event loop; each takes a millisecond or more."""
ACCEPT_RETRY_SECONDS = 1.0
"""Pause after the system has run out of file descriptors."""
BACKLOG = 2048
END_OF_HEAD = (b"\n\r\n", b"\n\n")
LENGTH_OF_END = 3
FIRST_REQUEST_SECONDS = 10.0
"""A new connection that has sent no request within this time is closed."""


class Acceptor:
    """Accepts a few connections per turn of the event loop, so that a connection storm delays no open
    socket.

    An asyncio server would accept all queued connections, perhaps thousands, in one turn. Here they wait in
    the kernel's backlog. An acceptor takes the place of an asyncio server in `uvicorn.Server.servers`.
    """

    def __init__(self, listener: socket.socket, protocol: Callable[[], asyncio.Protocol]) -> None:
        self._listener = listener
        self._protocol = protocol
        self._loop = asyncio.get_running_loop()
        self._tasks: set[asyncio.Task[object]] = set()
        self._closed = False

    def start(self) -> None:
        self._listener.setblocking(False)
        self._listener.listen(BACKLOG)
        self._loop.add_reader(self._listener.fileno(), self._accept)

    def close(self) -> None:
        """Stop accepting."""
        if not self._closed:
            self._closed = True
            self._loop.remove_reader(self._listener.fileno())

    async def wait_closed(self) -> None:
        await asyncio.gather(*self._tasks, return_exceptions=True)

    def _accept(self) -> None:
        for _ in range(ACCEPTS_PER_TURN):
            try:
                connection, _address = self._listener.accept()
            except (BlockingIOError, InterruptedError, ConnectionAbortedError):
                return
            except OSError as error:  # most likely no file descriptors are left
                log.error("cannot accept connections; retrying", reason=str(error))
                self._loop.remove_reader(self._listener.fileno())
                self._loop.call_later(ACCEPT_RETRY_SECONDS, self._resume)
                return
            connection.setblocking(False)
            opening = self._loop.connect_accepted_socket(self._protocol, connection)
            task = self._loop.create_task(opening, name="accept")
            self._tasks.add(task)
            task.add_done_callback(self._tasks.discard)

    def _resume(self) -> None:
        if not self._closed:
            self._loop.add_reader(self._listener.fileno(), self._accept)


class HandshakeQueue:
    """Starts a few handshakes in each turn of the event loop, first come first served."""

    def __init__(self, per_turn: int) -> None:
        self._per_turn = per_turn
        self._waiting: deque[Callable[[], None]] = deque()

    def add(self, start: Callable[[], None]) -> None:
        """Call `start` in one of the next turns."""
        if not self._waiting:
            asyncio.get_running_loop().call_soon(self._start_some)
        self._waiting.append(start)

    def _start_some(self) -> None:
        loop = asyncio.get_running_loop()
        for _ in range(min(self._per_turn, len(self._waiting))):
            loop.call_soon(self._waiting.popleft())
        if self._waiting:
            loop.call_soon(self._start_some)


class HttpProtocol(HttpToolsProtocol):
    """uvicorn's HTTP protocol, with a timeout for the first request and a queue for WebSocket
    handshakes."""

    def __init__(self, *arguments: Any, handshakes: HandshakeQueue) -> None:
        super().__init__(*arguments)
        self._handshakes = handshakes
        self._last_bytes = b""  # the last bytes that arrived

    def connection_made(self, transport: asyncio.Transport) -> None:  # type: ignore[override]
        super().connection_made(transport)
        self._first_request_timer = self.loop.call_later(FIRST_REQUEST_SECONDS, self._close_if_idle)

    def data_received(self, data: bytes) -> None:
        self._last_bytes = (self._last_bytes + data[-LENGTH_OF_END:])[-LENGTH_OF_END:]
        super().data_received(data)

    def handle_websocket_upgrade(self) -> None:
        self._first_request_timer.cancel()  # the timer would keep this object alive
        if not self._last_bytes.endswith(END_OF_HEAD):
            self.transport.abort()  # it sent frames before the handshake was answered
            return
        self.transport.pause_reading()
        self._handshakes.add(self._upgrade)

    def _upgrade(self) -> None:
        if not self.transport.is_closing():
            self.transport.resume_reading()
            super().handle_websocket_upgrade()
        self.parser = None  # type: ignore[assignment]  # it refers back to this object

    def _close_if_idle(self) -> None:
        if self.cycle is None and self in self.connections and not self.transport.is_closing():
            self.transport.close()
