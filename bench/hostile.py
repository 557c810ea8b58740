"""Sockets that do whatever they should not, for ten seconds, while two others talk; default settings.

Each of them must be told so, by an error or a closing frame, and the two others must not notice.
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
OF_EACH = 4
"""Sockets that misbehave alike at a time."""
PATIENCE = 15.0
HEARTBEAT = "2"
"""Seconds; shorter than by default, so that those who never answer are found in time."""
MOST = 500
PAIR_CHAT, LOUD_CHAT, FLOODED_CHAT, QUIET_CHAT = 1, 2, 3, 4


class Line:
    """A socket in the raw."""

    def __init__(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        self._reader = reader
        self.writer = writer
        self._said = b""

    async def told(self, *wanted: bytes) -> None:
        """Read until one of these was said."""
        async with asyncio.timeout(PATIENCE):
            while not any(each in self._said for each in wanted):
                some = await self._reader.read(65_536)
                assert some, f"closed before {wanted!r} was said: {self._said[-300:]!r}"
                self._said = self._said[-64:] + some

    async def closed(self, code: int) -> None:
        """Read up to the end, before which a closing frame with this code has to come."""
        await self.told(code.to_bytes(2, "big"))
        await self.cut()

    async def cut(self) -> None:
        """Read up to the end, whatever is said before."""
        with contextlib.suppress(ConnectionResetError):  # something that we sent was not read any more
            async with asyncio.timeout(PATIENCE):
                while await self._reader.read(65_536):
                    pass


def raw(first: int, payload: bytes, *, masked: bool = True, size: int | None = None) -> bytes:
    """A frame with this first byte; `size` is what its head says, where that is a lie."""
    mask = MASK if masked else b""
    body = bytes(byte ^ MASK[place % 4] for place, byte in enumerate(payload)) if masked else payload
    length = len(payload) if size is None else size
    head = bytes([first, (0x80 if masked else 0) | 127]) + length.to_bytes(8, "big")
    return head + mask + body


def _command(**command: Any) -> bytes:
    return frame(command)


async def _unmasked(line: Line) -> None:
    line.writer.write(raw(0x81, b"{}", masked=False))
    await line.closed(1002)


async def _oversized(line: Line) -> None:
    line.writer.write(raw(0x81, b"", size=1 << 40))
    await line.closed(1009)


async def _endless(line: Line) -> None:
    """A message in fragments, of which none is the last."""
    line.writer.write(raw(0x01, b"x" * 10_000) + raw(0x00, b"x" * 10_000) * 30)
    await line.closed(1009)


async def _not_utf8(line: Line) -> None:
    line.writer.write(raw(0x81, b"\xff\xfe"))
    await line.closed(1007)


async def _not_json(line: Line) -> None:
    line.writer.write(raw(0x81, b"[" * 10_000) + raw(0x81, b"hello") + raw(0x82, b"\0"))
    await line.told(b'"code":"invalid_input"')


async def _unknown(line: Line) -> None:
    line.writer.write(_command(type="explode", ref="r"))
    await line.told(b'"code":"unknown_command"')


async def _stranger(line: Line) -> None:
    for kind in ("send", "edit", "delete", "react", "read", "typing", "subscribe"):
        line.writer.write(
            _command(
                type=kind, ref=kind, chat_id=PAIR_CHAT, message_id=1, content="x", emoji="x", typing=True
            )
        )
    await line.told(b'"ref":"subscribe"')


async def _flood(line: Line) -> None:
    """Thousands of commands in one packet, and again, whatever is said."""
    for _ in range(4):
        line.writer.write(_command(type="send", chat_id=FLOODED_CHAT, content="x") * 1000)
    await line.told(b'"code":"too_many_commands"')
    await line.cut()


async def _shout(line: Line) -> None:
    """What is allowed and no more: large messages to those who do not read."""
    for number in range(10):
        line.writer.write(_command(type="send", ref=number, chat_id=LOUD_CHAT, content="x" * 9_000))
    await line.told(b'"ref":9')


async def _deaf(line: Line) -> None:
    """Reads a byte now and then, of what is shouted."""
    line.writer.transport.pause_reading()  # type: ignore[attr-defined]
    await asyncio.sleep(SECONDS / 2)
    line.writer.transport.resume_reading()  # type: ignore[attr-defined]


async def _silent(line: Line) -> None:
    """Never answers a ping."""
    await line.cut()


async def _inventive(line: Line) -> None:
    """Resumes from versions that never were."""
    for chats in ({QUIET_CHAT: 10**15, PAIR_CHAT: 3, 999: 1}, {QUIET_CHAT: -1}, {"x": "y"}, [1, 2]):
        line.writer.write(_command(type="resume", ref="r", chats=chats))
    await line.told(b'"type":"reset"', b'"code":')


KINDS: tuple[Callable[[Line], Awaitable[None]], ...] = (
    _unmasked,
    _oversized,
    _endless,
    _not_utf8,
    _not_json,
    _unknown,
    _stranger,
    _flood,
    _shout,
    _deaf,
    _silent,
    _inventive,
)


async def misbehave() -> list[Figure]:
    user_of = {kind: user_id for user_id, kind in enumerate(KINDS, 3)}
    loud = [user_of[_shout], user_of[_deaf]]
    async with serving(BLAZECHAT_HEARTBEAT_SECONDS=HEARTBEAT) as bench:
        async with bench.database() as connection:
            tokens = await seed.people(bench, connection, len(KINDS) + 2)
            chats = [[1, 2], loud, [user_of[_flood]], [user_of[_inventive]]]
            await seed.chats(connection, chats)
        async with steady_senders.talking(bench, PAIR_CHAT, tokens[:2]) as others:
            await asyncio.sleep(SECONDS / 2)
            calm = await others.took()
            done: Counter[str] = Counter()
            with bench.shares("misbehaving"):
                await _all(bench, tokens[2:], done)
            rough = await others.took()
    print(f"  {sum(done.values()):,} sockets were told so: {json.dumps(done)}")
    print(f"  the others sent {rough.messages} messages")
    return [
        Figure("sends of others, p99 before the hostile", 1000 * calm.p99, "ms"),
        Figure("sends of others, p99 among the hostile", 1000 * rough.p99, "ms"),
        Figure("sends of others, the worst before the hostile", 1000 * calm.worst, "ms"),
        Figure("sends of others, the worst among the hostile", 1000 * rough.worst, "ms", most=MOST),
    ]


async def _all(bench: Bench, tokens: list[str], done: Counter[str]) -> None:
    """Everybody at once, again and again. Raises AssertionError where one is not told so."""
    end = asyncio.get_running_loop().time() + SECONDS

    async def again(kind: Callable[[Line], Awaitable[None]], token: str) -> None:
        while asyncio.get_running_loop().time() < end:
            async with _line(bench, token) as line:
                await kind(line)
            done[kind.__name__.strip("_")] += 1
            await asyncio.sleep(0.02)

    async def before_login() -> None:
        while asyncio.get_running_loop().time() < end:
            async with _line(bench, None) as line:
                line.writer.write(_command(type="send", ref=1, chat_id=PAIR_CHAT, content="x"))
                await line.told(b'"code":"unauthenticated"')
            done["not logged in"] += 1
            await asyncio.sleep(0.02)

    async def half_open() -> None:
        """Connections that say nothing, or the beginning of a handshake."""
        for said in itertools.cycle((b"", b"GET /ws HTTP/1.1\r\nHost:")):
            _, writer = await asyncio.open_connection(bench.host, bench.port)
            writer.write(said)
            await asyncio.sleep(0.2)
            done["half open"] += 1
            if asyncio.get_running_loop().time() > end:
                return

    async with asyncio.TaskGroup() as group:
        for _ in range(OF_EACH):
            group.create_task(before_login())
            group.create_task(half_open())
            for kind, token in zip(KINDS, tokens, strict=True):
                group.create_task(again(kind, token))


@asynccontextmanager
async def _line(bench: Bench, token: str | None) -> AsyncIterator[Line]:
    reader, writer = await asyncio.open_connection(bench.host, bench.port)
    log_in = "" if token is None else f"Authorization: Bearer {token}\r\n"
    writer.write(
        f"GET /ws HTTP/1.1\r\nHost: {bench.host}:{bench.port}\r\nConnection: Upgrade\r\n"
        "Upgrade: websocket\r\nSec-WebSocket-Version: 13\r\n"
        f"Sec-WebSocket-Key: dGhlIHNhbXBsZSBub25jZQ==\r\n{log_in}\r\n".encode()
    )
    line = Line(reader, writer)
    try:
        await line.told(b"\r\n\r\n" if token is None else b'"type":"ready"')
        yield line
    finally:
        writer.transport.abort()
