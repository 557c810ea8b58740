"""Many sockets at once: opened, and waited for."""

import asyncio
import sys
import time
from collections.abc import Callable, Iterable, Sequence
from functools import partial
from typing import cast

from bench.server import Bench
from bench.socket_client import Socket

ADDRESSES = [f"127.0.0.{number}" for number in range(2, 10)] if sys.platform == "linux" else ["127.0.0.1"]
"""Where connections come from. Each address has its own ports, and those of closed ones rest a minute."""
AT_ONCE = 64
PAUSE = 1.0
"""Seconds after which somebody who was not let in comes again."""
READY = b'{"type":"ready"'


async def open_all(
    bench: Bench, sockets: Sequence[Socket], tokens: Sequence[str], at_once: int = AT_ONCE, tries: int = 1
) -> int:
    """Log every socket in with its token, so many at a time; gives how many more tries that took."""
    places = asyncio.Semaphore(at_once)

    async def open_one(number: int) -> int:
        address = ADDRESSES[number % len(ADDRESSES)]
        async with places:
            for failed in range(tries):
                try:
                    await log_in(bench.host, bench.port, sockets[number], tokens[number], address)
                except (ConnectionError, TimeoutError):
                    if failed + 1 == tries:
                        raise
                    await asyncio.sleep(PAUSE)
                else:
                    return failed
        raise AssertionError("it was tried not even once")

    return sum(await asyncio.gather(*map(open_one, range(len(sockets)))))


async def log_in(host: str, port: int, socket: Socket, token: str, address: str) -> None:
    """Open a socket, with its token in the handshake, and wait until it is told to be ready."""
    ready: asyncio.Future[None] = asyncio.get_running_loop().create_future()
    request = (
        f"GET /ws HTTP/1.1\r\nHost: {host}:{port}\r\n"
        "Connection: Upgrade\r\nUpgrade: websocket\r\nSec-WebSocket-Version: 13\r\n"
        f"Sec-WebSocket-Key: dGhlIHNhbXBsZSBub25jZQ==\r\nAuthorization: Bearer {token}\r\n\r\n"
    ).encode()
    await asyncio.get_running_loop().create_connection(
        lambda: _Handshake(request, ready, socket), host, port, local_addr=(address, 0)
    )
    async with asyncio.timeout(60):
        await ready


async def listen(port: int, sockets: Sequence[Socket]) -> None:
    """Connect sockets to a port where nobody asks who comes."""
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
        self._said = b""

    def connection_made(self, transport: asyncio.BaseTransport) -> None:
        self._transport = cast(asyncio.Transport, transport)
        self._transport.write(self._request)

    def data_received(self, data: bytes) -> None:
        self._said += data
        if READY in self._said:
            self._socket.begin(self._transport)
            if not self._ready.done():
                self._ready.set_result(None)

    def connection_lost(self, error: Exception | None) -> None:
        if not self._ready.done():
            self._ready.set_exception(ConnectionError(f"not let in: {error} {self._said[:300]!r}"))


async def until(
    done: Callable[[], bool], sockets: Iterable[Socket], seconds: float = 20.0, pause: float = 0.002
) -> None:
    """Wait until `done()`. Raises AssertionError if a socket is in trouble or the time is up."""
    end = time.perf_counter() + seconds
    while not done():
        await asyncio.sleep(pause)
        if time.perf_counter() > end:
            trouble = next((socket.trouble for socket in sockets if socket.trouble), b"silence")
            raise AssertionError(f"what was waited for did not come: {trouble[:300]!r}")
