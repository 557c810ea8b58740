"""A hostile file costs its sender an error, and nobody anything else."""

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

from blazechat.errors import ShuttingDown
from blazechat.media.worker_pool import LONGEST_REST, WAITING, Overfull, Unreadable, WorkerPool
from tests.media.files import box, exif, picture, png, saved, xmp

TEXT = b"hello"
MEMORY = 600_000_000
LONG = 20.0
"""Seconds that nothing here takes, if it works."""

NewWorkshop = Callable[..., WorkerPool]


@pytest.fixture
async def new_workshop() -> AsyncIterator[NewWorkshop]:
    """Workshops of which nothing is left behind."""
    made: list[WorkerPool] = []

    def new(
        processes: int = 1,
        seconds: float = LONG,
        memory: int = MEMORY,
        max_pixels: int = 150_000_000,
        **options: Any,
    ) -> WorkerPool:
        limits: Any = {"processes": processes, "seconds": seconds, "memory": memory}
        made.append(WorkerPool(**limits, max_pixels=max_pixels, **options))
        return made[-1]

    yield new
    for workshop in made:
        await workshop.close()
    assert workers() == []
    gc.collect()  # what was not closed says so now, which is an error here


OTHERS: set[int] = set()
"""Processes of other tests' servers, which live on beside these tests."""


@pytest.fixture(autouse=True)
def _others() -> None:
    OTHERS.clear()
    OTHERS.update(each.pid for each in workers())


def workers(of: int | None = None) -> list[psutil.Process]:
    found = [each for each in psutil.Process(of).children() if is_worker(each)]
    return [each for each in found if each.pid not in OTHERS]


def is_worker(process: psutil.Process) -> bool:
    """Whether it is one, or was and has not been waited for."""
    try:
        return process.status() == "zombie" or "blazechat.media.worker" in process.cmdline()
    except psutil.NoSuchProcess:
        return False


def in_proc(process: psutil.Process, name: str) -> str:
    return Path(f"/proc/{process.pid}/{name}").read_text()


async def look(workshop: WorkerPool, content: bytes = TEXT) -> str:
    return (await workshop.look(len(content), [content])).media_type


async def begun() -> None:
    """Let what was begun get as far as it gets without an answer."""
    for _ in range(20):
        await asyncio.sleep(0)


async def stopped_worker(workshop: WorkerPool) -> psutil.Process:
    """The one worker, which from now on takes a job and never answers."""
    await look(workshop)
    [worker] = workers()
    worker.suspend()
    return worker


class Ending:
    """Of a process, whosever child it is."""

    def __init__(self, process: psutil.Process) -> None:
        self._file = os.pidfd_open(process.pid)

    async def wait(self) -> None:
        ended, _, _ = await asyncio.to_thread(select.select, [self._file], [], [], LONG)
        os.close(self._file)
        assert ended, "it goes on"


async def test_files_are_looked_at_in_another_process(new_workshop: NewWorkshop) -> None:
    """Pictures, sounds and everything else, one after the other in the same."""
    workshop = new_workshop()
    content = saved(picture(size=(2000, 1500)), "JPEG", exif=exif(), xmp=xmp())
    seen = await workshop.look(len(content), [content])
    assert (seen.media_type, seen.width, seen.height) == ("image/jpeg", 1500, 2000)
    assert [(each.width, each.height) for each in seen.thumbnails] == [(240, 320), (960, 1280)]
    assert seen.patches
    [first] = workers()
    film = (
        box(b"ftyp", b"isom", bytes(4))
        + box(b"mdat", bytes(9000))
        + box(b"moov", box(b"mvhd", bytes(12), b"\0\0\0\1\0\0\0\5"))
    )
    seen = await workshop.look(len(film), [film[:1000]], [film[-1000:]])
    assert (seen.media_type, seen.duration) == ("video/mp4", 5.0)
    assert await look(workshop) == "text/plain"
    assert workers() == [first]


async def test_pictures_that_are_not_decoded_lose_their_position(new_workshop: NewWorkshop) -> None:
    """HEIF files, which phones send."""
    content = saved(picture(), "AVIF", exif=exif()).replace(b"ftypavif", b"ftypheic")
    seen = await new_workshop().look(len(content), [content])
    assert (seen.media_type, seen.width) == ("image/heic", None)
    assert seen.patches


async def test_part_of_a_picture_is_not_enough(new_workshop: NewWorkshop) -> None:
    """Or its metadata would be looked for in a part of it."""
    content = saved(picture(), "PNG")
    with pytest.raises(Unreadable, match="larger than this server"):
        await new_workshop().look(len(content) + 1, [content])


