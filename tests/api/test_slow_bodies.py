"""Bodies that stop arriving: 408 on every path, after which the connection is closed."""

import asyncio
import base64

import pytest

from blazechat.api import middleware
from tests.harness import TIMEOUT_SECONDS, Live, Person

JSON = {"content-type": "application/json"}
FORM = {"content-type": "application/x-www-form-urlencoded"}
TUS = {"tus-resumable": "1.0.0", "content-type": "application/offset+octet-stream"}
MULTIPART = {"content-type": "multipart/form-data; boundary=b"}
FILE_PART = b'--b\r\ncontent-disposition: form-data; name="file"; filename="f"\r\n\r\nthe first bytes'
NEXT_REQUEST = b"GET /healthz HTTP/1.1\r\nhost: x\r\n\r\n"


async def _begin(
    live: Live, method: str, path: str, headers: dict[str, str], body: bytes
) -> tuple[asyncio.StreamReader, asyncio.StreamWriter]:
    """Send a request whose body ends before its announced length."""
    host, port = live.url.removeprefix("http://").split(":")
    reader, writer = await asyncio.open_connection(host, int(port))
    lines = [f"{method} {path} HTTP/1.1", "host: x"]
    lines += [f"{name}: {value}" for name, value in headers.items()]
    if "transfer-encoding" not in headers:
        lines.append(f"content-length: {len(body) + 1000}")
    writer.write("\r\n".join([*lines, "", ""]).encode() + body)
    await writer.drain()
    return reader, writer


async def _paths(alice: Person) -> list[tuple[str, str, dict[str, str], bytes]]:
    """One request per way in which the server reads a body."""
    chat_id = await alice.group()
    hook = (await alice.post(f"/api/chats/{chat_id}/incoming-webhooks", {"name": "Slow"})).json()
    name = base64.b64encode(b"slow.bin").decode()
    create = {"tus-resumable": "1.0.0", "upload-length": "5000", "upload-metadata": f"filename {name}"}
    upload = (await alice.http.post("/api/uploads", headers=create)).headers["location"]
    return [
        ("POST", "/api/auth/register", JSON, b'{"username": '),
        ("POST", "/api/auth/register", JSON | {"transfer-encoding": "chunked"}, b'5\r\n{"use\r\n'),
        ("POST", "/api/auth/login", FORM, b"username=alice&"),
        ("POST", "/api/auth/login", MULTIPART, FILE_PART),
        ("POST", f"/messages/conversations/{chat_id}/messages", FORM, b"content=slow"),
        ("POST", "/api/media", MULTIPART, FILE_PART),
        ("PATCH", upload, TUS | {"upload-offset": "0"}, b"the first bytes"),
        ("POST", "/api/uploads", TUS | create, b"the first bytes"),
        ("POST", f"/hooks/{hook['url'].rpartition('/')[2]}", JSON, b'{"text": '),
    ]


async def test_body_that_stops_is_408_and_closes_the_connection(
    live: Live, monkeypatch: pytest.MonkeyPatch
) -> None:
    """JSON, forms, multipart, tus and hooks. A request that follows is not read as the rest of the body."""
    alice = await live.person()
    paths = await _paths(alice)
    monkeypatch.setattr(middleware, "BODY_TIMEOUT_SECONDS", 0.05)
    token = {"authorization": f"Bearer {alice.token}"}
    for method, path, headers, body in paths:
        reader, writer = await _begin(live, method, path, token | headers, body)
        async with asyncio.timeout(TIMEOUT_SECONDS):
            head = (await reader.readuntil(b"\r\n\r\n")).decode().lower()
            assert head.startswith("http/1.1 408 "), (path, head)
            assert head.count("\r\nconnection: close\r\n") == 1, (path, head)
            writer.write(NEXT_REQUEST)
            rest = await reader.read()
        assert b"HTTP/1.1" not in rest, (path, rest)
        writer.close()
    (upload,) = [each for each in (await alice.get("/api/media")).json() if each["size"] == 5000][-1:]
    assert upload["received"] == len(b"the first bytes")


@pytest.mark.parametrize(
    ("path", "headers", "body"),
    [("/api/media", MULTIPART, FILE_PART), ("/api/auth/register", JSON, b'{"username": "')],
)
async def test_body_that_trickles_is_408_and_closes_the_connection(
    live: Live, monkeypatch: pytest.MonkeyPatch, path: str, headers: dict[str, str], body: bytes
) -> None:
    """A body below the lowest rate, also one that never pauses."""
    alice = await live.person()
    monkeypatch.setattr(middleware, "SLOW_START_SECONDS", 0.1)
    monkeypatch.setattr(middleware, "MIN_BYTES_PER_SECOND", 10_000)
    token = {"authorization": f"Bearer {alice.token}"}
    reader, writer = await _begin(live, "POST", path, token | headers, body)
    async with asyncio.timeout(TIMEOUT_SECONDS):
        head = asyncio.create_task(reader.readuntil(b"\r\n\r\n"))
        while not head.done():
            writer.write(b"x")
            await asyncio.wait([head], timeout=0.02)
        assert b"408" in (await head).splitlines()[0]
        assert b"connection: close" in (await head).lower()
        await reader.read()
    writer.close()


async def test_connection_stays_open_after_a_body_that_arrived(live: Live) -> None:
    """Two requests that are sent at the same time get two responses."""
    reader, writer = await _begin(live, "GET", "/healthz", {"transfer-encoding": "chunked"}, b"0\r\n\r\n")
    writer.write(NEXT_REQUEST)
    async with asyncio.timeout(TIMEOUT_SECONDS):
        for _ in range(2):
            assert (await reader.readuntil(b"\r\n\r\n")).startswith(b"HTTP/1.1 200 ")
            await reader.readexactly(len(b'{"status":"ok"}'))
    writer.close()
