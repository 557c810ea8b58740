"""What can be wrong with a request, a file, the storage or the server while a file comes."""

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

from blazechat.domain.files.piece_writer import PIECE
from tests.conftest import NewDatabase, NewServer
from tests.files.pictures import photo
from tests.files.test_uploads import TUS, begun, offset_of, patch, send, uploaded
from tests.harness import NO_TLS, PASSWORD, SECRET_KEY, Live, Person, eventually

EDGE = "----edge"
PART = f'--{EDGE}\r\nContent-Disposition: form-data; name="file"; filename="a.txt"\r\n\r\n'
END = f"\r\n--{EDGE}--\r\n"
FORM = f"multipart/form-data; boundary={EDGE}"


async def post_raw(live: Live, person: Person, body: bytes, *headers: str, whole: bool = True) -> str:
    """What the server answers to a body with such headers, byte for byte; without `whole` it breaks off."""
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
    ("kind", "body", "status"),
    [
        (FORM, "", 400),
        (FORM, PART + "cut in the mid", 400),
        (FORM, PART + "whole" + END[:-4], 400),
        (FORM, "no form at all", 400),
        (FORM, PART.replace('"file"', '"another"') + "x" + END, 422),
        (FORM, PART.replace('; filename="a.txt"', "") + "x" + END, 422),
        (FORM, PART + "one\r\n" + PART + "two" + END, 422),
        (FORM, f"--{EDGE}\r\n{'x: y' * 10}" + "z" * 20_000 + "\r\n\r\n" + END, 400),
        (FORM, f"--{EDGE}\r\n\r\n\r\n" * 50 + PART + "x" + END, 400),
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
async def test_forms_that_are_none(live: Live, kind: str, body: str, status: int) -> None:
    """Are refused with a sentence, and nothing of them stays."""
    alice = await live.person("alice")
    answer = await alice.http.post("/api/media", content=body.encode(), headers={"content-type": kind})
    assert answer.status_code == status, answer.text
    assert (await alice.get("/api/media")).json() == []


async def test_lengths_that_lie(live: Live) -> None:
    """A body shorter than it says, longer, enormous, without a length, and with one that is none."""
    alice = await live.person("alice")
    whole = (PART + "x" * 1000 + END).encode()
    kind = f"Content-Type: {FORM}"
    broken = await post_raw(live, alice, whole[:500], kind, f"Content-Length: {len(whole)}", whole=False)
    assert " 201 " not in broken
    early = await post_raw(live, alice, whole, kind, "Content-Length: 500")
    assert " 201 " not in early
    huge = await post_raw(live, alice, b"", kind, f"Content-Length: {10**17}")
    assert huge.startswith("HTTP/1.1 413")
    chunked = f"{len(whole):x}\r\n".encode() + whole + b"\r\n0\r\n\r\n"
    assert (await post_raw(live, alice, chunked, kind, "Transfer-Encoding: chunked")).startswith(
        "HTTP/1.1 201"
    )
    nonsense = await post_raw(live, alice, whole, kind, "Content-Length: many")
    assert nonsense.startswith("HTTP/1.1 400")
    assert len((await alice.get("/api/media")).json()) == 1


def png(side: int, text: bytes = b"") -> bytes:
    """A PNG that claims so many pixels a side in a few hundred bytes, with a text behind its zlib."""

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
    ids=["flood", "bomb", "cut", "empty png", "noise"],
)
async def test_pictures_that_are_none(live: Live, content: bytes, reason: str) -> None:
    """Cost their sender an error and nobody anything else; nothing of them stays."""
    alice, bob = await live.people("alice", "bob")
    chat = await alice.group(bob)
    refused, said = await asyncio.gather(send(alice, content, "a.png"), bob.say(chat, "meanwhile"))
    assert (refused.status_code, refused.json()["code"]) == (422, "unreadable_file")
    assert reason in refused.json()["detail"]
    assert said["content"] == "meanwhile"
    assert (await alice.get("/api/media")).json() == []


async def test_a_storage_that_is_away(new_server: NewServer) -> None:
    """Uploads and downloads are told so, chatting goes on, and what was begun goes on once it is back."""
    live = await new_server()
    alice = await live.person("alice")
    chat = await alice.group()
    kept = await uploaded(alice, b"kept")
    where = await begun(alice, 6)
    await patch(alice, where, 0, b"abc")
    folder: Path = live.app.state.settings.data_dir / "media"
    aside = folder.with_name("aside")
    await asyncio.to_thread(_hide, folder, aside)
    for answer in (await send(alice, b"new"), await patch(alice, where, 3, b"def")):
        assert (answer.status_code, answer.json()["code"]) == (503, "storage_away")
        assert int(answer.headers["retry-after"]) > 0
    with pytest.raises(httpx2.RemoteProtocolError):  # its status had left already
        await alice.get(kept["url"])
    await alice.say(chat, "still here", attachments=[kept["id"]])
    await asyncio.to_thread(_bring_back, folder, aside)
    assert await offset_of(alice, where) == 3
    assert (await patch(alice, where, 3, b"def")).status_code == 204
    assert (await alice.get(kept["url"])).content == b"kept"
    assert len((await alice.get("/api/media")).json()) == 2


def _hide(folder: Path, aside: Path) -> None:
    folder.rename(aside)
    folder.write_text("no folder")


