"""Sends a request twice, as a direct call and to the FastAPI route, and compares the answers.

A repeated header without a meaning keeps the second request from the direct calls.
"""

import asyncio
import json
import re
from dataclasses import dataclass
from typing import Any

from starlette.types import ASGIApp, Receive, Scope, Send

from tests.harness import TIMEOUT_SECONDS, Live, Person

FOR_FASTAPI = b"X-Twice: 1\r\nX-Twice: 2\r\n"
JSON = "Content-Type: application/json"
CHANGING = {"id", "version", "created_at", "updated_at", "request_id"}
"""Fields that differ between two answers. So does a `client_id` that the server made."""
MADE_CLIENT_ID = re.compile(r"[\w-]{8}[0-9a-f]+")


class Recorder:
    """ASGI middleware that counts the requests that reach the application."""

    def __init__(self, app: ASGIApp, requests: list[str]) -> None:
        self._app = app
        self._requests = requests

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        if scope["type"] == "http":
            self._requests.append(f"{scope['method']} {scope['path']}")
        await self._app(scope, receive, send)


@dataclass
class Answer:
    status: str
    headers: list[tuple[str, str]]
    body: bytes

    def header(self, name: str) -> str | None:
        return dict(self.headers).get(name)

    def comparable(self) -> tuple[str, list[tuple[str, str]], Any]:
        """Return what must be equal in two answers to a request."""
        headers = [
            (name, re.sub(r"messages/\d+$", "messages/…", value) if name == "location" else value)
            for name, value in self.headers
            if name not in ("date", "x-request-id", "content-length")
        ]
        return self.status, headers, _without_changing(self.body)


def _without_changing(body: bytes) -> Any:
    value = json.loads(body) if body.startswith((b"{", b"[")) else body
    if not isinstance(value, dict):
        return value
    changing = CHANGING | ({"client_id"} if MADE_CLIENT_ID.fullmatch(value.get("client_id", "")) else set())
    return {name: "…" if name in changing else each for name, each in value.items()}


@dataclass
class Direct:
    """A server, one of its users, their chat, and the requests that reached the application."""

    live: Live
    alice: Person
    chat_id: int
    requests: list[str]

    def head(self, method: str, path: str, *headers: str) -> bytes:
        """Return a head without its end. A header of `headers` replaces one of the usual headers."""
        usual = [f"Host: {self.live.url[7:]}", f"Authorization: Bearer {self.alice.token}"]
        names = {each.partition(":")[0].lower() for each in headers}
        kept = [each for each in usual if each.partition(":")[0].lower() not in names]
        lines = [
            f"{method} {path.format(self.chat_id)} HTTP/1.1",
            *kept,
            *(each for each in headers if each),
        ]
        return "\r\n".join([*lines, ""]).encode("latin-1")

    async def ask(self, head: bytes, body: bytes, *, fastapi: bool = False) -> Answer:
        """Send a request on a new connection."""
        return (await self.exchange(request(head, body, fastapi=fastapi)))[0]

    async def exchange(self, data: bytes, answers: int = 1) -> list[Answer]:
        """Send bytes on a new connection in one packet; return so many answers."""
        reader, writer = await self.connect()
        writer.write(data)
        async with asyncio.timeout(TIMEOUT_SECONDS):
            found = [await read_answer(reader, is_head=data.startswith(b"HEAD")) for _ in range(answers)]
        writer.close()
        return found

    async def connect(self) -> tuple[asyncio.StreamReader, asyncio.StreamWriter]:
        host, port = self.live.url[7:].split(":")
        return await asyncio.open_connection(host, int(port))

    async def compare(self, method: str, path: str, *headers: str, body: bytes = b"") -> bool:
        """Compare the answers to a request. Returns True if it was a direct call; False if the first one
        reached FastAPI as well, or if uvicorn rejected both."""
        head = self.head(method, path, *headers)
        self.requests.clear()
        mine = await self.ask(head, body)
        reached = len(self.requests)
        theirs = await self.ask(head, body, fastapi=True)
        assert mine.comparable() == theirs.comparable(), (method, path, headers, body[:100])
        for answer in (mine, theirs):
            assert int(answer.header("content-length") or 0) == len(answer.body) or method == "HEAD"
        return reached == 0 and len(self.requests) == 1


def request(head: bytes, body: bytes, *, fastapi: bool = False) -> bytes:
    has_length = b"\r\ncontent-length:" in head.lower() or b"\r\ntransfer-encoding:" in head.lower()
    length = b"" if has_length else b"Content-Length: %d\r\n" % len(body)
    return head + (FOR_FASTAPI if fastapi else b"") + length + b"\r\n" + body


async def read_answer(reader: asyncio.StreamReader, *, is_head: bool = False) -> Answer:
    status, *lines = (await reader.readuntil(b"\r\n\r\n")).decode("latin-1").strip().split("\r\n")
    if status == "HTTP/1.1 100 Continue":
        return await read_answer(reader)
    headers = [(name, value) for name, _, value in (line.partition(": ") for line in lines)]
    length = 0 if is_head else int(dict(headers).get("content-length", "0"))
    return Answer(status, headers, await reader.readexactly(length))


def record(live: Live) -> list[str]:
    """Return a list to which the server adds the requests that reach its application, from now on."""
    requests: list[str] = []
    live.app.add_middleware(Recorder, requests=requests)
    return requests


async def with_chat(live: Live, requests: list[str]) -> Direct:
    """Create two users and their chat."""
    alice = await live.person("alice")
    bob = await live.person("bob")
    return Direct(live, alice, await alice.group(bob), requests)


SEND, CONVERSATION = "/api/chats/{}/messages", "/api/messages/conversations/{}/messages"
HELLO = b'{"content":"Hello!"}'


async def with_recorder(live: Live) -> Direct:
    """Record the requests of a server of its own."""
    return await with_chat(live, record(live))
