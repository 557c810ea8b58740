"""The ceiling of sockets: a bare uvloop server that holds connections and writes a frame to each.

It runs as a separate process and prints its port. Then it answers each line of its input with a number:
`memory` with its resident memory in bytes, `connections` with the number of connections, and
`write SECONDS FRAME` (the frame in hex) with the number of frames that it has written.
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
    """A protocol that does nothing but register its transport."""

    __slots__ = ("_server", "_transport")

    def __init__(self, server: "Server") -> None:
        self._server = server

    def connection_made(self, transport: asyncio.BaseTransport) -> None:
        self._transport = cast(asyncio.Transport, transport)
        self._server.transports.add(self._transport)

    def connection_lost(self, error: Exception | None) -> None:
        self._server.transports.discard(self._transport)

    def pause_writing(self) -> None:
        self._server.paused += 1
        self._server.all_writable.clear()

    def resume_writing(self) -> None:
        self._server.paused -= 1
        if not self._server.paused:
            self._server.all_writable.set()


class Server:
    """The process itself."""

    def __init__(self) -> None:
        self.transports: set[asyncio.Transport] = set()
        self.paused = 0  # the number of transports whose buffers are full
        self.all_writable = asyncio.Event()  # set while `paused` is 0
        self.all_writable.set()

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
        """Write the frame to every transport, at least once, until the time is up; return the number of
        writes.

        Each round is a turn of the event loop of its own: uvloop joins writes to one transport within a
        turn.
        """
        transports = list(self.transports)
        written, end = 0, time.perf_counter() + seconds
        while True:
            for transport in transports:
                transport.write(frame)
            written += len(transports)
            await asyncio.sleep(0)
            await self.all_writable.wait()
            if time.perf_counter() >= end:
                return written


@dataclass(frozen=True)
class BareServer:
    """The handle of the process in the load generator."""

    port: int
    process: asyncio.subprocess.Process

    async def request(self, question: str) -> int:
        """Send a line to the process and return the number that it answers."""
        assert self.process.stdin is not None
        assert self.process.stdout is not None
        self.process.stdin.write(question.encode() + b"\n")
        return int(await self.process.stdout.readline())

    async def wait_for_connections(self, count: int) -> None:
        """Wait until the process has accepted `count` connections: the kernel accepts them earlier."""
        async with asyncio.timeout(10):
            while await self.request("connections") < count:  # noqa: ASYNC110 (it is another process)
                await asyncio.sleep(0.01)


@asynccontextmanager
async def run_bare_server() -> AsyncIterator[BareServer]:
    """Run the process until the end of the block."""
    process = await asyncio.create_subprocess_exec(
        sys.executable,
        "-m",
        "bench.bare_server",
        stdin=asyncio.subprocess.PIPE,
        stdout=asyncio.subprocess.PIPE,
    )
    try:
        assert process.stdout is not None
        yield BareServer(int(await process.stdout.readline()), process)
    finally:
        process.terminate()
        await process.wait()


if __name__ == "__main__":
    with asyncio.Runner(loop_factory=uvloop.new_event_loop) as runner:
        runner.run(Server().run())
