"""A bare uvloop server, the ceiling of sockets: it holds connections, and writes a frame to each.

Run as a process of its own. It prints its port, then answers each line of its input: `memory` with its
resident bytes, `connections` with how many there are, `write SECONDS FRAME` (the frame in hex) with how
many frames it wrote.
"""

import asyncio
import socket
import sys
import time
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from dataclasses import dataclass
from typing import cast

import psutil
import uvloop


class Connection(asyncio.Protocol):
    """The least there is."""

    __slots__ = ("_server", "_transport")

    def __init__(self, server: "Server") -> None:
        self._server = server

    def connection_made(self, transport: asyncio.BaseTransport) -> None:
        self._transport = cast(asyncio.Transport, transport)
        self._server.transports.add(self._transport)

    def connection_lost(self, error: Exception | None) -> None:
        self._server.transports.discard(self._transport)

    def pause_writing(self) -> None:
        self._server.clogged += 1
        self._server.clear.clear()

    def resume_writing(self) -> None:
        self._server.clogged -= 1
        if not self._server.clogged:
            self._server.clear.set()


class Server:
    def __init__(self) -> None:
        self.transports: set[asyncio.Transport] = set()
        self.clogged = 0  # transports that cannot take more
        self.clear = asyncio.Event()  # set while there are none
        self.clear.set()

    async def run(self) -> None:
        loop = asyncio.get_running_loop()
        with socket.create_server(("127.0.0.1", 0), backlog=2048) as listener:
            await loop.create_server(lambda: Connection(self), sock=listener)
            print(listener.getsockname()[1], flush=True)
            while line := await asyncio.to_thread(sys.stdin.readline):
                print(await self._answer(line.split()), flush=True)

    async def _answer(self, words: list[str]) -> int:
        if words[0] == "memory":
            return int(psutil.Process().memory_info().rss)
        if words[0] == "connections":
            return len(self.transports)
        return await self._write(float(words[1]), bytes.fromhex(words[2]))

    async def _write(self, seconds: float, frame: bytes) -> int:
        """Once at least. What is written to a transport within one turn of the loop would be joined."""
        transports = list(self.transports)
        written, end = 0, time.perf_counter() + seconds
        while True:
            for transport in transports:
                transport.write(frame)
            written += len(transports)
            await asyncio.sleep(0)
            await self.clear.wait()
            if time.perf_counter() >= end:
                return written


@dataclass(frozen=True)
class Bare:
    """The process, seen from the bench."""

    port: int
    process: asyncio.subprocess.Process

    async def ask(self, question: str) -> int:
        assert self.process.stdin is not None
        assert self.process.stdout is not None
        self.process.stdin.write(question.encode() + b"\n")
        return int(await self.process.stdout.readline())

    async def has(self, count: int) -> None:
        """Wait until it holds so many connections: the kernel takes them before the process does."""
        async with asyncio.timeout(10):
            while await self.ask("connections") < count:  # noqa: ASYNC110 (it is another process)
                await asyncio.sleep(0.01)


@asynccontextmanager
async def bare() -> AsyncIterator[Bare]:
    process = await asyncio.create_subprocess_exec(
        sys.executable,
        "-m",
        "bench.bare_server",
        stdin=asyncio.subprocess.PIPE,
        stdout=asyncio.subprocess.PIPE,
    )
    try:
        assert process.stdout is not None
        yield Bare(int(await process.stdout.readline()), process)
    finally:
        process.terminate()
        await process.wait()


if __name__ == "__main__":
    with asyncio.Runner(loop_factory=uvloop.new_event_loop) as runner:
        runner.run(Server().run())
