"""Who breaks the protocol is told why, even if they go on talking."""

import asyncio
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager

import pytest

from blazechat.realtime import socket
from tests.harness import Live, Person

REQUEST = (
    "GET /ws HTTP/1.1\r\nHost: localhost\r\nUpgrade: websocket\r\nConnection: Upgrade\r\n"
    "Sec-WebSocket-Version: 13\r\nSec-WebSocket-Key: dGhlIHNhbXBsZSBub25jZQ==\r\n"
    "Authorization: Bearer {}\r\n\r\n"
)
UNMASKED = b"\x81\x02{}"


@asynccontextmanager
async def _raw(person: Person) -> AsyncIterator[tuple[asyncio.StreamReader, asyncio.StreamWriter]]:
    """A socket of `/ws` on which anything can be written."""
    host, port = person.live.url.removeprefix("http://").split(":")
    reader, writer = await asyncio.open_connection(host, int(port))
    writer.write(REQUEST.format(person.token).encode())
    async with asyncio.timeout(5):
        await reader.readuntil(b'"ready"')
        await reader.readuntil(b"}}")
    try:
        yield reader, writer
    finally:
        writer.transport.abort()


async def _talk_on(writer: asyncio.StreamWriter) -> None:
    while True:
        writer.write(b"x" * 50_000)
        await writer.drain()


async def test_the_reason_arrives_though_more_is_coming(live: Live) -> None:
    """A connection that is ended with something unread is reset, and takes the reason with it."""
    alice = await live.person()
    async with _raw(alice) as (reader, writer), asyncio.timeout(5):
        writer.write(UNMASKED)
        for _ in range(socket.MAX_DRAINED_BYTES // 50_000 - 5):
            writer.write(b"x" * 50_000)
            await writer.drain()
        opening = await reader.readexactly(4)
        assert (opening[0], int.from_bytes(opening[2:], "big")) == (0x88, 1002)


async def test_who_does_not_stop_is_cut_off(live: Live) -> None:
    alice = await live.person()
    async with _raw(alice) as (_, writer), asyncio.timeout(5):
        writer.write(UNMASKED)
        with pytest.raises(ConnectionError):
            await _talk_on(writer)
    assert (await alice.get("/api/users/me")).status_code == 200
