"""Uploads with malformed requests, damaged files, a failing storage or a killed server."""

import asyncio
import os
import resource
import signal
import subprocess
import sys
import zlib
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from pathlib import Path
from typing import Any

import asyncpg
import httpx2
import pytest

from blazechat.domain.files.piece_writer import PIECE_BYTES
from tests.conftest import NewDatabase, NewServer
from tests.files.pictures import photo
from tests.files.upload_calls import (
    TUS,
    begin_upload,
    concatenate,
    content_of,
    offset_of,
    patch,
    send,
    uploaded,
)
from tests.harness import NO_TLS, PASSWORD, SECRET_KEY, Live, Person, eventually

BOUNDARY = "----edge"
PART = f'--{BOUNDARY}\r\nContent-Disposition: form-data; name="file"; filename="a.txt"\r\n\r\n'
END = f"\r\n--{BOUNDARY}--\r\n"
FORM_TYPE = f"multipart/form-data; boundary={BOUNDARY}"


async def post_raw(live: Live, person: Person, body: bytes, *headers: str, whole: bool = True) -> str:
    """Send the headers and the body byte for byte, and return the raw response.

    Without `whole`, the connection is half-closed after the body.
    """
    host, port = live.url.removeprefix("http://").split(":")
    reader, writer = await asyncio.open_connection(host, int(port))
    lines = ["POST /api/media HTTP/1.1", "Host: x", f"Authorization: Bearer {person.token}", *headers]
    writer.write("\r\n".join([*lines, "Connection: close", "", ""]).encode() + body)
    if not whole:
        await writer.drain()
        writer.write_eof()
    async with asyncio.timeout(30):
        answer = await reader.read()
    writer.close()
    return answer.decode(errors="replace")


@pytest.mark.parametrize(
    ("content_type", "body", "status"),
    [
        (FORM_TYPE, "", 400),
        (FORM_TYPE, PART + "cut in the mid", 400),
        (FORM_TYPE, PART + "whole" + END[:-4], 400),
        (FORM_TYPE, "no form at all", 400),
        (FORM_TYPE, PART.replace('"file"', '"another"') + "x" + END, 422),
        (FORM_TYPE, PART.replace('; filename="a.txt"', "") + "x" + END, 422),
        (FORM_TYPE, PART + "one\r\n" + PART + "two" + END, 422),
        (FORM_TYPE, f"--{BOUNDARY}\r\n{'x: y' * 10}" + "z" * 20_000 + "\r\n\r\n" + END, 400),
        (FORM_TYPE, f"--{BOUNDARY}\r\n\r\n\r\n" * 50 + PART + "x" + END, 400),
        ("multipart/form-data; boundary=" + "b" * 5000, PART, 400),
        ("multipart/form-data", PART + "x" + END, 422),
        ("application/json", "{}", 422),
        ("text/plain", "words", 422),
    ],
    ids=[
        "empty", "cut", "no end", "no form", "other field", "no file name", "two files", "long header",
        "many parts", "long boundary", "no boundary", "json", "text",
    ],
)  # fmt: skip
async def test_malformed_forms_are_rejected(live: Live, content_type: str, body: str, status: int) -> None:
    """The response explains the error, and nothing of the form stays."""
    alice = await live.person("alice")
    answer = await alice.http.post(
        "/api/media", content=body.encode(), headers={"content-type": content_type}
    )
    assert answer.status_code == status, answer.text
    assert (await alice.get("/api/media")).json() == []


async def test_wrong_content_lengths(live: Live) -> None:
    """A body that is too short, too long or enormous, one without a length, and an invalid length."""
    alice = await live.person("alice")
    whole = (PART + "x" * 1000 + END).encode()
    content_type = f"Content-Type: {FORM_TYPE}"
    broken = await post_raw(
        live, alice, whole[:500], content_type, f"Content-Length: {len(whole)}", whole=False
    )
    assert " 201 " not in broken
    early = await post_raw(live, alice, whole, content_type, "Content-Length: 500")
    assert " 201 " not in early
    huge = await post_raw(live, alice, b"", content_type, f"Content-Length: {10**17}")
    assert huge.startswith("HTTP/1.1 413")
    chunked = f"{len(whole):x}\r\n".encode() + whole + b"\r\n0\r\n\r\n"
    assert (await post_raw(live, alice, chunked, content_type, "Transfer-Encoding: chunked")).startswith(
        "HTTP/1.1 201"
    )
    nonsense = await post_raw(live, alice, whole, content_type, "Content-Length: many")
    assert nonsense.startswith("HTTP/1.1 400")
    assert len((await alice.get("/api/media")).json()) == 1


