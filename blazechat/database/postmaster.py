"""Finds the running server of a PostgreSQL cluster by `postmaster.pid` and the process table."""

from dataclasses import dataclass
from pathlib import Path

import psutil


@dataclass(frozen=True)
class Postmaster:
    """A running server, on which its `postmaster.pid` and the process table agree."""

    process: psutil.Process
    socket_folder: str
    is_ready: bool
    """True if the server accepts connections."""

    @classmethod
    def of(cls, cluster: Path) -> "Postmaster | None":
        """Return the server of `cluster`; None if the file is stale, even if another program has its pid by
        now."""
        try:
            lines = (cluster / "postmaster.pid").read_text().splitlines()
            process = psutil.Process(int(lines[0]))
            command = process.cmdline()
            folder = command[command.index("-D") + 1]
            if process.status() == psutil.STATUS_ZOMBIE or not Path(folder).samefile(cluster):
                return None
        except (OSError, ValueError, IndexError, psutil.Error):
            return None
        state = lines[7].strip() if len(lines) > 7 else ""
        return cls(process, lines[4] if len(lines) > 4 else "", state == "ready")


def has_ended(process: psutil.Process) -> bool:
    """Return True if the process has ended. A zombie has ended: its parent may be another user of the
    server."""
    try:
        return not process.is_running() or process.status() == psutil.STATUS_ZOMBIE
    except psutil.NoSuchProcess:
        return True


def remove_reused_pid(cluster: Path) -> None:
    """Remove a stale pid file whose pid belongs to another program by now; PostgreSQL would refuse to
    start.

    A stale file whose pid is free stays: PostgreSQL reads in it which shared memory to look for.
    """
    file = cluster / "postmaster.pid"
    try:
        pid = int(file.read_text().splitlines()[0])
    except (OSError, ValueError, IndexError):
        return
    if psutil.pid_exists(pid) and not _backends_of(cluster):
        file.unlink()


def _backends_of(cluster: Path) -> list[psutil.Process]:
    found = []
    for process in psutil.process_iter(["name"]):
        try:
            if process.info["name"] == "postgres" and Path(process.cwd()).samefile(cluster):
                found.append(process)
        except (OSError, psutil.Error):
            continue
    return found
