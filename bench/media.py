"""Files: what a large upload takes of memory, and what uploads and thumbnails cost those who chat.

The ceiling of an upload is the disk: as many bytes written in files of the same size to the same place,
each flushed, by a process that does nothing else.
"""

import asyncio
import io
import os
import random
import sys
import tempfile
import time
from collections.abc import AsyncIterator, Awaitable
from contextlib import asynccontextmanager
from pathlib import Path

from PIL import Image

from bench import seed, steady_senders
from bench.figures import Figure
from bench.server import Bench, serving
from blazechat.domain.files.piece_writer import PIECE_BYTES

LARGE = 2_147_483_648
BLOCK = os.urandom(1 << 20)
SECONDS = 15.0
UPLOADS, PICTURES, AT_ONCE = 10, 100, 10
PIXELS = (2400, 1600)
PATIENCE = 120.0


async def large() -> list[Figure]:
    """One file of 2 GiB by one tus request; the server's memory is looked at twenty times a second."""
    async with serving() as bench:
        async with bench.database() as connection:
            (token,) = await seed.people(bench, connection, 1)
        await _upload(bench, token, 8 * len(BLOCK))  # so that what is made once is there
        before, took, most = bench.resident(), 0.0, 0
        began = time.perf_counter()
        uploading = asyncio.create_task(_upload(bench, token, LARGE))
        with bench.shares("uploading"):
            while not uploading.done():
                most = max(most, bench.resident())
                await asyncio.sleep(0.05)
        await uploading
        took = time.perf_counter() - began
    ceiling = await asyncio.to_thread(_written, LARGE)
    return [
        Figure("upload of 2 GiB", LARGE / took / 1e6, "MB/s", ceiling / 1e6),
        Figure("upload of 2 GiB, memory grows by", (most - before) / 2**20, "MiB", most=64),
    ]


async def beside() -> list[Figure]:
    """Two people chat while ten uploads run, and while a hundred pictures are looked at."""
    pictures = await asyncio.to_thread(lambda: [_picture(number) for number in range(PICTURES)])
    async with serving() as bench:
        async with bench.database() as connection:
            tokens = await seed.people(bench, connection, 2 + UPLOADS)
            await seed.chats(connection, [[1, 2]])
        await _upload(bench, tokens[2], 8 * len(BLOCK))  # so that what is made once is there
        await _post(bench, tokens[2], _picture(PICTURES))
        async with steady_senders.talking(bench, 1, tokens[:2]) as others:
            await asyncio.sleep(3)
            quiet = [await _quiet(bench, others)]
            with bench.shares("uploads and thumbnails"):
                began = time.perf_counter()
                sending = asyncio.create_task(_send(bench, tokens[2:], pictures))
                await asyncio.gather(_uploads(bench, tokens[2:], sending), sending)
                lasted = time.perf_counter() - began
            busy = await others.took()
            quiet.append(await _quiet(bench, others))
            async with _busy_core():
                machine = await _quiet(bench, others, "a core is busy with something else")
    alone = sum(took.p99 for took in quiet) / len(quiet)
    label = "sends of others, p99"
    return [
        Figure(f"{label}, alone (before and after)", alone * 1000, "ms"),
        Figure(f"{label}, beside 10 uploads and 100 thumbnails", busy.p99 * 1000, "ms"),
        Figure(f"{label}, beside over alone", busy.p99 / alone, "×", most=2),
        Figure(f"{label}, beside a program that keeps a core busy", machine.p99 * 1000, "ms"),
        Figure("sends of others, the worst beside", busy.worst * 1000, "ms"),
        Figure("10 uploads and 100 thumbnails take", lasted, "s"),
    ]


async def _quiet(
    bench: Bench, others: steady_senders.Pair, what: str = "the two alone"
) -> steady_senders.Took:
    """How it is for them when the server has nothing else to do."""
    await others.took()
    with bench.shares(what):
        await asyncio.sleep(SECONDS)
    return await others.took()


@asynccontextmanager
async def _busy_core() -> AsyncIterator[None]:
    """What the machine itself does to others when a core is busy, as thumbnails keep one."""
    spin = "import os, time\nos.nice(10)\nend = time.time() + 60\nwhile time.time() < end: pass"
    process = await asyncio.create_subprocess_exec(sys.executable, "-c", spin)
    try:
        yield
    finally:
        process.kill()
        await process.wait()


