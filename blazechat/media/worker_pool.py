"""A pool of worker processes: a few run jobs on untrusted input, and further jobs wait in a queue.

Such a job can be made to crash, to use all memory or never to end. So each worker is a process of its own
(worker_loop.py), with resource limits and without the server's environment. A worker that misbehaves costs
its own job an error, and affects nothing else.
"""

import asyncio
import time
from collections.abc import Callable, Coroutine, Sequence
from typing import Any, Generic, TypeVar

import msgspec
import structlog

from blazechat.errors import Busy, ShuttingDown
from blazechat.media.worker_process import WorkerProcess, WorkerProgram

log = structlog.get_logger("blazechat.workers")

MAX_QUEUED_JOBS = 32
"""Jobs that may wait for a worker, each of them with its input in memory."""
IDLE_SECONDS = 60.0
"""How long a worker lives without a job."""
REST_FACTOR = 2
"""A worker that has to rest does so for this many times as long as its job took."""
MAX_REST_SECONDS = 1.0

T = TypeVar("T")
Result = TypeVar("Result")


class PoolBusy(Busy):
    """More jobs wait than MAX_QUEUED_JOBS."""


class WorkerTimedOut(Exception):
    """A job took longer than `job_seconds`."""


class WorkerDied(Exception):
    """A worker ended before it had a result, or its result was invalid."""


class WorkerPool(Generic[Result]):
    """Runs `program` in up to `processes` workers.

    A job may take `job_seconds`, a worker `memory_bytes` of address space. Workers start when they are
    needed, and end after `idle_seconds` without a job. While `is_chat_active()` is true, a worker rests
    after each job: a core that is busy all the time delays every task that needs one for a moment.
    """

    def __init__(
        self,
        program: WorkerProgram[Result],
        *,
        processes: int,
        job_seconds: float,
        memory_bytes: int,
        idle_seconds: float = IDLE_SECONDS,
        is_chat_active: Callable[[], bool] = lambda: False,
    ) -> None:
        self._program = program
        self._processes = processes
        self._job_seconds = job_seconds
        self._memory_bytes = memory_bytes
        self._idle_seconds = idle_seconds
        self._is_chat_active = is_chat_active
        self._slots = asyncio.Semaphore(processes)
        self._queued = 0
        self._working: set[WorkerProcess[Result]] = set()
        self._idle: list[WorkerProcess[Result]] = []  # the last one is the one that worked last
        self._tasks: set[asyncio.Task[Any]] = set()
        self._is_closed = False

    async def run(self, job: msgspec.Struct, chunks: Sequence[bytes] = ()) -> Result:
        """Run a job, which the bytes in `chunks` follow, and return its result.

        Raises WorkerTimedOut, WorkerDied, PoolBusy or ShuttingDown.
        """
        await self._take_slot()
        worker = self._fit_worker()
        self._working.add(worker)
        running = self._create_task(self._run(worker, job, chunks))
        try:
            await asyncio.wait([running])
        finally:
            if not running.done():  # the caller was cancelled
                worker.kill()
        return running.result()

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

    def _fit_worker(self) -> WorkerProcess[Result]:
        """Return the worker that worked last and is still alive, or a new one."""
        while self._idle:
            worker = self._idle[-1]
            if worker.is_fit:
                self._idle.remove(worker)
                worker.stop_timer()
                return worker
            self._retire(worker)
        return WorkerProcess(self._program, self._memory_bytes, self._job_seconds)

    async def _run(
        self, worker: WorkerProcess[Result], job: msgspec.Struct, chunks: Sequence[bytes]
    ) -> Result:
        is_done, started = False, time.monotonic()
        try:
            result = await worker.run(job, chunks)
            is_done = True
        except TimeoutError:
            raise WorkerTimedOut from None
        except (OSError, EOFError, msgspec.MsgspecError) as error:
            if self._is_closed:
                raise ShuttingDown from error
            if not worker.is_killed:
                event = f"{self._program.name} died"
                log.warning(event, reason=str(error))
            raise WorkerDied from error
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

    def _retire(self, worker: WorkerProcess[Result]) -> None:
        self._idle.remove(worker)
        worker.stop_timer()
        self._create_task(worker.end())

    def _create_task(self, work: Coroutine[Any, Any, T]) -> asyncio.Task[T]:
        task = asyncio.create_task(work, name=self._program.name)
        self._tasks.add(task)
        task.add_done_callback(self._on_task_done)
        return task

    def _on_task_done(self, task: asyncio.Task[Any]) -> None:
        self._tasks.discard(task)
        if not task.cancelled():
            task.exception()  # marks it as retrieved; a caller that still waits raises it