async def test_too_many_pixels_are_refused(new_workshop: NewWorkshop) -> None:
    """A hundred million real ones, in fifty kilobytes."""
    content = png(10_000, 10_000)
    with pytest.raises(Unreadable, match="100,000,000 pixels"):
        await new_workshop(max_pixels=99_999_999).look(len(content), [content])
    seen = await new_workshop(max_pixels=100_000_000).look(len(content), [content])
    assert seen.width == 10_000


async def test_what_takes_too_much_memory_is_refused(new_workshop: NewWorkshop) -> None:
    """The process is not given it, and goes on with the next file or is replaced."""
    workshop = new_workshop(memory=150_000_000)
    content = png(10_000, 10_000)
    with pytest.raises(Unreadable, match="memory"):
        await workshop.look(len(content), [content])
    assert await look(workshop) == "text/plain"


async def test_what_takes_too_long_is_refused(new_workshop: NewWorkshop) -> None:
    """Its process is killed, and the next file gets another."""
    workshop = new_workshop(seconds=0.1)
    worker = await stopped_worker(workshop)
    ending = Ending(worker)
    with pytest.raises(Unreadable, match="took too long"):
        await look(workshop)
    await ending.wait()
    assert await look(workshop) == "text/plain"
    assert worker not in workers()


async def test_a_long_decoding_is_ended(new_workshop: NewWorkshop) -> None:
    """Also while it is deep in a decoder, where no Python is run."""
    content = png(12_000, 12_000)
    with pytest.raises(Unreadable, match="took too long"):
        await new_workshop(seconds=0.02).look(len(content), [content])


async def test_a_crash_costs_its_own_file_alone(new_workshop: NewWorkshop) -> None:
    """Others are looked at meanwhile, and after it."""
    workshop = new_workshop(processes=2)
    worker = await stopped_worker(workshop)
    crashing = asyncio.create_task(look(workshop))
    await begun()
    assert await look(workshop) == "text/plain"
    with capture_logs() as logged:
        worker.kill()
        with pytest.raises(Unreadable, match="failed"):
            await crashing
    assert [entry["event"] for entry in logged] == ["a worker died over a file"]
    assert await look(workshop) == "text/plain"


async def test_a_process_that_died_idle_costs_nothing(new_workshop: NewWorkshop) -> None:
    """The system may kill any of them when memory is short."""
    of_others = set(threading.enumerate())
    workshop = new_workshop()
    await look(workshop)
    [worker] = workers()
    worker.kill()

    def waiting() -> bool:
        """Nothing tells when asyncio's own thread has seen it."""
        ours = set(threading.enumerate()) - of_others
        return any("waitpid" in each.name for each in ours)

    while worker in workers() or waiting():  # noqa: ASYNC110
        await asyncio.sleep(0.01)
    await begun()
    assert await look(workshop) == "text/plain"


async def test_whoever_goes_takes_the_process_along(new_workshop: NewWorkshop) -> None:
    """Or the uploads of those who go would keep all of them busy."""
    workshop = new_workshop()
    worker = await stopped_worker(workshop)
    ending = Ending(worker)
    going, waiting = (asyncio.create_task(look(workshop)) for _ in range(2))
    await begun()
    going.cancel()
    with pytest.raises(asyncio.CancelledError):
        await going
    await ending.wait()
    assert await waiting == "text/plain"


async def test_whoever_goes_at_once_leaves_nothing(new_workshop: NewWorkshop) -> None:
    """While a process starts, and while one waits for one."""
    workshop = new_workshop()
    starting, waiting = (asyncio.create_task(look(workshop)) for _ in range(2))
    await begun()
    for task in (waiting, starting):
        task.cancel()
    for task in (waiting, starting):
        with pytest.raises(asyncio.CancelledError):
            await task
    assert await look(workshop) == "text/plain"
    assert len(workers()) == 1


async def test_many_files_wait_in_line(new_workshop: NewWorkshop) -> None:
    """First come, first served; and one too many is told so at once."""
    workshop = new_workshop()
    worker = await stopped_worker(workshop)
    done: list[int] = []

    async def noted(number: int) -> None:
        await look(workshop)
        done.append(number)

    tasks = [asyncio.create_task(noted(number)) for number in range(1 + WAITING)]
    await begun()
    with pytest.raises(Overfull):
        await look(workshop)
    worker.resume()
    await asyncio.gather(*tasks)
    assert done == list(range(1 + WAITING))
    assert workers() == [worker]


