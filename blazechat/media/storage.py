"""Object storage for files: pieces under random keys, in a local folder or in a bucket.

A piece is written once, as a whole, and never changed. Everything else about it is in the database.

Calls go to obstore's synchronous functions, in threads of our own. Its asynchronous functions call into the
event loop from threads of theirs, and a process that ends at that moment is aborted (seen with 0.12.1).
"""

import asyncio
import errno
import os
import secrets
from collections.abc import AsyncIterator, Callable, Collection, Sequence
from concurrent.futures import ThreadPoolExecutor
from contextlib import suppress
from dataclasses import dataclass
from datetime import timedelta
from pathlib import Path
from typing import Any, TypeVar

import structlog
from obstore.exceptions import BaseError, GenericError
from obstore.store import LocalStore, from_url

from blazechat.errors import StorageAway, StorageFull

log = structlog.get_logger("blazechat.media")

T = TypeVar("T")

THREADS = 8
READ_BYTES = 262_144
"""Size of the chunks in which pieces are read."""
UNCACHED_BYTES = 2 * 1024 * 1024
"""A piece of at least this size leaves the page cache once it is on the disk. Large files would push out
the pages that the database reads all the time."""
DELETE_BATCH_KEYS = 500
MAX_LOGGED_CHARACTERS = 500
CLIENT_OPTIONS = {"timeout": "60s", "connect_timeout": "5s", "allow_http": True}
"""For buckets. Plain HTTP is used only if the endpoint is configured so."""
RETRY_OPTIONS: Any = {"max_retries": 2, "retry_timeout": timedelta(seconds=10)}

DISK_FULL_TEXTS = ("No space left on device", "Disk quota exceeded", "File too large")
"""How the operating system describes a full disk. obstore passes on the text and not the error number."""


@dataclass(frozen=True, slots=True)
class StoredPiece:
    """A piece of a file; `position` is where in the file it begins."""

    key: str
    position: int
    size: int


class Storage:
    """Stores pieces in `location`: a folder, created if it does not exist, or a URL (`s3://`, `gs://`,
    `az://`).

    Raises ValueError with a sentence if the location cannot be used. Every call raises StorageAway if the
    storage cannot be reached, or StorageFull.
    """

    def __init__(self, location: Path | str) -> None:
        self._folder = location.absolute() if isinstance(location, Path) else None
        try:
            self._store = _open_store(location)
        except (BaseError, OSError, TypeError) as error:
            reason = str(error).partition("\n")[0]
            raise ValueError(f"files cannot be stored in {location}: {reason}") from error
        self._threads = ThreadPoolExecutor(THREADS, thread_name_prefix="storage")
        self._put_slots = asyncio.Semaphore(THREADS if self._folder is None else 1)

    async def put(self, key: str, *content: bytes | bytearray) -> None:
        """Store a piece. When this returns, the piece survives a power failure.

        The parts of `content` are not joined: copying megabytes blocks all other tasks of the interpreter.
        """
        async with (
            self._put_slots
        ):  # concurrent writes make a disk no faster, and the database needs it too
            await self._run(self._put, key, content)

    async def get(self, key: str, start: int, length: int) -> bytes:
        """Return `length` bytes of a piece from `start` on."""
        if not length:
            return b""
        return await self._run(lambda: bytes(self._store.get_range(key, start=start, length=length)))

    async def stream(self, pieces: Sequence[StoredPiece], start: int, end: int) -> AsyncIterator[bytes]:
        """Yield the bytes of a file from `start` up to `end` (exclusive), in chunks."""
        for piece in pieces:
            first, last = max(start - piece.position, 0), min(end - piece.position, piece.size)
            for offset in range(first, last, READ_BYTES):
                yield await self.get(piece.key, offset, min(READ_BYTES, last - offset))

    async def read(self, pieces: Sequence[StoredPiece], start: int, end: int) -> list[bytes]:
        """Return the chunks of `stream()` as a list. They are not joined, which would block other tasks."""
        return [chunk async for chunk in self.stream(pieces, start, end)]

    async def delete(self, keys: Collection[str]) -> None:
        """Delete pieces. Keys that do not exist are ignored."""
        all_keys = list(keys)
        for first in range(0, len(all_keys), DELETE_BATCH_KEYS):
            await self._run(self._delete, all_keys[first : first + DELETE_BATCH_KEYS])

    async def check(self) -> None:
        """Write a piece and delete it, to find out whether the storage works."""
        key = new_key()
        await self.put(key, b"?")
        await self.delete([key])

    def close(self) -> None:
        self._threads.shutdown(wait=True, cancel_futures=True)

    async def _run(self, call: Callable[..., T], *arguments: Any) -> T:
        loop = asyncio.get_running_loop()
        try:
            return await loop.run_in_executor(self._threads, call, *arguments)
        except (BaseError, OSError) as error:
            raise _translated(error) from error

    def _put(self, key: str, content: Sequence[bytes | bytearray]) -> None:
        self._store.put(key, content, mode="overwrite", use_multipart=False)
        if self._folder is not None:
            _flush(self._folder / key, drop_cache=sum(map(len, content)) >= UNCACHED_BYTES)
            _flush((self._folder / key).parent)

    def _delete(self, keys: list[str]) -> None:
        if self._folder is None:
            self._delete_in_bucket(keys)
            return
        for key in keys:
            path = self._folder / key
            path.unlink(missing_ok=True)
            for temporary in path.parent.glob(f"{path.name}#*"):  # left by a write that was killed
                temporary.unlink(missing_ok=True)

    def _delete_in_bucket(self, keys: list[str]) -> None:
        """Delete pieces. Some stores report a missing key as an error, and may then skip the other keys."""
        try:
            self._store.delete(keys)
        except FileNotFoundError:
            for key in keys:
                with suppress(FileNotFoundError):
                    self._store.delete(key)


def new_key() -> str:
    """Return a key for a piece, which cannot be guessed, in one of 256 folders."""
    name = secrets.token_hex(20)
    return f"{name[:2]}/{name[2:]}"


def _open_store(location: Path | str) -> Any:
    if isinstance(location, Path):
        location.absolute().mkdir(parents=True, exist_ok=True, mode=0o700)
        return LocalStore(location.absolute())
    options: Any = {"client_options": CLIENT_OPTIONS, "retry_config": RETRY_OPTIONS}
    return from_url(location, **options)


def _flush(path: Path, *, drop_cache: bool = False) -> None:
    """Flush a file or folder to the disk, and drop its pages from the page cache if `drop_cache` is
    true."""
    descriptor = os.open(path, os.O_RDONLY)
    try:
        os.fsync(descriptor)
        if drop_cache and hasattr(os, "posix_fadvise"):
            os.posix_fadvise(descriptor, 0, 0, os.POSIX_FADV_DONTNEED)
    except OSError as error:
        if error.errno not in (errno.EINVAL, errno.ENOTSUP):  # the file system does not support it
            raise
    finally:
        os.close(descriptor)


def _translated(error: Exception) -> StorageAway | StorageFull:
    text = str(error)
    log.warning("storage failed", reason=text.partition("\n")[0][:MAX_LOGGED_CHARACTERS])
    number = error.errno if isinstance(error, OSError) else None
    is_full = number in (errno.ENOSPC, errno.EDQUOT) or (
        isinstance(error, GenericError) and any(each in text for each in DISK_FULL_TEXTS)
    )
    return StorageFull() if is_full else StorageAway()
