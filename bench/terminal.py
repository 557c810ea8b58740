"""The terminal app in a pseudo-terminal: how long a chat takes to open, and a key to be seen."""

import asyncio
import contextlib
import fcntl
import os
import pty
import struct
import sys
import tempfile
import termios
import time
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from pathlib import Path

from bench import seed
from bench.figures import Figure, percentile
from bench.server import Bench, serving
from blazechat.client import Client, Login, MemoryVault
from blazechat.terminal.accounts import Accounts

LONG = 1_000_000
OPENINGS = 5
OPENED_WITHIN = 200.0
"""Milliseconds from the request to the newest page."""
KEY_WITHIN = 30.0
"""Milliseconds from any key to its letter."""
MESSAGES_PER_SECOND = 50
BETWEEN_KEYS = 0.09
KEYS = [chr(code) for code in (*range(0x3B1, 0x3CA), *range(0x430, 0x450), *range(0x561, 0x587))]
"""Letters that nothing else on the screen has: each is found in what the terminal is told."""
SMALL, LARGE = (24, 80), (50, 200)
"""Lines and columns of a terminal."""
PATIENCE = 30.0


async def run() -> list[Figure]:
    async with serving() as bench:
        async with bench.database() as connection:
            tokens = await seed.people(bench, connection, 2)
            await seed.chats(connection, [[1, 2], [1, 2]])
            print(f"  filling a chat with {LONG:,} messages …", flush=True)
            await seed.messages(connection, 2, 2, "x" * 40, LONG - 1)
            await connection.execute("VACUUM ANALYZE messages")
        async with _client(bench, 2, tokens[1]) as other:
            await other.messages.send(2, "the newest of all\nand its second line")
            await other.messages.send(1, "so that this chat is the first in the list")
            opened = [await _opening(bench, tokens[0]) for _ in range(OPENINGS)]
            typed = [(size, *await _keys(bench, tokens[0], other, size)) for size in (SMALL, LARGE)]
    figures = [
        Figure("terminal, chat of 10^6 messages opened, p50", percentile(opened, 0.5), "ms"),
        Figure("terminal, chat of 10^6 messages opened, the worst", max(opened), "ms", most=OPENED_WITHIN),
    ]
    for (lines, columns), idle, busy in typed:
        name = f"terminal of {columns}×{lines}, a key to its letter"
        figures += [
            Figure(f"{name}, p50", percentile(idle, 0.5), "ms"),
            Figure(f"{name}, the worst", max(idle), "ms"),
            Figure(f"{name}, {MESSAGES_PER_SECOND} messages/s, p50", percentile(busy, 0.5), "ms"),
            Figure(f"{name}, {MESSAGES_PER_SECOND} messages/s, p90", percentile(busy, 0.9), "ms"),
            Figure(
                f"{name}, {MESSAGES_PER_SECOND} messages/s, the worst", max(busy), "ms", most=KEY_WITHIN
            ),
        ]
    return figures


async def _opening(bench: Bench, token: str) -> float:
    """Milliseconds from Enter to the newest page of the long chat, in a program that was just started."""
    async with _app(bench, token, LARGE) as app:
        await app.shows("online")
        await app.shows("first in the list")
        await asyncio.sleep(1.0)
        app.press("\x0bChat 2")
        await asyncio.sleep(0.5)
        return await app.answers("\r", "and its second line")


async def _keys(
    bench: Bench, token: str, other: Client, size: tuple[int, int]
) -> tuple[list[float], list[float]]:
    """Milliseconds from keys to their letters: while nothing happens, and while much is said."""
    async with _app(bench, token, size) as app:
        await app.shows("online")
        await asyncio.sleep(1.0)
        half = len(KEYS) // 2
        idle = [await app.types(key) for key in KEYS[:half]]
        talking = asyncio.create_task(_talk(other))
        await asyncio.sleep(1.0)
        with bench.shares("typing"):
            busy = [await app.types(key) for key in KEYS[half:]]
        talking.cancel()
        await asyncio.gather(talking, return_exceptions=True)
    return idle, busy


async def _talk(other: Client) -> None:
    """Say so many messages a second in the chat that is open."""
    loop = asyncio.get_running_loop()
    began, said = loop.time(), 0
    async with asyncio.TaskGroup() as group:
        while True:
            group.create_task(other.messages.send(1, f"message {said} of many " + "and more " * (said % 9)))
            said += 1
            await asyncio.sleep(max(0.0, began + said / MESSAGES_PER_SECOND - loop.time()))


@asynccontextmanager
async def _client(bench: Bench, user_id: int, token: str) -> AsyncIterator[Client]:
    url = f"http://{bench.host}:{bench.port}"
    login = Login(url, user_id, f"user{user_id}", token, "", time.time())
    async with Client(url, vault=MemoryVault(login)) as client:
        await client.restore_login()
        yield client


class App:
    """The app in a terminal, and what it has written so far."""

    def __init__(self, terminal: int) -> None:
        self._terminal = terminal
        self._seen = bytearray()
        self._wanted = b""
        self._found: asyncio.Future[float] | None = None

    def read(self) -> None:
        with contextlib.suppress(OSError):
            self._seen += os.read(self._terminal, 65536)
        if self._found is not None and not self._found.done() and self._wanted in self._seen:
            self._found.set_result(time.perf_counter())

    def press(self, keys: str) -> None:
        os.write(self._terminal, keys.encode())

    async def shows(self, text: str) -> None:
        if text.encode() not in self._seen:
            await self._until(text)

    async def answers(self, keys: str, text: str) -> float:
        """Milliseconds from these keys to that text."""
        self._seen.clear()
        began = time.perf_counter()
        self.press(keys)
        return 1000 * (await self._until(text) - began)

    async def types(self, key: str) -> float:
        took = await self.answers(key, key)
        await asyncio.sleep(BETWEEN_KEYS)
        return took

    async def _until(self, text: str) -> float:
        self._wanted = text.encode()
        self._found = asyncio.get_running_loop().create_future()
        async with asyncio.timeout(PATIENCE):
            return await self._found


@asynccontextmanager
async def _app(bench: Bench, token: str, size: tuple[int, int]) -> AsyncIterator[App]:
    url = f"http://{bench.host}:{bench.port}"
    with tempfile.TemporaryDirectory() as folder:
        accounts = Accounts(Path(folder))
        await accounts.vault(url).save(Login(url, 1, "user1", token, "", time.time()))
        ours, theirs = pty.openpty()
        fcntl.ioctl(theirs, termios.TIOCSWINSZ, struct.pack("HHHH", *size, 0, 0))
        process = await asyncio.create_subprocess_exec(
            *(sys.executable, "-m", "blazechat", "chat"),
            stdin=theirs,
            stdout=theirs,
            stderr=theirs,
            env=os.environ
            | {"BLAZECHAT_CLIENT_DIR": folder, "TERM": "xterm-256color", "COLORTERM": "truecolor"},
        )
        os.close(theirs)
        app = App(ours)
        loop = asyncio.get_running_loop()
        loop.add_reader(ours, app.read)
        try:
            yield app
        finally:
            app.press("\x11")
            with contextlib.suppress(TimeoutError):
                await asyncio.wait_for(process.wait(), 10)
            if process.returncode is None:
                process.kill()
                await process.wait()
            loop.remove_reader(ours)
            os.close(ours)
