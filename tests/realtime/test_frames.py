"""WebSocket frames: ours against those of the `websockets` package, and what has to be refused."""

import asyncio
import contextlib
import json
import os
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from dataclasses import dataclass
from typing import Any

import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st
from websockets.frames import Close as TheirClose
from websockets.frames import Frame, Opcode

from blazechat.realtime import frames
from blazechat.realtime.connection import Close
from blazechat.realtime.frames import FrameReader
from tests.conftest import NewServer
from tests.harness import PATIENCE, Live, Person, eventually

LIMIT = 70_000


def _masked(opcode: int, payload: bytes, *, fin: bool = True) -> bytes:
    """As the `websockets` package writes it for a client."""
    return Frame(Opcode(opcode), payload, fin).serialize(mask=True)


SIZES = st.one_of(st.integers(0, 300), st.sampled_from([125, 126, 127, 65_535, 65_536, 70_000]))
MESSAGES = st.lists(
    st.tuples(st.sampled_from([frames.TEXT, frames.BINARY, frames.PING, frames.PONG]), SIZES), max_size=8
)


@settings(deadline=None, suppress_health_check=[HealthCheck.too_slow])  # on a busy machine it is
@given(messages=MESSAGES, data=st.data())
def test_whatever_a_client_writes_is_read_in_whatever_pieces_it_comes(
    messages: list[tuple[int, int]], data: st.DataObject
) -> None:
    """Frames of the `websockets` package, some in fragments with pings between, cut at any place."""
    sent: list[tuple[int, bytes]] = []
    stream = b""
    for opcode, size in messages:
        payload = os.urandom(min(size, 125) if opcode >= frames.CLOSE else size)
        pieces = data.draw(st.integers(1, 4)) if opcode < frames.CLOSE else 1
        for piece in range(pieces):
            part = payload[len(payload) * piece // pieces : len(payload) * (piece + 1) // pieces]
            kind = opcode if piece == 0 else frames.CONTINUATION
            stream += _masked(kind, part, fin=piece == pieces - 1)
            if piece < pieces - 1 and data.draw(st.booleans()):
                stream += _masked(frames.PING, b"between")
                sent.append((frames.PING, b"between"))
        sent.append((opcode, payload))
    reader, received = FrameReader(LIMIT), []
    at = 0
    while at < len(stream):
        size = data.draw(st.sampled_from([1, 2, 5, 100, 1000, 200_000]))
        received += reader.feed(stream[at : at + size])
        at += size
    assert received == sent


@given(opcode=st.sampled_from([frames.TEXT, frames.BINARY, frames.PING]), size=SIZES)
def test_what_is_written_is_what_the_standard_says(opcode: int, size: int) -> None:
    """The same bytes as the `websockets` package writes, and the way back."""
    payload = os.urandom(min(size, 125) if opcode == frames.PING else size)
    whole = frames.frame(opcode, payload)
    assert whole == Frame(Opcode(opcode), payload).serialize(mask=False)
    assert frames.payload_of(whole) == payload


def test_reasons_of_closing_are_cut_to_what_fits() -> None:
    """A control frame has at most 125 bytes."""
    whole = frames.close(1013, "ä" * 100)
    assert len(whole) <= 127
    assert TheirClose.parse(frames.payload_of(frames.close(4401, "so"))) == TheirClose(4401, "so")


def _bits(first: int, second: int, rest: bytes = b"") -> bytes:
    return bytes((first, second)) + rest


BAD: dict[str, tuple[bytes, int]] = {
    "not masked": (Frame(Opcode.TEXT, b"hello").serialize(mask=False), 1002),
    "not masked, of which only the head is there": (bytes([0x81, 127]), 1002),
    "reserved bit": (_bits(0xC1, 0x80, b"\0" * 4), 1002),
    "unknown data opcode": (_bits(0x83, 0x80, b"\0" * 4), 1002),
    "unknown control opcode": (_bits(0x8B, 0x80, b"\0" * 4), 1002),
    "long ping": (_bits(0x89, 0xFE, b"\0\x7e\0\0\0\0") + b"\0" * 126, 1002),
    "ping in fragments": (_bits(0x09, 0x80, b"\0" * 4), 1002),
    "continuation of nothing": (_masked(frames.CONTINUATION, b"x"), 1002),
    "new message in the middle of one": (
        _masked(frames.TEXT, b"x", fin=False) + _masked(frames.TEXT, b"x"),
        1002,
    ),
    "too large": (_masked(frames.TEXT, b"x" * 300_000), 1009),
    "too large by its header": (_bits(0x81, 0xFF, (2**62).to_bytes(8, "big") + b"\0" * 4), 1009),
    "too large in fragments": (
        _masked(frames.TEXT, b"x", fin=False)
        + _masked(frames.CONTINUATION, b"x" * 200_000, fin=False)
        + _masked(frames.CONTINUATION, b"x" * 200_000, fin=False),
        1009,
    ),
    "too many fragments": (
        _masked(frames.TEXT, b"", fin=False) + _masked(frames.CONTINUATION, b"", fin=False) * 1001,
        1009,
    ),
    "not UTF-8": (_masked(frames.TEXT, b"\xff\xfe"), 1007),
    "half a status": (_masked(frames.CLOSE, b"\x03"), 1002),
    "no such status": (_masked(frames.CLOSE, (1005).to_bytes(2, "big")), 1002),
    "reason not UTF-8": (_masked(frames.CLOSE, b"\x03\xe8\xff"), 1007),
}
PATIENT = "not UTF-8"
"""One that does not hang up when it is told to, and is cut off after a while."""


@dataclass
class Raw:
    """A client that writes what it likes."""

    reader: asyncio.StreamReader
    writer: asyncio.StreamWriter

    async def frame(self) -> tuple[int, bytes]:
        """The next frame: its opcode and payload."""
        first, size = await self.reader.readexactly(2)
        if size == 126:
            size = int.from_bytes(await self.reader.readexactly(2), "big")
        return first & 0x0F, await self.reader.readexactly(size)

    async def close_code(self) -> int:
        async with asyncio.timeout(PATIENCE):
            while True:
                opcode, payload = await self.frame()
                if opcode == frames.CLOSE:
                    return int.from_bytes(payload[:2], "big")

    async def next(self) -> dict[str, Any]:
        async with asyncio.timeout(PATIENCE):
            opcode, payload = await self.frame()
        assert opcode == frames.TEXT
        found: dict[str, Any] = json.loads(payload)
        return found

    def send(self, frame: dict[str, Any]) -> None:
        self.writer.write(_masked(frames.TEXT, json.dumps(frame).encode()))


def handshake(person: Person | None, path: str = "/ws") -> bytes:
    head = f"GET {path} HTTP/1.1\r\nHost: x\r\nConnection: Upgrade\r\nUpgrade: websocket\r\n"
    head += f"Sec-WebSocket-Version: 13\r\nSec-WebSocket-Key: {'A' * 22}==\r\n"
    if person is not None:
        head += f"Authorization: Bearer {person.token}\r\n"
    return head.encode() + b"\r\n"


@asynccontextmanager
async def raw(
    live: Live, person: Person | None, path: str = "/ws", tail: bytes = b""
) -> AsyncIterator[Raw]:
    """An open socket; `tail` is sent along with the handshake."""
    host, port = live.url.removeprefix("http://").split(":")
    reader, writer = await asyncio.open_connection(host, int(port), limit=2**20)
    writer.write(handshake(person, path) + tail)
    try:
        if not tail:
            assert b" 101 " in (await reader.readuntil(b"\r\n\r\n"))
        yield Raw(reader, writer)
    finally:
        writer.close()
        with contextlib.suppress(ConnectionError):
            await writer.wait_closed()


@pytest.mark.parametrize("name", BAD)
async def test_frames_against_the_standard_are_closed(live: Live, name: str) -> None:
    """With the code that RFC 6455 has for it; nobody else notices."""
    alice, bob = await live.people("alice", "bob")
    stream, code = BAD[name]
    async with bob.online() as other, raw(live, alice) as socket:
        assert (await socket.next())["type"] == "ready"
        socket.writer.write(stream)
        assert await socket.close_code() == code
        if name != PATIENT:
            socket.writer.write_eof()
        with contextlib.suppress(ConnectionError):
            assert await socket.reader.read() == b""
        assert (await other.ask("ping"))["type"] == "ack"
    hub = live.app.state.gateway.hub
    await eventually(lambda: not hub.connections_of(alice.id))


async def test_pings_are_answered_and_a_close_is_returned(live: Live) -> None:
    """A pong with the same payload; the closing frame with the same code; then the connection ends."""
    alice = await live.person()
    async with raw(live, alice) as socket:
        await socket.next()
        socket.writer.write(_masked(frames.PING, b"are you there"))
        assert await socket.frame() == (frames.PONG, b"are you there")
        socket.writer.write(_masked(frames.CLOSE, b"\x03\xe8bye"))
        assert await socket.frame() == (frames.CLOSE, b"\x03\xe8")
        assert await socket.reader.read() == b""


async def test_a_message_in_fragments_is_one(live: Live) -> None:
    """Cut inside of a character, with a ping in between."""
    alice = await live.person()
    chat_id = await alice.group()
    whole = json.dumps(
        {"type": "send", "ref": 1, "chat_id": chat_id, "content": "Grüße"}, ensure_ascii=False
    ).encode()
    cut = whole.index("ü".encode()) + 1
    async with raw(live, alice) as socket:
        await socket.next()
        socket.writer.write(_masked(frames.TEXT, whole[:cut], fin=False))
        socket.writer.write(_masked(frames.PING, b"x"))
        socket.writer.write(_masked(frames.CONTINUATION, whole[cut:]))
        assert (await socket.frame())[0] == frames.PONG
        while (await socket.next()).get("ref") != 1:
            pass
    assert (await alice.history(chat_id))[0]["content"] == "Grüße"


async def test_frames_before_the_handshake_is_answered_end_it(live: Live) -> None:
    """A client cannot know yet that it is let in (RFC 6455 section 4.1)."""
    alice = await live.person()
    tail = _masked(frames.TEXT, b'{"type":"ping","ref":1}')
    async with raw(live, alice, tail=tail) as socket, asyncio.timeout(PATIENCE):
        with contextlib.suppress(ConnectionError):
            assert b'"ref":1' not in await socket.reader.read()
    hub = live.app.state.gateway.hub
    await eventually(lambda: not hub.connections_of(alice.id))


@pytest.mark.parametrize("last", [1, 2, 3, 4])
async def test_handshake_may_come_in_pieces(live: Live, last: int) -> None:
    """However much of its end comes alone."""
    alice = await live.person()
    host, port = live.url.removeprefix("http://").split(":")
    reader, writer = await asyncio.open_connection(host, int(port))
    head = handshake(alice)
    for piece in (head[:-last], head[-last:]):
        writer.write(piece)
        await asyncio.sleep(0.05)
    async with asyncio.timeout(PATIENCE):
        assert b" 101 " in await reader.readuntil(b"\r\n\r\n")
    writer.close()


async def test_one_byte_at_a_time_is_read_in_the_end(live: Live) -> None:
    """A slow writer holds up nobody, and its command is carried out when it is whole."""
    alice, bob = await live.people("alice", "bob")
    async with bob.online() as other, raw(live, alice) as socket:
        await socket.next()
        for byte in _masked(frames.TEXT, b'{"type":"ping","ref":7}'):
            socket.writer.write(bytes((byte,)))
            await socket.writer.drain()
            await asyncio.sleep(0.002)
            assert (await other.ask("ping"))["type"] == "ack"
        assert (await socket.next())["ref"] == 7


async def test_half_open_connections_are_found_out(new_server: NewServer) -> None:
    """Whoever has gone without a word is dropped by the heartbeat, and cut off in the end."""
    live = await new_server(heartbeat_seconds=1.0, presence_grace_seconds=0)
    alice = await live.person()
    async with raw(live, alice) as socket:
        await socket.next()
        socket.reader._transport.pause_reading()  # type: ignore[attr-defined]
        hub = live.app.state.gateway.hub
        assert hub.connections_of(alice.id)
        await eventually(lambda: not hub.connections_of(alice.id), 15)


async def test_connections_that_ask_for_nothing_are_closed(
    live: Live, monkeypatch: pytest.MonkeyPatch
) -> None:
    """A connection without a request does not stay for ever."""
    monkeypatch.setattr("blazechat.realtime.acceptor.FIRST_REQUEST_SECONDS", 0.2)
    host, port = live.url.removeprefix("http://").split(":")
    reader, writer = await asyncio.open_connection(host, int(port))
    writer.write(b"GET / HTTP/1.1\r\n")
    async with asyncio.timeout(PATIENCE):
        assert await reader.read() == b""
    writer.close()


async def test_a_reader_that_does_not_keep_up_is_told_to_resume(new_server: NewServer) -> None:
    """It costs a bounded outbox, and slows nobody."""
    live = await new_server(outbox_bytes=65_536)
    alice, bob, slow = await live.people("alice", "bob", "slow")
    chat_id = await alice.group(bob, slow)
    async with bob.online() as other, raw(live, slow) as stuck:
        stuck.reader._transport.pause_reading()  # type: ignore[attr-defined]
        hub = live.app.state.gateway.hub
        (connection,) = hub.connections_of(slow.id)
        for number in range(2000):
            await alice.say(chat_id, f"{number} " + "x" * 9_900)
            assert (await other.next(type="message.created"))["message"]["id"] == number + 1
            assert connection._outbox_bytes <= 65_536
            if connection.closing:
                break
        assert connection.closing
        stuck.reader._transport.resume_reading()  # type: ignore[attr-defined]
        assert await stuck.close_code() == Close.TRY_AGAIN