async def _uploads(bench: Bench, tokens: list[str], sending: asyncio.Task[None]) -> None:
    """Ten that never pause, as long as something else is sent."""

    async def again(token: str) -> None:
        while not sending.done():
            await _upload(bench, token, 32 * len(BLOCK))

    async with asyncio.timeout(PATIENCE):
        await asyncio.gather(*(again(token) for token in tokens))


async def _send(bench: Bench, tokens: list[str], pictures: list[bytes]) -> None:
    """Each in one request."""
    places = asyncio.Semaphore(AT_ONCE)

    async def send(number: int, content: bytes) -> None:
        async with places:
            await _post(bench, tokens[number % len(tokens)], content)

    async with asyncio.timeout(PATIENCE):
        await asyncio.gather(*(send(number, content) for number, content in enumerate(pictures)))


def _picture(number: int) -> bytes:
    """Of 4 megapixels, no two alike."""
    noise = random.Random(number).randbytes(48 * 32 * 3)  # noqa: S311
    made = io.BytesIO()
    Image.frombytes("RGB", (48, 32), noise).resize(PIXELS).save(made, "JPEG")
    return made.getvalue()


async def _post(bench: Bench, token: str, content: bytes) -> None:
    head = b'--edge\r\nContent-Disposition: form-data; name="file"; filename="a.jpg"\r\n\r\n'
    body = head + content + b"\r\n--edge--\r\n"
    kind = "multipart/form-data; boundary=edge"
    headers = {"Content-Type": kind, "Content-Length": str(len(body))}
    async with _asked(bench, f"POST /api/media HTTP/1.1\r\n{_lines(token, headers)}") as (reader, writer):
        writer.write(body)
        assert await _status(reader) == 201


async def _upload(bench: Bench, token: str, size: int) -> None:
    """One file by tus, in one request behind that which begins it."""
    headers = {"Tus-Resumable": "1.0.0", "Upload-Length": str(size), "Content-Length": "0"}
    async with _asked(bench, f"POST /api/uploads HTTP/1.1\r\n{_lines(token, headers)}") as (reader, _):
        answer = await reader.read()
        where = answer.split(b"location: ")[1].split(b"\r\n")[0].decode()
    headers = {
        "Tus-Resumable": "1.0.0",
        "Upload-Offset": "0",
        "Content-Type": "application/offset+octet-stream",
        "Content-Length": str(size),
    }
    async with _asked(bench, f"PATCH {where} HTTP/1.1\r\n{_lines(token, headers)}") as (reader, writer):
        writer.write(os.urandom(16))  # no two files are alike
        for _ in range(size // len(BLOCK) - 1):
            writer.write(BLOCK)
            await writer.drain()
        writer.write(BLOCK[16:])
        assert await _status(reader) == 204


@asynccontextmanager
async def _asked(
    bench: Bench, head: str
) -> AsyncIterator[tuple[asyncio.StreamReader, asyncio.StreamWriter]]:
    reader, writer = await asyncio.open_connection(bench.host, bench.port)
    writer.write(head.encode())
    try:
        yield reader, writer
    finally:
        writer.transport.abort()


def _lines(token: str, headers: dict[str, str]) -> str:
    told = {"Host": "x", "Authorization": f"Bearer {token}", "Connection": "close", **headers}
    return "".join(f"{name}: {value}\r\n" for name, value in told.items()) + "\r\n"


async def _status(reader: asyncio.StreamReader) -> int:
    line: Awaitable[bytes] = reader.readline()
    return int((await line).split()[1])


def _written(size: int) -> float:
    """Bytes a second that the disk takes in files of PIECE bytes."""
    piece = os.urandom(PIECE_BYTES)
    with tempfile.TemporaryDirectory(prefix="blazechat-bench-") as folder:
        began = time.perf_counter()
        for number in range(size // PIECE_BYTES):
            with (Path(folder) / str(number)).open("wb") as file:
                file.write(piece)
                file.flush()
                os.fsync(file.fileno())
        return size / (time.perf_counter() - began)
