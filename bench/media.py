"""Uploads: the server's memory during a large one, and their effect on the sends of other users.

The ceiling of an upload is the disk: the same number of bytes, written to the same disk in files of the
same size, each flushed, by a process that does nothing else.
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

LARGE_FILE_BYTES = 2_147_483_648
BLOCK = os.urandom(1 << 20)
SECONDS = 15.0
UPLOADS, PICTURES, CONCURRENT_PICTURES = 10, 100, 10
PICTURE_PIXELS = (2400, 1600)
TIMEOUT_SECONDS = 120.0


async def large_upload() -> list[Figure]:
    """Upload a file of 2 GiB in one tus request, and read the server's memory twenty times per second."""
    async with serving() as bench:
        async with bench.database() as connection:
            (token,) = await seed.people(bench, connection, 1)
        await _upload(bench, token, 8 * len(BLOCK))  # warm up
        before, seconds, peak = bench.resident(), 0.0, 0
        began = time.perf_counter()
        uploading = asyncio.create_task(_upload(bench, token, LARGE_FILE_BYTES))
        with bench.shares("uploading"):
            while not uploading.done():
                peak = max(peak, bench.resident())
                await asyncio.sleep(0.05)
        await uploading
        seconds = time.perf_counter() - began
    ceiling = await asyncio.to_thread(_disk_bytes_per_second, LARGE_FILE_BYTES)
    return [
        Figure("upload of 2 GiB", LARGE_FILE_BYTES / seconds / 1e6, "MB/s", ceiling / 1e6),
        Figure("upload of 2 GiB, growth of memory", (peak - before) / 2**20, "MiB", maximum=64),
    ]


async def during_chat() -> list[Figure]:
    """Measure the sends of two users while ten uploads run and a hundred pictures are inspected."""
    pictures = await asyncio.to_thread(lambda: [_picture(number) for number in range(PICTURES)])
    async with serving() as bench:
        async with bench.database() as connection:
            tokens = await seed.people(bench, connection, 2 + UPLOADS)
            await seed.chats(connection, [[1, 2]])
        await _upload(bench, tokens[2], 8 * len(BLOCK))  # warm up
        await _post(bench, tokens[2], _picture(PICTURES))
        async with steady_senders.sending(bench, 1, tokens[:2]) as others:
            await asyncio.sleep(3)
            alone_before_after = [await _measure_alone(bench, others)]
            with bench.shares("uploads and thumbnails"):
                began = time.perf_counter()
                sending = asyncio.create_task(_post_pictures(bench, tokens[2:], pictures))
                await asyncio.gather(_upload_meanwhile(bench, tokens[2:], sending), sending)
                lasted = time.perf_counter() - began
            busy = await others.latencies()
            alone_before_after.append(await _measure_alone(bench, others))
            async with _busy_core():
                machine = await _measure_alone(bench, others, "another program keeps a core busy")
    alone = sum(latencies.p99 for latencies in alone_before_after) / len(alone_before_after)
    label = "sends of others, p99"
    return [
        Figure(f"{label}, alone (before and after)", alone * 1000, "ms"),
        Figure(f"{label}, during 10 uploads and 100 thumbnails", busy.p99 * 1000, "ms"),
        Figure(f"{label}, during uploads over alone", busy.p99 / alone, "×", maximum=2),
        Figure(f"{label}, during a program that keeps a core busy", machine.p99 * 1000, "ms"),
        Figure("sends of others, slowest during uploads", busy.slowest * 1000, "ms"),
        Figure("duration of 10 uploads and 100 thumbnails", lasted, "s"),
    ]


async def _measure_alone(
    bench: Bench, others: steady_senders.SteadySenders, phase: str = "the two users alone"
) -> steady_senders.Latencies:
    """Return the latencies while the server has nothing else to do."""
    await others.latencies()
    with bench.shares(phase):
        await asyncio.sleep(SECONDS)
    return await others.latencies()


@asynccontextmanager
async def _busy_core() -> AsyncIterator[None]:
    """Keep a core busy at low priority, as thumbnails do, to measure what the machine itself
    contributes."""
    spin = "import os, time\nos.nice(10)\nend = time.time() + 60\nwhile time.time() < end: pass"
    process = await asyncio.create_subprocess_exec(sys.executable, "-c", spin)
    try:
        yield
    finally:
        process.kill()
        await process.wait()


