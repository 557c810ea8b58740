"""Worker pool: a hostile file costs its sender an error, and affects nothing else."""

import asyncio
import gc
import os
import select
import signal
import sys
import threading
import time
from collections.abc import AsyncIterator, Callable
from pathlib import Path
from typing import Any

import psutil
import pytest
from structlog.testing import capture_logs

from blazechat.errors import ShuttingDown, UnreadableFile
from blazechat.media.inspector import Inspector
from blazechat.media.worker_pool import MAX_QUEUED_JOBS, MAX_REST_SECONDS, PoolBusy
from tests.media.files import box, exif, picture, png, saved, xmp

TEXT = b"hello"
MEMORY_BYTES = 600_000_000
TIMEOUT_SECONDS = 20.0
"""Longer than anything in these tests takes, unless it fails."""

NewPool = Callable[..., Inspector]


@pytest.fixture
async def new_pool() -> AsyncIterator[NewPool]:
    """Create pools, and check at the end that no process of theirs is left."""
    created: list[Inspector] = []

    def new(
        processes: int = 1,
        job_seconds: float = TIMEOUT_SECONDS,
        memory_bytes: int = MEMORY_BYTES,
        max_pixels: int = 150_000_000,
        **options: Any,
    ) -> Inspector:
        limits: Any = {"processes": processes, "job_seconds": job_seconds, "memory_bytes": memory_bytes}
        created.append(Inspector(**limits, max_pixels=max_pixels, **options))
        return created[-1]

    yield new
    for pool in created:
        await pool.close()
    assert workers() == []
    gc.collect()  # unclosed resources warn now, and warnings are errors


OTHER_WORKERS: set[int] = set()
"""Process ids of workers that belong to the servers of other tests."""


@pytest.fixture(autouse=True)
def _other_workers() -> None:
    OTHER_WORKERS.clear()
    OTHER_WORKERS.update(each.pid for each in workers())


def workers(parent: int | None = None) -> list[psutil.Process]:
    found = [each for each in psutil.Process(parent).children() if is_worker(each)]
    return [each for each in found if each.pid not in OTHER_WORKERS]


def is_worker(process: psutil.Process) -> bool:
    """True if the process is a worker, or a zombie."""
    try:
        return process.status() == "zombie" or "blazechat.media.worker" in process.cmdline()
    except psutil.NoSuchProcess:
        return False


def proc_file(process: psutil.Process, name: str) -> str:
    return Path(f"/proc/{process.pid}/{name}").read_text()


async def inspect(pool: Inspector, content: bytes = TEXT) -> str:
    return (await pool.inspect(len(content), [content])).media_type


async def run_started_tasks() -> None:
    """Let the started tasks run until they wait for a worker."""
    for _ in range(20):
        await asyncio.sleep(0)


async def stopped_worker(pool: Inspector) -> psutil.Process:
    """Return the only worker, suspended, so that it never returns a result."""
    await inspect(pool)
    [worker] = workers()
    worker.suspend()
    return worker


class ProcessExit:
    """The exit of a process, which need not be a child of this one."""

    def __init__(self, process: psutil.Process) -> None:
        self._file = os.pidfd_open(process.pid)

    async def wait(self) -> None:
        ended, _, _ = await asyncio.to_thread(select.select, [self._file], [], [], TIMEOUT_SECONDS)
        os.close(self._file)
        assert ended, "the process still runs"


async def test_files_are_inspected_in_another_process(new_pool: NewPool) -> None:
    """One process inspects images, video and other files in turn."""
    pool = new_pool()
    content = saved(picture(size=(2000, 1500)), "JPEG", exif=exif(), xmp=xmp())
    info = await pool.inspect(len(content), [content])
    assert (info.media_type, info.width, info.height) == ("image/jpeg", 1500, 2000)
    assert [(each.width, each.height) for each in info.thumbnails] == [(240, 320), (960, 1280)]
    assert info.patches
    [first] = workers()
    video = (
        box(b"ftyp", b"isom", bytes(4))
        + box(b"mdat", bytes(9000))
        + box(b"moov", box(b"mvhd", bytes(12), b"\0\0\0\1\0\0\0\5"))
    )
    info = await pool.inspect(len(video), [video[:1000]], [video[-1000:]])
    assert (info.media_type, info.duration) == ("video/mp4", 5.0)
    assert await inspect(pool) == "text/plain"
    assert workers() == [first]


async def test_images_that_are_not_decoded_lose_their_position(new_pool: NewPool) -> None:
    """Phones send HEIF files, which the server does not decode."""
    content = saved(picture(), "AVIF", exif=exif()).replace(b"ftypavif", b"ftypheic")
    info = await new_pool().inspect(len(content), [content])
    assert (info.media_type, info.width) == ("image/heic", None)
    assert info.patches


