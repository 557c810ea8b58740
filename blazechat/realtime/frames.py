"""WebSocket frames (RFC 6455 section 5), the server's side: bytes to messages and back, without any I/O.

Our own because of what it costs: most sockets are idle, and most of what a server does is to receive small
frames and to send the same one to many. An idle reader is five fields, and a frame is made once, for all.
"""

from collections.abc import Callable

try:
    from websockets.speedups import apply_mask
except ImportError:  # no wheel for this platform
    from websockets.utils import apply_mask

CONTINUATION, TEXT, BINARY, CLOSE, PING, PONG = 0x0, 0x1, 0x2, 0x8, 0x9, 0xA
FIN, MASKED = 0x80, 0x80
CONTROL_LIMIT = 125
FRAGMENTS_LIMIT = 1_000

PROTOCOL_ERROR, INVALID_PAYLOAD, TOO_BIG = 1002, 1007, 1009
NO_STATUS = 1005

unmasked: Callable[[bytes, bytes], bytes] = apply_mask

Received = tuple[int, bytes]
"""A whole message or a control frame: its opcode, and its payload."""


class ProtocolError(Exception):
    """The other side does not keep to the protocol; `code` is what to close with (section 7.4)."""

    def __init__(self, code: int, reason: str) -> None:
        self.code = code
        self.reason = reason
        super().__init__(reason)


def frame(opcode: int, payload: bytes) -> bytes:
    """An unfragmented frame, not masked."""
    size = len(payload)
    if size <= CONTROL_LIMIT:
        return bytes((FIN | opcode, size)) + payload
    if size < 1 << 16:
        return bytes((FIN | opcode, 126, size >> 8, size & 0xFF)) + payload
    return bytes((FIN | opcode, 127)) + size.to_bytes(8, "big") + payload


def text(payload: bytes) -> bytes:
    return frame(TEXT, payload)


def close(code: int, reason: str) -> bytes:
    """The reason is cut to what fits."""
    return frame(CLOSE, code.to_bytes(2, "big") + reason.encode()[: CONTROL_LIMIT - 2])


def payload_of(whole: bytes) -> bytes:
    """What `frame()` was made of."""
    if whole[1] <= CONTROL_LIMIT:
        return whole[2:]
    return whole[4:] if whole[1] == 126 else whole[10:]


def close_code(payload: bytes) -> int:
    """The status code of a close frame (section 7.4). Raises ProtocolError."""
    if not payload:
        return NO_STATUS
    if len(payload) == 1:
        raise ProtocolError(PROTOCOL_ERROR, "half a status code")
    code = int.from_bytes(payload[:2], "big")
    if not (1000 <= code <= 1003 or 1007 <= code <= 1014 or 3000 <= code <= 4999):
        raise ProtocolError(PROTOCOL_ERROR, "no such status code")
    decoded(payload[2:])
    return code


def decoded(payload: bytes) -> str:
    """Text of a text message. Raises ProtocolError."""
    try:
        return payload.decode()
    except UnicodeDecodeError:
        raise ProtocolError(INVALID_PAYLOAD, "text that is not UTF-8") from None


class FrameReader:
    """Takes bytes as they come and gives whole messages; one of more than `limit` bytes is an error."""

    __slots__ = ("_buffer", "_fragments", "_limit", "_needed", "_opcode")

    def __init__(self, limit: int) -> None:
        self._limit = limit
        self._buffer: bytearray | None = None  # the beginning of a frame, while its rest is missing
        self._needed = 0  # how long the buffer has to be for looking at it again
        self._opcode = 0  # of the message whose fragments are coming in
        self._fragments: list[bytes] | None = None  # set between the first and the last of them

    def feed(self, data: bytes) -> list[Received]:
        """What is whole now. Raises ProtocolError, after which nothing more may be fed."""
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
            if size > CONTROL_LIMIT and second & MASKED:
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
                self._take(first, payload, received)
        if at < end:
            self._buffer = bytearray(data[at:])
        return received

    def _check(self, first: int, second: int, size: int) -> None:
        """What can be said of a frame by its header."""
        opcode = first & 0x0F
        if not second & MASKED:
            raise ProtocolError(PROTOCOL_ERROR, "frames from a client have to be masked")
        if first & 0x70:
            raise ProtocolError(PROTOCOL_ERROR, "no extension was agreed upon")
        if opcode > PONG or BINARY < opcode < CLOSE:
            raise ProtocolError(PROTOCOL_ERROR, "there is no such opcode")
        if opcode >= CLOSE and (size > CONTROL_LIMIT or not first & FIN):
            raise ProtocolError(PROTOCOL_ERROR, "control frames are short and whole")
        if size > self._limit:
            raise ProtocolError(TOO_BIG, "the message is larger than this server takes")

    def _take(self, first: int, payload: bytes, received: list[Received]) -> None:
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
        if len(self._fragments) > FRAGMENTS_LIMIT:
            raise ProtocolError(TOO_BIG, "the message comes in too many fragments")
        if sum(map(len, self._fragments)) > self._limit:
            raise ProtocolError(TOO_BIG, "the message is larger than this server takes")
        if first & FIN:
            received.append((self._opcode, b"".join(self._fragments)))
            self._fragments = None