async def _upload_meanwhile(bench: Bench, tokens: list[str], sending: asyncio.Task[None]) -> None:
    """Upload one file after another per token, as long as the pictures are sent."""

    async def repeat(token: str) -> None:
        while not sending.done():
            await _upload(bench, token, 32 * len(BLOCK))

    async with asyncio.timeout(TIMEOUT_SECONDS):
        await asyncio.gather(*(repeat(token) for token in tokens))


async def _post_pictures(bench: Bench, tokens: list[str], pictures: list[bytes]) -> None:
    """Post each picture in one request."""
    slots = asyncio.Semaphore(CONCURRENT_PICTURES)

    async def send(number: int, content: bytes) -> None:
        async with slots:
            await _post(bench, tokens[number % len(tokens)], content)

    async with asyncio.timeout(TIMEOUT_SECONDS):
        await asyncio.gather(*(send(number, content) for number, content in enumerate(pictures)))


def _picture(number: int) -> bytes:
    """Return a JPEG of 4 megapixels; each number gives another picture."""
    noise = random.Random(number).randbytes(48 * 32 * 3)  # noqa: S311
    output = io.BytesIO()
    Image.frombytes("RGB", (48, 32), noise).resize(PICTURE_PIXELS).save(output, "JPEG")
    return output.getvalue()


async def _post(bench: Bench, token: str, content: bytes) -> None:
    head = b'--edge\r\nContent-Disposition: form-data; name="file"; filename="a.jpg"\r\n\r\n'
    body = head + content + b"\r\n--edge--\r\n"
    kind = "multipart/form-data; boundary=edge"
    headers = {"Content-Type": kind, "Content-Length": str(len(body))}
    async with _request(bench, f"POST /api/media HTTP/1.1\r\n{_header_lines(token, headers)}") as (
        reader,
        writer,
    ):
        writer.write(body)
        assert await _status(reader) == 201


async def _upload(bench: Bench, token: str, size: int) -> None:
    """Upload a file by tus: one request creates the upload, another one sends all bytes."""
    headers = {"Tus-Resumable": "1.0.0", "Upload-Length": str(size), "Content-Length": "0"}
    async with _request(bench, f"POST /api/uploads HTTP/1.1\r\n{_header_lines(token, headers)}") as (
        reader,
        _,
    ):
        response = await reader.read()
        path = response.split(b"location: ")[1].split(b"\r\n")[0].decode()
    headers = {
        "Tus-Resumable": "1.0.0",
        "Upload-Offset": "0",
        "Content-Type": "application/offset+octet-stream",
        "Content-Length": str(size),
    }
    async with _request(bench, f"PATCH {path} HTTP/1.1\r\n{_header_lines(token, headers)}") as (
        reader,
        writer,
    ):
        writer.write(os.urandom(16))  # makes each file different
        for _ in range(size // len(BLOCK) - 1):
            writer.write(BLOCK)
            await writer.drain()
        writer.write(BLOCK[16:])
        assert await _status(reader) == 204


@asynccontextmanager
async def _request(
    bench: Bench, head: str
) -> AsyncIterator[tuple[asyncio.StreamReader, asyncio.StreamWriter]]:
    reader, writer = await asyncio.open_connection(bench.host, bench.port)
    writer.write(head.encode())
    try:
        yield reader, writer
    finally:
        writer.transport.abort()


def _header_lines(token: str, headers: dict[str, str]) -> str:
    lines = {"Host": "x", "Authorization": f"Bearer {token}", "Connection": "close", **headers}
    return "".join(f"{name}: {value}\r\n" for name, value in lines.items()) + "\r\n"


async def _status(reader: asyncio.StreamReader) -> int:
    line: Awaitable[bytes] = reader.readline()
    return int((await line).split()[1])


def _disk_bytes_per_second(size: int) -> float:
    """Return the bytes per second that the disk writes in flushed files of PIECE_BYTES."""
    piece = os.urandom(PIECE_BYTES)
    with tempfile.TemporaryDirectory(prefix="blazechat-bench-") as folder:
        began = time.perf_counter()
        for number in range(size // PIECE_BYTES):
            with (Path(folder) / str(number)).open("wb") as file:
                file.write(piece)
                file.flush()
                os.fsync(file.fileno())
        return size / (time.perf_counter() - began)