async def test_part_of_an_image_is_not_enough(new_pool: NewPool) -> None:
    """Otherwise metadata in the rest of the file would stay."""
    content = saved(picture(), "PNG")
    with pytest.raises(UnreadableFile, match="larger than this server"):
        await new_pool().inspect(len(content) + 1, [content])


async def test_too_many_pixels_are_rejected(new_pool: NewPool) -> None:
    """A file of fifty kilobytes has a hundred million pixels."""
    content = png(10_000, 10_000)
    with pytest.raises(UnreadableFile, match="100,000,000 pixels"):
        await new_pool(max_pixels=99_999_999).inspect(len(content), [content])
    info = await new_pool(max_pixels=100_000_000).inspect(len(content), [content])
    assert info.width == 10_000


async def test_a_file_that_needs_too_much_memory_is_rejected(new_pool: NewPool) -> None:
    """The next file is inspected by the same process or by a new one."""
    pool = new_pool(memory_bytes=150_000_000)
    content = png(10_000, 10_000)
    with pytest.raises(UnreadableFile, match="memory"):
        await pool.inspect(len(content), [content])
    assert await inspect(pool) == "text/plain"


async def test_a_file_that_takes_too_long_is_rejected(new_pool: NewPool) -> None:
    """Its process is killed, and the next file gets a new one."""
    pool = new_pool(job_seconds=0.1)
    worker = await stopped_worker(pool)
    worker_exit = ProcessExit(worker)
    with pytest.raises(UnreadableFile, match="took too long"):
        await inspect(pool)
    await worker_exit.wait()
    assert await inspect(pool) == "text/plain"
    assert worker not in workers()


async def test_a_decoder_that_takes_too_long_is_ended(new_pool: NewPool) -> None:
    """This works even inside a decoder that runs no Python code."""
    content = png(12_000, 12_000)
    with pytest.raises(UnreadableFile, match="took too long"):
        await new_pool(job_seconds=0.02).inspect(len(content), [content])


async def test_a_crash_affects_only_its_own_file(new_pool: NewPool) -> None:
    """Other files are inspected meanwhile, and after it."""
    pool = new_pool(processes=2)
    worker = await stopped_worker(pool)
    crashing = asyncio.create_task(inspect(pool))
    await run_started_tasks()
    assert await inspect(pool) == "text/plain"
    with capture_logs() as logged:
        worker.kill()
        with pytest.raises(UnreadableFile, match="failed"):
            await crashing
    assert [entry["event"] for entry in logged] == ["media worker died"]
    assert await inspect(pool) == "text/plain"


async def test_a_process_that_dies_idle_costs_nothing(new_pool: NewPool) -> None:
    """The operating system may kill any process when memory is short."""
    earlier_threads = set(threading.enumerate())
    pool = new_pool()
    await inspect(pool)
    [worker] = workers()
    worker.kill()

    def is_waited_for() -> bool:
        """True until asyncio's thread has noticed the exit. There is no event for that."""
        new_threads = set(threading.enumerate()) - earlier_threads
        return any("waitpid" in each.name for each in new_threads)

    while worker in workers() or is_waited_for():  # noqa: ASYNC110
        await asyncio.sleep(0.01)
    await run_started_tasks()
    assert await inspect(pool) == "text/plain"


async def test_a_cancelled_caller_ends_its_process(new_pool: NewPool) -> None:
    """Otherwise cancelled uploads would keep all processes busy."""
    pool = new_pool()
    worker = await stopped_worker(pool)
    worker_exit = ProcessExit(worker)
    cancelled, waiting = (asyncio.create_task(inspect(pool)) for _ in range(2))
    await run_started_tasks()
    cancelled.cancel()
    with pytest.raises(asyncio.CancelledError):
        await cancelled
    await worker_exit.wait()
    assert await waiting == "text/plain"


async def test_callers_that_are_cancelled_early_leave_nothing(new_pool: NewPool) -> None:
    """One is cancelled while its process starts, another while it waits for a slot."""
    pool = new_pool()
    starting, waiting = (asyncio.create_task(inspect(pool)) for _ in range(2))
    await run_started_tasks()
    for task in (waiting, starting):
        task.cancel()
    for task in (waiting, starting):
        with pytest.raises(asyncio.CancelledError):
            await task
    assert await inspect(pool) == "text/plain"
    assert len(workers()) == 1


async def test_many_files_wait_in_a_queue(new_pool: NewPool) -> None:
    """First come, first served. A file that exceeds the queue fails immediately."""
    pool = new_pool()
    worker = await stopped_worker(pool)
    done: list[int] = []

    async def inspect_number(number: int) -> None:
        await inspect(pool)
        done.append(number)

    tasks = [asyncio.create_task(inspect_number(number)) for number in range(1 + MAX_QUEUED_JOBS)]
    await run_started_tasks()
    with pytest.raises(PoolBusy):
        await inspect(pool)
    worker.resume()
    await asyncio.gather(*tasks)
    assert done == list(range(1 + MAX_QUEUED_JOBS))
    assert workers() == [worker]


