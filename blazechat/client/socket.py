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
from blazechat.client.server_url import socket_url, why_not

OPEN_WITHIN = 10.0
ANSWER_WITHIN = 30.0
"""Seconds after which an answer is not waited for any more, and the connection is closed."""
LARGEST_FRAME = 64 * 1024 * 1024
SIGN_OF_LIFE = 20.0
"""Seconds between pings, and within which one has to be answered."""
LOST = 1006
"""The close code that means that there was none."""

quiet = logging.getLogger("blazechat.client.websockets")
quiet.setLevel(logging.INFO)  # below that it tells headers, and in those is the token


class Closed(BlazeChatError):
    """The connection has ended; `code` says why (docs/protocol.md)."""

    def __init__(self, code: int, reason: str) -> None:
        super().__init__(reason or "The connection was lost.")
        self.code = code


class _Limits(msgspec.Struct):
    commands_per_second: float = 100
    burst: float = 500
    frame_bytes: int = 262_144


class _Opening(msgspec.Struct):
    limits: _Limits = msgspec.field(default_factory=_Limits)


class Connection:
    """Made by `connected()`. Iterate over it to have answers come in; it ends by raising Closed."""

    def __init__(self, socket: ClientConnection, ready: Ready, limits: _Limits) -> None:
        self.ready = ready
        self._largest = limits.frame_bytes
        self._socket = socket
        self._refs = itertools.count(1)
        self._answers: dict[int, asyncio.Future[Ack]] = {}
        self._pace = Pace(limits.commands_per_second * 0.9, limits.burst * 0.5)

    async def ask(self, kind: str, **fields: object) -> Ack:
        """The answer to a command. Raises the server's error, or NotConnected if none comes."""
        ref = next(self._refs)
        text = frames.command(kind, ref, **fields)
        if len(text) > self._largest or len(text.encode()) > self._largest:
            detail = f"This is too large to be sent at once: more than {self._largest:,} bytes."
            raise errors.of(errors.Problem("content_too_large", detail, 413))
        await self._pace.wait()
        answer: asyncio.Future[Ack] = asyncio.get_running_loop().create_future()
        self._answers[ref] = answer
        try:
            await self._say(text)
            async with asyncio.timeout(ANSWER_WITHIN):
                return await answer
        except TimeoutError:
            self._socket.transport.abort()
            raise NotConnected("The server did not answer in time.") from None
        finally:
            self._answers.pop(ref, None)

    async def __aiter__(self) -> AsyncIterator[Frame]:
        async for frame, _ in self.texts():
            yield frame

    async def texts(self) -> AsyncIterator[tuple[Frame, str]]:
        """The same, each with the text that it came as."""
        while True:
            try:
                text = await self._socket.recv()
            except websockets.ConnectionClosed as closed:
                received = closed.rcvd
                raise Closed(
                    received.code if received else LOST, received.reason if received else ""
                ) from None
            frame = frames.read(text)
            match frame:
                case None | frames.Pong():
                    continue
                case frames.Ping():
                    await self._say(frames.command("pong"))
                case Ack(ref=int(ref)):
                    if (answer := self._answers.get(ref)) is not None and not answer.done():
                        answer.set_result(frame)
                case Refusal(ref=int(ref)):
                    if (answer := self._answers.get(ref)) is not None and not answer.done():
                        answer.set_exception(errors.of(frame.problem))
                case Ack() | Refusal():
                    continue
                case _:
                    yield frame, text if isinstance(text, str) else text.decode()

    async def close(self) -> None:
        await self._socket.close()

    def give_up(self) -> None:
        """Nothing more comes: whoever waits for an answer is told so."""
        for answer in self._answers.values():
            if not answer.done():
                answer.set_exception(NotConnected("The connection was lost before the answer came."))
                answer.exception()
        self._socket.transport.abort()

    async def _say(self, text: str) -> None:
        try:
            await self._socket.send(text)
        except websockets.ConnectionClosed:
            raise NotConnected("The connection was lost.") from None


@asynccontextmanager
async def connected(url: str, token: str, device: str) -> AsyncIterator[Connection]:
    """A connection that is ready, until the end of the block.

    Raises the server's errors (Unauthenticated, Unavailable, …), Unreachable, NotBlazeChat or Closed.
    """
    socket = await _open(url, token, device)
    connection: Connection | None = None
    try:
        connection = await _ready(socket)
        yield connection
    finally:
        if connection is not None:
            connection.give_up()
        socket.transport.abort()
        await socket.wait_closed()


async def _open(url: str, token: str, device: str) -> ClientConnection:
    try:
        return await websockets.connect(
            socket_url(url),
            additional_headers={"authorization": f"Bearer {token}"},
            user_agent_header=device,
            open_timeout=OPEN_WITHIN,
            close_timeout=1,
            ping_interval=SIGN_OF_LIFE,
            ping_timeout=SIGN_OF_LIFE,
            max_size=LARGEST_FRAME,
            max_queue=256,
            logger=quiet,
        )
    except websockets.InvalidStatus as refused:
        answer = refused.response
        raise errors.of_answer(
            answer.status_code, bytes(answer.body or b""), answer.headers.get("retry-after")
        ) from None
    except (websockets.InvalidHandshake, websockets.InvalidURI, websockets.InvalidProxy) as error:
        raise NotBlazeChat(f"{url} does not open sockets as a BlazeChat server does: {error}.") from error
    except (OSError, TimeoutError, EOFError) as error:
        why = why_not(error) if isinstance(error, OSError) else "no answer in time"
        raise Unreachable(f"{url} cannot be reached: {why}.") from error


async def _ready(socket: ClientConnection) -> Connection:
    try:
        async with asyncio.timeout(OPEN_WITHIN):
            text = await socket.recv()
    except websockets.ConnectionClosed as closed:
        raise Closed(closed.rcvd.code if closed.rcvd else LOST, "") from None
    except TimeoutError:
        raise Unreachable("The server let us in, and then said nothing.") from None
    ready = frames.read(text)
    if not isinstance(ready, Ready):
        raise NotBlazeChat("The server does not begin a connection as BlazeChat does.")
    try:
        limits = msgspec.json.decode(text, type=_Opening).limits
    except msgspec.MsgspecError:
        limits = _Limits()
    return Connection(socket, ready, limits)


class Pace:
    """Lets pass `rate` a second, and up to `burst` at once; more have to wait (a token bucket)."""

    def __init__(self, rate: float, burst: float) -> None:
        self._rate = max(rate, 1.0)
        self._burst = max(burst, 1.0)
        self._left = self._burst
        self._at = asyncio.get_running_loop().time()

    async def wait(self) -> None:
        now = asyncio.get_running_loop().time()
        self._left = min(self._burst, self._left + (now - self._at) * self._rate) - 1
        self._at = now
        if self._left < 0:
            await asyncio.sleep(-self._left / self._rate)
