"""`kill -9` during sends: each acknowledged message is stored once, in order."""

import asyncio
import contextlib
import json
import os
import signal
import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import httpx2
import psutil
import pytest
import websockets

from blazechat.database.postmaster import Postmaster
from tests.harness import NO_TLS, PASSWORD, eventually

TIMEOUT_SECONDS = 60.0


class ServerCommand:
    """`blazechat serve` as a separate process on its own folder."""

    def __init__(self, folder: Path, **environment: str) -> None:
        self.folder = folder
        self.environment = {
            **os.environ,
            "BLAZECHAT_BCRYPT_ROUNDS": "4",
            "BLAZECHAT_LOG_LEVEL": "warning",
            **environment,
        }
        self.process: subprocess.Popen[str] | None = None
        self.output: list[str] = []

    def start(self, *arguments: str) -> str:
        """Start the server; return the URL that it prints. Raises AssertionError with its output if it
        exits."""
        self.process = subprocess.Popen(
            [
                sys.executable,
                "-m",
                "blazechat",
                "serve",
                "--port",
                "0",
                "--data-dir",
                str(self.folder),
                *arguments,
            ],
            stdout=subprocess.PIPE,
            stderr=subprocess.STDOUT,
            text=True,
            env=self.environment,
        )
        assert self.process.stdout is not None
        for line in self.process.stdout:
            self.output.append(line)
            if line.startswith("  listening"):
                return line.split()[-1]
        self._finish()
        raise AssertionError("".join(self.output))

    def kill(self) -> None:
        assert self.process is not None
        self.process.kill()
        self._finish()

    def stop(self, how: signal.Signals = signal.SIGTERM) -> int:
        assert self.process is not None
        self.process.send_signal(how)
        return self._finish()

    def close(self) -> None:
        """End the server, if it runs, and its database, if a killed server left it."""
        try:
            if self.process is not None and self.process.poll() is None:
                self.stop()
        finally:
            left = Postmaster.of((self.folder / "postgres").resolve() / "cluster")
            if left is not None:
                left.process.kill()

    def _finish(self) -> int:
        assert self.process is not None
        try:
            rest, _ = self.process.communicate(timeout=TIMEOUT_SECONDS)
        except subprocess.TimeoutExpired:
            self.process.kill()
            raise
        self.output.append(rest)
        return self.process.returncode


@pytest.fixture
def command(open_folder: Path) -> Iterator[ServerCommand]:
    server = ServerCommand(open_folder / "data")
    yield server
    server.close()


async def _set_up(url: str) -> tuple[dict[str, str], int]:
    """Create two users and their chat; return the headers of the first user, and the chat's id."""
    async with httpx2.AsyncClient(base_url=url, trust_env=False, verify=NO_TLS) as http:
        for name in ("alice", "bob"):
            body = {"username": name, "email": f"{name}@example.com", "password": PASSWORD}
            (await http.post("/auth/register", json=body)).raise_for_status()
        tokens = (await http.post("/token", data={"username": "alice", "password": PASSWORD})).json()
        headers = {"authorization": f"Bearer {tokens['access_token']}"}
        chat = (await http.post("/chats", json={"user_ids": [2]}, headers=headers)).json()
        return headers, chat["id"]


class MessageStream:
    """Clients that send one message after another and record what was acknowledged."""

    def __init__(self, headers: dict[str, str], chat_id: int) -> None:
        self.headers = headers
        self.chat_id = chat_id
        self.acknowledged: dict[str, dict[str, Any]] = {}
        self.sent: dict[str, str] = {}

    async def send_over_http(self, url: str, client: str) -> None:
        async with httpx2.AsyncClient(
            base_url=url, headers=self.headers, trust_env=False, verify=NO_TLS, timeout=10
        ) as http:
            for number in range(100_000):
                client_id = f"{client}-{number}"
                content = f"{client} says {number} " + "x" * (number % 300)
                self.sent[client_id] = content
                body = {"content": content, "client_id": client_id}
                try:
                    answer = await http.post(f"/chats/{self.chat_id}/messages", json=body)
                except (httpx2.TransportError, OSError):
                    return
                if answer.status_code == 201:
                    self.acknowledged[client_id] = answer.json()

    async def send_over_socket(self, url: str, client: str) -> None:
        address = f"{url.replace('http', 'ws', 1)}/ws/chat/{self.chat_id}"
        try:
            async with websockets.connect(address, additional_headers=self.headers, proxy=None) as socket:
                for number in range(100_000):
                    client_id = f"{client}-{number}"
                    content = f"{client} says {number}"
                    self.sent[client_id] = content
                    await socket.send(json.dumps({"content": content, "client_id": client_id}))
                    while True:
                        frame = json.loads(await socket.recv())
                        if frame.get("client_id") == client_id:
                            self.acknowledged[client_id] = frame
                            break
        except (OSError, websockets.WebSocketException):
            return

    async def check_history(self, url: str) -> None:
        """The history has each acknowledged message with the same bytes, once, in order."""
        async with httpx2.AsyncClient(
            base_url=url, headers=self.headers, trust_env=False, verify=NO_TLS
        ) as http:
            history: list[dict[str, Any]] = []
            before = 2**50
            while before > 1:
                query = {"limit": 100, "before": before}
                answer = await http.get(f"/chats/{self.chat_id}/messages", params=query)
                if answer.status_code == 503:  # a connection from before the crash; try again
                    continue
                page = answer.json()
                if not page:
                    break
                history += page
                before = page[-1]["id"]
        history.reverse()
        assert [message["id"] for message in history] == list(range(1, len(history) + 1))
        stored = {message["client_id"]: message for message in history}
        assert len(stored) == len(history), "a message is stored twice"
        for client_id, message in self.acknowledged.items():
            assert stored[client_id] | {"is_read": None} == message | {"is_read": None}
        for client_id, message in stored.items():
            assert message["content"] == self.sent[client_id]
        for client in {client_id.partition("-")[0] for client_id in stored}:
            order = [
                int(m["client_id"].partition("-")[2]) for m in history if m["client_id"].startswith(client)
            ]
            assert order == sorted(order)


