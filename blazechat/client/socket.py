"""One live connection: commands with answers, and whatever else the server says."""

import asyncio
import itertools
import logging
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager

import msgspec
import websockets
from websockets.asyncio.client import ClientConnection

from blazechat.client import errors, frames
from blazechat.client.errors import BlazeChatError, NotBlazeChat, NotConnected, Unreachable
from blazechat.client.frames import Ack, Frame, Ready, Refusal
from blazechat.client.server_url import socket_url, reason_of

OPEN_TIMEOUT = 10.0
ACK_TIMEOUT = 30.0
"""Seconds after which an answer is not waited for any more, and the connection is closed."""
MAX_FRAME_BYTES = 64 * 1024 * 1024
PING_SECONDS = 20.0
"""Seconds between pings, and within which one has to be answered."""
ABNORMAL_CLOSURE = 1006
"""The close code that means that there was none."""

websockets_log = logging.getLogger("blazechat.client.websockets")
websockets_log.setLevel(logging.INFO)  # below that it tells headers, and in those is the token


class ConnectionClosed(BlazeChatError):
    """The connection has ended; `code` says why (docs/protocol.md)."""

    def __init__(self, code: int, reason: str) -> None:
        super().__init__(reason or "The connection was lost.")
        self.code = code


class _SocketLimits(msgspec.Struct):
    commands_per_second: float = 100
    burst: float = 500
    frame_bytes: int = 262_144


class _ReadyLimits(msgspec.Struct):
    limits: _SocketLimits = msgspec.field(default_factory=_SocketLimits)


class Connection:
    """Made by `connected()`. Iterate over it to have answers come in; it ends by raising Closed."""

    def __init__(self, socket: ClientConnection, ready: Ready, limits: _SocketLimits) -> None:
        self.ready = ready
        self._max_command_bytes = limits.frame_bytes
        self._socket = socket
        self._refs = itertools.count(1)
        self._pending: dict[int, asyncio.Future[Ack]] = {}
        self._bucket = TokenBucket(limits.commands_per_second * 0.9, limits.burst * 0.5)

    async def send_command(self, kind: str, **fields: object) -> Ack:
        """The answer to a command. Raises the server's error, or NotConnected if none comes."""
        ref = next(self._refs)
        text = frames.encode_command(kind, ref, **fields)
        if len(text) > self._max_command_bytes or len(text.encode()) > self._max_command_bytes:
            detail = f"This is too large to be sent at once: more than {self._max_command_bytes:,} bytes."
            raise errors.from_problem(errors.Problem("content_too_large", detail, 413))
        await self._bucket.wait()
        answer: asyncio.Future[Ack] = asyncio.get_running_loop().create_future()
        self._pending[ref] = answer
        try:
            await self._send(text)
            async with asyncio.timeout(ACK_TIMEOUT):
                return await answer
        except TimeoutError:
            self._socket.transport.abort()
            raise NotConnected("The server did not answer in time.") from None
        finally:
            self._pending.pop(ref, None)

    async def __aiter__(self) -> AsyncIterator[Frame]:
        async for frame, _ in self.frames_with_text():
            yield frame

    async def frames_with_text(self) -> AsyncIterator[tuple[Frame, str]]:
        """The same, each with the text that it came as."""
        while True:
            try:
                text = await self._socket.recv()
            except websockets.ConnectionClosed as closed:
                received = closed.rcvd
                raise ConnectionClosed(
                    received.code if received else ABNORMAL_CLOSURE, received.reason if received else ""
                ) from None
            frame = frames.decode(text)
            match frame:
                case None | frames.Pong():
                    continue
                case frames.Ping():
                    await self._send(frames.encode_command("pong"))
                case Ack(ref=int(ref)):
                    if (answer := self._pending.get(ref)) is not None and not answer.done():
                        answer.set_result(frame)
                case Refusal(ref=int(ref)):
                    if (answer := self._pending.get(ref)) is not None and not answer.done():
                        answer.set_exception(errors.from_problem(frame.problem))
                case Ack() | Refusal():
                    continue
                case _:
                    yield frame, text if isinstance(text, str) else text.decode()

    async def close(self) -> None:
        await self._socket.close()

    def abort(self) -> None:
        """Nothing more comes: whoever waits for an answer is told so."""
        for answer in self._pending.values():
            if not answer.done():
                answer.set_exception(NotConnected("The connection was lost before the answer came."))
                answer.exception()
        self._socket.transport.abort()

    async def _send(self, text: str) -> None:
        try:
            await self._socket.send(text)
        except websockets.ConnectionClosed:
            raise NotConnected("The connection was lost.") from None


@asynccontextmanager
async def open_connection(url: str, token: str, device: str) -> AsyncIterator[Connection]:
    """A connection that is ready, until the end of the block.

    Raises the server's errors (Unauthenticated, Unavailable, …), Unreachable, NotBlazeChat or Closed.
    """
    socket = await _open(url, token, device)
    connection: Connection | None = None
    try:
        connection = await _receive_ready(socket)
        yield connection
    finally:
        if connection is not None:
            connection.abort()
        socket.transport.abort()
        await socket.wait_closed()


async def _open(url: str, token: str, device: str) -> ClientConnection:
    try:
        return await websockets.connect(
            socket_url(url),
            additional_headers={"authorization": f"Bearer {token}"},
            user_agent_header=device,
            open_timeout=OPEN_TIMEOUT,
            close_timeout=1,
            ping_interval=PING_SECONDS,
            ping_timeout=PING_SECONDS,
            max_size=MAX_FRAME_BYTES,
            max_queue=256,
            logger=websockets_log,
        )
    except websockets.InvalidStatus as refused:
        answer = refused.response
        raise errors.from_response(
            answer.status_code, bytes(answer.body or b""), answer.headers.get("retry-after")
        ) from None
    except (websockets.InvalidHandshake, websockets.InvalidURI, websockets.InvalidProxy) as error:
        raise NotBlazeChat(f"{url} does not open sockets as a BlazeChat server does: {error}.") from error
    except (OSError, TimeoutError, EOFError) as error:
        why = reason_of(error) if isinstance(error, OSError) else "no answer in time"
        raise Unreachable(f"{url} cannot be reached: {why}.") from error


async def _receive_ready(socket: ClientConnection) -> Connection:
    try:
        async with asyncio.timeout(OPEN_TIMEOUT):
            text = await socket.recv()
    except websockets.ConnectionClosed as closed:
        raise ConnectionClosed(closed.rcvd.code if closed.rcvd else ABNORMAL_CLOSURE, "") from None
    except TimeoutError:
        raise Unreachable("The server let us in, and then said nothing.") from None
    ready = frames.decode(text)
    if not isinstance(ready, Ready):
        raise NotBlazeChat("The server does not begin a connection as BlazeChat does.")
    try:
        limits = msgspec.json.decode(text, type=_ReadyLimits).limits
    except msgspec.MsgspecError:
        limits = _SocketLimits()
    return Connection(socket, ready, limits)


class TokenBucket:
    """Lets pass `rate` a second, and up to `burst` at once; more have to wait (a token bucket)."""

    def __init__(self, rate: float, burst: float) -> None:
        self._rate = max(rate, 1.0)
        self._burst = max(burst, 1.0)
        self._tokens = self._burst
        self._refilled_at = asyncio.get_running_loop().time()

    async def wait(self) -> None:
        now = asyncio.get_running_loop().time()
        self._tokens = min(self._burst, self._tokens + (now - self._refilled_at) * self._rate) - 1
        self._refilled_at = now
        if self._tokens < 0:
            await asyncio.sleep(-self._tokens / self._rate)
