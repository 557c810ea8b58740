"""The server's handle of one worker process: starts the process, runs jobs in it, and ends it."""

import asyncio
import os
import sys
from asyncio.subprocess import PIPE, Process
from collections.abc import Callable, Sequence
from contextlib import suppress
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Generic, TypeVar

import msgspec
import structlog

from blazechat.media.worker_protocol import LENGTH_BYTES, framed

log = structlog.get_logger("blazechat.workers")

START_SECONDS = 30.0
"""How long a process may take to start. The time of its first job begins after that."""
EXIT_SECONDS = 1.0
"""Time between the end of a process's output and its exit."""
MAX_LOGGED_CHARACTERS = 2000
"""How much of a process's standard error is logged."""
MAX_RESULT_OVERHEAD_BYTES = 16_000_000
"""How much larger a result may be than the bytes that follow its job."""
KEPT_ENVIRONMENT = ("LD_LIBRARY_PATH", "PYTHONHOME", "SYSTEMROOT")
"""Environment variables that Python might need to start. Any other variable might be a secret."""

Result = TypeVar("Result")


@dataclass(frozen=True)
class WorkerProgram(Generic[Result]):
    """What a worker process runs."""

    name: str
    """As in the log: `media worker`."""
    module: str
    """Its main module, which calls `worker_loop.serve()`."""
    result_decoder: msgspec.msgpack.Decoder[Result]


class WorkerProcess(Generic[Result]):
    """A worker, whose process starts with its first job."""

    def __init__(self, program: WorkerProgram[Result], memory_bytes: int, job_seconds: float) -> None:
        self._program = program
        self._memory_bytes = memory_bytes
        self._job_seconds = job_seconds
        self.is_killed = False
        self._process: Process | None = None  # set by the first job
        self._stderr_reader: asyncio.Task[None] | None = None  # set with `_process`
        self._timer: asyncio.TimerHandle | None = None  # set while idle

    @property
    def is_fit(self) -> bool:
        """True if the process runs and can take a job."""
        return not self.is_killed and self._process is not None and self._process.returncode is None

    async def run(self, job: msgspec.Struct, chunks: Sequence[bytes]) -> Result:
        """Send a job and the bytes that follow it, and return the result.

        Raises TimeoutError; OSError, EOFError or MsgspecError if the process dies or its result is invalid.
        """
        process = self._process or await self._start()
        assert process.stdin is not None
        async with asyncio.timeout(self._job_seconds):
            for part in (framed(msgspec.msgpack.encode(job)), *chunks):
                process.stdin.write(part)
                await process.stdin.drain()
            max_bytes = sum(map(len, chunks)) + MAX_RESULT_OVERHEAD_BYTES
            message = await self._read(process, max_bytes)
        return self._program.result_decoder.decode(message)

    def start_timer(self, seconds: float, retire: Callable[["WorkerProcess[Any]"], None]) -> None:
        """Call `retire` after so many seconds, unless `stop_timer()` comes first."""
        self._timer = asyncio.get_running_loop().call_later(seconds, retire, self)

    def stop_timer(self) -> None:
        if self._timer is not None:
            self._timer.cancel()

    def kill(self) -> None:
        """Kill the process, or have it killed as soon as it has started."""
        self.is_killed = True
        if self._process is not None:
            with suppress(ProcessLookupError):
                self._process.kill()

    async def end(self) -> None:
        """Kill the process, and wait until it and its pipes are gone."""
        if self._process is None or self._stderr_reader is None:
            return
        assert self._process.stdin is not None
        assert self._process.stdout is not None
        if self._process.stdout.at_eof():
            # It has probably exited. To kill it now would take its exit status away from asyncio.
            with suppress(TimeoutError):
                await asyncio.wait_for(self._process.wait(), EXIT_SECONDS)
        self.kill()
        self._process.stdin.close()
        while await self._process.stdout.read(1 << 16):
            pass  # unread output keeps a pipe open
        await self._stderr_reader
        await self._process.wait()

    async def _start(self) -> Process:
        self._process = process = await asyncio.create_subprocess_exec(
            *(sys.executable, "-P", "-B", "-m", self._program.module),
            *(str(self._memory_bytes), str(self._job_seconds)),
            stdin=PIPE,
            stdout=PIPE,
            stderr=PIPE,
            env=_environment(),
            start_new_session=True,  # Ctrl-C is meant for the server
        )
        name = f"{self._program.name} stderr"
        self._stderr_reader = asyncio.create_task(_log_stderr(process, name), name=name)
        if self.is_killed:
            process.kill()
        try:
            async with asyncio.timeout(START_SECONDS):
                await self._read(process, MAX_RESULT_OVERHEAD_BYTES)  # READY
        except TimeoutError:
            raise EOFError("the worker does not start") from None
        return process

    async def _read(self, process: Process, max_bytes: int) -> bytes:
        assert process.stdout is not None
        length = int.from_bytes(await process.stdout.readexactly(LENGTH_BYTES))
        if length > max_bytes:
            raise EOFError("the result is too large")
        return await process.stdout.readexactly(length)


async def _log_stderr(process: Process, event: str) -> None:
    """Log the start of the process's standard error, once the process has ended."""
    assert process.stderr is not None
    output = b""
    while chunk := await process.stderr.read(1 << 12):
        output = (output + chunk)[: MAX_LOGGED_CHARACTERS * 4]
    if output:
        log.warning(event, output=output.decode(errors="replace")[:MAX_LOGGED_CHARACTERS])


def _environment() -> dict[str, str]:
    """Return the worker's environment: where it finds this package and its dependencies, and little
    else."""
    folders = [entry or str(Path.cwd()) for entry in sys.path]
    folders.append(str(Path(__file__).parents[2]))
    kept = {name: os.environ[name] for name in KEPT_ENVIRONMENT if name in os.environ}
    return {**kept, "PYTHONPATH": os.pathsep.join(folders)}
