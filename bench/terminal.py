"""The terminal client in a pseudo-terminal: time to open a chat, and from a key to its letter."""

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
from blazechat.terminal.accounts import SavedAccounts

LONG_CHAT_MESSAGES = 1_000_000
OPENINGS = 5
MAX_OPEN_MS = 200.0
"""From Enter to the newest page."""
MAX_KEY_MS = 30.0
"""From a key to its letter."""
MESSAGES_PER_SECOND = 50
KEY_PAUSE_SECONDS = 0.09
KEYS = [chr(code) for code in (*range(0x3B1, 0x3CA), *range(0x430, 0x450), *range(0x561, 0x587))]
"""Letters that occur nowhere else on the screen, so that they can be found in the output."""
SMALL, LARGE = (24, 80), (50, 200)
"""Lines and columns of a terminal."""
TIMEOUT_SECONDS = 30.0


async def run() -> list[Figure]:
    """Measure openings of a long chat, then keys in a small and in a large terminal."""
    async with serving() as bench:
        async with bench.database() as connection:
            tokens = await seed.people(bench, connection, 2)
            await seed.chats(connection, [[1, 2], [1, 2]])
            print(f"  filling a chat with {LONG_CHAT_MESSAGES:,} messages …", flush=True)
            await seed.messages(connection, 2, 2, "x" * 40, LONG_CHAT_MESSAGES - 1)
            await connection.execute("VACUUM ANALYZE messages")
        async with _client(bench, 2, tokens[1]) as other:
            await other.messages.send(2, "the newest of all\nand its second line")
            await other.messages.send(1, "so that this chat is the first in the list")
            opened = [await _opening(bench, tokens[0]) for _ in range(OPENINGS)]
            typed = [(size, *await _keys(bench, tokens[0], other, size)) for size in (SMALL, LARGE)]
    figures = [
        Figure("terminal, chat of 10^6 messages opened, p50", percentile(opened, 0.5), "ms"),
        Figure("terminal, chat of 10^6 messages opened, slowest", max(opened), "ms", maximum=MAX_OPEN_MS),
    ]
    for (lines, columns), idle, busy in typed:
        name = f"terminal of {columns}×{lines}, a key to its letter"
        figures += [
            Figure(f"{name}, p50", percentile(idle, 0.5), "ms"),
            Figure(f"{name}, slowest", max(idle), "ms"),
            Figure(f"{name}, {MESSAGES_PER_SECOND} messages/s, p50", percentile(busy, 0.5), "ms"),
            Figure(f"{name}, {MESSAGES_PER_SECOND} messages/s, p90", percentile(busy, 0.9), "ms"),
            Figure(
                f"{name}, {MESSAGES_PER_SECOND} messages/s, slowest", max(busy), "ms", maximum=MAX_KEY_MS
            ),
        ]
    return figures


async def _opening(bench: Bench, token: str) -> float:
    """Start the client, open the long chat, and return the milliseconds from Enter to its newest page."""
    async with _app(bench, token, LARGE) as app:
        await app.wait_for("online")
        await app.wait_for("first in the list")
        await asyncio.sleep(1.0)
        app.press("\x0bChat 2")
        await asyncio.sleep(0.5)
        return await app.measure("\r", "and its second line")


async def _keys(
    bench: Bench, token: str, other: Client, size: tuple[int, int]
) -> tuple[list[float], list[float]]:
    """Return the milliseconds from keys to letters: without messages, and at MESSAGES_PER_SECOND."""
    async with _app(bench, token, size) as app:
        await app.wait_for("online")
        await asyncio.sleep(1.0)
        half = len(KEYS) // 2
        idle = [await app.type_key(key) for key in KEYS[:half]]
        sending = asyncio.create_task(_send_steadily(other))
        await asyncio.sleep(1.0)
        with bench.shares("typing"):
            busy = [await app.type_key(key) for key in KEYS[half:]]
        sending.cancel()
        await asyncio.gather(sending, return_exceptions=True)
    return idle, busy


async def _send_steadily(other: Client) -> None:
    """Send MESSAGES_PER_SECOND to the open chat."""
    loop = asyncio.get_running_loop()
    began, sent = loop.time(), 0
    async with asyncio.TaskGroup() as group:
        while True:
            group.create_task(other.messages.send(1, f"message {sent} of many " + "and more " * (sent % 9)))
            sent += 1
            await asyncio.sleep(max(0.0, began + sent / MESSAGES_PER_SECOND - loop.time()))


@asynccontextmanager
async def _client(bench: Bench, user_id: int, token: str) -> AsyncIterator[Client]:
    url = f"http://{bench.host}:{bench.port}"
    login = Login(url, user_id, f"user{user_id}", token, "", time.time())
    async with Client(url, vault=MemoryVault(login)) as client:
        await client.restore_login()
        yield client


class TerminalApp:
    """The client in a pseudo-terminal, with its output so far."""

    def __init__(self, terminal: int) -> None:
        self._terminal = terminal
        self._output = bytearray()
        self._wanted = b""
        self._found: asyncio.Future[float] | None = None

    def read(self) -> None:
        with contextlib.suppress(OSError):
            self._output += os.read(self._terminal, 65536)
        if self._found is not None and not self._found.done() and self._wanted in self._output:
            self._found.set_result(time.perf_counter())

    def press(self, keys: str) -> None:
        os.write(self._terminal, keys.encode())

    async def wait_for(self, text: str) -> None:
        """Wait until the output contains the text."""
        if text.encode() not in self._output:
            await self._find(text)

    async def measure(self, keys: str, text: str) -> float:
        """Press keys; return the milliseconds until the text is written."""
        self._output.clear()
        began = time.perf_counter()
        self.press(keys)
        return 1000 * (await self._find(text) - began)

    async def type_key(self, key: str) -> float:
        """Press a key, and return the milliseconds until its letter is written."""
        milliseconds = await self.measure(key, key)
        await asyncio.sleep(KEY_PAUSE_SECONDS)
        return milliseconds

    async def _find(self, text: str) -> float:
        self._wanted = text.encode()
        self._found = asyncio.get_running_loop().create_future()
        async with asyncio.timeout(TIMEOUT_SECONDS):
            return await self._found


@asynccontextmanager
async def _app(bench: Bench, token: str, size: tuple[int, int]) -> AsyncIterator[TerminalApp]:
    """Run `blazechat chat` in a pseudo-terminal of this size, logged in as user 1."""
    url = f"http://{bench.host}:{bench.port}"
    with tempfile.TemporaryDirectory() as folder:
        accounts = SavedAccounts(Path(folder))
        await accounts.vault(url).save(Login(url, 1, "user1", token, "", time.time()))
        controller, terminal = pty.openpty()
        fcntl.ioctl(terminal, termios.TIOCSWINSZ, struct.pack("HHHH", *size, 0, 0))
        process = await asyncio.create_subprocess_exec(
            *(sys.executable, "-m", "blazechat", "chat"),
            stdin=terminal,
            stdout=terminal,
            stderr=terminal,
            env=os.environ
            | {"BLAZECHAT_CLIENT_DIR": folder, "TERM": "xterm-256color", "COLORTERM": "truecolor"},
        )
        os.close(terminal)
        app = TerminalApp(controller)
        loop = asyncio.get_running_loop()
        loop.add_reader(controller, app.read)
        try:
            yield app
        finally:
            app.press("\x11")
            with contextlib.suppress(TimeoutError):
                await asyncio.wait_for(process.wait(), 10)
            if process.returncode is None:
                process.kill()
                await process.wait()
            loop.remove_reader(controller)
            os.close(controller)
