"""Real servers on a real PostgreSQL, and users with HTTP clients and sockets."""

import asyncio
import contextlib
import itertools
import json
import socket
import ssl
import tempfile
from collections.abc import AsyncIterator, Iterator
from contextlib import asynccontextmanager
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import asyncpg
import httpx2
import websockets
from fastapi import FastAPI
from websockets.exceptions import ConnectionClosedError

from blazechat.client.compact_messages import complete_json
from blazechat.config import Settings
from blazechat.serve import UvicornServer, create_server
from blazechat.server import lifespan
from blazechat.web import create_app

PASSWORD = "correct horse"
SECRET_KEY = "a key for tests only, at least 32 characters"
TIMEOUT_SECONDS = 10.0
"""Something expected that takes longer counts as missing."""

NO_TLS = ssl.SSLContext(ssl.PROTOCOL_TLS_CLIENT)

_serial = itertools.count(1)


class QuietServer(UvicornServer):
    """A server that does not handle the signals of the test process."""

    @contextlib.contextmanager
    def capture_signals(self) -> Iterator[None]:
        yield


@dataclass
class Live:
    """A running server."""

    url: str
    app: FastAPI
    server: UvicornServer
    clients: list[httpx2.AsyncClient] = field(default_factory=list)

    @property
    def ws_url(self) -> str:
        return self.url.replace("http", "ws", 1)

    def client(self, token: str | None = None, **options: Any) -> httpx2.AsyncClient:
        headers = {"authorization": f"Bearer {token}"} if token else {}
        headers |= options.pop("headers", {})
        # Creating a TLS context takes longer than most tests, and no test uses TLS.
        client = httpx2.AsyncClient(
            base_url=self.url,
            headers=headers,
            timeout=30,
            trust_env=False,
            verify=NO_TLS,
            **options,
        )
        self.clients.append(client)
        return client

    async def person(self, name: str = "alice", **options: Any) -> "Person":
        """Register and log in a new user, whose name begins with `name`."""
        username = f"{name}{next(_serial)}"
        anonymous = self.client()
        answer = await anonymous.post(
            "/api/auth/register",
            json={
                "username": username,
                "email": f"{username}@example.com",
                "password": PASSWORD,
                **options,
            },
        )
        assert answer.status_code == 201, answer.text
        return await self.log_in(username)

    async def people(self, *names: str) -> list["Person"]:
        return [await self.person(name) for name in names]

    async def log_in(self, username: str, password: str = PASSWORD) -> "Person":
        answer = await self.client().post(
            "/api/auth/login", data={"username": username, "password": password}
        )
        assert answer.status_code == 200, answer.text
        tokens = answer.json()
        client = self.client(tokens["access_token"])
        me = (await client.get("/api/auth/me")).json()
        return Person(self, me["id"], username, tokens, client)


@dataclass
class Person:
    """A logged-in user."""

    live: Live
    id: int
    username: str
    tokens: dict[str, Any]
    http: httpx2.AsyncClient

    @property
    def token(self) -> str:
        return str(self.tokens["access_token"])

    async def get(self, path: str, **options: Any) -> httpx2.Response:
        return await self.http.get(path, **options)

    async def post(self, path: str, body: Any = None, **options: Any) -> httpx2.Response:
        return await self.http.post(path, json=body, **options)

    async def put(self, path: str, body: Any = None, **options: Any) -> httpx2.Response:
        return await self.http.put(path, json=body, **options)

    async def delete(self, path: str, **options: Any) -> httpx2.Response:
        return await self.http.delete(path, **options)

    async def group(self, *others: "Person", **options: Any) -> int:
        """Create a group of this user with the others; return its id."""
        body = {"name": "Team", "is_group_chat": True, "user_ids": [other.id for other in others]}
        answer = await self.post("/api/chats", body | options)
        assert answer.status_code == 201, answer.text
        return int(answer.json()["id"])

    async def direct(self, other: "Person") -> int:
        answer = await self.post("/api/chats", {"user_ids": [other.id]})
        assert answer.status_code in (200, 201), answer.text
        return int(answer.json()["id"])

    async def say(self, chat_id: int, content: str, **options: Any) -> dict[str, Any]:
        answer = await self.post(f"/api/chats/{chat_id}/messages", {"content": content, **options})
        assert answer.status_code == 201, answer.text
        message: dict[str, Any] = answer.json()
        return message

    async def history(self, chat_id: int, **query: Any) -> list[dict[str, Any]]:
        answer = await self.get(f"/api/chats/{chat_id}/messages", params=query)
        assert answer.status_code == 200, answer.text
        messages: list[dict[str, Any]] = answer.json()
        return messages

    @asynccontextmanager
    async def listening(self, chat_id: int) -> AsyncIterator["Socket"]:
        """Open a chat socket, `/ws/chat/{chat_id}`."""
        async with self.socket(f"/ws/chat/{chat_id}") as opened:
            yield opened

    @asynccontextmanager
    async def watching(self) -> AsyncIterator["Socket"]:
        """Open a status socket, `/ws/status`."""
        async with self.socket("/ws/status") as opened:
            yield opened

    @asynccontextmanager
    async def online(self) -> AsyncIterator["Socket"]:
        """Open a main socket, `/ws`, and wait for `ready`."""
        async with self.socket("/ws") as opened:
            assert (await opened.next())["type"] == "ready"
            yield opened

    @asynccontextmanager
    async def socket(self, path: str, **headers: str) -> AsyncIterator["Socket"]:
        async with websockets.connect(
            f"{self.live.ws_url}{path}",
            additional_headers={"authorization": f"Bearer {self.token}", **headers},
            proxy=None,
            max_queue=None,  # with a full queue, the close would wait for a test that reads no more
        ) as connection:
            yield Socket(connection)


