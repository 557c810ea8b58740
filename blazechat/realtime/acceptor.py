"""Connections from the outside: a few at a time, and expected to ask for something soon."""

import asyncio
import socket
from collections import deque
from collections.abc import Callable
from typing import Any

import structlog
from uvicorn.protocols.http.httptools_impl import HttpToolsProtocol

log = structlog.get_logger("blazechat.accept")

ACCEPTED = 8
"""Connections that are accepted in one turn of the loop."""
HANDSHAKES_PER_TURN = 8
"""Handshakes of sockets that begin in one turn of the loop; each takes a millisecond or more."""
ACCEPT_PAUSE = 1.0
"""Seconds without accepting where the system has no room for more."""
BACKLOG = 2048
END_OF_HEAD = (b"\n\r\n", b"\n\n")
LENGTH_OF_END = 3
FIRST_REQUEST = 10.0
"""Seconds within which a new connection has to have asked for something."""


class Acceptor:
    """Accepts connections a few a turn of the loop, so that a storm of them holds up nobody who is in.

    An asyncio server takes all that have queued up at once, thousands perhaps; what is not accepted yet
    waits in the kernel, which is the place for it. Stands in where uvicorn keeps its servers.
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
        """Accept no more."""
        if not self._closed:
            self._closed = True
            self._loop.remove_reader(self._listener.fileno())

    async def wait_closed(self) -> None:
        await asyncio.gather(*self._tasks, return_exceptions=True)

    def _accept(self) -> None:
        for _ in range(ACCEPTED):
            try:
                connection, _address = self._listener.accept()
            except (BlockingIOError, InterruptedError, ConnectionAbortedError):
                return
            except OSError as error:  # no file descriptors left, most likely
                log.error("cannot accept connections for now", reason=str(error))
                self._loop.remove_reader(self._listener.fileno())
                self._loop.call_later(ACCEPT_PAUSE, self._go_on)
                return
            connection.setblocking(False)
            opening = self._loop.connect_accepted_socket(self._protocol, connection)
            task = self._loop.create_task(opening, name="accept")
            self._tasks.add(task)
            task.add_done_callback(self._tasks.discard)

    def _go_on(self) -> None:
        if not self._closed:
            self._loop.add_reader(self._listener.fileno(), self._accept)


class HandshakeQueue:
    """Lets a few through in each turn of the loop, in the order in which they came."""

    def __init__(self, width: int) -> None:
        self._width = width
        self._waiting: deque[Callable[[], None]] = deque()

    def enter(self, go: Callable[[], None]) -> None:
        """Have `go` called in one of the next turns."""
        if not self._waiting:
            asyncio.get_running_loop().call_soon(self._turn)
        self._waiting.append(go)

    def _turn(self) -> None:
        loop = asyncio.get_running_loop()
        for _ in range(min(self._width, len(self._waiting))):
            loop.call_soon(self._waiting.popleft())
        if self._waiting:
            loop.call_soon(self._turn)


class HttpProtocol(HttpToolsProtocol):
    """uvicorn's, which would wait for a first request for ever, and begin any number of sockets at once."""

    def __init__(self, *arguments: Any, handshakes: HandshakeQueue) -> None:
        super().__init__(*arguments)
        self._turnstile = handshakes
        self._end = b""  # of what has come so far

    def connection_made(self, transport: asyncio.Transport) -> None:  # type: ignore[override]
        super().connection_made(transport)
        self._patience = self.loop.call_later(FIRST_REQUEST, self._close_if_nothing_came)

    def data_received(self, data: bytes) -> None:
        self._end = (self._end + data[-LENGTH_OF_END:])[-LENGTH_OF_END:]
        super().data_received(data)

    def handle_websocket_upgrade(self) -> None:
        self._patience.cancel()  # or it would keep all this for as long
        if not self._end.endswith(END_OF_HEAD):
            self.transport.abort()  # it sent frames before it could know that it was let in
            return
        self.transport.pause_reading()
        self._turnstile.enter(self._upgrade)

    def _upgrade(self) -> None:
        if not self.transport.is_closing():
            self.transport.resume_reading()
            super().handle_websocket_upgrade()
        self.parser = None  # type: ignore[assignment]  # which knows us: a circle

    def _close_if_nothing_came(self) -> None:
        if self.cycle is None and self in self.connections and not self.transport.is_closing():
            self.transport.close()
