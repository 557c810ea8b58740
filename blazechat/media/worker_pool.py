"""The pool of media workers: a few processes inspect uploaded files, and further files wait in a queue.

Code that parses untrusted bytes can be made to crash, to use all memory or never to end. So each worker is
a process of its own (worker.py), with resource limits and without the server's environment. A worker that
misbehaves costs its own file an error, and affects nothing else.
"""

import asyncio
import time
from collections.abc import Callable, Coroutine, Sequence
from typing import Any, TypeVar

import msgspec
import structlog

from blazechat.errors import Busy, ShuttingDown, UnreadableFile
from blazechat.media.worker_process import WorkerProcess
from blazechat.media.worker_protocol import FileInfo, InspectionJob, RejectedFile

log = structlog.get_logger("blazechat.media")

MAX_QUEUED_JOBS = 32
"""Files that may wait for a worker, each of them in memory."""
IDLE_SECONDS = 60.0
"""How long a worker lives without a job."""
REST_FACTOR = 2
"""A worker that has to rest does so for this many times as long as its job took."""
MAX_REST_SECONDS = 1.0

TIMED_OUT = "Inspecting the file took too long."
CRASHED = "The file cannot be read: inspecting it failed."

T = TypeVar("T")


class PoolBusy(Busy):
    """More files wait than MAX_QUEUED_JOBS."""


class WorkerPool:
    """Runs up to `processes` workers. A job may take `job_seconds`, a worker `memory_bytes` of address
    space.

    Images of more than `max_pixels` are rejected. Workers start when they are needed, and end after
    `idle_seconds` without a job. While `is_chat_active()` is true, a worker rests after each job: a core
    that is busy all the time delays every task that needs one for a moment.
    """

    def __init__(
        self,
        *,
        processes: int,
        job_seconds: float,
        memory_bytes: int,
        max_pixels: int,
        idle_seconds: float = IDLE_SECONDS,
        is_chat_active: Callable[[], bool] = lambda: False,
    ) -> None:
        self._processes = processes
        self._job_seconds = job_seconds
        self._memory_bytes = memory_bytes
        self._max_pixels = max_pixels
        self._idle_seconds = idle_seconds
        self._is_chat_active = is_chat_active
        self._slots = asyncio.Semaphore(processes)
        self._queued = 0
        self._working: set[WorkerProcess] = set()
        self._idle: list[WorkerProcess] = []  # the last one is the one that worked last
        self._tasks: set[asyncio.Task[Any]] = set()
        self._is_closed = False

    async def inspect(self, size: int, head: Sequence[bytes], tail: Sequence[bytes] = ()) -> FileInfo:
        """Inspect a file of `size` bytes by its head and tail, both in chunks.

        The head of an image must be the whole file. Raises UnreadableFile, PoolBusy or ShuttingDown.
        """
        await self._take_slot()
        worker = self._fit_worker()
        self._working.add(worker)
        job = InspectionJob(size, sum(map(len, head)), sum(map(len, tail)), self._max_pixels)
        running = self._create_task(self._run(worker, job, [*head, *tail]))
        try:
            await asyncio.wait([running])
        finally:
            if not running.done():  # the caller was cancelled
                worker.kill()
        result = running.result()
        if isinstance(result, RejectedFile):
            raise UnreadableFile(result.reason)
        return result

    async def close(self) -> None:
        """End all workers. Running and queued jobs raise ShuttingDown."""
        self._is_closed = True
        for worker in self._working:
            worker.kill()
        for _ in range(self._processes):
            await self._slots.acquire()
        for worker in list(self._idle):
            self._retire(worker)
        while self._tasks:
            await asyncio.wait(self._tasks)
        for _ in range(self._processes):
            self._slots.release()

    async def _take_slot(self) -> None:
        """Wait for a free slot. `_run()` releases it."""
        if self._queued >= MAX_QUEUED_JOBS:
            raise PoolBusy
        self._queued += 1
        try:
            await self._slots.acquire()
        finally:
            self._queued -= 1
        if self._is_closed:
            self._slots.release()
            raise ShuttingDown

    def _fit_worker(self) -> WorkerProcess:
        """Return the worker that worked last and is still alive, or a new one."""
        while self._idle:
            worker = self._idle[-1]
            if worker.is_fit:
                self._idle.remove(worker)
                worker.stop_timer()
                return worker
            self._retire(worker)
        return WorkerProcess(self._memory_bytes, self._job_seconds)

    async def _run(
        self, worker: WorkerProcess, job: InspectionJob, chunks: Sequence[bytes]
    ) -> FileInfo | RejectedFile:
        is_done, started = False, time.monotonic()
        try:
            result = await worker.run(job, chunks)
            is_done = True
        except TimeoutError:
            raise UnreadableFile(TIMED_OUT) from None
        except (OSError, EOFError, msgspec.MsgspecError) as error:
            if self._is_closed:
                raise ShuttingDown from error
            if not worker.is_killed:
                log.warning("media worker died", file_bytes=job.file_bytes)
            raise UnreadableFile(CRASHED) from error
        finally:
            if is_done and worker.is_fit and not self._is_closed:
                worker.start_timer(self._idle_seconds, self._retire)
                self._idle.append(worker)
            else:
                await worker.end()
            self._working.discard(worker)
            self._release_slot(time.monotonic() - started)
        return result

    def _release_slot(self, worked_seconds: float) -> None:
        """Release a slot, after a rest while chat is active."""
        if self._is_closed or not self._is_chat_active():
            self._slots.release()
        else:
            rest_seconds = min(REST_FACTOR * worked_seconds, MAX_REST_SECONDS)
            asyncio.get_running_loop().call_later(rest_seconds, self._slots.release)

    def _retire(self, worker: WorkerProcess) -> None:
        self._idle.remove(worker)
        worker.stop_timer()
        self._create_task(worker.end())

    def _create_task(self, work: Coroutine[Any, Any, T]) -> asyncio.Task[T]:
        task = asyncio.create_task(work, name="media worker")
        self._tasks.add(task)
        task.add_done_callback(self._on_task_done)
        return task

    def _on_task_done(self, task: asyncio.Task[Any]) -> None:
        self._tasks.discard(task)
        if not task.cancelled():
            task.exception()  # marks it as retrieved; a caller that still waits raises it
