"""A real server process on an embedded PostgreSQL with its default durability, in a folder of its own."""

import asyncio
import os
import shutil
import sys
import tempfile
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from dataclasses import dataclass
from pathlib import Path

import psutil


@dataclass(frozen=True)
class Bench:
    host: str
    port: int
    process: psutil.Process
    folder: Path

    def postgres_seconds(self) -> float:
        """CPU seconds of PostgreSQL so far, its ended backends included."""
        return sum(_cpu(child) for child in self._postgres())

    def server_seconds(self) -> float:
        return _cpu(self.process)

    def _postgres(self) -> list[psutil.Process]:
        children = self.process.children()
        return [each for child in children for each in (child, *child.children())]


def _cpu(process: psutil.Process) -> float:
    times = process.cpu_times()
    return float(times.user + times.system)


@asynccontextmanager
async def serving() -> AsyncIterator[Bench]:
    """The server, with a route beside the real ones that answers with a constant."""
    folder = Path(tempfile.mkdtemp(prefix="blazechat-bench-"))
    os.chmod(folder, 0o755)  # noqa: PTH101, S103
    environment = os.environ | {
        "BLAZECHAT_BCRYPT_ROUNDS": "4",
        "BLAZECHAT_LOG_LEVEL": "warning",
        "BLAZECHAT_DATA_DIR": str(folder),
        "BLAZECHAT_PORT": "0",
    }
    process = await asyncio.create_subprocess_exec(
        sys.executable, "-m", "bench.serve", env=environment, stdout=asyncio.subprocess.PIPE
    )
    try:
        assert process.stdout is not None
        async with asyncio.timeout(60):
            while b"listening" not in (line := await process.stdout.readline()):
                assert line, "the server did not start"
        host, port = line.decode().split("//")[1].split(":")
        yield Bench(host, int(port), psutil.Process(process.pid), folder)
    finally:
        process.terminate()
        await process.wait()
        shutil.rmtree(folder, ignore_errors=True)