async def test_there_are_never_more_processes_than_wanted(new_workshop: NewWorkshop) -> None:
    """However many files come at a time."""
    workshop = new_workshop(processes=2)
    content = saved(picture(), "PNG")
    assert set(await asyncio.gather(*(look(workshop, content) for _ in range(30)))) == {"image/png"}
    assert len(workers()) == 2


async def test_idle_processes_end(new_workshop: NewWorkshop) -> None:
    """They hold memory that nobody needs just now."""
    workshop = new_workshop(idle=0.05)
    await look(workshop)
    await Ending(workers()[0]).wait()
    assert await look(workshop) == "text/plain"


async def test_closing_ends_everything(new_workshop: NewWorkshop) -> None:
    """What is looked at, what waits, and what comes later."""
    workshop = new_workshop()
    worker = await stopped_worker(workshop)
    ending = Ending(worker)
    tasks = [asyncio.create_task(look(workshop)) for _ in range(3)]
    await begun()
    await workshop.close()
    await ending.wait()
    for task in tasks:
        with pytest.raises(ShuttingDown):
            await task
    with pytest.raises(ShuttingDown):
        await look(workshop)
    await workshop.close()


async def test_no_secret_reaches_a_process(
    new_workshop: NewWorkshop, monkeypatch: pytest.MonkeyPatch, tmp_path: Path
) -> None:
    """It has no more of the environment than it needs to start, wherever the server was started."""
    monkeypatch.setenv("BLAZECHAT_SECRET_KEY", "do-not-tell")
    monkeypatch.setenv("DATABASE_URL", "postgresql://somebody:do-not-tell@host/")
    monkeypatch.chdir(tmp_path)
    await look(new_workshop())
    [worker] = workers()
    environment = in_proc(worker, "environ")
    assert "do-not-tell" not in environment
    names = {entry.partition("=")[0] for entry in environment.split("\0") if entry}
    assert names <= {"PYTHONPATH", "PYTHONHOME", "LD_LIBRARY_PATH", "LC_CTYPE"}


async def test_a_process_may_do_next_to_nothing(new_workshop: NewWorkshop) -> None:
    """Neither take more memory than it is given, nor write a file, nor leave an image of itself."""
    await look(new_workshop())
    [worker] = workers()
    assert worker.rlimit(psutil.RLIMIT_AS) == (MEMORY, MEMORY)
    assert worker.rlimit(psutil.RLIMIT_FSIZE) == worker.rlimit(psutil.RLIMIT_CORE) == (0, 0)
    assert worker.rlimit(psutil.RLIMIT_NOFILE)[1] <= 64
    assert worker.nice() == 10
    assert "NoNewPrivs:\t1" in in_proc(worker, "status")
    assert os.getsid(worker.pid) == worker.pid


async def test_what_a_process_says_is_logged_once(new_workshop: NewWorkshop) -> None:
    """Here it is given no memory at all, and complains."""
    with capture_logs() as logged, pytest.raises(Unreadable):
        await look(new_workshop(memory=1), saved(picture(), "PNG"))
    said = [entry for entry in logged if entry["event"] == "a worker said"]
    assert len(said) == 1
    assert said[0]["log_level"] == "warning"
    assert "Traceback" in said[0]["said"]
    assert len(said[0]["said"]) <= 2000


async def test_rests_as_long_as_it_worked_while_it_gives_way(new_workshop: NewWorkshop) -> None:
    """Whoever waits for the answer has it at once; the next one begins later."""
    people_chat = True
    workshop = new_workshop(gives_way=lambda: people_chat)
    began = time.monotonic()
    await workshop.look(5, [b"hello"])  # with the start of the process
    first = time.monotonic()
    await workshop.look(5, [b"hello"])
    assert time.monotonic() - first >= 0.9 * min(first - began, LONGEST_REST)
    people_chat = False
    await workshop.look(5, [b"hello"])
    await workshop.look(5, [b"hello"])


SERVER = """
import asyncio
from blazechat.media.worker_pool import Workshop

async def main():
    workshop = Workshop(processes=1, seconds=60, memory=600_000_000, max_pixels=1000)
    await workshop.look(5, [b"hello"])
    print("ready", flush=True)
    await asyncio.Event().wait()

asyncio.run(main())
"""


async def test_a_process_ends_with_its_server() -> None:
    """However that ended: nobody else would end it."""
    server = await asyncio.create_subprocess_exec(
        sys.executable, "-c", SERVER, stdout=asyncio.subprocess.PIPE, cwd="/"
    )
    assert server.stdout is not None
    assert await server.stdout.readline() == b"ready\n"
    [worker] = workers(server.pid)
    ending = Ending(worker)
    server.send_signal(signal.SIGKILL)
    await server.communicate()
    await ending.wait()
