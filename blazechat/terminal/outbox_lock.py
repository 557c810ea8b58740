"""Gives each running program its own outbox file, although several can use the same account."""

import itertools
from pathlib import Path

import filelock

_held_locks: list[filelock.BaseFileLock] = []  # until the process ends


def claim_outbox(folder: Path) -> Path:
    """Lock and return the first outbox file in the account's folder that no other program has locked.

    The unsent messages of programs that have ended are moved into this file. Two programs must not write to
    one file. To send a message twice is harmless, since the server stores it once.
    """
    numbered = (folder / f"outbox{number or ''}.jsonl" for number in itertools.count())
    path = next(path for path in numbered if _try_lock(path))
    for other in sorted(folder.glob("outbox*.jsonl")):
        if other != path:
            _move_lines(other, path)
    return path


def _try_lock(path: Path) -> bool:
    """Return True if this process holds the lock now, also if it did before."""
    lock = _lock_for(path)
    if any(held.lock_file == lock.lock_file for held in _held_locks):
        return True
    try:
        lock.acquire(blocking=False)
    except filelock.Timeout:
        return False
    _held_locks.append(lock)
    return True


def _move_lines(source: Path, target: Path) -> None:
    """Append a file whose program has ended to `target`, and delete it."""
    lock = _lock_for(source)
    try:
        with lock.acquire(blocking=False), target.open("ab") as file:
            file.write(b"\n" + source.read_bytes())
            source.unlink()
    except (filelock.Timeout, OSError):
        return  # its program still runs, or the next start tries again


def _lock_for(path: Path) -> filelock.BaseFileLock:
    return filelock.FileLock(path.with_suffix(".lock"), thread_local=False, is_singleton=False)
