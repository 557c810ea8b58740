"""A WebSocket client that writes arbitrary bytes, for handshakes and frames that no library would send."""

import asyncio
import contextlib
import json
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from dataclasses import dataclass
from typing import Any

from websockets.frames import Frame, Opcode

from blazechat.realtime import frames
from tests.harness import TIMEOUT_SECONDS, Live, Person

Streams = tuple[asyncio.StreamReader, asyncio.StreamWriter]


def masked(opcode: int, payload: bytes, *, fin: bool = True) -> bytes:
    """Encode a client's frame with the `websockets` package."""
    return Frame(Opcode(opcode), payload, fin).serialize(mask=True)


def handshake(person: Person | None, path: str = "/ws") -> bytes:
    """Return an opening handshake, with the person's access token if there is one."""
    head = f"GET {path} HTTP/1.1\r\nHost: x\r\nConnection: Upgrade\r\nUpgrade: websocket\r\n"
    head += f"Sec-WebSocket-Version: 13\r\nSec-WebSocket-Key: {'A' * 22}==\r\n"
    if person is not None:
        head += f"Authorization: Bearer {person.token}\r\n"
    return head.encode() + b"\r\n"


@asynccontextmanager
async def connected(live: Live, *, limit: int = 2**20) -> AsyncIterator[Streams]:
    """Open a TCP connection to the server. The reader buffers up to twice `limit` bytes."""
    host, port = live.url.removeprefix("http://").split(":")
    reader, writer = await asyncio.open_connection(host, int(port), limit=limit)
    try:
        yield reader, writer
    finally:
        writer.close()
        with contextlib.suppress(ConnectionError):
            await writer.wait_closed()


@dataclass
class RawClient:
    """An open socket. `writer` accepts any bytes."""

    reader: asyncio.StreamReader
    writer: asyncio.StreamWriter

    async def frame(self) -> tuple[int, bytes]:
        """Read a frame; return its opcode and payload."""
        first, size = await self.reader.readexactly(2)
        if size == 126:
            size = int.from_bytes(await self.reader.readexactly(2), "big")
        return first & 0x0F, await self.reader.readexactly(size)

    async def close_code(self) -> int:
        """Read up to a close frame; return its code."""
        async with asyncio.timeout(TIMEOUT_SECONDS):
            while True:
                opcode, payload = await self.frame()
                if opcode == frames.CLOSE:
                    return int.from_bytes(payload[:2], "big")

    async def next(self) -> dict[str, Any]:
        """Read a text frame; return the JSON in it."""
        async with asyncio.timeout(TIMEOUT_SECONDS):
            opcode, payload = await self.frame()
        assert opcode == frames.TEXT
        found: dict[str, Any] = json.loads(payload)
        return found

    def send(self, frame: dict[str, Any]) -> None:
        self.writer.write(masked(frames.TEXT, json.dumps(frame).encode()))


@asynccontextmanager
async def raw_socket(
    live: Live, person: Person | None, path: str = "/ws", tail: bytes = b""
) -> AsyncIterator[RawClient]:
    """Open a socket. `tail` is sent in the same write as the handshake, whose response is then not read."""
    async with connected(live) as (reader, writer):
        writer.write(handshake(person, path) + tail)
        if not tail:
            assert b" 101 " in (await reader.readuntil(b"\r\n\r\n"))
        yield RawClient(reader, writer)
