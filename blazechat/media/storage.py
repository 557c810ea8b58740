"""Where the bytes of files lie: pieces under random names, in a folder or in a bucket.

A piece is written once, whole, and never changed. Everything else about it is in the database.

obstore's synchronous calls, in threads of our own: its asynchronous ones call into the event loop from
threads of theirs, and a process that ends at that moment is aborted (seen with 0.12.1).
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
CHUNK = 262_144
"""Bytes that are read at once."""
LARGE = 2 * 1024 * 1024
"""Bytes from which on a piece leaves the system's memory once it is on the disk: large files would push
what the database reads every moment out of there."""
DELETED_AT_ONCE = 500
NETWORK = {"timeout": "60s", "connect_timeout": "5s", "allow_http": True}
"""Where the store is reached over a network. Plain HTTP is used where an endpoint is configured so."""
RETRIES: Any = {"max_retries": 2, "retry_timeout": timedelta(seconds=10)}

FULL = ("No space left on device", "Disk quota exceeded", "File too large")
"""What the object store says of a full disk; obstore hands on the words and not the number."""


@dataclass(frozen=True, slots=True)
class StoredPiece:
    """A piece of a file, and where in the file it begins."""

    key: str
    position: int
    size: int


class Storage:
    """`where` is a folder, made if it is not there, or a URL: `s3://`, `gs://`, `az://`.

    Raises ValueError, with a sentence, where it cannot be used. All calls raise StorageAway where it
    cannot be reached, and StorageFull.
    """

    def __init__(self, where: Path | str) -> None:
        self._folder = where.absolute() if isinstance(where, Path) else None
        try:
            self._store = _opened(where)
        except (BaseError, OSError, TypeError) as error:
            reason = str(error).partition("\n")[0]
            raise ValueError(f"files cannot be kept in {where}: {reason}") from error
        self._threads = ThreadPoolExecutor(THREADS, thread_name_prefix="storage")
        self._puts = asyncio.Semaphore(THREADS if self._folder is None else 1)

    async def put(self, key: str, *content: bytes | bytearray) -> None:
        """Store a piece; when this returns, it outlives a power failure.

        Its parts are not put together here: copying megabytes keeps the interpreter from everybody else.
        """
        async with self._puts:  # a disk is no faster with more, and the database needs it too
            await self._run(self._put, key, content)

    async def get(self, key: str, start: int, length: int) -> bytes:
        """`length` bytes of a piece from `start` on."""
        if not length:
            return b""
        return await self._run(lambda: bytes(self._store.get_range(key, start=start, length=length)))

    async def stream(self, pieces: Sequence[StoredPiece], start: int, end: int) -> AsyncIterator[bytes]:
        """The bytes of a file from `start` up to `end`, a little at a time."""
        for piece in pieces:
            first, last = max(start - piece.position, 0), min(end - piece.position, piece.size)
            for offset in range(first, last, CHUNK):
                yield await self.get(piece.key, offset, min(CHUNK, last - offset))

    async def read(self, pieces: Sequence[StoredPiece], start: int, end: int) -> list[bytes]:
        """The same at once, not put together: that would hold everybody up."""
        return [chunk async for chunk in self.stream(pieces, start, end)]

    async def delete(self, keys: Collection[str]) -> None:
        """Remove pieces; those that are not there are removed already."""
        wanted = list(keys)
        for first in range(0, len(wanted), DELETED_AT_ONCE):
            await self._run(self._delete, wanted[first : first + DELETED_AT_ONCE])

    async def check(self) -> None:
        """Raises what `put()` would, for whoever wants to know whether it works."""
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
            raise _as_ours(error) from error

    def _put(self, key: str, content: Sequence[bytes | bytearray]) -> None:
        self._store.put(key, content, mode="overwrite", use_multipart=False)
        if self._folder is not None:
            _flush(self._folder / key, forget=sum(map(len, content)) >= LARGE)
            _flush((self._folder / key).parent)

    def _delete(self, keys: list[str]) -> None:
        if self._folder is None:
            self._delete_in_bucket(keys)
            return
        for key in keys:
            path = self._folder / key
            path.unlink(missing_ok=True)
            for draft in path.parent.glob(f"{path.name}#*"):  # of a write that was killed
                draft.unlink(missing_ok=True)

    def _delete_in_bucket(self, keys: list[str]) -> None:
        """Some stores tell of what is not there, and may leave the others then."""
        try:
            self._store.delete(keys)
        except FileNotFoundError:
            for key in keys:
                with suppress(FileNotFoundError):
                    self._store.delete(key)


def _opened(where: Path | str) -> Any:
    if isinstance(where, Path):
        where.absolute().mkdir(parents=True, exist_ok=True, mode=0o700)
        return LocalStore(where.absolute())
    options: Any = {"client_options": NETWORK, "retry_config": RETRIES}
    return from_url(where, **options)


def new_key() -> str:
    """A name for a piece that nobody can guess, in one of 256 folders."""
    name = secrets.token_hex(20)
    return f"{name[:2]}/{name[2:]}"


def _flush(path: Path, *, forget: bool = False) -> None:
    """To the disk; `forget`: and out of the system's memory."""
    opened = os.open(path, os.O_RDONLY)
    try:
        os.fsync(opened)
        if forget and hasattr(os, "posix_fadvise"):
            os.posix_fadvise(opened, 0, 0, os.POSIX_FADV_DONTNEED)
    except OSError as error:
        if error.errno not in (errno.EINVAL, errno.ENOTSUP):  # a file system that has no such thing
            raise
    finally:
        os.close(opened)


def _as_ours(error: Exception) -> StorageAway | StorageFull:
    words = str(error)
    log.warning("storage failed", reason=words.partition("\n")[0][:500])
    number = error.errno if isinstance(error, OSError) else None
    full = number in (errno.ENOSPC, errno.EDQUOT) or (
        isinstance(error, GenericError) and any(each in words for each in FULL)
    )
    return StorageFull() if full else StorageAway()
