"""A client of any server in `bench.peers`: it sends bytes made in advance, and counts what comes back.

It parses nothing. Each message begins with MARK, which occurs nowhere else, so a delivery is an occurrence
of it. What acknowledges a request differs per server (`Dialect.ack`).
"""

import asyncio
import time
from collections import deque
from collections.abc import Callable
from dataclasses import dataclass
from functools import partial
from itertools import count
from typing import cast

MARK = b"@@message@@"
CONTENT_BYTES = 200
TAIL_BYTES = 31
"""Longest acknowledgement less one: the last bytes of a read are scanned again with the next one."""
LOGIN_TIMEOUT_SECONDS = 60

_BUFFER = bytearray(TAIL_BYTES + 262_144)
_WINDOW = memoryview(_BUFFER)[TAIL_BYTES:]
_EMPTY_TAIL = bytes(TAIL_BYTES)
_MARK_START = TAIL_BYTES + 1 - len(MARK)


def content(author: str) -> str:
    """Return the text of a message: MARK, the author, and letters up to CONTENT_BYTES."""
    return f"{MARK.decode()}{author};".ljust(CONTENT_BYTES, "x")


def own_mark(author: str) -> bytes:
    """Return the beginning of the author's messages: where their echo acknowledges them."""
    return MARK + author.encode() + b";"


@dataclass(frozen=True, kw_only=True)
class Dialect:
    """What a client has to know of a server's protocol."""

    ack: bytes
    """Occurs once in the response to each request."""
    ping: bytes | None = None
    pong: bytes = b""
    """The response to `ping`."""


class PeerSocket(asyncio.BufferedProtocol):
    """One client. `start()` sends the request, and again each time that it is acknowledged."""

    def __init__(self, dialect: Dialect, request: bytes) -> None:
        self.transport: asyncio.Transport | None = None  # set after the log-in
        self.deliveries = 0
        self.acks = 0
        self.latencies: list[float] = []  # seconds from a request to its acknowledgement
        self.lost = False
        self.on_delivery: Callable[[int], None] | None = None
        self.use(dialect, request)
        self._sent: deque[float] = deque()
        self._is_sending = False
        self._tail: bytes | bytearray = _EMPTY_TAIL

    @property
    def in_flight(self) -> int:
        return len(self._sent)

    def attach(self, transport: asyncio.Transport) -> None:
        """Take over the transport after the log-in."""
        self.transport = transport
        transport.set_protocol(self)

    def use(self, dialect: Dialect, request: bytes) -> None:
        """Send this request from now on."""
        self._dialect, self._request = dialect, request
        self._ack_start = TAIL_BYTES + 1 - len(dialect.ack)

    def drop(self) -> None:
        """Abort the connection."""
        transport, self.transport = self.transport, None
        if transport is not None:
            transport.abort()

    def start(self) -> None:
        """Keep one request in flight."""
        self._is_sending = True
        self.send()

    def stop(self) -> None:
        """Send no more requests; the one in flight is still acknowledged."""
        self._is_sending = False

    def send(self) -> None:
        assert self.transport is not None, "the server has closed the connection"
        self._sent.append(time.perf_counter())
        self.transport.write(self._request)

    def get_buffer(self, sizehint: int) -> memoryview:
        return _WINDOW

    def buffer_updated(self, size: int) -> None:
        _BUFFER[:TAIL_BYTES] = self._tail
        end = size + TAIL_BYTES
        self._tail = _BUFFER[size:end]
        deliveries = _BUFFER.count(MARK, _MARK_START, end)
        if deliveries:
            self.deliveries += deliveries
            if self.on_delivery is not None:
                self.on_delivery(deliveries)
        if self._sent:
            self._count_acks(end)
        ping = self._dialect.ping
        if ping is not None and not deliveries and _BUFFER.find(ping, 0, end) >= 0:
            self._answer_ping()

    def connection_lost(self, error: Exception | None) -> None:
        self.lost = True
        self.transport = None

    def _count_acks(self, end: int) -> None:
        acks = _BUFFER.count(self._dialect.ack, self._ack_start, end)
        now = time.perf_counter()
        for _ in range(min(acks, len(self._sent))):
            self.acks += 1
            self.latencies.append(now - self._sent.popleft())
            if self._is_sending:
                self.send()

    def _answer_ping(self) -> None:
        if self.transport is not None:
            self.transport.write(self._dialect.pong)


Step = tuple[bytes, bytes]
"""A part of a log-in: what the client sends, and what must have arrived before the next part."""


async def log_in(port: int, socket: PeerSocket, steps: list[Step]) -> None:
    """Connect a client to a server on loopback. Raises ConnectionError, TimeoutError."""
    loop = asyncio.get_running_loop()
    done: asyncio.Future[None] = loop.create_future()
    await loop.create_connection(
        partial(_LogIn, socket, steps, done), "127.0.0.1", port, local_addr=(next(_ADDRESSES), 0)
    )
    async with asyncio.timeout(LOGIN_TIMEOUT_SECONDS):
        await done


_ADDRESSES = (f"127.0.0.{2 + number % 8}" for number in count())


class _LogIn(asyncio.Protocol):
    def __init__(self, socket: PeerSocket, steps: list[Step], done: asyncio.Future[None]) -> None:
        self._socket = socket
        self._steps = deque(steps)
        self._done = done
        self._received = b""

    def connection_made(self, transport: asyncio.BaseTransport) -> None:
        self._transport = cast(asyncio.Transport, transport)
        self._transport.write(self._steps[0][0])

    def data_received(self, data: bytes) -> None:
        self._received += data
        if self._steps[0][1] not in self._received:
            return
        self._steps.popleft()
        self._received = b""
        if self._steps:
            self._transport.write(self._steps[0][0])
        else:
            self._socket.attach(self._transport)
            self._done.set_result(None)

    def connection_lost(self, error: Exception | None) -> None:
        if not self._done.done():
            waiting = self._steps[0][1]
            self._done.set_exception(
                ConnectionError(f"closed before {waiting!r}: {error} {self._received[-300:]!r}")
            )