async def _start_traffic(stream: MessageStream, url: str, round_: int) -> list[asyncio.Task[None]]:
    tasks = [
        asyncio.create_task(send(url, f"{name}{number}r{round_}"))
        for name, send in (("http", stream.send_over_http), ("socket", stream.send_over_socket))
        for number in range(4)
    ]
    before = len(stream.acknowledged)
    await eventually(lambda: len(stream.acknowledged) > before + 200, TIMEOUT_SECONDS)
    return tasks


async def test_killed_server_loses_nothing(command: ServerCommand) -> None:
    """The server is killed twice during sends; PostgreSQL keeps running."""
    url = await asyncio.to_thread(command.start)
    stream = MessageStream(*await _set_up(url))
    for round_ in range(2):
        tasks = await _start_traffic(stream, url, round_)
        command.kill()
        await asyncio.gather(*tasks)
        url = await asyncio.to_thread(command.start)
        await stream.check_history(url)
    assert await asyncio.to_thread(command.stop) == 0


async def test_killed_database_loses_nothing(command: ServerCommand) -> None:
    """PostgreSQL is killed during sends; the server restarts it and continues."""
    url = await asyncio.to_thread(command.start)
    stream = MessageStream(*await _set_up(url))
    tasks = await _start_traffic(stream, url, 0)
    cluster = (command.folder / "postgres").resolve() / "cluster"
    postmaster = Postmaster.of(cluster)
    assert postmaster is not None
    postmaster.process.kill()
    before = len(stream.acknowledged)
    await eventually(lambda: len(stream.acknowledged) > before + 200, TIMEOUT_SECONDS)
    for task in tasks:
        task.cancel()
    await asyncio.gather(*tasks, return_exceptions=True)
    await stream.check_history(url)
    assert await asyncio.to_thread(command.stop) == 0
    assert Postmaster.of(cluster) is None


async def test_everything_killed_loses_nothing(command: ServerCommand) -> None:
    """Server and PostgreSQL are killed together, as in a crash of the machine that keeps the disk cache."""
    url = await asyncio.to_thread(command.start)
    stream = MessageStream(*await _set_up(url))
    tasks = await _start_traffic(stream, url, 0)
    postmaster = Postmaster.of((command.folder / "postgres").resolve() / "cluster")
    assert postmaster is not None
    for process in (postmaster.process, *postmaster.process.children(recursive=True)):
        with contextlib.suppress(psutil.NoSuchProcess):
            process.kill()
    command.kill()
    await asyncio.gather(*tasks)
    url = await asyncio.to_thread(command.start)
    await stream.check_history(url)
    assert await asyncio.to_thread(command.stop) == 0


async def test_sigterm_stops_the_server_cleanly(command: ServerCommand) -> None:
    """Exit code 0; acknowledged messages are stored, sockets are closed with 1012, PostgreSQL is stopped.

    A client that reads nothing does not prevent the stop.
    """
    url = await asyncio.to_thread(command.start)
    headers, chat_id = await _set_up(url)
    stream = MessageStream(headers, chat_id)
    address = url.replace("http", "ws", 1)
    async with (
        websockets.connect(f"{address}/ws/status", additional_headers=headers, proxy=None) as idle,
        websockets.connect(
            f"{address}/ws/chat/{chat_id}",
            additional_headers=headers,
            proxy=None,
            max_queue=1,
            close_timeout=0.5,
        ),
    ):
        tasks = await _start_traffic(stream, url, 0)
        assert await asyncio.to_thread(command.stop) == 0
        await asyncio.gather(*tasks)
        await idle.wait_closed()
        assert idle.close_code == 1012
    assert "Traceback" not in "".join(command.output)
    assert Postmaster.of((command.folder / "postgres").resolve() / "cluster") is None
    url = await asyncio.to_thread(command.start)
    await stream.check_history(url)


async def test_second_start_on_a_folder_is_refused(command: ServerCommand) -> None:
    """With a sentence, not a traceback. The first server keeps running until Ctrl-C, which stops it
    cleanly."""
    url = await asyncio.to_thread(command.start)
    second = ServerCommand(command.folder)
    with pytest.raises(AssertionError) as refusal:
        second.start()
    assert "running on the folder" in str(refusal.value)
    assert "Traceback" not in str(refusal.value)
    async with httpx2.AsyncClient(base_url=url, trust_env=False, verify=NO_TLS) as http:
        assert (await http.get("/readyz")).status_code == 200
    assert await asyncio.to_thread(command.stop, signal.SIGINT) == 0
    assert "Traceback" not in "".join(command.output)
