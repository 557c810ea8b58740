"""Runs the measured server: a real process on an embedded PostgreSQL with default durability."""

import asyncio
import os
import secrets
import shutil
import sys
import tempfile
from collections.abc import AsyncIterator
from contextlib import AbstractContextManager, asynccontextmanager
from dataclasses import dataclass
from pathlib import Path
from urllib.parse import quote

import asyncpg
import psutil

from bench.cpu import CpuClock, generator_seconds, shares
from blazechat.database.embedded_files import DATABASE, ROLE, server_folder
from blazechat.database.postmaster import Postmaster
from blazechat.domain.auth.access_tokens import AccessTokens

NO_RATE_LIMIT = {"BLAZECHAT_COMMANDS_PER_SECOND": "1000000", "BLAZECHAT_COMMAND_BURST": "1000000"}
"""Rate limits hold per socket. Scenarios in which a few sockets stand for many users lift them."""
START_TIMEOUT_SECONDS = 60
STOP_TIMEOUT_SECONDS = 30


@dataclass(frozen=True, kw_only=True)
class Bench:
    """A running server, and what scenarios need to use and measure it."""

    host: str
    port: int
    process: psutil.Process
    dsn: str
    tokens: AccessTokens
    server_clock: CpuClock
    postgres_clock: CpuClock

    @asynccontextmanager
    async def database(self) -> AsyncIterator[asyncpg.Connection]:
        """Open a connection to the server's database, in addition to the server's own."""
        connection = await asyncpg.connect(self.dsn)
        try:
            yield connection
        finally:
            await connection.close()

    def resident(self) -> int:
        """Return the resident memory of the server process in bytes."""
        return int(self.process.memory_info().rss)

    def shares(self, phase: str) -> AbstractContextManager[None]:
        """Print the share of a core that server, PostgreSQL and load generator take during the block."""
        return shares(
            phase,
            server=self.server_clock.seconds,
            PostgreSQL=self.postgres_clock.seconds,
            generator=generator_seconds,
        )


@asynccontextmanager
async def serving(**environment: str) -> AsyncIterator[Bench]:
    """Run the server until the end of the block, with the constant routes of `bench.serve` and cheap
    passwords.

    `environment` has further settings by their environment names.
    """
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
        host, port = await _read_address(process)
        postmaster = Postmaster.of(server_folder(folder) / "cluster")
        assert postmaster is not None, "the embedded PostgreSQL does not run"
        server = psutil.Process(process.pid)
        yield Bench(
            host=host,
            port=port,
            process=server,
            dsn=f"postgresql://{ROLE}@/{DATABASE}?host={quote(postmaster.socket_folder)}",
            tokens=AccessTokens(key, "HS256", 1800),
            server_clock=CpuClock(server),
            postgres_clock=CpuClock(postmaster.process, children=True),
        )
    finally:
        await _stop(process)
        shutil.rmtree(folder, ignore_errors=True)


async def _read_address(process: asyncio.subprocess.Process) -> tuple[str, int]:
    """Return host and port, which the server prints once it is ready."""
    assert process.stdout is not None
    async with asyncio.timeout(START_TIMEOUT_SECONDS):
        while b"listening" not in (line := await process.stdout.readline()):
            assert line, "the server did not start"
    host, port = line.decode().split("//")[1].split(":")
    return host, int(port)


async def _stop(process: asyncio.subprocess.Process) -> None:
    if process.returncode is None:
        process.terminate()
    try:
        await asyncio.wait_for(process.wait(), STOP_TIMEOUT_SECONDS)
    except TimeoutError:
        process.kill()
        await process.wait()
