"""Processes a file that has arrived completely: inspects it, checks its type, and stores its content once.

The media type comes from the bytes, which a worker process inspects (media/inspector.py). Images get
thumbnails and lose the metadata that reveals where they were taken.
"""

import asyncio
import hashlib
from collections.abc import Sequence
from datetime import UTC, datetime
from fnmatch import fnmatchcase

from sqlalchemy import exists, func, select, update
from sqlalchemy.exc import IntegrityError
from sqlalchemy.ext.asyncio import AsyncSession

from blazechat.database import tables
from blazechat.database.engine import TransactionSource
from blazechat.domain.files import attachments, pieces
from blazechat.errors import Busy, NoSuchMedia, StorageAway, TypeNotAllowed, UnreadableFile
from blazechat.media.file_types import AUDIO_VIDEO_PREFIXES, HEAD_BYTES, UNKNOWN_TYPE, media_type_of
from blazechat.media.inspector import Inspector
from blazechat.media.storage import Storage, StoredPiece
from blazechat.media.worker_protocol import FileInfo

AUDIO_VIDEO_END_BYTES = 4 * 1024 * 1024
"""How much of each end of an audio or video file is inspected. Images are inspected as a whole."""
MAX_IMAGE_BYTES = 64 * 1024 * 1024
MAX_FILES = 100
"""Files that are processed, or wait for it."""
MAX_ATTEMPTS = 3
"""Attempts to store a content that other uploads store at the same moment."""


class NoLongerUnfinished(Exception):
    """The owner has deleted the file, or another server has finished it in the meantime."""


