"""The data folder: used by one server at a time, whose process and URL are in the lock file."""

import fcntl
import os
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import IO

import psutil

LOCK_FILE = "serve.lock"
UNFINISHED_RESTORE = "restore.incomplete"
"""The folder in which `blazechat restore` builds, and which it leaves only if it is killed."""


class DataFolderError(Exception):
    """The data folder cannot be used. The message says why and what to do."""


@dataclass(frozen=True, slots=True)
class RunningServer:
    """A server that holds the lock of a data folder."""

    pid: int
    url: str
    """Empty until it accepts connections."""


class ServerLock:
    """The lock of a data folder, held by this process. It ends with the process, even if that is killed."""

    def __init__(self, file: IO[str]) -> None:
        self._file = file
        self.announce("")

    def announce(self, url: str) -> None:
        """Write the server's URL into the lock file, for `running_server()`."""
        self._file.truncate(0)
        self._file.write(f"{os.getpid()}\n{url}")
        self._file.flush()


@contextmanager
def exclusive_lock(folder: Path) -> Iterator[ServerLock]:
    """Allow one server, or one restore, per data folder. Raises DataFolderError."""
    try:
        folder.mkdir(parents=True, exist_ok=True)
        file = (folder / LOCK_FILE).open("a+")
    except OSError as error:
        raise DataFolderError(f"the data folder {folder} cannot be used: {error.strerror}.") from error
    with file:
        try:
            fcntl.flock(file, fcntl.LOCK_EX | fcntl.LOCK_NB)
        except BlockingIOError:
            file.seek(0)
            raise DataFolderError(
                f"another server is running on the folder {folder.absolute()}"
                f" (process {file.readline().strip() or 'unknown'})."
                " Stop it first, or choose another folder with --data-dir."
            ) from None
        yield ServerLock(file)


def refuse_unfinished_restore(folder: Path) -> None:
    """Raise DataFolderError if a restore into the folder was killed: its data would seem lost."""
    remains = folder / UNFINISHED_RESTORE
    if remains.exists():
        raise DataFolderError(
            f"a restore into {folder.absolute()} did not finish. Remove {remains.absolute()}, and restore"
            " the backup again."
        )


def running_server(folder: Path) -> RunningServer | None:
    """Return the server that uses the folder, if one runs."""
    file = folder / LOCK_FILE
    try:
        pid, _, url = file.read_text().partition("\n")
        process = psutil.Process(int(pid))
        is_running = process.create_time() <= file.stat().st_mtime + 1
    except (OSError, ValueError, psutil.Error):
        return None
    return RunningServer(int(pid), url.strip()) if is_running else None
