"""Handshakes that arrive in pieces, come with frames, or are interrupted by the client or by a shutdown.

docs/decisions/0009-uvicorn-internals.md lists the internals of uvicorn that these tests depend on.
"""

import asyncio
import contextlib
import logging
import socket
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager

import asyncpg
import pytest

from blazechat.realtime import frames
from blazechat.realtime.socket_protocol import SocketProtocol
from tests.conftest import NewServer
from tests.harness import TIMEOUT_SECONDS, Live, eventually
from tests.realtime.raw_client import connected, handshake, masked, raw_socket


@pytest.mark.parametrize("last", [1, 2, 3, 4])
async def test_handshake_may_arrive_in_two_pieces(live: Live, last: int) -> None:
    """The second piece has the `last` bytes of the handshake."""
    alice = await live.person()
    async with connected(live) as (reader, writer):
        head = handshake(alice)
        for piece in (head[:-last], head[-last:]):
            writer.write(piece)
            await asyncio.sleep(0.05)
        async with asyncio.timeout(TIMEOUT_SECONDS):
            assert b" 101 " in await reader.readuntil(b"\r\n\r\n")


async def test_connection_without_a_complete_request_is_closed(
    live: Live, monkeypatch: pytest.MonkeyPatch
) -> None:
    """The timeout of the first request ends it."""
    monkeypatch.setattr("blazechat.realtime.acceptor.FIRST_REQUEST_SECONDS", 0.2)
    async with connected(live) as (reader, writer):
        writer.write(b"GET / HTTP/1.1\r\n")
        async with asyncio.timeout(TIMEOUT_SECONDS):
            assert await reader.read() == b""


async def test_frames_in_the_packet_of_the_handshake_end_it(live: Live) -> None:
    """A client must not send frames before it has the server's response (RFC 6455 section 4.1)."""
    alice = await live.person()
    tail = masked(frames.TEXT, b'{"type":"ping","ref":1}')
    async with raw_socket(live, alice, tail=tail) as client, asyncio.timeout(TIMEOUT_SECONDS):
        with contextlib.suppress(ConnectionError):
            assert b'"ref":1' not in await client.reader.read()
    hub = live.app.state.gateway.hub
    await eventually(lambda: not hub.connections_of(alice.id))


@asynccontextmanager
async def _sessions_locked(live: Live) -> AsyncIterator[None]:
    """Keep handshakes unfinished until the end of the block: they wait for the table of sessions."""
    connection = await asyncpg.connect(live.app.state.settings.database_url)
    try:
        async with connection.transaction():
            await connection.execute("LOCK TABLE sessions IN ACCESS EXCLUSIVE MODE")
            yield
    finally:
        await connection.close()


async def _unfinished_handshake(live: Live) -> SocketProtocol:
    """Wait until the server has an unfinished handshake, and return its protocol."""

    def find() -> list[SocketProtocol]:
        return [each for each in live.server.server_state.connections if isinstance(each, SocketProtocol)]

    (protocol,) = await eventually(find)
    assert isinstance(protocol, SocketProtocol)
    return protocol


@pytest.mark.parametrize("size", [None, 1])
async def test_frames_during_the_handshake_end_it(live: Live, size: int | None) -> None:
    """A whole frame waits in uvicorn's queue, and a part of a frame in the buffer of `websockets`."""
    alice = await live.person()
    async with connected(live) as (reader, writer):
        async with _sessions_locked(live):
            writer.write(handshake(alice))
            protocol = await _unfinished_handshake(live)
            queued = protocol.queue.qsize()
            writer.write(masked(frames.TEXT, b'{"type":"ping","ref":1}')[:size])
            await eventually(lambda: protocol.queue.qsize() > queued or protocol.conn.reader.buffer)
        async with asyncio.timeout(TIMEOUT_SECONDS):
            with contextlib.suppress(ConnectionError):
                assert b'"ready"' not in await reader.read()
    hub = live.app.state.gateway.hub
    await eventually(lambda: not hub.connections_of(alice.id))


async def test_client_that_leaves_during_the_handshake_is_no_error(
    live: Live, caplog: pytest.LogCaptureFixture
) -> None:
    """It did not read the response to an earlier request. So its transport is closing, but not closed."""
    alice = await live.person()
    hub, before = live.app.state.gateway.hub, set(live.server.server_state.connections)
    async with connected(live, limit=1024) as (_, writer):
        writer.transport.get_extra_info("socket").setsockopt(socket.SOL_SOCKET, socket.SO_RCVBUF, 4096)
        (http,) = await eventually(lambda: live.server.server_state.connections - before)
        transport = http.transport
        while not transport.get_write_buffer_size():
            writer.write(b"GET /openapi.json HTTP/1.1\r\nHost: x\r\n\r\n")
            await asyncio.sleep(0.01)
        async with _sessions_locked(live):
            writer.write(handshake(alice))
            await _unfinished_handshake(live)
            writer.write_eof()
            await eventually(transport.is_closing)
            assert hub.connections_of(alice.id)
        await eventually(lambda: not hub.connections_of(alice.id))
        await eventually(lambda: not live.server.server_state.tasks)
        assert not [record for record in caplog.records if record.levelno >= logging.ERROR]
        writer.transport.abort()


async def test_shutdown_disconnects_unfinished_handshakes(new_server: NewServer) -> None:
    """They get no response. uvicorn alone would send the status 500."""
    live = await new_server()
    alice = await live.person()
    async with connected(live) as (reader, writer), _sessions_locked(live):
        writer.write(handshake(alice))
        await _unfinished_handshake(live)
        live.server.should_exit = True
        async with asyncio.timeout(TIMEOUT_SECONDS):
            with contextlib.suppress(ConnectionError):
                assert await reader.read() == b""
