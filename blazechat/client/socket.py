"""One live connection: sends commands and awaits their acknowledgements, and yields all other frames."""

import asyncio
import itertools
import logging
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager

import msgspec
import websockets
from websockets.asyncio.client import ClientConnection

from blazechat.client import connection_errors, errors, frames
from blazechat.client.errors import BlazeChatError, NotBlazeChat, NotConnected, Unreachable
from blazechat.client.frames import Ack, Frame, Ready, Refusal
from blazechat.client.server_url import socket_url

OPEN_TIMEOUT = 10.0
ACK_TIMEOUT = 30.0
"""Seconds to wait for an acknowledgement, before the connection is closed."""
PING_SECONDS = 20.0
"""Seconds between WebSocket pings, and the time limit for their pongs."""
MAX_FRAME_BYTES = 64 * 1024 * 1024
MAX_QUEUED_FRAMES = 256
ABNORMAL_CLOSURE = 1006
"""The close code of a connection that ended without a close frame (RFC 6455, 7.1.5)."""

websockets_log = logging.getLogger("blazechat.client.websockets")
websockets_log.setLevel(logging.INFO)  # at DEBUG it logs headers, and they contain the token


class ConnectionClosed(BlazeChatError):
    """The connection has ended. `code` is the close code (docs/protocol.md)."""

    def __init__(self, code: int, reason: str) -> None:
        super().__init__(reason or "The connection was lost.")
        self.code = code


class _SocketLimits(msgspec.Struct):
    commands_per_second: float = 100
    burst: float = 500
    frame_bytes: int = 262_144


class _ReadyLimits(msgspec.Struct):
    limits: _SocketLimits = msgspec.field(default_factory=_SocketLimits)


class LiveConnection:
    """A connection from `open_connection()`.

    Acknowledgements arrive only while the connection is iterated. The iteration ends with ConnectionClosed.
    """

    def __init__(self, socket: ClientConnection, ready: Ready, limits: _SocketLimits) -> None:
        self.ready = ready
        self._max_command_bytes = limits.frame_bytes
        self._socket = socket
        self._refs = itertools.count(1)
        self._pending: dict[int, asyncio.Future[Ack]] = {}
        # Stay below the server's limits, since it closes connections that exceed them.
        self._bucket = TokenBucket(limits.commands_per_second * 0.9, limits.burst * 0.5)

    async def send_command(self, kind: str, **fields: object) -> Ack:
        """Send a command, and return its acknowledgement.

        Waits if the command would exceed the server's rate limit. Raises the server's error,
        ContentTooLarge, or NotConnected if the connection is lost or the server does not answer.
        """
        ref = next(self._refs)
        text = frames.encode_command(kind, ref, **fields)
        self._check_size(text)
        await self._bucket.take()
        ack: asyncio.Future[Ack] = asyncio.get_running_loop().create_future()
        self._pending[ref] = ack
        try:
            await self._send(text)
            async with asyncio.timeout(ACK_TIMEOUT):
                return await ack
        except TimeoutError:
            self._socket.transport.abort()
            raise NotConnected("The server did not answer in time. Try again later.") from None
        finally:
            self._pending.pop(ref, None)

    async def __aiter__(self) -> AsyncIterator[Frame]:
        async for frame, _ in self.frames_with_text():
            yield frame

    async def frames_with_text(self) -> AsyncIterator[tuple[Frame, str]]:
        """Yield each frame with the text it was decoded from."""
        while True:
            try:
                text = await self._socket.recv()
            except websockets.ConnectionClosed as closed:
                raise _closed(closed) from None
            frame = frames.decode(text)
            match frame:
                case None | frames.Pong():
                    continue
                case frames.Ping():
                    await self._send(frames.encode_command("pong"))
                case Ack(ref=int(ref)):
                    if (ack := self._pending.get(ref)) is not None and not ack.done():
                        ack.set_result(frame)
                case Refusal(ref=int(ref)):
                    if (ack := self._pending.get(ref)) is not None and not ack.done():
                        ack.set_exception(errors.from_problem(frame.problem))
                case Ack() | Refusal():
                    continue
                case _:
                    yield frame, text if isinstance(text, str) else text.decode()

    def abort(self) -> None:
        """Close the connection at once. Pending commands raise NotConnected."""
        for ack in self._pending.values():
            if not ack.done():
                detail = "The connection was lost before the server answered. Check whether it was done."
                ack.set_exception(NotConnected(detail))
                ack.exception()  # marks it as retrieved, so that asyncio does not log it
        self._socket.transport.abort()

    def _check_size(self, text: str) -> None:
        limit = self._max_command_bytes
        if len(text) > limit or len(text.encode()) > limit:
            detail = f"This exceeds the server's limit of {limit:,} bytes per command. Send a smaller part."
            raise errors.from_problem(errors.Problem("content_too_large", detail, 413))

    async def _send(self, text: str) -> None:
        try:
            await self._socket.send(text)
        except websockets.ConnectionClosed:
            raise NotConnected("The connection was lost. Try again once it is back.") from None