def _bring_back(folder: Path, aside: Path) -> None:
    folder.unlink()
    aside.rename(folder)


class Program:
    """`blazechat serve` as a program of its own, on a database of the tests' server."""

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

    def end(self, how: signal.Signals = signal.SIGTERM) -> None:
        assert self.process is not None
        self.process.send_signal(how)
        self.process.communicate(timeout=60)

    @asynccontextmanager
    async def logged_in(self) -> AsyncIterator[httpx2.AsyncClient]:
        """Alice, who has an account from the first time on."""
        who = {"username": "alice", "email": "alice@example.com", "password": PASSWORD}
        options: Any = {"timeout": 30, "trust_env": False, "verify": NO_TLS}
        async with httpx2.AsyncClient(base_url=self.url, **options) as client:
            await client.post("/api/auth/register", json=who)
            tokens = (await client.post("/api/auth/login", data=who)).json()
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


async def test_a_disk_that_is_full(open_folder: Path, new_database: NewDatabase) -> None:
    """507 with a sentence, nothing half stored, and small files still fit."""
    program = Program(open_folder, await new_database())
    await asyncio.to_thread(program.start)
    assert program.process is not None
    # The system lets it write no more than that into a file, and says so much as for a full disk.
    resource.prlimit(program.process.pid, resource.RLIMIT_FSIZE, (1_000_000, 1_000_000))
    try:
        async with program.logged_in() as alice:
            refused = await alice.post("/api/media", files={"file": ("a.bin", bytes(3_000_000))})
            assert (refused.status_code, refused.json()["code"]) == (507, "storage_full")
            assert (await alice.get("/api/media")).json() == []
            small = await alice.post("/api/media", files={"file": ("a.txt", b"small")})
            assert small.status_code == 201
            assert (await alice.get(small.json()["url"])).content == b"small"
            assert len(_files(open_folder / "media")) == 1
            assert len(await _pieces(program.dsn)) == 1
    finally:
        await asyncio.to_thread(program.end)


async def test_kill_9_in_the_middle_of_an_upload(open_folder: Path, new_database: NewDatabase) -> None:
    """What had arrived in whole pieces is there, the upload goes on behind it, and the file is right."""
    program = Program(open_folder, await new_database())
    content = os.urandom(1024) * (4 * PIECE // 1024)
    await asyncio.to_thread(program.start)
    async with program.logged_in() as alice:
        headers = {**TUS, "upload-length": str(len(content))}
        where = (await alice.post("/api/uploads", headers=headers)).headers["location"]

        killed = asyncio.Event()

        async def slowly() -> Any:
            for start in range(0, len(content), PIECE // 4):
                yield content[start : start + PIECE // 4]
                if start > 2 * PIECE:
                    await killed.wait()

        sent = {**TUS, "content-type": "application/offset+octet-stream", "upload-offset": "0"}
        going = asyncio.create_task(alice.patch(where, headers=sent, content=slowly()))

        async def two_are_stored() -> bool:
            return sum(bool(row["stored"]) for row in await _pieces(program.dsn)) == 2

        await eventually(two_are_stored)
        stored = sum(row["size"] for row in await _pieces(program.dsn) if row["stored"])
        await asyncio.to_thread(program.end, signal.SIGKILL)
        killed.set()
        with pytest.raises(httpx2.TransportError):
            await going
    await asyncio.to_thread(program.start)
    try:
        async with program.logged_in() as alice:
            offset = int((await alice.head(where, headers=TUS)).headers["upload-offset"])
            assert offset == stored >= 2 * PIECE
            sent |= {"upload-offset": str(offset)}
            assert (await alice.patch(where, headers=sent, content=content[offset:])).status_code == 204
            media = where.replace("uploads", "media")
            assert (await alice.get(f"{media}/content")).content == content
    finally:
        await asyncio.to_thread(program.end)


async def test_pages_may_read_why(new_server: NewServer) -> None:
    """Of another origin that is allowed: refusals of the front door, too, and the headers of tus."""
    live = await new_server(allowed_origins=["https://chat.example.com"])
    origin = {"origin": "https://chat.example.com"}
    told = await live.client().post("/api/chats", headers=origin, content=bytes(2_000_000))
    assert told.status_code == 413
    assert told.headers["access-control-allow-origin"] == "https://chat.example.com"
    asked = {"access-control-request-method": "PATCH", "access-control-request-headers": "upload-offset"}
    preflight = await live.client().options("/api/uploads/1", headers=origin | asked)
    assert preflight.status_code == 200
    assert "PATCH" in preflight.headers["access-control-allow-methods"]


async def test_slow_bodies_give_way(new_server: NewServer) -> None:
    """A user brings bytes over so many requests at once; the next is told to come back."""
    live = await new_server()
    alice, bob = await live.people("alice", "bob")
    released = asyncio.Event()

    async def hanging() -> Any:
        yield b"x"
        await released.wait()

    wheres = [await begun(alice, 10) for _ in range(12)]
    going = [asyncio.create_task(patch(alice, where, 0, hanging())) for where in wheres]
    await eventually(lambda: len(live.app.state.services.uploads.writing) == 12)
    refused = await send(alice, b"one more")
    assert (refused.status_code, refused.json()["code"]) == (503, "busy")
    await uploaded(bob, b"of somebody else")
    released.set()
    await asyncio.gather(*going, return_exceptions=True)
