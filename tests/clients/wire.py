"""The network between clients and a server: what goes through it can be cut at any byte."""

import asyncio
import contextlib
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from random import Random

from tests.harness import eventually


class Wire:
    """Forwards connections to the server of the moment. `url` stays the same whatever happens behind it."""

    def __init__(self, random: Random) -> None:
        self.url = ""
        self.cuts = 0
        self._random = random
        self._behind: tuple[str, int] | None = None
        self._open: set[asyncio.StreamWriter] = set()

    def leads_to(self, url: str | None) -> None:
        """To the server of this address; None for nowhere, as where a network is gone."""
        self._behind = None
        if url is not None:
            host, _, port = url.removeprefix("http://").partition(":")
            self._behind = (host, int(port))

    def cut(self, part: float = 1.0) -> None:
        """Cut that part of all connections, without a word to either side."""
        for writer in list(self._open):
            if self._random.random() < part:
                self.cuts += 1
                writer.transport.abort()

    @property
    def is_open(self) -> bool:
        return bool(self._open)

    async def handle(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        self._open.add(writer)
        try:
            if self._behind is not None:
                with contextlib.suppress(OSError):
                    far_reader, far_writer = await asyncio.open_connection(*self._behind)
                    await _both_ways(reader, writer, far_reader, far_writer)
        finally:
            self._open.discard(writer)
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
async def wire(random: Random) -> AsyncIterator[Wire]:
    """A wire that leads nowhere at first."""
    made = Wire(random)
    listener = await asyncio.start_server(made.handle, "127.0.0.1", 0)
    made.url = f"http://127.0.0.1:{listener.sockets[0].getsockname()[1]}"
    try:
        yield made
    finally:
        listener.close()
        made.cut()
        await eventually(lambda: not made.is_open)