class FileProcessor:
    """Processes uploaded files.

    `allowed_types` are patterns of media types: `*/*`, `image/*`, `application/pdf`. At most
    `max_in_memory` files are inspected at the same time.
    """

    def __init__(
        self,
        database: TransactionSource,
        storage: Storage,
        inspector: Inspector,
        *,
        allowed_types: Sequence[str],
        max_in_memory: int,
    ) -> None:
        self._database = database
        self._storage = storage
        self._inspector = inspector
        self._allowed_types = allowed_types
        self._tasks: dict[int, asyncio.Task[None]] = {}  # by media id
        self._slots = asyncio.Semaphore(max_in_memory)  # a file to be inspected is in memory

    async def process(self, media_id: int, digest: bytes | None = None) -> None:
        """Inspect a file that has arrived completely, and make it ready. `digest` is its SHA-256, if known.

        Processing continues if the caller is cancelled. A file that is ready stays as it is. Raises
        UnreadableFile or TypeNotAllowed, after which the file is deleted; NoSuchMedia, StorageAway,
        StorageFull, Busy.
        """
        task = self._tasks.get(media_id)
        if task is None:
            if len(self._tasks) >= MAX_FILES:
                raise Busy("Too many files are being processed; try again in a moment.")
            task = asyncio.create_task(self._process(media_id, digest), name="file processing")
            self._tasks[media_id] = task
            task.add_done_callback(lambda done: self._on_done(media_id, done))
        await asyncio.shield(task)

    async def close(self) -> None:
        """Wait until all files are processed."""
        await asyncio.gather(*self._tasks.values(), return_exceptions=True)

    def _on_done(self, media_id: int, task: asyncio.Task[None]) -> None:
        del self._tasks[media_id]
        if not task.cancelled():
            task.exception()  # marks it as retrieved; callers that still wait raise it

    async def _process(self, media_id: int, digest: bytes | None) -> None:
        try:
            await self._make_ready(media_id, digest)
        except StorageAway:
            # Another server might have been faster and have replaced some of the pieces.
            if not await self._is_ready(media_id):
                raise

    async def _make_ready(self, media_id: int, digest: bytes | None) -> None:
        async with self._database.transaction() as session:
            media = await session.get(tables.Media, media_id)
            if media is None or media.ready_at is not None:
                return
            blob = await session.get_one(tables.Blob, media.blob_id)
            stored = await pieces.of_blob(session, blob.id)
            is_new = digest is not None and not await self._is_known(session, digest)
        if digest is None:
            digest = await self._digest(stored)
        try:
            for _ in range(MAX_ATTEMPTS):
                if not is_new and await self._reuse_blob(media_id, digest):
                    return
                if await self._finish_blob(media_id, blob, stored, digest):
                    return
                is_new = False
                await self._is_ready(media_id)
        except (UnreadableFile, TypeNotAllowed):
            async with self._database.transaction() as session:
                await attachments.delete_unattached(session, [media_id])
            raise
        raise Busy

    async def _is_ready(self, media_id: int) -> bool:
        """True if the file is ready. Raises NoSuchMedia if its owner has deleted it in the meantime."""
        async with self._database.transaction() as session:
            media = await session.get(tables.Media, media_id)
            if media is None:
                raise NoSuchMedia
            return media.ready_at is not None

    async def _is_known(self, session: AsyncSession, digest: bytes) -> bool:
        return await session.scalar(select(exists().where(tables.Blob.digest == digest))) or False

    async def _digest(self, stored: list[StoredPiece]) -> bytes:
        digest = hashlib.sha256()
        for piece in stored:
            content = await self._storage.get(piece.key, 0, piece.size)
            await asyncio.to_thread(digest.update, content)
        return digest.digest()

    async def _reuse_blob(self, media_id: int, digest: bytes) -> bool:
        """Let the file use the blob that has the same content; False if there is none."""
        async with self._database.transaction() as session:
            same = await session.scalar(
                select(tables.Blob).where(tables.Blob.digest == digest).with_for_update(key_share=True)
            )
            if same is None:
                return False
            self._require_allowed(same.media_type or UNKNOWN_TYPE)
            media = await session.get(tables.Media, media_id, with_for_update=True)
            if media is not None and media.ready_at is None and media.blob_id != same.id:
                await session.execute(
                    update(tables.Blob).where(tables.Blob.id == media.blob_id).values(loose_at=func.now())
                )
                media.blob_id, media.ready_at = same.id, datetime.now(UTC)
            return True

    async def _finish_blob(
        self, media_id: int, blob: tables.Blob, stored: list[StoredPiece], digest: bytes
    ) -> bool:
        """Inspect the file's own blob and make the file ready.

        Returns False if another blob has its content by now, or if the file was deleted or finished.
        """
        try:
            await self._inspect_and_store(media_id, blob, stored, digest)
        except (IntegrityError, NoLongerUnfinished):
            return False
        return True

    async def _inspect_and_store(
        self, media_id: int, blob: tables.Blob, stored: list[StoredPiece], digest: bytes
    ) -> None:
        async with self._slots:
            info = await self._inspect(blob.size or 0, stored)
        self._require_allowed(info.media_type)
        stale_keys, new_pieces = await pieces.patched(self._storage, stored, info.patches)
        new_pieces += pieces.thumbnails(info)
        new_keys = [piece.key for piece in new_pieces]
        try:
            await pieces.write(self._database, self._storage, blob.id, new_pieces)
            async with self._database.transaction() as session:
                await _mark_ready(session, media_id, blob.id, digest, info)
                await pieces.set_stored(session, new_keys, stored=True)
                await pieces.set_stored(session, stale_keys, stored=False)
        except BaseException:
            await pieces.discard(self._database, self._storage, new_keys)
            raise
        await pieces.discard_replaced(self._database, self._storage, stale_keys)

    async def _inspect(self, size: int, stored: list[StoredPiece]) -> FileInfo:
        head = b"".join(await self._storage.read(stored, 0, min(size, HEAD_BYTES)))
        media_type = media_type_of(head)
        if media_type.startswith("image/") and media_type != "image/svg+xml":
            if size > MAX_IMAGE_BYTES:
                raise UnreadableFile(f"Images may have at most {MAX_IMAGE_BYTES:,} bytes on this server.")
            end_bytes = size
        elif media_type.startswith(AUDIO_VIDEO_PREFIXES):
            end_bytes = min(size, AUDIO_VIDEO_END_BYTES)
        else:
            return FileInfo(media_type)
        return await self._inspector.inspect(
            size,
            await self._storage.read(stored, 0, end_bytes),
            await self._storage.read(stored, max(end_bytes, size - end_bytes), size),
        )

    def _require_allowed(self, media_type: str) -> None:
        if not any(fnmatchcase(media_type, pattern) for pattern in self._allowed_types):
            raise TypeNotAllowed(f"This server does not accept files of the type {media_type}.")


async def _mark_ready(
    session: AsyncSession, media_id: int, blob_id: int, digest: bytes, info: FileInfo
) -> None:
    """Mark the file as ready and store what is known about its blob.

    Raises NoLongerUnfinished: the digest of a content that no file uses any more must not be found.
    """
    ready = (
        update(tables.Media)
        .where(
            tables.Media.id == media_id, tables.Media.blob_id == blob_id, tables.Media.ready_at.is_(None)
        )
        .values(ready_at=func.now())
        .returning(tables.Media.id)
    )
    if (await session.execute(ready)).first() is None:
        raise NoLongerUnfinished
    await session.execute(
        update(tables.Blob)
        .where(tables.Blob.id == blob_id)
        .values(
            digest=digest,
            media_type=info.media_type,
            width=info.width,
            height=info.height,
            duration=info.duration,
            placeholder=info.placeholder,
        )
    )
