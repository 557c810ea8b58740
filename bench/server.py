"""A real server process on an embedded PostgreSQL with its default durability, in a folder of its own."""

import asyncio
import os
import secrets
import shutil
import sys
import tempfile
import time
from collections.abc import AsyncIterator, Callable, Iterator
from contextlib import AbstractContextManager, asynccontextmanager, contextmanager
from dataclasses import dataclass
from pathlib import Path
from urllib.parse import quote

import asyncpg
import psutil

from blazechat.database.embedded_files import DATABASE, ROLE
from blazechat.database.postmaster import Postmaster
from blazechat.domain.auth.access_tokens import AccessTokens

LIMITLESS = {"BLAZECHAT_COMMANDS_PER_SECOND": "1000000", "BLAZECHAT_COMMAND_BURST": "1000000"}
"""Flood control is a socket's; where a few sockets stand for many people, it has to be out of the way."""


@dataclass(frozen=True)
class Bench:
    host: str
    port: int
    process: psutil.Process
    postmaster: psutil.Process
    dsn: str
    tokens: AccessTokens

    @asynccontextmanager
    async def database(self) -> AsyncIterator[asyncpg.Connection]:
        """A connection of our own to the server's database."""
        connection = await asyncpg.connect(self.dsn)
        try:
            yield connection
        finally:
            await connection.close()

    def resident(self) -> int:
        """Bytes of memory that the server process has."""
        return int(self.process.memory_info().rss)

    def server_seconds(self) -> float:
        """CPU seconds of the server process so far."""
        return cpu_seconds(self.process)

    def postgres_seconds(self) -> float:
        """CPU seconds of PostgreSQL so far, its ended backends included."""
        ended = self.postmaster.cpu_times()
        living = sum(map(cpu_seconds, (self.postmaster, *self.postmaster.children())))
        return living + float(ended.children_user + ended.children_system)

    def shares(self, during: str) -> AbstractContextManager[None]:
        """Print which share of a core each of us takes in the block."""
        return shares(
            during, server=self.server_seconds, PostgreSQL=self.postgres_seconds, generator=own_seconds
        )


@contextmanager
def shares(during: str, **clocks: Callable[[], float]) -> Iterator[None]:
    """Print which share of a core each took in the block, by its CPU seconds, and all other programs.

    `stolen` is what the host of a virtual machine withheld from it: where that is not near 0, latencies are
    the host's as much as ours.
    """

    def read() -> list[float]:
        return [*(clock() for clock in clocks.values()), _stolen_seconds(), _busy_seconds()]

    before, began = read(), time.perf_counter()
    yield
    spent = time.perf_counter() - began
    *ours, stolen, all_of_us = (
        (after - earlier) / spent for earlier, after in zip(before, read(), strict=True)
    )
    told = [f"{name} {share:.2f}" for name, share in zip(clocks, ours, strict=True)]
    others = max(0, all_of_us - sum(ours))
    print(f"  CPU, {during}: {', '.join(told)}, others {others:.2f}, stolen {stolen:.3f}", flush=True)


def own_seconds() -> float:
    return cpu_seconds(psutil.Process())


def cpu_seconds(process: psutil.Process) -> float:
    times = process.cpu_times()
    return float(times.user + times.system)


def _busy_seconds() -> float:
    """CPU seconds of the whole machine so far, on all cores."""
    times = psutil.cpu_times()
    waited = times.idle + getattr(times, "iowait", 0.0)
    return float(sum(times[:8]) - waited) - _stolen_seconds()  # behind those, Linux counts guests again


def _stolen_seconds() -> float:
    return float(getattr(psutil.cpu_times(), "steal", 0.0))


@asynccontextmanager
async def serving(**environment: str) -> AsyncIterator[Bench]:
    """The server, with routes beside the real ones that answer with constants, and cheap passwords."""
    folder = Path(tempfile.mkdtemp(prefix="blazechat-bench-"))
    os.chmod(folder, 0o755)  # noqa: PTH101, S103
    key = secrets.token_hex(32)
    process = await asyncio.create_subprocess_exec(
        sys.executable,
        "-m",
        "bench.serve",
        stdout=asyncio.subprocess.PIPE,
        env=os.environ
        | {
            "BLAZECHAT_BCRYPT_ROUNDS": "4",
            "BLAZECHAT_LOG_LEVEL": "warning",
            "BLAZECHAT_DATA_DIR": str(folder),
            "BLAZECHAT_PORT": "0",
            "SECRET_KEY": key,
        }
        | environment,
    )
    try:
        host, port = await _address(process)
        postmaster = Postmaster.of((folder / "postgres").resolve() / "cluster")
        assert postmaster is not None, "the embedded PostgreSQL is not there"
        yield Bench(
            host,
            port,
            psutil.Process(process.pid),
            postmaster.process,
            f"postgresql://{ROLE}@/{DATABASE}?host={quote(postmaster.socket_folder)}",
            AccessTokens(key, "HS256", 1800),
        )
    finally:
        await _end(process)
        shutil.rmtree(folder, ignore_errors=True)


async def _address(process: asyncio.subprocess.Process) -> tuple[str, int]:
    assert process.stdout is not None
    async with asyncio.timeout(60):
        while b"listening" not in (line := await process.stdout.readline()):
            assert line, "the server did not start"
    host, port = line.decode().split("//")[1].split(":")
    return host, int(port)


async def _end(process: asyncio.subprocess.Process) -> None:
    if process.returncode is None:
        process.terminate()
    try:
        await asyncio.wait_for(process.wait(), 30)
    except TimeoutError:
        process.kill()
        await process.wait()
