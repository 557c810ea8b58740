"""The server's side of looking at uploaded files: a few processes that do it, and a line before them.

What reads a stranger's bytes can be made to crash, to take all memory or never to end. So each reader is a
process of its own (`worker.py`), with limits and without the server's environment, and one that misbehaves
costs its file an error and nobody else anything.
"""

import asyncio
import os
import sys
import time
from asyncio.subprocess import PIPE, Process
from collections.abc import Callable, Coroutine, Sequence
from contextlib import suppress
from pathlib import Path
from typing import Any, TypeVar

import msgspec
import structlog

from blazechat.errors import Busy, ShuttingDown
from blazechat.media.worker_protocol import LENGTH, Look, Refused, Seen, framed

log = structlog.get_logger("blazechat.media")

WAITING = 32
"""Files that may wait to be looked at, each of them in memory."""
IDLE = 60.0
"""Seconds after which a process that has nothing to do ends."""
RESTS = 2
"""Times as long as it has worked."""
LONGEST_REST = 1.0
"""Seconds."""
START = 30.0
"""Seconds that a process may take to start, which is not the file's fault."""
DYING = 1.0
"""Seconds between a process's last word and its end."""
SAID = 2000
"""Characters of what a process says on standard error that are logged."""
BESIDES = 16_000_000
"""Bytes that an answer may have besides what it replaces of the file."""
KEPT = ("LD_LIBRARY_PATH", "PYTHONHOME", "SYSTEMROOT")
"""Of the environment: what a Python may not start without. Everything else might be a secret."""

ANSWERS: msgspec.msgpack.Decoder[Seen | Refused] = msgspec.msgpack.Decoder(Seen | Refused)

TOO_LONG = "Looking at the file took too long."
FAILED = "The file cannot be read: looking at it failed."


T = TypeVar("T")


class Unreadable(Exception):
    """The file cannot be taken. The text is a sentence for a person."""


class Overfull(Busy):
    """More files wait than the server takes at once."""


class WorkerPool:
    """Looks at up to `processes` files at a time, each for up to `seconds`, in `memory` bytes of addresses.

    Images of more than `max_pixels` are refused. Processes start when they are needed, and end after `idle`
    seconds without work. While `gives_way()`, each rests twice as long as it worked: a core that is busy
    all the time is felt by whoever needs one for a moment.
    """

    def __init__(
        self,
        *,
        processes: int,
        seconds: float,
        memory: int,
        max_pixels: int,
        idle: float = IDLE,
        gives_way: Callable[[], bool] = lambda: False,
    ) -> None:
        self._processes, self._seconds, self._memory = processes, seconds, memory
        self._max_pixels, self._idle_for = max_pixels, idle
        self._gives_way = gives_way
        self._places = asyncio.Semaphore(processes)
        self._waiting = 0
        self._workers: set[Worker] = set()  # those that work
        self._idle: list[Worker] = []  # the one that worked last at the end
        self._tasks: set[asyncio.Task[Any]] = set()
        self._closed = False

    async def look(self, size: int, head: Sequence[bytes], tail: Sequence[bytes] = ()) -> Seen:
        """What is in a file of `size` bytes, which begins with `head` and ends with `tail`, both in chunks.

        An image's head is all of it. Raises Unreadable, Overfull or ShuttingDown.
        """
        await self._take_place()
        worker = self._fit_worker()
        self._workers.add(worker)
        job = Look(size, sum(map(len, head)), sum(map(len, tail)), self._max_pixels)
        errand = self._own(self._run(worker, job, [*head, *tail]))
        try:
            await asyncio.wait([errand])
        finally:
            if not errand.done():  # whoever asked is gone
                worker.kill()
        answer = errand.result()
        if isinstance(answer, Refused):
            raise Unreadable(answer.reason)
        return answer

    async def close(self) -> None:
        """Stop all work: files that are looked at, or wait, get ShuttingDown."""
        self._closed = True
        for worker in self._workers:
            worker.kill()
        for _ in range(self._processes):
            await self._places.acquire()
        for worker in list(self._idle):
            self._retire(worker)
        while self._tasks:
            await asyncio.wait(self._tasks)
        for _ in range(self._processes):
            self._places.release()

    async def _take_place(self) -> None:
        """Wait in line. What is taken here is given back by `_run()`."""
        if self._waiting >= WAITING:
            raise Overfull
        self._waiting += 1
        try:
            await self._places.acquire()
        finally:
            self._waiting -= 1
        if self._closed:
            self._places.release()
            raise ShuttingDown

    def _fit_worker(self) -> "Worker":
        while self._idle:
            worker = self._idle[-1]
            if worker.is_fit:
                self._idle.remove(worker)
                worker.stop_timer()
                return worker
            self._retire(worker)
        return Worker(self._memory, self._seconds)

    async def _run(self, worker: "Worker", job: Look, chunks: Sequence[bytes]) -> Seen | Refused:
        is_done, began = False, time.monotonic()
        try:
            answer = await worker.ask(job, chunks)
            is_done = True
        except TimeoutError:
            raise Unreadable(TOO_LONG) from None
        except (OSError, EOFError, msgspec.MsgspecError) as error:
            if self._closed:
                raise ShuttingDown from error
            if not worker.is_killed:
                log.warning("a worker died over a file", size=job.size)
            raise Unreadable(FAILED) from error
        finally:
            if is_done and worker.is_fit and not self._closed:
                worker.start_timer(self._idle_for, self._retire)
                self._idle.append(worker)
            else:
                await worker.end()
            self._workers.discard(worker)
            self._leave_place(time.monotonic() - began)
        return answer

    def _leave_place(self, worked: float) -> None:
        if self._closed or not self._gives_way():
            self._places.release()
        else:
            asyncio.get_running_loop().call_later(min(RESTS * worked, LONGEST_REST), self._places.release)

    def _retire(self, worker: "Worker") -> None:
        self._idle.remove(worker)
        worker.stop_timer()
        self._own(worker.end())

    def _own(self, work: Coroutine[Any, Any, T]) -> asyncio.Task[T]:
        task = asyncio.create_task(work, name="workshop")
        self._tasks.add(task)
        task.add_done_callback(self._is_done)
        return task

    def _is_done(self, task: asyncio.Task[Any]) -> None:
        self._tasks.discard(task)
        if not task.cancelled():
            task.exception()  # it is raised where it is waited for, or nobody waits any more


