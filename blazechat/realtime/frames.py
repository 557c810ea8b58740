"""WebSocket frames (RFC 6455 section 5), server side: bytes to messages and back, without I/O.

It is our own for its cost: most sockets are idle, and most work is to receive small frames and to send the
same frame to many sockets. An idle reader has five fields, and a frame is encoded once for all receivers.
"""

from collections.abc import Callable
from typing import Final

try:
    from websockets.speedups import apply_mask
except ImportError:  # no wheel for this platform
    from websockets.utils import apply_mask

CONTINUATION: Final = 0x0
TEXT: Final = 0x1
BINARY: Final = 0x2
CLOSE: Final = 0x8
PING: Final = 0x9
PONG: Final = 0xA
FIN: Final = 0x80
MASKED: Final = 0x80
MAX_CONTROL_BYTES: Final = 125
MAX_FRAGMENTS: Final = 1_000

PROTOCOL_ERROR: Final = 1002
INVALID_PAYLOAD: Final = 1007
TOO_BIG: Final = 1009
NO_STATUS: Final = 1005

unmasked: Callable[[bytes, bytes], bytes] = apply_mask

Received = tuple[int, bytes]
"""A whole message or a control frame: its opcode and its payload."""


class ProtocolError(Exception):
    """The client violates the protocol; `code` is the close code for it (section 7.4)."""

    def __init__(self, code: int, reason: str) -> None:
        self.code = code
        self.reason = reason
        super().__init__(reason)


def frame(opcode: int, payload: bytes) -> bytes:
    """Encode an unfragmented frame, not masked (servers do not mask)."""
    size = len(payload)
    if size <= MAX_CONTROL_BYTES:
        return bytes((FIN | opcode, size)) + payload
    if size < 1 << 16:
        return bytes((FIN | opcode, 126, size >> 8, size & 0xFF)) + payload
    return bytes((FIN | opcode, 127)) + size.to_bytes(8, "big") + payload


def text(payload: bytes) -> bytes:
    return frame(TEXT, payload)


def close(code: int, reason: str) -> bytes:
    """Encode a close frame; the reason is truncated to what fits."""
    return frame(CLOSE, code.to_bytes(2, "big") + reason.encode()[: MAX_CONTROL_BYTES - 2])


def split(joined: bytes) -> list[Received]:
    """Return the messages in a series of frames that `frame()` has encoded."""
    messages: list[Received] = []
    at = 0
    while at < len(joined):
        size, body = joined[at + 1], at + 2
        if size > MAX_CONTROL_BYTES:
            body = at + (4 if size == 126 else 10)
            size = int.from_bytes(joined[at + 2 : body], "big")
        messages.append((joined[at] & 0x0F, joined[body : body + size]))
        at = body + size
    return messages


def close_code(payload: bytes) -> int:
    """Return the status code of a close frame (section 7.4). Raises ProtocolError."""
    if not payload:
        return NO_STATUS
    if len(payload) == 1:
        raise ProtocolError(PROTOCOL_ERROR, "incomplete status code")
    code = int.from_bytes(payload[:2], "big")
    if not (1000 <= code <= 1003 or 1007 <= code <= 1014 or 3000 <= code <= 4999):
        raise ProtocolError(PROTOCOL_ERROR, "invalid status code")
    decoded(payload[2:])
    return code


def decoded(payload: bytes) -> str:
    """Decode a text message. Raises ProtocolError."""
    try:
        return payload.decode()
    except UnicodeDecodeError:
        raise ProtocolError(INVALID_PAYLOAD, "text is not UTF-8") from None


class FrameReader:
    """Turns bytes as they arrive into whole messages; a message of more than `limit` bytes is an error."""

    __slots__ = ("_buffer", "_fragments", "_limit", "_needed", "_opcode")

    def __init__(self, limit: int) -> None:
        self._limit = limit
        self._buffer: bytearray | None = None  # the start of a frame, while its rest is missing
        self._needed = 0  # how many bytes the buffer needs before it is parsed again
        self._opcode = 0  # of the fragmented message
        self._fragments: list[bytes] | None = None  # set between its first and its last fragment

    def feed(self, data: bytes) -> list[Received]:
        """Return the messages that are complete now. After a ProtocolError no more data may be fed."""
        if self._buffer is not None:
            self._buffer += data
            if len(self._buffer) < self._needed:
                return []
            data, self._buffer = bytes(self._buffer), None
        received: list[Received] = []
        at, end = 0, len(data)
        while True:
            self._needed = 2
            if end - at < 2:
                break
            first, second = data[at], data[at + 1]
            header, size = 6, second & 0x7F
            if size > MAX_CONTROL_BYTES and second & MASKED:
                header = 8 if size == 126 else 14
                self._needed = header
                if end - at < header:
                    break
                size = int.from_bytes(data[at + 2 : at + header - 4], "big")
            self._check(first, second, size)
            self._needed = header + size
            if end - at < self._needed:
                break
            body = at + header
            at = body + size
            payload = unmasked(data[body:at], data[body - 4 : body])
            if first == FIN | TEXT and self._fragments is None:
                received.append((TEXT, payload))
            else:
                self._add(first, payload, received)
        if at < end:
            self._buffer = bytearray(data[at:])
        return received

    def _check(self, first: int, second: int, size: int) -> None:
        """Validate the header of a frame."""
        opcode = first & 0x0F
        if not second & MASKED:
            raise ProtocolError(PROTOCOL_ERROR, "frames from a client must be masked")
        if first & 0x70:
            raise ProtocolError(PROTOCOL_ERROR, "no extension was negotiated")
        if opcode > PONG or BINARY < opcode < CLOSE:
            raise ProtocolError(PROTOCOL_ERROR, "unknown opcode")
        if opcode >= CLOSE and (size > MAX_CONTROL_BYTES or not first & FIN):
            raise ProtocolError(PROTOCOL_ERROR, "control frames must be short and not fragmented")
        if size > self._limit:
            raise ProtocolError(TOO_BIG, "the message is larger than this server accepts")

    def _add(self, first: int, payload: bytes, received: list[Received]) -> None:
        opcode = first & 0x0F
        if opcode >= CLOSE:
            received.append((opcode, payload))
            return
        if (opcode == CONTINUATION) == (self._fragments is None):
            raise ProtocolError(PROTOCOL_ERROR, "fragments out of order")
        if first == FIN | BINARY:
            received.append((BINARY, payload))
            return
        if self._fragments is None:
            self._opcode, self._fragments = opcode, []
        self._fragments.append(payload)
        if len(self._fragments) > MAX_FRAGMENTS:
            raise ProtocolError(TOO_BIG, "the message has too many fragments")
        if sum(map(len, self._fragments)) > self._limit:
            raise ProtocolError(TOO_BIG, "the message is larger than this server accepts")
        if first & FIN:
            received.append((self._opcode, b"".join(self._fragments)))
            self._fragments = None
