"""Copies the objects of files between the file storage and a backup, several at a time."""

import asyncio
import hashlib
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from pathlib import Path

from blazechat.backup.errors import BackupError
from blazechat.backup.manifest import MEDIA, flush_folder, write_private
from blazechat.backup.progress import Progress
from blazechat.backup.snapshot import StoredObject
from blazechat.backup.tasks import for_each
from blazechat.errors import Error
from blazechat.media.storage import Storage

NAMED_KEYS = 3


class MediaCopy:
    """Copies objects and counts them."""

    def __init__(self, storage: Storage, folder: Path, progress: Progress) -> None:
        self.checksums: dict[str, str] = {}
        """SHA-256 of the copied files by their path in the backup."""
        self.missing: list[str] = []
        """Keys of objects that are missing in the storage, or have another size than the database says."""
        self._storage = storage
        self._folder = folder
        self._progress = progress
        self._done = self._done_bytes = 0

    async def copy_out(self, objects: Sequence[StoredObject]) -> None:
        """Copy objects into the backup. Raises BackupError if the storage cannot be reached."""
        total = sum(each.size for each in objects)
        media = self._folder / MEDIA
        media.mkdir(mode=0o700)
        for name in sorted({each.key.partition("/")[0] for each in objects}):
            (media / name).mkdir(mode=0o700)

        async def copy(each: StoredObject) -> None:
            try:
                content = await self._storage.get(each.key, 0, each.size)
            except Error as error:
                if not isinstance(error.__cause__, FileNotFoundError):
                    raise BackupError(f"The file storage failed: {error.detail}") from error
                content = None
            if content is None or len(content) != each.size:
                self.missing.append(each.key)
                return
            path = f"{MEDIA}/{each.key}"
            await asyncio.to_thread(write_private, self._folder / path, content)
            self.checksums[path] = await asyncio.to_thread(lambda: hashlib.sha256(content).hexdigest())
            self._count(each.size, len(objects), total)

        await for_each(objects, copy)
        for folder in (*media.iterdir(), media):
            flush_folder(folder)

    async def copy_in(self, paths: Sequence[str]) -> list[str]:
        """Copy the objects with these verified paths in the backup into the storage; return their keys.

        After an error, those that were stored are deleted again. Raises BackupError.
        """
        source = self._folder / MEDIA
        objects = sorted(self._folder / path for path in paths if path.startswith(f"{MEDIA}/"))
        sizes = {path: path.stat().st_size for path in objects}
        stored: list[str] = []

        async def copy(path: Path) -> None:
            key = path.relative_to(source).as_posix()
            content = await asyncio.to_thread(path.read_bytes)
            stored.append(key)
            await self._storage.put(key, content)
            self._count(len(content), len(sizes), sum(sizes.values()))

        try:
            await for_each(sizes, copy)
        except BaseException as error:
            await self.undo(stored)
            if isinstance(error, Error):
                raise BackupError(f"The file storage failed: {error.detail}") from error
            raise
        return stored

    async def undo(self, keys: Sequence[str]) -> None:
        """Delete objects that a failed restore has stored. Raises BackupError."""
        try:
            await self._storage.delete(keys)
        except Error as error:
            raise BackupError(
                f"The restore failed, and {len(keys):,} objects that it has stored could not be deleted:"
                f" {error.detail}"
            ) from error

    def _count(self, size: int, total: int, total_bytes: int) -> None:
        self._done += 1
        self._done_bytes += size
        self._progress.files(self._done, total, self._done_bytes, total_bytes)


def missing_in_words(keys: Sequence[str]) -> str:
    """Name some of the objects that are missing in the storage."""
    named = ", ".join(keys[:NAMED_KEYS])
    more = f" and {len(keys) - NAMED_KEYS:,} more" if len(keys) > NAMED_KEYS else ""
    return f"{len(keys):,} objects of files are missing or damaged in the storage: {named}{more}"


@contextmanager
def opened_storage(location: Path | str) -> Iterator[Storage]:
    """Yield the file storage. Raises BackupError with a sentence if the location cannot be used."""
    try:
        storage = Storage(location)
    except ValueError as error:
        raise BackupError(f"{error}.") from error
    try:
        yield storage
    finally:
        storage.close()