def png(side: int, text: bytes = b"") -> bytes:
    """A PNG of a few hundred bytes that claims `side` × `side` pixels, with a compressed text chunk."""

    def chunk(kind: bytes, content: bytes) -> bytes:
        return len(content).to_bytes(4) + kind + content + zlib.crc32(kind + content).to_bytes(4)

    header = side.to_bytes(4) * 2 + bytes([1, 0, 0, 0, 0])
    comment = b"comment\0\0" + zlib.compress(text, 9)
    parts = [(b"IHDR", header), (b"zTXt", comment), (b"IDAT", zlib.compress(bytes(100))), (b"IEND", b"")]
    return b"\x89PNG\r\n\x1a\n" + b"".join(chunk(*part) for part in parts)


@pytest.mark.parametrize(
    ("content", "reason"),
    [
        (png(40_000), "pixels"),
        (png(10, bytes(90_000_000)), ""),
        (photo()[:2000], ""),
        (b"\x89PNG\r\n\x1a\n" + bytes(200), ""),
        (b"GIF89a" + b"\xff" * 100, ""),
    ],
    ids=["too many pixels", "decompression bomb", "truncated", "empty png", "noise"],
)
async def test_damaged_images_are_rejected(live: Live, content: bytes, reason: str) -> None:
    """The sender gets an error, other users notice nothing, and nothing of the image stays."""
    alice, bob = await live.people("alice", "bob")
    chat = await alice.group(bob)
    rejected, message = await asyncio.gather(send(alice, content, "a.png"), bob.say(chat, "meanwhile"))
    assert (rejected.status_code, rejected.json()["code"]) == (422, "unreadable_file")
    assert reason in rejected.json()["detail"]
    assert message["content"] == "meanwhile"
    assert (await alice.get("/api/media")).json() == []


async def test_an_unavailable_storage(new_server: NewServer) -> None:
    """Uploads and downloads fail, messages are sent, and an upload continues once the storage is back."""
    live = await new_server()
    alice = await live.person("alice")
    chat = await alice.group()
    kept = await uploaded(alice, b"kept")
    where = await begin_upload(alice, 6)
    await patch(alice, where, 0, b"abc")
    part = await begin_upload(alice, 4, **{"upload-concat": "partial"})
    await patch(alice, part, 0, b"part")
    folder: Path = live.app.state.settings.data_dir / "media"
    aside = folder.with_name("aside")
    await asyncio.to_thread(_hide, folder, aside)
    for answer in (
        await send(alice, b"new"),
        await patch(alice, where, 3, b"def"),
        await concatenate(alice, [part]),
    ):
        assert (answer.status_code, answer.json()["code"]) == (503, "storage_away")
        assert int(answer.headers["retry-after"]) > 0
    with pytest.raises(httpx2.RemoteProtocolError):  # the status was sent before the storage failed
        await alice.get(kept["url"])
    await alice.say(chat, "still here", attachments=[kept["id"]])
    await asyncio.to_thread(_restore, folder, aside)
    assert await offset_of(alice, where) == 3
    assert (await patch(alice, where, 3, b"def")).status_code == 204
    assert (await alice.get(kept["url"])).content == b"kept"
    repeated = await concatenate(alice, [part])
    assert await content_of(alice, repeated.headers["location"]) == b"part"
    assert len((await alice.get("/api/media")).json()) == 3


def _hide(folder: Path, aside: Path) -> None:
    folder.rename(aside)
    folder.write_text("no folder")


def _restore(folder: Path, aside: Path) -> None:
    folder.unlink()
    aside.rename(folder)


class ServeProcess:
    """`blazechat serve` as a process of its own, on a database of the tests' PostgreSQL server."""

    def __init__(self, folder: Path, dsn: str) -> None:
        self.folder = folder
        self.dsn = dsn
        self.process: subprocess.Popen[str] | None = None
        self.url = ""

    def start(self) -> None:
        environment = os.environ | {
            "DATABASE_URL": self.dsn,
            "SECRET_KEY": SECRET_KEY,
            "BLAZECHAT_BCRYPT_ROUNDS": "4",
            "BLAZECHAT_DATA_DIR": str(self.folder),
        }
        self.process = subprocess.Popen(
            [sys.executable, "-m", "blazechat", "serve", "--port", "0"],
            env=environment,
            stdout=subprocess.PIPE,
            stderr=subprocess.STDOUT,
            text=True,
        )
        assert self.process.stdout is not None
        for line in self.process.stdout:
            if line.startswith("  listening"):
                self.url = line.split()[-1]
                return
        raise AssertionError("the server did not start")

    def end(self, with_signal: signal.Signals = signal.SIGTERM) -> None:
        assert self.process is not None
        self.process.send_signal(with_signal)
        self.process.communicate(timeout=60)

    @asynccontextmanager
    async def logged_in(self) -> AsyncIterator[httpx2.AsyncClient]:
        """Register alice, unless she has an account, and log her in."""
        account = {"username": "alice", "email": "alice@example.com", "password": PASSWORD}
        options: Any = {"timeout": 30, "trust_env": False, "verify": NO_TLS}
        async with httpx2.AsyncClient(base_url=self.url, **options) as client:
            await client.post("/api/auth/register", json=account)
            tokens = (await client.post("/api/auth/login", data=account)).json()
            client.headers["authorization"] = f"Bearer {tokens['access_token']}"
            yield client


