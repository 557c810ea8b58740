"""Which file keeps what is not sent yet: one for each program that runs as the same account."""

import itertools
from pathlib import Path

import filelock

_held: list[filelock.BaseFileLock] = []  # for as long as the program runs


def free_outbox(place: Path) -> Path:
    """The first file in the account's folder that no other program has taken.

    Whoever comes first takes up what was left there. Messages are stored once even if two programs send
    them, but the file would not stand two.
    """
    for number in itertools.count():
        path = place / f"outbox{number or ''}.jsonl"
        lock = filelock.FileLock(path.with_suffix(".lock"), thread_local=False)
        if any(each.lock_file == lock.lock_file for each in _held):
            return path  # ours already
        try:
            lock.acquire(blocking=False)
        except filelock.Timeout:
            continue
        _held.append(lock)
        return path
    raise AssertionError  # there is no end of numbers