@asynccontextmanager
async def open_connection(url: str, token: str, device: str) -> AsyncIterator[LiveConnection]:
    """Open a connection, and close it at the end of the block.

    Raises the server's errors (Unauthenticated, Unavailable, …), Unreachable, NotBlazeChat or
    ConnectionClosed.
    """
    socket = await _open(url, token, device)
    connection: LiveConnection | None = None
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
            max_queue=MAX_QUEUED_FRAMES,
            logger=websockets_log,
        )
    except websockets.InvalidStatus as rejected:
        response = rejected.response
        raise errors.from_response(
            response.status_code, bytes(response.body or b""), response.headers.get("retry-after")
        ) from None
    except (websockets.InvalidHandshake, websockets.InvalidURI, websockets.InvalidProxy) as error:
        if isinstance(error.__cause__, OSError | EOFError):  # lost before the response
            raise connection_errors.from_failure(url, error) from error
        detail = f"{url} does not open sockets as a BlazeChat server does ({error}). Check the address."
        raise NotBlazeChat(detail) from error
    except (OSError, EOFError) as error:
        raise connection_errors.from_failure(url, error) from error


async def _receive_ready(socket: ClientConnection) -> LiveConnection:
    try:
        async with asyncio.timeout(OPEN_TIMEOUT):
            text = await socket.recv()
    except websockets.ConnectionClosed as closed:
        raise ConnectionClosed(closed.rcvd.code if closed.rcvd else ABNORMAL_CLOSURE, "") from None
    except TimeoutError:
        raise Unreachable("The server accepted the connection and sent nothing. Try again later.") from None
    ready = frames.decode(text)
    if not isinstance(ready, Ready):
        raise NotBlazeChat("The first frame is not `ready`, as a BlazeChat server's is. Check the address.")
    try:
        limits = msgspec.json.decode(text, type=_ReadyLimits).limits
    except msgspec.MsgspecError:
        limits = _SocketLimits()
    return LiveConnection(socket, ready, limits)


def _closed(closed: websockets.ConnectionClosed) -> ConnectionClosed:
    received = closed.rcvd
    if received is None:
        return ConnectionClosed(ABNORMAL_CLOSURE, "")
    return ConnectionClosed(received.code, received.reason)


class TokenBucket:
    """Permits `rate` commands per second, with bursts of up to `burst`. Further commands wait."""

    def __init__(self, rate: float, burst: float) -> None:
        self._rate = max(rate, 1.0)
        self._burst = max(burst, 1.0)
        self._tokens = self._burst
        self._refilled_at = asyncio.get_running_loop().time()

    async def take(self) -> None:
        now = asyncio.get_running_loop().time()
        self._tokens = min(self._burst, self._tokens + (now - self._refilled_at) * self._rate) - 1
        self._refilled_at = now
        if self._tokens < 0:
            await asyncio.sleep(-self._tokens / self._rate)
