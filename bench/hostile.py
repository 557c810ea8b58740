"""Misuse: sockets that break every rule for ten seconds while two other users send; default settings.

The server must answer each violation with an error or a close frame, and the two others must not notice.
"""

import asyncio
import contextlib
import itertools
import json
from collections import Counter
from collections.abc import AsyncIterator, Awaitable, Callable
from contextlib import asynccontextmanager
from typing import Any

from bench import seed, steady_senders
from bench.figures import Figure
from bench.server import Bench, serving
from bench.socket_client import MASK, frame

SECONDS = 10.0
SOCKETS_PER_KIND = 4
"""Concurrent sockets per kind of misuse."""
TIMEOUT_SECONDS = 15.0
HEARTBEAT_SECONDS = "2"
"""Shorter than the default, so that sockets that never answer are detected within the scenario."""
MAX_LATENCY_MS = 500
PAIR_CHAT, LARGE_MESSAGES_CHAT, FLOODED_CHAT, QUIET_CHAT = 1, 2, 3, 4


class RawSocket:
    """A WebSocket connection on which any bytes can be sent."""

    def __init__(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        self._reader = reader
        self.writer = writer
        self._received = b""

    async def read_until(self, *wanted: bytes) -> None:
        """Read until one of these was received. Raises AssertionError if the connection ends before."""
        async with asyncio.timeout(TIMEOUT_SECONDS):
            while not any(each in self._received for each in wanted):
                data = await self._reader.read(65_536)
                assert data, f"closed before {wanted!r} was received: {self._received[-300:]!r}"
                self._received = self._received[-64:] + data

    async def read_close(self, code: int) -> None:
        """Read to the end of the connection, before which a close frame with this code must arrive."""
        await self.read_until(code.to_bytes(2, "big"))
        await self.read_to_end()

    async def read_to_end(self) -> None:
        """Read to the end of the connection."""
        with contextlib.suppress(ConnectionResetError):  # the server did not read everything that was sent
            async with asyncio.timeout(TIMEOUT_SECONDS):
                while await self._reader.read(65_536):
                    pass


def raw_frame(first: int, payload: bytes, *, masked: bool = True, size: int | None = None) -> bytes:
    """Return a frame with this first byte. `size` is the length in its head, if that shall be wrong."""
    mask = MASK if masked else b""
    body = bytes(byte ^ MASK[index % 4] for index, byte in enumerate(payload)) if masked else payload
    length = len(payload) if size is None else size
    head = bytes([first, (0x80 if masked else 0) | 127]) + length.to_bytes(8, "big")
    return head + mask + body


def _command(**command: Any) -> bytes:
    return frame(command)


async def _send_unmasked(socket: RawSocket) -> None:
    socket.writer.write(raw_frame(0x81, b"{}", masked=False))
    await socket.read_close(1002)


async def _send_oversized(socket: RawSocket) -> None:
    socket.writer.write(raw_frame(0x81, b"", size=1 << 40))
    await socket.read_close(1009)


async def _send_endless_fragments(socket: RawSocket) -> None:
    """Send a message in fragments without a last one."""
    socket.writer.write(raw_frame(0x01, b"x" * 10_000) + raw_frame(0x00, b"x" * 10_000) * 30)
    await socket.read_close(1009)


async def _send_invalid_utf8(socket: RawSocket) -> None:
    socket.writer.write(raw_frame(0x81, b"\xff\xfe"))
    await socket.read_close(1007)


async def _send_invalid_json(socket: RawSocket) -> None:
    socket.writer.write(raw_frame(0x81, b"[" * 10_000) + raw_frame(0x81, b"hello") + raw_frame(0x82, b"\0"))
    await socket.read_until(b'"code":"invalid_input"')


async def _send_unknown_command(socket: RawSocket) -> None:
    socket.writer.write(_command(type="explode", ref="r"))
    await socket.read_until(b'"code":"unknown_command"')


async def _use_foreign_chat(socket: RawSocket) -> None:
    """Send commands for a chat in which the user is not a member."""
    for kind in ("send", "edit", "delete", "react", "read", "typing", "subscribe"):
        socket.writer.write(
            _command(
                type=kind, ref=kind, chat_id=PAIR_CHAT, message_id=1, content="x", emoji="x", typing=True
            )
        )
    await socket.read_until(b'"ref":"subscribe"')


async def _flood(socket: RawSocket) -> None:
    """Send thousands of commands in one write, again and again, without reading."""
    for _ in range(4):
        socket.writer.write(_command(type="send", chat_id=FLOODED_CHAT, content="x") * 1000)
    await socket.read_until(b'"code":"too_many_commands"')
    await socket.read_to_end()


async def _send_large_messages(socket: RawSocket) -> None:
    """Send permitted, large messages to sockets that do not read."""
    for number in range(10):
        socket.writer.write(
            _command(type="send", ref=number, chat_id=LARGE_MESSAGES_CHAT, content="x" * 9_000)
        )
    await socket.read_until(b'"ref":9')


async def _read_slowly(socket: RawSocket) -> None:
    """Stop reading for a while, so that the large messages fill the outbox."""
    socket.writer.transport.pause_reading()  # type: ignore[attr-defined]
    await asyncio.sleep(SECONDS / 2)
    socket.writer.transport.resume_reading()  # type: ignore[attr-defined]


async def _ignore_pings(socket: RawSocket) -> None:
    """Never answer a ping."""
    await socket.read_to_end()


async def _resume_from_invented_versions(socket: RawSocket) -> None:
    """Resume from versions that do not exist."""
    for chats in ({QUIET_CHAT: 10**15, PAIR_CHAT: 3, 999: 1}, {QUIET_CHAT: -1}, {"x": "y"}, [1, 2]):
        socket.writer.write(_command(type="resume", ref="r", chats=chats))
    await socket.read_until(b'"type":"reset"', b'"code":')


KINDS: tuple[Callable[[RawSocket], Awaitable[None]], ...] = (
    _send_unmasked,
    _send_oversized,
    _send_endless_fragments,
    _send_invalid_utf8,
    _send_invalid_json,
    _send_unknown_command,
    _use_foreign_chat,
    _flood,
    _send_large_messages,
    _read_slowly,
    _ignore_pings,
    _resume_from_invented_versions,
)


async def misbehave() -> list[Figure]:
    """Measure the sends of two other users before and during the misuse."""
    user_of = {kind: user_id for user_id, kind in enumerate(KINDS, 3)}
    large_message_members = [user_of[_send_large_messages], user_of[_read_slowly]]
    async with serving(BLAZECHAT_HEARTBEAT_SECONDS=HEARTBEAT_SECONDS) as bench:
        async with bench.database() as connection:
            tokens = await seed.people(bench, connection, len(KINDS) + 2)
            chats = [
                [1, 2],
                large_message_members,
                [user_of[_flood]],
                [user_of[_resume_from_invented_versions]],
            ]
            await seed.chats(connection, chats)
        async with steady_senders.sending(bench, PAIR_CHAT, tokens[:2]) as others:
            await asyncio.sleep(SECONDS / 2)
            before = await others.latencies()
            done: Counter[str] = Counter()
            with bench.shares("misuse"):
                await _run_all(bench, tokens[2:], done)
            during = await others.latencies()
    print(f"  {sum(done.values()):,} sockets were answered: {json.dumps(done)}")
    print(f"  the two others sent {during.messages} messages")
    return [
        Figure("sends of others, p99 before the misuse", 1000 * before.p99, "ms"),
        Figure("sends of others, p99 during the misuse", 1000 * during.p99, "ms"),
        Figure("sends of others, slowest before the misuse", 1000 * before.slowest, "ms"),
        Figure(
            "sends of others, slowest during the misuse",
            1000 * during.slowest,
            "ms",
            maximum=MAX_LATENCY_MS,
        ),
    ]


async def _run_all(bench: Bench, tokens: list[str], done: Counter[str]) -> None:
    """Run all kinds concurrently, again and again. Raises AssertionError if one gets no answer."""
    end = asyncio.get_running_loop().time() + SECONDS

    async def repeat(kind: Callable[[RawSocket], Awaitable[None]], token: str) -> None:
        while asyncio.get_running_loop().time() < end:
            async with _open(bench, token) as socket:
                await kind(socket)
            done[kind.__name__.strip("_")] += 1
            await asyncio.sleep(0.02)

    async def before_login() -> None:
        while asyncio.get_running_loop().time() < end:
            async with _open(bench, None) as socket:
                socket.writer.write(_command(type="send", ref=1, chat_id=PAIR_CHAT, content="x"))
                await socket.read_until(b'"code":"unauthenticated"')
            done["not logged in"] += 1
            await asyncio.sleep(0.02)

    async def half_open() -> None:
        """Open connections that send nothing, or the beginning of a handshake."""
        for data in itertools.cycle((b"", b"GET /ws HTTP/1.1\r\nHost:")):
            _, writer = await asyncio.open_connection(bench.host, bench.port)
            writer.write(data)
            await asyncio.sleep(0.2)
            done["half open"] += 1
            if asyncio.get_running_loop().time() > end:
                return

    async with asyncio.TaskGroup() as group:
        for _ in range(SOCKETS_PER_KIND):
            group.create_task(before_login())
            group.create_task(half_open())
            for kind, token in zip(KINDS, tokens, strict=True):
                group.create_task(repeat(kind, token))


@asynccontextmanager
async def _open(bench: Bench, token: str | None) -> AsyncIterator[RawSocket]:
    """Open a socket that is logged in with `token`, or not logged in."""
    reader, writer = await asyncio.open_connection(bench.host, bench.port)
    log_in = "" if token is None else f"Authorization: Bearer {token}\r\n"
    writer.write(
        f"GET /ws HTTP/1.1\r\nHost: {bench.host}:{bench.port}\r\nConnection: Upgrade\r\n"
        "Upgrade: websocket\r\nSec-WebSocket-Version: 13\r\n"
        f"Sec-WebSocket-Key: dGhlIHNhbXBsZSBub25jZQ==\r\n{log_in}\r\n".encode()
    )
    socket = RawSocket(reader, writer)
    try:
        await socket.read_until(b"\r\n\r\n" if token is None else b'"type":"ready"')
        yield socket
    finally:
        writer.transport.abort()
