"""A client of `/ws` that costs so little CPU that the server is what is measured.

After the log-in it parses nothing. Frames to send are built in advance, and incoming bytes are only scanned
for the beginnings of acknowledgements and events. All sockets read into one buffer.
"""

import asyncio
import json
import time
from collections import deque
from typing import Any

ACK = b'{"type":"ack"'
EVENT = b'{"type":"mess'
"""The beginning of `message.created`, as long as ACK, so that one tail suffices for both."""
PING = b'{"type":"ping'
ERROR = b'{"type":"erro'
RESET = b'{"type":"rese'
CLOSE = 0x88
"""The first byte of a close frame."""
BUSY = b'"code":"busy"'
BUSY_RETRY_SECONDS = 2.0
"""The server's `retry_after`."""
TAIL_BYTES = len(ACK) - 1
"""The last bytes of a read are scanned again with the next one: a beginning can be split between two
reads."""

MASK = b"\x5a\xa5\x3c\xc3"
_BUFFER = bytearray(TAIL_BYTES + 262_144)
_WINDOW = memoryview(_BUFFER)[TAIL_BYTES:]
_EMPTY_TAIL = bytes(TAIL_BYTES)


def frame(command: dict[str, Any]) -> bytes:
    """Return a command as a masked text frame."""
    return text_frame(json.dumps(command, separators=(",", ":")).encode())


def text_frame(payload: bytes) -> bytes:
    """Return a payload as a masked text frame (RFC 6455 section 5.2)."""
    size = len(payload)
    if size < 126:
        head = bytes([0x81, 0x80 | size])
    else:
        head = b"\x81\xfe" + size.to_bytes(2, "big")
        assert size < 65_536, "such a payload needs a longer frame head"
    pattern = int.from_bytes((MASK * (size // 4 + 1))[:size], "big")
    masked = (int.from_bytes(payload, "big") ^ pattern).to_bytes(size, "big")
    return head + MASK + masked


PONG = frame({"type": "pong"})


def send(chat_id: int, content: str) -> bytes:
    """Return a `send` command as a frame, which can be sent any number of times."""
    return frame({"type": "send", "ref": 1, "chat_id": chat_id, "content": content})


class Socket(asyncio.BufferedProtocol):
    """Counts incoming events and bytes."""

    def __init__(self) -> None:
        self.transport: asyncio.Transport | None = None  # set after the log-in
        self.events = 0
        self.bytes = 0
        self.error = b""  # the first error frame, close frame or lost connection
        self._tail: bytes | bytearray = _EMPTY_TAIL

    def attach(self, transport: asyncio.Transport) -> None:
        """Take over the transport after the log-in."""
        self.transport = transport
        transport.set_protocol(self)

    def drop(self) -> None:
        """Abort the connection without a close frame."""
        assert self.transport is not None
        transport, self.transport = self.transport, None
        transport.abort()

    def get_buffer(self, sizehint: int) -> memoryview:
        return _WINDOW

    def buffer_updated(self, size: int) -> None:
        _BUFFER[:TAIL_BYTES] = self._tail
        self._tail = _BUFFER[size : size + TAIL_BYTES]
        events = _BUFFER.count(EVENT, 0, size + TAIL_BYTES)
        self.bytes += size
        if events:
            self.events += events
        else:
            self._scan_other_frames(size)

    def _scan_other_frames(self, size: int) -> None:
        """Answer a ping, or record an error or a close frame."""
        if _BUFFER.find(PING, 0, size + TAIL_BYTES) >= 0 and self.transport is not None:
            self.transport.write(PONG)
        elif (place := _BUFFER.find(ERROR, 0, size + TAIL_BYTES)) >= 0:
            self.error = self.error or bytes(_BUFFER[place : size + TAIL_BYTES])
        elif _BUFFER[TAIL_BYTES] == CLOSE:
            self.error = self.error or bytes(_BUFFER[TAIL_BYTES : size + TAIL_BYTES])

    def connection_lost(self, error: Exception | None) -> None:
        if self.transport is not None:
            self.error = self.error or f"closed by the server: {error}".encode()
            self.transport = None


class TimedSocket(Socket):
    """Measures the latency of each event in seconds. `sent` has the time of each send."""

    def __init__(self, sent: list[float]) -> None:
        super().__init__()
        self.latencies: list[float] = []
        self._sent = sent

    def buffer_updated(self, size: int) -> None:
        before = self.events
        super().buffer_updated(size)
        if self.events > before:
            now = time.perf_counter()
            self.latencies += [now - sent for sent in self._sent[before : self.events]]


class Sender(Socket):
    """Sends a message again each time that it is acknowledged. `latencies` are in seconds."""

    def __init__(self, message: bytes) -> None:
        super().__init__()
        self.acks = 0
        self.latencies: list[float] = []
        self._message = message
        self._is_sending = False
        self._sent: deque[float] = (
            deque()
        )  # send times of the messages in flight, in the order of their acks

    @property
    def in_flight(self) -> int:
        return len(self._sent)

    @property
    def oldest_sent(self) -> float | None:
        """The send time of the oldest message in flight; None if none is in flight."""
        return self._sent[0] if self._sent else None

    def start(self, in_flight: int) -> None:
        """Send, and keep `in_flight` messages in flight."""
        self._is_sending = True
        self.send(in_flight)

    def stop(self) -> None:
        """Send no more messages; those in flight are still acknowledged."""
        self._is_sending = False

    def send(self, count: int = 1) -> None:
        """Send the message `count` times without waiting for acknowledgements."""
        self.send_frames(self._message if count == 1 else self._message * count, count)

    def send_frames(self, frames: bytes, count: int) -> None:
        """Send `count` frames, each of which will be acknowledged."""
        if self.transport is not None:
            self.transport.write(frames)
            self._sent.extend([time.perf_counter()] * count)

    def buffer_updated(self, size: int) -> None:
        _BUFFER[:TAIL_BYTES] = self._tail
        self._tail = _BUFFER[size : size + TAIL_BYTES]
        acks = _BUFFER.count(ACK, 0, size + TAIL_BYTES)
        events = _BUFFER.count(EVENT, 0, size + TAIL_BYTES)
        self.events += events
        if acks:
            self._acknowledged(acks)
        elif not events:
            self._scan_other_frames(size)

    def _acknowledged(self, acks: int) -> None:
        self.acks += acks
        now, sent = time.perf_counter(), self._sent
        for _ in range(acks):
            self.latencies.append(now - sent.popleft())
        if self._is_sending:
            self.send(acks)


class ResumingSocket(Sender):
    """Sends its `resume` right after the log-in, and again if the server answers `busy`."""

    def __init__(self, message: bytes) -> None:
        super().__init__(message)
        self.busy_replies = 0
        self.resets = 0  # the number of chats that it has to reload

    def attach(self, transport: asyncio.Transport) -> None:
        super().attach(transport)
        self.send()

    def buffer_updated(self, size: int) -> None:
        super().buffer_updated(size)
        self.resets += _BUFFER.count(RESET, 0, size + TAIL_BYTES)
        if _BUFFER.find(BUSY, 0, size + TAIL_BYTES) >= 0:
            self.busy_replies += 1
            self.error = b""
            asyncio.get_running_loop().call_later(BUSY_RETRY_SECONDS, self._retry)

    def _retry(self) -> None:
        if self.transport is not None:
            self.transport.write(self._message)