@dataclass
class Socket:
    """The client's end of a WebSocket."""

    connection: websockets.ClientConnection
    asked: int = 0

    async def send(self, frame: str | dict[str, Any]) -> None:
        await self.connection.send(frame if isinstance(frame, str) else json.dumps(frame))

    async def next(self, **wanted: Any) -> dict[str, Any]:
        """Return the next frame with these values, with a complete message; skip others."""
        async with asyncio.timeout(TIMEOUT_SECONDS):
            while True:
                frame: dict[str, Any] = complete_json(json.loads(await self.connection.recv()))
                if all(frame.get(key) == value for key, value in wanted.items()):
                    return frame

    async def ask(self, command: str, **arguments: Any) -> dict[str, Any]:
        """Send a command of `/ws` and return its answer; skip events before it."""
        self.asked += 1
        await self.send({"type": command, "ref": self.asked, **arguments})
        return await self.next(ref=self.asked)

    async def closed(self) -> int:
        """Wait for the close and return its code; skip frames before it."""
        async with asyncio.timeout(TIMEOUT_SECONDS):
            await self.connection.wait_closed()
        assert self.connection.close_code is not None
        return self.connection.close_code

    async def rest(self) -> list[dict[str, Any]]:
        """Return all frames up to the close, with complete messages."""
        frames = []
        async with asyncio.timeout(TIMEOUT_SECONDS):
            with contextlib.suppress(ConnectionClosedError):
                while True:
                    frames.append(complete_json(json.loads(await self.connection.recv())))
        return frames


def settings_for(dsn: str, **changes: Any) -> Settings:
    """Return settings for tests, independent of the environment."""
    from blazechat.setting_loader import load

    chosen: dict[str, Any] = {
        "database_url": dsn,
        "secret_key": SECRET_KEY,
        "bcrypt_rounds": 4,
        "port": 0,
        "database_pool": 4,
        "log_level": "warning",
        "presence_grace_seconds": 0.2,
    }
    return load(**(chosen | changes))


@asynccontextmanager
async def running(settings: Settings) -> AsyncIterator[Live]:
    """Run a server on a free port until the end of the block."""
    with tempfile.TemporaryDirectory(prefix="blazechat-test-") as folder:
        if settings.data_dir == Path("blazechat-data"):
            settings = settings.model_copy(update={"data_dir": Path(folder)})
        async with _serving(settings) as live:
            yield live


@asynccontextmanager
async def _serving(settings: Settings) -> AsyncIterator[Live]:
    app = create_app(settings)
    server = QuietServer(app, create_server(app, settings).config)
    listener = socket.socket(socket.AF_INET, socket.SOCK_STREAM, socket.IPPROTO_TCP)
    listener.bind(("127.0.0.1", 0))
    with listener:
        async with lifespan(app):
            task = asyncio.create_task(server.serve([listener]))
            await eventually(lambda: server.started or task.done())
            live = Live(f"http://127.0.0.1:{listener.getsockname()[1]}", app, server)
            try:
                yield live
            finally:
                for client in live.clients:
                    await client.aclose()
                server.should_exit = True
                await task


async def eventually(is_true: Any, timeout_seconds: float = TIMEOUT_SECONDS) -> Any:
    """Wait until `is_true()`, or the coroutine that it returns, gives a true value; return that."""
    async with asyncio.timeout(timeout_seconds):
        while True:
            result = is_true()
            if asyncio.iscoroutine(result):
                result = await result
            if result:
                return result
            await asyncio.sleep(0.01)


async def copy_of(admin_dsn: str, template: str, name: str) -> str:
    """Create a copy of the database `template`; return its URL."""
    connection = await asyncpg.connect(admin_dsn)
    try:
        await connection.execute(f'CREATE DATABASE "{name}" TEMPLATE "{template}"')
    finally:
        await connection.close()
    return admin_dsn.replace("@/blazechat?", f"@/{name}?")
