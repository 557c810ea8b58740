"""Opens many sockets concurrently, and waits for what they receive."""

import asyncio
import sys
import time
from collections.abc import Callable, Iterable, Sequence
from functools import partial
from typing import cast

from bench.server import Bench
from bench.socket_client import Socket

ADDRESSES = [f"127.0.0.{number}" for number in range(2, 10)] if sys.platform == "linux" else ["127.0.0.1"]
"""Source addresses of connections. Each has its own ports, and the port of a closed connection is blocked
for a minute."""
MAX_CONCURRENT = 64
RETRY_SECONDS = 1.0
"""Pause before a refused handshake is repeated."""
HANDSHAKE_TIMEOUT_SECONDS = 60
READY = b'{"type":"ready"'


async def open_all(
    bench: Bench,
    sockets: Sequence[Socket],
    tokens: Sequence[str],
    max_concurrent: int = MAX_CONCURRENT,
    tries: int = 1,
) -> int:
    """Log in each socket with its token, at most `max_concurrent` at a time; return the number of repeated
    handshakes.

    Raises the last error if a socket is refused `tries` times.
    """
    slots = asyncio.Semaphore(max_concurrent)

    async def open_one(number: int) -> int:
        address = ADDRESSES[number % len(ADDRESSES)]
        async with slots:
            for failures in range(tries):
                try:
                    await log_in(bench.host, bench.port, sockets[number], tokens[number], address)
                except (ConnectionError, TimeoutError):
                    if failures + 1 == tries:
                        raise
                    await asyncio.sleep(RETRY_SECONDS)
                else:
                    return failures
        raise AssertionError("tries must be at least 1")

    return sum(await asyncio.gather(*map(open_one, range(len(sockets)))))


async def log_in(host: str, port: int, socket: Socket, token: str, address: str) -> None:
    """Open a socket with its token in the handshake, and wait for `ready`. Raises ConnectionError,
    TimeoutError."""
    ready: asyncio.Future[None] = asyncio.get_running_loop().create_future()
    request = (
        f"GET /ws HTTP/1.1\r\nHost: {host}:{port}\r\n"
        "Connection: Upgrade\r\nUpgrade: websocket\r\nSec-WebSocket-Version: 13\r\n"
        f"Sec-WebSocket-Key: dGhlIHNhbXBsZSBub25jZQ==\r\nAuthorization: Bearer {token}\r\n\r\n"
    ).encode()
    await asyncio.get_running_loop().create_connection(
        lambda: _Handshake(request, ready, socket), host, port, local_addr=(address, 0)
    )
    async with asyncio.timeout(HANDSHAKE_TIMEOUT_SECONDS):
        await ready


async def listen(port: int, sockets: Sequence[Socket]) -> None:
    """Connect sockets to the bare server, which needs no handshake."""
    loop = asyncio.get_running_loop()
    for number, socket in enumerate(sockets):
        source = (ADDRESSES[number % len(ADDRESSES)], 0)
        transport, _ = await loop.create_connection(
            partial(_same, socket), "127.0.0.1", port, local_addr=source
        )
        socket.transport = transport


def _same(socket: Socket) -> Socket:
    return socket


class _Handshake(asyncio.Protocol):
    def __init__(self, request: bytes, ready: asyncio.Future[None], socket: Socket) -> None:
        self._request = request
        self._ready = ready
        self._socket = socket
        self._received = b""

    def connection_made(self, transport: asyncio.BaseTransport) -> None:
        self._transport = cast(asyncio.Transport, transport)
        self._transport.write(self._request)

    def data_received(self, data: bytes) -> None:
        self._received += data
        if READY in self._received:
            self._socket.attach(self._transport)
            if not self._ready.done():
                self._ready.set_result(None)

    def connection_lost(self, error: Exception | None) -> None:
        if not self._ready.done():
            self._ready.set_exception(
                ConnectionError(f"the handshake failed: {error} {self._received[:300]!r}")
            )


async def wait_until(
    is_done: Callable[[], bool],
    sockets: Iterable[Socket],
    timeout_seconds: float = 20.0,
    poll_seconds: float = 0.002,
) -> None:
    """Wait until `is_done()`. Raises AssertionError after the timeout, with the first error of a socket."""
    end = time.perf_counter() + timeout_seconds
    while not is_done():
        await asyncio.sleep(poll_seconds)
        if time.perf_counter() > end:
            error = next(
                (socket.error for socket in sockets if socket.error), b"no socket reports an error"
            )
            raise AssertionError(f"timed out after {timeout_seconds:g} s: {error[:300]!r}")