async def test_the_number_of_processes_is_limited(new_pool: NewPool) -> None:
    """It does not depend on the number of files."""
    pool = new_pool(processes=2)
    content = saved(picture(), "PNG")
    assert set(await asyncio.gather(*(inspect(pool, content) for _ in range(30)))) == {"image/png"}
    assert len(workers()) == 2


async def test_idle_processes_end(new_pool: NewPool) -> None:
    """Otherwise they would hold memory without need."""
    pool = new_pool(idle_seconds=0.05)
    await inspect(pool)
    await ProcessExit(workers()[0]).wait()
    assert await inspect(pool) == "text/plain"


async def test_closing_ends_everything(new_pool: NewPool) -> None:
    """Running, queued and later jobs raise ShuttingDown."""
    pool = new_pool()
    worker = await stopped_worker(pool)
    worker_exit = ProcessExit(worker)
    tasks = [asyncio.create_task(inspect(pool)) for _ in range(3)]
    await run_started_tasks()
    await pool.close()
    await worker_exit.wait()
    for task in tasks:
        with pytest.raises(ShuttingDown):
            await task
    with pytest.raises(ShuttingDown):
        await inspect(pool)
    await pool.close()


async def test_no_secret_reaches_a_process(
    new_pool: NewPool, monkeypatch: pytest.MonkeyPatch, tmp_path: Path
) -> None:
    """A process gets only the environment that it needs to start, in any working directory of the
    server."""
    monkeypatch.setenv("BLAZECHAT_SECRET_KEY", "do-not-reveal")
    monkeypatch.setenv("DATABASE_URL", "postgresql://alice:do-not-reveal@host/")
    monkeypatch.chdir(tmp_path)
    await inspect(new_pool())
    [worker] = workers()
    environment = proc_file(worker, "environ")
    assert "do-not-reveal" not in environment
    names = {entry.partition("=")[0] for entry in environment.split("\0") if entry}
    assert names <= {"PYTHONPATH", "PYTHONHOME", "LD_LIBRARY_PATH", "LC_CTYPE"}


async def test_processes_are_restricted(new_pool: NewPool) -> None:
    """A process cannot exceed its memory, write a file or dump core."""
    await inspect(new_pool())
    [worker] = workers()
    assert worker.rlimit(psutil.RLIMIT_AS) == (MEMORY_BYTES, MEMORY_BYTES)
    assert worker.rlimit(psutil.RLIMIT_FSIZE) == worker.rlimit(psutil.RLIMIT_CORE) == (0, 0)
    assert worker.rlimit(psutil.RLIMIT_NOFILE)[1] <= 64
    assert worker.nice() == 10
    assert "NoNewPrivs:\t1" in proc_file(worker, "status")
    assert os.getsid(worker.pid) == worker.pid


async def test_stderr_of_a_process_is_logged_once(new_pool: NewPool) -> None:
    """A process without any memory fails with a traceback."""
    with capture_logs() as logged, pytest.raises(UnreadableFile):
        await inspect(new_pool(memory_bytes=1), saved(picture(), "PNG"))
    entries = [entry for entry in logged if entry["event"] == "media worker stderr"]
    assert len(entries) == 1
    assert entries[0]["log_level"] == "warning"
    assert "Traceback" in entries[0]["output"]
    assert len(entries[0]["output"]) <= 2000


async def test_workers_rest_while_chat_is_active(new_pool: NewPool) -> None:
    """The result of a job is not delayed; the next job begins later."""
    is_chat_active = True
    pool = new_pool(is_chat_active=lambda: is_chat_active)
    started = time.monotonic()
    await pool.inspect(5, [b"hello"])  # includes the start of the process
    first = time.monotonic()
    await pool.inspect(5, [b"hello"])
    assert time.monotonic() - first >= 0.9 * min(first - started, MAX_REST_SECONDS)
    is_chat_active = False
    await pool.inspect(5, [b"hello"])
    await pool.inspect(5, [b"hello"])


SERVER = """
import asyncio
from blazechat.media.inspector import Inspector

async def main():
    pool = Inspector(processes=1, job_seconds=60, memory_bytes=600_000_000, max_pixels=1000)
    await pool.inspect(5, [b"hello"])
    print("ready", flush=True)
    await asyncio.Event().wait()

asyncio.run(main())
"""


async def test_a_process_ends_with_its_server() -> None:
    """This must work even if the server is killed, because no other process would end it."""
    server = await asyncio.create_subprocess_exec(
        sys.executable, "-c", SERVER, stdout=asyncio.subprocess.PIPE, cwd="/"
    )
    assert server.stdout is not None
    assert await server.stdout.readline() == b"ready\n"
    [worker] = workers(server.pid)
    worker_exit = ProcessExit(worker)
    server.send_signal(signal.SIGKILL)
    await server.communicate()
    await worker_exit.wait()
