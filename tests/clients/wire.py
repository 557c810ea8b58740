"""A TCP proxy between clients and a server, whose connections a test can cut at any byte."""

import asyncio
import contextlib
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from random import Random

from tests.harness import eventually


class TcpProxy:
    """Forwards connections to the current target. `url` stays the same when the target changes."""

    def __init__(self, random: Random) -> None:
        self.url = ""
        self.cuts = 0
        self._random = random
        self._target: tuple[str, int] | None = None
        self._writers: set[asyncio.StreamWriter] = set()

    def forward_to(self, url: str | None) -> None:
        """Set the target; None closes all new connections, as if the server were unreachable."""
        self._target = None
        if url is not None:
            host, _, port = url.removeprefix("http://").partition(":")
            self._target = (host, int(port))

    def cut(self, share: float = 1.0) -> None:
        """Abort this share of all connections, chosen at random."""
        for writer in list(self._writers):
            if self._random.random() < share:
                self.cuts += 1
                writer.transport.abort()

    @property
    def has_connections(self) -> bool:
        return bool(self._writers)

    async def handle(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        self._writers.add(writer)
        try:
            if self._target is not None:
                with contextlib.suppress(OSError):
                    far_reader, far_writer = await asyncio.open_connection(*self._target)
                    await _both_ways(reader, writer, far_reader, far_writer)
        finally:
            self._writers.discard(writer)
            writer.transport.abort()


async def _both_ways(
    reader: asyncio.StreamReader,
    writer: asyncio.StreamWriter,
    far_reader: asyncio.StreamReader,
    far_writer: asyncio.StreamWriter,
) -> None:
    ways = [
        asyncio.create_task(_forward(reader, far_writer)),
        asyncio.create_task(_forward(far_reader, writer)),
    ]
    try:
        await asyncio.wait(ways, return_when=asyncio.FIRST_COMPLETED)
    finally:
        for way in ways:
            way.cancel()
        await asyncio.gather(*ways, return_exceptions=True)
        far_writer.transport.abort()


async def _forward(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
    with contextlib.suppress(OSError):
        while chunk := await reader.read(65536):
            writer.write(chunk)
            await writer.drain()


@asynccontextmanager
async def tcp_proxy(random: Random) -> AsyncIterator[TcpProxy]:
    """Start a proxy without a target."""
    proxy = TcpProxy(random)
    listener = await asyncio.start_server(proxy.handle, "127.0.0.1", 0)
    proxy.url = f"http://127.0.0.1:{listener.sockets[0].getsockname()[1]}"
    try:
        yield proxy
    finally:
        listener.close()
        proxy.cut()
        await eventually(lambda: not proxy.has_connections)
