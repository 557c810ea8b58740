"""A client of `/ws` too cheap to be what is measured.

Once it is logged in it understands nothing: frames to send were made before, and what comes in is only
scanned for the beginnings of acknowledgements and events. All sockets read into one buffer.
"""

import asyncio
import json
import time
from collections import deque
from typing import Any

ACK = b'{"type":"ack"'
EVENT = b'{"type":"mess'
"""`message.created`, cut to the length of ACK, so that one tail is enough for both."""
PING = b'{"type":"ping'
ERROR = b'{"type":"erro'
RESET = b'{"type":"rese'
CLOSE = 0x88
"""The first byte of a closing frame."""
BUSY = b'"code":"busy"'
BUSY_PAUSE = 2.0
"""Seconds, as the server asks for (`retry_after`)."""
TAIL = len(ACK) - 1
"""Bytes of a read that are looked at again with the next one: a beginning may be split between two."""

MASK = b"\x5a\xa5\x3c\xc3"
_BUFFER = bytearray(TAIL + 262_144)
_WINDOW = memoryview(_BUFFER)[TAIL:]
_NOTHING = bytes(TAIL)


def frame(command: dict[str, Any]) -> bytes:
    """A command as a masked text frame (RFC 6455 section 5.2)."""
    payload = json.dumps(command, separators=(",", ":")).encode()
    size = len(payload)
    if size < 126:
        head = bytes([0x81, 0x80 | size])
    else:
        head = b"\x81\xfe" + size.to_bytes(2, "big")
        assert size < 65_536, "a longer head would be needed"
    pattern = int.from_bytes((MASK * (size // 4 + 1))[:size], "big")
    masked = (int.from_bytes(payload, "big") ^ pattern).to_bytes(size, "big")
    return head + MASK + masked


PONG = frame({"type": "pong"})


def send(chat_id: int, content: str) -> bytes:
    """A message as a frame, good for any number of sends."""
    return frame({"type": "send", "ref": 1, "chat_id": chat_id, "content": content})


class Socket(asyncio.BufferedProtocol):
    """Counts the events that come."""

    def __init__(self) -> None:
        self.transport: asyncio.Transport | None = None  # set once it is logged in
        self.events = 0
        self.bytes = 0
        self.trouble = b""  # the error or the end that came
        self._tail: bytes | bytearray = _NOTHING

    def begin(self, transport: asyncio.Transport) -> None:
        """It is logged in: from now on this is the transport's protocol."""
        self.transport = transport
        transport.set_protocol(self)

    def drop(self) -> None:
        """End it without a goodbye."""
        assert self.transport is not None
        transport, self.transport = self.transport, None
        transport.abort()

    def get_buffer(self, sizehint: int) -> memoryview:
        return _WINDOW

    def buffer_updated(self, size: int) -> None:
        _BUFFER[:TAIL] = self._tail
        self._tail = _BUFFER[size : size + TAIL]
        events = _BUFFER.count(EVENT, 0, size + TAIL)
        self.bytes += size
        if events:
            self.events += events
        else:
            self._look(size)

    def _look(self, size: int) -> None:
        """What came is no event; answer a ping, keep an error."""
        if _BUFFER.find(PING, 0, size + TAIL) >= 0 and self.transport is not None:
            self.transport.write(PONG)
        elif (place := _BUFFER.find(ERROR, 0, size + TAIL)) >= 0:
            self.trouble = self.trouble or bytes(_BUFFER[place : size + TAIL])
        elif _BUFFER[TAIL] == CLOSE:
            self.trouble = self.trouble or bytes(_BUFFER[TAIL : size + TAIL])

    def connection_lost(self, error: Exception | None) -> None:
        if self.transport is not None:
            self.trouble = self.trouble or f"closed by the server: {error}".encode()
            self.transport = None


class Timed(Socket):
    """Notes how late each event comes, in seconds, by the list of when each was sent."""

    def __init__(self, sent: list[float]) -> None:
        super().__init__()
        self.late: list[float] = []
        self._sent = sent

    def buffer_updated(self, size: int) -> None:
        before = self.events
        super().buffer_updated(size)
        if self.events > before:
            now = time.perf_counter()
            self.late += [now - sent for sent in self._sent[before : self.events]]


class Sender(Socket):
    """Sends one message again and again, each time that it is acknowledged; `latencies` in seconds."""

    def __init__(self, message: bytes) -> None:
        super().__init__()
        self.acks = 0
        self.latencies: list[float] = []
        self._message = message
        self._going = False
        self._sent: deque[float] = deque()  # when what is in flight was sent: acks come in that order

    @property
    def in_flight(self) -> int:
        return len(self._sent)

    @property
    def waiting_since(self) -> float | None:
        """When the oldest was sent of what is in flight."""
        return self._sent[0] if self._sent else None

    def start(self, in_flight: int) -> None:
        self._going = True
        self.send(in_flight)

    def stop(self) -> None:
        """Send no more; what is in flight is acknowledged yet."""
        self._going = False

    def send(self, count: int = 1) -> None:
        """Send the message so many times, without waiting for anything."""
        self.say(self._message if count == 1 else self._message * count, count)

    def say(self, frames: bytes, count: int) -> None:
        """Send so many frames, each of which will be acknowledged."""
        if self.transport is not None:
            self.transport.write(frames)
            self._sent.extend([time.perf_counter()] * count)

    def buffer_updated(self, size: int) -> None:
        _BUFFER[:TAIL] = self._tail
        self._tail = _BUFFER[size : size + TAIL]
        acks = _BUFFER.count(ACK, 0, size + TAIL)
        events = _BUFFER.count(EVENT, 0, size + TAIL)
        self.events += events
        if acks:
            self._acknowledged(acks)
        elif not events:
            self._look(size)

    def _acknowledged(self, acks: int) -> None:
        self.acks += acks
        now, sent = time.perf_counter(), self._sent
        for _ in range(acks):
            self.latencies.append(now - sent.popleft())
        if self._going:
            self.send(acks)


class Returner(Sender):
    """Sends its message, a resume, as soon as it is logged in, and again where the server is busy."""

    def __init__(self, message: bytes) -> None:
        super().__init__(message)
        self.refused = 0  # how often the server was busy
        self.resets = 0  # chats that it is to load anew

    def begin(self, transport: asyncio.Transport) -> None:
        super().begin(transport)
        self.send()

    def buffer_updated(self, size: int) -> None:
        super().buffer_updated(size)
        self.resets += _BUFFER.count(RESET, 0, size + TAIL)
        if _BUFFER.find(BUSY, 0, size + TAIL) >= 0:
            self.refused += 1
            self.trouble = b""
            asyncio.get_running_loop().call_later(BUSY_PAUSE, self._once_more)

    def _once_more(self) -> None:
        if self.transport is not None:
            self.transport.write(self._message)
