"""A receiver that answers with raw bytes, and the HTTP caller that calls it."""

import asyncio
import ssl
from collections.abc import AsyncIterator, Awaitable, Callable
from contextlib import asynccontextmanager, suppress

from blazechat.jobs.http_caller import (
    HttpCaller,
    HttpFailure,
)
from blazechat.jobs.ssrf_guard import (
    parse_allowed_hosts,
)
from tests.harness import eventually

Script = Callable[[asyncio.StreamReader, asyncio.StreamWriter], Awaitable[None]]


LOOPBACK = "127.0.0.0/8, ::1"


class Receiver:
    """A server on a real socket that records its requests. `script` answers each complete request."""

    def __init__(self, script: Script, greeting: bytes) -> None:
        self.connections = 0
        self.requests: list[bytes] = []
        self.reached_addresses: list[str] = []  # the local addresses of its connections
        self.port = 0
        self.open_connections = 0
        self._script = script
        self._greeting = greeting

    async def handle(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        self.connections += 1
        self.open_connections += 1
        self.reached_addresses.append(writer.get_extra_info("sockname")[0])
        try:
            with suppress(OSError, asyncio.IncompleteReadError):
                writer.write(self._greeting)
                while True:
                    self.requests.append(await _read_request(reader))
                    await self._script(reader, writer)
        finally:
            self.open_connections -= 1
            writer.transport.abort()

    @property
    def url(self) -> str:
        return f"http://127.0.0.1:{self.port}/hook"


async def _read_request(reader: asyncio.StreamReader) -> bytes:
    head = await reader.readuntil(b"\r\n\r\n")
    length = next(line for line in head.lower().split(b"\r\n") if line.startswith(b"content-length:"))
    return head + await reader.readexactly(int(length.partition(b":")[2]))


@asynccontextmanager
async def receiver(
    script: Script, host: str = "127.0.0.1", *, tls: ssl.SSLContext | None = None, greeting: bytes = b""
) -> AsyncIterator[Receiver]:
    created = Receiver(script, greeting)
    server = await asyncio.start_server(created.handle, host, 0, ssl=tls)
    created.port = server.sockets[0].getsockname()[1]
    try:
        yield created
    finally:
        server.close()
        await eventually(lambda: not created.open_connections)


@asynccontextmanager
async def caller(
    allowed: str = LOOPBACK,
    *,
    timeout: float = 10.0,  # noqa: ASYNC109
    connections: int = 100,
    resolve: Callable[[str, int], Awaitable[list[str]]] | None = None,
    tls: ssl.SSLContext | None = None,
) -> AsyncIterator[HttpCaller]:
    created = HttpCaller(
        allowed=parse_allowed_hosts(allowed),
        timeout=timeout,
        connections=connections,
        user_agent="BlazeChat/test",
        resolve=resolve,
        tls=tls,
    )
    try:
        yield created
    finally:
        await created.close()


def responds(answer: bytes) -> Script:
    async def script(_: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        writer.write(answer)
        await writer.drain()

    return script


def responds_and_closes(answer: bytes) -> Script:
    async def script(_: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        writer.write(answer)
        writer.close()
        await writer.wait_closed()

    return script


def responds_without_end(start: bytes, piece: bytes, pause: float = 0) -> Script:
    async def script(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        writer.write(start)
        while not reader.at_eof():
            writer.write(piece)
            await writer.drain()
            await asyncio.sleep(pause)

    return script


def resolves_to(*answers: list[str]) -> Callable[[str, int], Awaitable[list[str]]]:
    """A resolver that returns one answer after another, and the last one from then on."""
    remaining = list(answers)

    async def resolve(host: str, port: int) -> list[str]:
        return remaining.pop(0) if len(remaining) > 1 else remaining[0]

    return resolve


OK = b"HTTP/1.1 200 OK\r\nContent-Type: text/plain\r\nContent-Length: 2\r\n\r\nok"


async def failure_of(http: HttpCaller, url: str) -> str:
    result = await http.post(url, b"{}", {})
    assert isinstance(result, HttpFailure), result
    return result.reason