async def _pieces(dsn: str) -> list[Any]:
    connection = await asyncpg.connect(dsn)
    try:
        return list(await connection.fetch("SELECT key, size, stored FROM pieces"))
    finally:
        await connection.close()


def _files(folder: Path) -> list[Path]:
    return [path for path in folder.rglob("*") if path.is_file()]


async def test_a_full_disk(open_folder: Path, new_database: NewDatabase) -> None:
    """An upload gets 507, nothing of it stays, and smaller files can still be uploaded."""
    program = ServeProcess(open_folder, await new_database())
    await asyncio.to_thread(program.start)
    assert program.process is not None
    # The limit on the size of a file causes an error that is handled like that of a full disk.
    resource.prlimit(program.process.pid, resource.RLIMIT_FSIZE, (1_000_000, 1_000_000))
    try:
        async with program.logged_in() as alice:
            rejected = await alice.post("/api/media", files={"file": ("a.bin", bytes(3_000_000))})
            assert (rejected.status_code, rejected.json()["code"]) == (507, "storage_full")
            assert (await alice.get("/api/media")).json() == []
            small = await alice.post("/api/media", files={"file": ("a.txt", b"small")})
            assert small.status_code == 201
            assert (await alice.get(small.json()["url"])).content == b"small"
            assert len(_files(open_folder / "media")) == 1
            assert len(await _pieces(program.dsn)) == 1
    finally:
        await asyncio.to_thread(program.end)


async def test_kill_9_in_the_middle_of_an_upload(open_folder: Path, new_database: NewDatabase) -> None:
    """The pieces that were stored remain, the upload continues after them, and the file is correct."""
    program = ServeProcess(open_folder, await new_database())
    content = os.urandom(1024) * (4 * PIECE_BYTES // 1024)
    await asyncio.to_thread(program.start)
    async with program.logged_in() as alice:
        headers = {**TUS, "upload-length": str(len(content))}
        where = (await alice.post("/api/uploads", headers=headers)).headers["location"]

        is_killed = asyncio.Event()

        async def slowly() -> Any:
            for start in range(0, len(content), PIECE_BYTES // 4):
                yield content[start : start + PIECE_BYTES // 4]
                if start > 2 * PIECE_BYTES:
                    await is_killed.wait()

        sent = {**TUS, "content-type": "application/offset+octet-stream", "upload-offset": "0"}
        uploading = asyncio.create_task(alice.patch(where, headers=sent, content=slowly()))

        async def two_are_stored() -> bool:
            return sum(bool(row["stored"]) for row in await _pieces(program.dsn)) == 2

        await eventually(two_are_stored)
        stored = sum(row["size"] for row in await _pieces(program.dsn) if row["stored"])
        await asyncio.to_thread(program.end, signal.SIGKILL)
        is_killed.set()
        with pytest.raises(httpx2.TransportError):
            await uploading
    await asyncio.to_thread(program.start)
    try:
        async with program.logged_in() as alice:
            offset = int((await alice.head(where, headers=TUS)).headers["upload-offset"])
            assert offset == stored >= 2 * PIECE_BYTES
            sent |= {"upload-offset": str(offset)}
            assert (await alice.patch(where, headers=sent, content=content[offset:])).status_code == 204
            media = where.replace("uploads", "media")
            assert (await alice.get(f"{media}/content")).content == content
    finally:
        await asyncio.to_thread(program.end)


async def test_allowed_origins_can_read_errors(new_server: NewServer) -> None:
    """This includes errors of the middleware and the headers of tus."""
    live = await new_server(allowed_origins=["https://chat.example.com"])
    origin = {"origin": "https://chat.example.com"}
    rejected = await live.client().post("/api/chats", headers=origin, content=bytes(2_000_000))
    assert rejected.status_code == 413
    assert rejected.headers["access-control-allow-origin"] == "https://chat.example.com"
    requested = {
        "access-control-request-method": "PATCH",
        "access-control-request-headers": "upload-offset",
    }
    preflight = await live.client().options("/api/uploads/1", headers=origin | requested)
    assert preflight.status_code == 200
    assert "PATCH" in preflight.headers["access-control-allow-methods"]


async def test_concurrent_uploads_of_a_user_are_limited(new_server: NewServer) -> None:
    """One upload more gets `busy`, and other users can still upload."""
    live = await new_server()
    alice, bob = await live.people("alice", "bob")
    released = asyncio.Event()

    async def hanging() -> Any:
        yield b"x"
        await released.wait()

    wheres = [await begin_upload(alice, 10) for _ in range(12)]
    uploading = [asyncio.create_task(patch(alice, where, 0, hanging())) for where in wheres]
    await eventually(lambda: len(live.app.state.services.uploads.active_ids) == 12)
    rejected = await send(alice, b"one more")
    assert (rejected.status_code, rejected.json()["code"]) == (503, "busy")
    await uploaded(bob, b"of another user")
    released.set()
    await asyncio.gather(*uploading, return_exceptions=True)
