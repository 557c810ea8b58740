"""A client that violates the protocol receives a close frame with the reason, even if it sends on."""

import asyncio

import pytest

from blazechat.realtime import socket
from tests.harness import Live
from tests.realtime.raw_client import raw_socket

UNMASKED = b"\x81\x02{}"


async def _send_without_end(writer: asyncio.StreamWriter) -> None:
    while True:
        writer.write(b"x" * 50_000)
        await writer.drain()


async def test_close_frame_arrives_though_the_client_goes_on_sending(live: Live) -> None:
    """A connection that is closed with unread data is reset, and the close frame is lost with it."""
    alice = await live.person()
    async with raw_socket(live, alice) as client, asyncio.timeout(5):
        assert (await client.next())["type"] == "ready"
        client.writer.write(UNMASKED)
        for _ in range(socket.MAX_DRAINED_BYTES // 50_000 - 5):
            client.writer.write(b"x" * 50_000)
            await client.writer.drain()
        header = await client.reader.readexactly(4)
        assert (header[0], int.from_bytes(header[2:], "big")) == (0x88, 1002)


async def test_client_that_does_not_stop_sending_is_disconnected(live: Live) -> None:
    """The server discards a bounded number of bytes after a protocol error."""
    alice = await live.person()
    async with raw_socket(live, alice) as client, asyncio.timeout(5):
        assert (await client.next())["type"] == "ready"
        client.writer.write(UNMASKED)
        with pytest.raises(ConnectionError):
            await _send_without_end(client.writer)
    assert (await alice.get("/api/users/me")).status_code == 200
