"""What the work items ask of a server, and how servers are run: child processes on loopback ports."""

import asyncio
import os
import pwd
import shutil
import socket
import subprocess
import tempfile
import time
from collections.abc import AsyncIterator, Iterator, Sequence
from contextlib import asynccontextmanager, contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Protocol

import psutil

from bench.cpu import CpuClock
from bench.peers.peer_socket import PeerSocket

PAGE = 50
"""Messages of a page of history."""
HISTORY_MESSAGES = 1_000
"""At least so many messages are in a chat whose pages are read."""
START_TIMEOUT_SECONDS = 30
STOP_TIMEOUT_SECONDS = 20
ORDINARY_USER = "nobody"
"""The account of servers that refuse to run as root."""


class NotInstalled(Exception):
    """The server is not installed; the text says how to install it."""


class Unsupported(Exception):
    """The server has nothing that compares with the work item; the text says why."""


@dataclass(frozen=True)
class Clients:
    """Connected clients. Each request of one is acknowledged, and delivers a number of messages."""

    sockets: list[PeerSocket]
    deliveries: int
    """Messages that all clients together receive per request."""

    def close(self) -> None:
        for client in self.sockets:
            client.drop()


class Peer(Protocol):
    """A running server. Clients are opened per work item, and closed after it."""

    name: str
    is_durable: bool
    """True if an acknowledgement means that the message is stored."""
    clocks: dict[str, CpuClock]
    """Its processes by name: whose time a round prints."""

    async def open_pairs(self, count: int) -> Clients:
        """Open clients that each send to an own chat of two, and another one receives it."""

    async def open_room(self, count: int) -> Clients:
        """Open clients that send to the same room, in which all are."""

    async def open_history(self, count: int) -> Clients:
        """Open clients that request the newest PAGE messages of a chat with many."""


def free_port() -> int:
    """Return a port of loopback that nothing listens on."""
    with socket.create_server(("127.0.0.1", 0)) as listener:
        return int(listener.getsockname()[1])


def program(name: str, package: str) -> str:
    """Return the path of a program. Raises NotInstalled."""
    path = shutil.which(name)
    if path is None:
        raise NotInstalled(f"install the package {package}")
    return path


def _account() -> dict[str, Any]:
    """Arguments of Popen: another account than root, which some servers refuse."""
    if os.geteuid() != 0:
        return {}
    entry = pwd.getpwnam(ORDINARY_USER)
    return {"user": entry.pw_uid, "group": entry.pw_gid, "extra_groups": []}


@contextmanager
def temporary_folder(name: str) -> Iterator[Path]:
    """A folder that the ordinary user can write to, removed at the end."""
    folder = Path(tempfile.mkdtemp(prefix=f"blazechat-bench-{name}-"))
    try:
        if os.geteuid() == 0:
            entry = pwd.getpwnam(ORDINARY_USER)
            os.chown(folder, entry.pw_uid, entry.pw_gid)
        folder.chmod(0o755)  # PostgreSQL runs under another account
        yield folder
    finally:
        shutil.rmtree(folder, ignore_errors=True)


@asynccontextmanager
async def running(
    command: Sequence[str],
    port: int,
    folder: Path,
    *,
    as_ordinary_user: bool = True,
    environment: dict[str, str] | None = None,
) -> AsyncIterator[CpuClock]:
    """Run a server until the end of the block, and yield its clock. Its output goes to `folder/log`."""
    with _child(command, folder, _account() if as_ordinary_user else {}, environment or {}) as process:
        end = time.monotonic() + START_TIMEOUT_SECONDS
        while not _listens(port):
            if process.poll() is not None or time.monotonic() > end:
                raise RuntimeError(f"the server did not start: {_end_of_log(folder)}")
            await asyncio.sleep(0.1)
        yield CpuClock(psutil.Process(process.pid))


@contextmanager
def _child(
    command: Sequence[str], folder: Path, account: dict[str, Any], environment: dict[str, str]
) -> Iterator["subprocess.Popen[bytes]"]:
    with (folder / "log").open("wb") as log:
        process = subprocess.Popen(
            command,
            stdin=subprocess.DEVNULL,
            stdout=log,
            stderr=log,
            cwd=folder,
            env=os.environ | {"HOME": str(folder)} | environment,
            **account,
        )
    try:
        yield process
    finally:
        process.terminate()
        try:
            process.wait(STOP_TIMEOUT_SECONDS)
        except subprocess.TimeoutExpired:
            process.kill()
            process.wait()


def _listens(port: int) -> bool:
    with socket.socket() as probe:
        return probe.connect_ex(("127.0.0.1", port)) == 0


def _end_of_log(folder: Path) -> str:
    return (folder / "log").read_text(errors="replace")[-2000:]
