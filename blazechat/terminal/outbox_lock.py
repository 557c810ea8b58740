"""Which file keeps what is not sent yet: one for each program that runs as the same account."""

import itertools
from pathlib import Path

import filelock

_held_locks: list[filelock.BaseFileLock] = []  # for as long as the program runs


def claim_outbox(place: Path) -> Path:
    """The first file in the account's folder that no other program has taken.

    What other programs have left in theirs is taken over. Messages are stored once even if two programs
    send them, but a file would not stand two.
    """
    numbered = (place / f"outbox{number or ''}.jsonl" for number in itertools.count())
    path = next(path for path in numbered if _try_lock(path))
    for other in sorted(place.glob("outbox*.jsonl")):
        if other != path:
            _merge_into(other, path)
    return path


def _try_lock(path: Path) -> bool:
    """Whether it is ours now, or was before."""
    lock = _lock_for(path)
    if any(each.lock_file == lock.lock_file for each in _held_locks):
        return True
    try:
        lock.acquire(blocking=False)
    except filelock.Timeout:
        return False
    _held_locks.append(lock)
    return True


def _merge_into(other: Path, path: Path) -> None:
    """Have the lines of a file whose program has ended."""
    lock = _lock_for(other)
    try:
        with lock.acquire(blocking=False), path.open("ab") as ours:
            ours.write(b"\n" + other.read_bytes())
            other.unlink()
    except (filelock.Timeout, OSError):
        return  # its program still runs; or it is left for another time


def _lock_for(path: Path) -> filelock.BaseFileLock:
    return filelock.FileLock(path.with_suffix(".lock"), thread_local=False, is_singleton=False)