class Worker:
    """One process, which starts with its first job."""

    def __init__(self, memory: int, seconds: float) -> None:
        self._memory, self._seconds = memory, seconds
        self.is_killed = False
        self._process: Process | None = None  # set from the first job on
        self._listening: asyncio.Task[None] | None = None
        self._timer: asyncio.TimerHandle | None = None  # set while idle

    @property
    def is_fit(self) -> bool:
        return not self.is_killed and self._process is not None and self._process.returncode is None

    async def ask(self, job: Look, chunks: Sequence[bytes]) -> Seen | Refused:
        """The answer to a job and the bytes that come with it.

        Raises TimeoutError; OSError, EOFError or MsgspecError where there is none.
        """
        process = self._process or await self._start()
        assert process.stdin is not None
        async with asyncio.timeout(self._seconds):
            for part in (framed(msgspec.msgpack.encode(job)), *chunks):
                process.stdin.write(part)
                await process.stdin.drain()
            message = await self._read(process, job.head + BESIDES)
        answer = ANSWERS.decode(message)
        if isinstance(answer, Seen):
            for patch in answer.patches:
                if not 0 <= patch.offset <= job.size - len(patch.content):
                    raise EOFError("a patch behind the file's end")
        return answer

    def start_timer(self, seconds: float, retire: Callable[["Worker"], None]) -> None:
        self._timer = asyncio.get_running_loop().call_later(seconds, retire, self)

    def stop_timer(self) -> None:
        if self._timer is not None:
            self._timer.cancel()

    def kill(self) -> None:
        """At once, or as soon as it has started."""
        self.is_killed = True
        if self._process is not None:
            with suppress(ProcessLookupError):
                self._process.kill()

    async def end(self) -> None:
        """Kill it, and wait until nothing is left of it."""
        if self._process is None or self._listening is None:
            return
        assert self._process.stdin is not None
        assert self._process.stdout is not None
        if self._process.stdout.at_eof():
            # It has died, it seems, and to kill it now would take its status away from asyncio.
            with suppress(TimeoutError):
                await asyncio.wait_for(self._process.wait(), DYING)
        self.kill()
        self._process.stdin.close()
        while await self._process.stdout.read(1 << 16):
            pass  # unread output keeps a pipe open
        await self._listening
        await self._process.wait()

    async def _start(self) -> Process:
        self._process = process = await asyncio.create_subprocess_exec(
            *(sys.executable, "-P", "-B", "-m", "blazechat.media.worker"),
            *(str(self._memory), str(self._seconds)),
            stdin=PIPE,
            stdout=PIPE,
            stderr=PIPE,
            env=_environment(),
            start_new_session=True,  # Ctrl-C is meant for the server
        )
        self._listening = asyncio.create_task(_listen(process), name="workshop-listener")
        if self.is_killed:
            process.kill()
        try:
            async with asyncio.timeout(START):
                await self._read(process, BESIDES)
        except TimeoutError:
            raise EOFError("it does not start") from None
        return process

    async def _read(self, process: Process, most: int) -> bytes:
        assert process.stdout is not None
        length = int.from_bytes(await process.stdout.readexactly(LENGTH))
        if length > most:
            raise EOFError("an answer beyond all measure")
        return await process.stdout.readexactly(length)


async def _listen(process: Process) -> None:
    """Log what it says besides its answers, once it has ended."""
    assert process.stderr is not None
    said = b""
    while chunk := await process.stderr.read(1 << 12):
        said = (said + chunk)[: SAID * 4]
    if said:
        log.warning("a worker said", said=said.decode(errors="replace")[:SAID])


def _environment() -> dict[str, str]:
    """Next to nothing, and where this very package and all that it needs are found."""
    folders = [entry or str(Path.cwd()) for entry in sys.path]
    folders.append(str(Path(__file__).parents[2]))
    kept = {name: os.environ[name] for name in KEPT if name in os.environ}
    return {**kept, "PYTHONPATH": os.pathsep.join(folders)}
