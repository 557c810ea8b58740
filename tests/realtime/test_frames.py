"""WebSocket frames: compared with the `websockets` package, and over live sockets (RFC 6455)."""

import asyncio
import contextlib
import json
import os

import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st
from websockets.frames import Close as ParsedClose
from websockets.frames import Frame, Opcode

from blazechat.realtime import frames
from blazechat.realtime.connection import Close
from blazechat.realtime.frames import FrameReader
from tests.conftest import NewServer
from tests.harness import Live, eventually
from tests.realtime.raw_client import masked, raw_socket

MAX_FRAME_BYTES = 70_000
SIZES = st.one_of(st.integers(0, 300), st.sampled_from([125, 126, 127, 65_535, 65_536, 70_000]))
MESSAGES = st.lists(
    st.tuples(st.sampled_from([frames.TEXT, frames.BINARY, frames.PING, frames.PONG]), SIZES), max_size=8
)


@settings(deadline=None, suppress_health_check=[HealthCheck.too_slow])  # on a busy machine
@given(messages=MESSAGES, data=st.data())
def test_frames_are_read_wherever_the_stream_is_cut(
    messages: list[tuple[int, int]], data: st.DataObject
) -> None:
    """The `websockets` package encodes the frames; some are fragmented, with pings in between."""
    sent: list[tuple[int, bytes]] = []
    stream = b""
    for opcode, size in messages:
        payload = os.urandom(min(size, 125) if opcode >= frames.CLOSE else size)
        fragments = data.draw(st.integers(1, 4)) if opcode < frames.CLOSE else 1
        for index in range(fragments):
            part = payload[len(payload) * index // fragments : len(payload) * (index + 1) // fragments]
            kind = opcode if index == 0 else frames.CONTINUATION
            stream += masked(kind, part, fin=index == fragments - 1)
            if index < fragments - 1 and data.draw(st.booleans()):
                stream += masked(frames.PING, b"between")
                sent.append((frames.PING, b"between"))
        sent.append((opcode, payload))
    reader, received = FrameReader(MAX_FRAME_BYTES), []
    offset = 0
    while offset < len(stream):
        size = data.draw(st.sampled_from([1, 2, 5, 100, 1000, 200_000]))
        received += reader.feed(stream[offset : offset + size])
        offset += size
    assert received == sent


@given(opcode=st.sampled_from([frames.TEXT, frames.BINARY, frames.PING]), size=SIZES)
def test_frames_are_written_as_the_websockets_package_writes_them(opcode: int, size: int) -> None:
    """`split()` returns the payload of each written frame."""
    payload = os.urandom(min(size, 125) if opcode == frames.PING else size)
    whole = frames.frame(opcode, payload)
    assert whole == Frame(Opcode(opcode), payload).serialize(mask=False)
    assert frames.split(whole + whole) == [(opcode, payload)] * 2


def test_close_reasons_are_truncated() -> None:
    """A control frame has at most 125 bytes of payload (RFC 6455 section 5.5)."""
    whole = frames.close(1013, "ä" * 100)
    assert len(whole) <= 127
    assert ParsedClose.parse(frames.split(frames.close(4401, "so"))[0][1]) == ParsedClose(4401, "so")


def _frame(first: int, second: int, rest: bytes = b"") -> bytes:
    """Return a frame by its first two bytes (flags and opcode, mask bit and size) and what follows them."""
    return bytes((first, second)) + rest


INVALID_STREAMS: dict[str, tuple[bytes, int]] = {
    "not masked": (Frame(Opcode.TEXT, b"hello").serialize(mask=False), 1002),
    "header of a frame that is not masked": (bytes([0x81, 127]), 1002),
    "reserved bit": (_frame(0xC1, 0x80, b"\0" * 4), 1002),
    "unknown data opcode": (_frame(0x83, 0x80, b"\0" * 4), 1002),
    "unknown control opcode": (_frame(0x8B, 0x80, b"\0" * 4), 1002),
    "ping of 126 bytes": (_frame(0x89, 0xFE, b"\0\x7e\0\0\0\0") + b"\0" * 126, 1002),
    "fragmented ping": (_frame(0x09, 0x80, b"\0" * 4), 1002),
    "continuation of no message": (masked(frames.CONTINUATION, b"x"), 1002),
    "new message within a fragmented one": (
        masked(frames.TEXT, b"x", fin=False) + masked(frames.TEXT, b"x"),
        1002,
    ),
    "too large": (masked(frames.TEXT, b"x" * 300_000), 1009),
    "too large by its header": (_frame(0x81, 0xFF, (2**62).to_bytes(8, "big") + b"\0" * 4), 1009),
    "too large in fragments": (
        masked(frames.TEXT, b"x", fin=False)
        + masked(frames.CONTINUATION, b"x" * 200_000, fin=False)
        + masked(frames.CONTINUATION, b"x" * 200_000, fin=False),
        1009,
    ),
    "too many fragments": (
        masked(frames.TEXT, b"", fin=False) + masked(frames.CONTINUATION, b"", fin=False) * 1001,
        1009,
    ),
    "not UTF-8": (masked(frames.TEXT, b"\xff\xfe"), 1007),
    "half a close code": (masked(frames.CLOSE, b"\x03"), 1002),
    "close code that is never sent": (masked(frames.CLOSE, (1005).to_bytes(2, "big")), 1002),
    "close reason not UTF-8": (masked(frames.CLOSE, b"\x03\xe8\xff"), 1007),
}
STAYS_CONNECTED = "not UTF-8"
"""In this case the client does not disconnect after the close frame; the server aborts the connection."""


@pytest.mark.parametrize("name", INVALID_STREAMS)
async def test_invalid_frames_close_the_socket(live: Live, name: str) -> None:
    """The close code is the one of RFC 6455. Other sockets are not affected."""
    alice, bob = await live.people("alice", "bob")
    stream, code = INVALID_STREAMS[name]
    async with bob.online() as other, raw_socket(live, alice) as socket:
        assert (await socket.next())["type"] == "ready"
        socket.writer.write(stream)
        assert await socket.close_code() == code
        if name != STAYS_CONNECTED:
            socket.writer.write_eof()
        with contextlib.suppress(ConnectionError):
            assert await socket.reader.read() == b""
        assert (await other.ask("ping"))["type"] == "ack"
        hub = live.app.state.gateway.hub
        await eventually(lambda: not hub.connections_of(alice.id))


async def test_pings_and_close_frames_are_answered(live: Live) -> None:
    """The pong has the ping's payload. The close frame has the client's code; then the connection ends."""
    alice = await live.person()
    async with raw_socket(live, alice) as socket:
        await socket.next()
        socket.writer.write(masked(frames.PING, b"are you there"))
        assert await socket.frame() == (frames.PONG, b"are you there")
        socket.writer.write(masked(frames.CLOSE, b"\x03\xe8bye"))
        assert await socket.frame() == (frames.CLOSE, b"\x03\xe8")
        assert await socket.reader.read() == b""


async def test_fragmented_message_is_one_message(live: Live) -> None:
    """The cut is within a character, and there is a ping between the fragments."""
    alice = await live.person()
    chat_id = await alice.group()
    whole = json.dumps(
        {"type": "send", "ref": 1, "chat_id": chat_id, "content": "Grüße"}, ensure_ascii=False
    ).encode()
    cut = whole.index("ü".encode()) + 1
    async with raw_socket(live, alice) as socket:
        await socket.next()
        socket.writer.write(masked(frames.TEXT, whole[:cut], fin=False))
        socket.writer.write(masked(frames.PING, b"x"))
        socket.writer.write(masked(frames.CONTINUATION, whole[cut:]))
        assert (await socket.frame())[0] == frames.PONG
        while (await socket.next()).get("ref") != 1:
            pass
    assert (await alice.history(chat_id))[0]["content"] == "Grüße"


async def test_command_may_arrive_byte_by_byte(live: Live) -> None:
    """Other sockets are served meanwhile; the command is executed once it is complete."""
    alice, bob = await live.people("alice", "bob")
    async with bob.online() as other, raw_socket(live, alice) as socket:
        await socket.next()
        for byte in masked(frames.TEXT, b'{"type":"ping","ref":7}'):
            socket.writer.write(bytes((byte,)))
            await socket.writer.drain()
            await asyncio.sleep(0.002)
            assert (await other.ask("ping"))["type"] == "ack"
        assert (await socket.next())["ref"] == 7


async def test_half_open_connection_is_aborted(new_server: NewServer) -> None:
    """The heartbeat closes the socket of a client that reads and sends nothing, and then disconnects it."""
    live = await new_server(heartbeat_seconds=1.0, presence_grace_seconds=0)
    alice = await live.person()
    async with raw_socket(live, alice) as socket:
        await socket.next()
        socket.reader._transport.pause_reading()  # type: ignore[attr-defined]
        hub = live.app.state.gateway.hub
        assert hub.connections_of(alice.id)
        await eventually(lambda: not hub.connections_of(alice.id), 15)


async def test_slow_reader_has_a_bounded_outbox(new_server: NewServer) -> None:
    """It is closed with 1013 when the outbox is full. Other sockets get each message immediately."""
    live = await new_server(outbox_bytes=65_536)
    alice, bob, slow = await live.people("alice", "bob", "slow")
    chat_id = await alice.group(bob, slow)
    async with bob.online() as other, raw_socket(live, slow) as stuck:
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
