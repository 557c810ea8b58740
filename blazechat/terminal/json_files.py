"""Reads and writes small JSON files that only their owner can read."""

import os
from pathlib import Path
from typing import TypeVar

import msgspec

T = TypeVar("T")


def read_file(path: Path, type_: type[T]) -> T | None:
    """Return the decoded JSON of a file; None if it is missing, unreadable or of another type."""
    try:
        return msgspec.json.decode(path.read_bytes(), type=type_)
    except (OSError, msgspec.MsgspecError, UnicodeError):
        return None


def write_file(path: Path, value: object) -> None:
    """Replace a file with `value` as JSON, atomically. Only its owner can read it. Raises OSError."""
    temporary = path.with_name(f".{path.name}.{os.getpid()}")
    file = os.open(temporary, os.O_WRONLY | os.O_CREAT | os.O_TRUNC, 0o600)
    try:
        os.write(file, msgspec.json.format(msgspec.json.encode(value)))
    finally:
        os.close(file)
    temporary.replace(path)
