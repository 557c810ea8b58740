"""Uploads: from the bytes of one or several requests to a file that messages can attach.

upload_tasks.py receives the bytes of a request, piece_writer.py writes them as pieces, and processing.py
inspects the complete file.
docs/decisions/0006-files-in-pieces.md explains why the pieces are never joined.
"""

from collections.abc import AsyncIterator, Sequence
from contextlib import suppress
from functools import partial

from sqlalchemy.ext.asyncio import AsyncSession

from blazechat.database import tables
from blazechat.database.engine import TransactionSource
from blazechat.domain import validation
from blazechat.domain.auth.access import Caller
from blazechat.domain.files import concatenation, files
from blazechat.domain.files.piece_writer import Checksum, PieceWriter, UploadLimits, expiry
from blazechat.domain.files.processing import FileProcessor
from blazechat.domain.files.upload_pacing import UploadPacer
from blazechat.domain.files.upload_tasks import UploadTasks
from blazechat.domain.schemas.files import Progress, Upload
from blazechat.errors import ContentTooLarge, Error, Forbidden, InvalidInput, OffsetConflict, QuotaExceeded
from blazechat.media.storage import Storage

MAX_UNFINISHED_UPLOADS = 1000
"""Per user."""


class Uploads:
    """Receives uploads. One request at a time writes to each; a newer request of its owner stops the
    older."""

    def __init__(
        self,
        *,
        database: TransactionSource,
        storage: Storage,
        processor: FileProcessor,
        pacer: UploadPacer,
        limits: UploadLimits,
    ) -> None:
        self.limits = limits
        self._database = database
        self._storage = storage
        self._processor = processor
        self._tasks = UploadTasks(pacer)

    @property
    def active_ids(self) -> set[int]:
        """The ids of the uploads whose bytes are arriving now."""
        return self._tasks.media_ids

    async def create(
        self, caller: Caller, name: str, size: int | None, *, is_partial: bool = False
    ) -> Upload:
        """Begin an upload of `size` bytes, or of a size that is declared later.

        `concatenate()` puts partial uploads together. Raises ContentTooLarge, QuotaExceeded.
        """
        if size is not None:
            self._require_allowed_size(size)
        async with self._database.transaction() as session:
            media, _ = await self._create(session, caller, name, size, is_partial=is_partial)
            return await files.show_upload(session, caller, media.id)

    async def concatenate(
        self, caller: Caller, name: str, partial_ids: Sequence[int]
    ) -> tuple[int, Progress]:
        """Put partial uploads together to a file, and process it; return its id. Idempotent.

        Raises NoSuchMedia, UploadUnfinished, ContentTooLarge, InvalidInput, StorageAway, StorageFull, Busy.
        For a file that cannot be accepted it raises UnreadableFile or TypeNotAllowed, and the file is
        deleted.
        """
        for partial_id in partial_ids:
            await self._tasks.stop(caller.user_id, partial_id)
        async with self._database.transaction() as session:
            media_id = await concatenation.concatenate(
                session, caller, partial_ids, name=name, limits=self.limits
            )
        return media_id, await self.progress(caller, media_id)

    async def upload_whole(self, caller: Caller, name: str, chunks: AsyncIterator[bytes]) -> Upload:
        """Upload a file in one request. If that fails, nothing of it is kept.

        Raises what `create()` and `append()` raise.
        """
        async with self._database.transaction() as session:
            media, blob = await self._create(session, caller, name, None)

        async def open_writer() -> PieceWriter:
            return self._writer(media, blob, None, is_last=True)

        try:
            writer = await self._tasks.run(caller.user_id, media.id, open_writer, chunks)
            if not writer.is_complete:  # the buffer was empty at the end, so no last piece set the size
                await self.declare_size(caller, media.id, writer.position)
            await self._processor.process(media.id, writer.file_digest())
            async with self._database.transaction() as session:
                return await files.show_upload(session, caller, media.id)
        except BaseException:
            with suppress(Error):
                await self.delete(caller, media.id)
            raise

    async def declare_size(self, caller: Caller, media_id: int, size: int) -> None:
        """Declare the size of an upload that was begun without one.

        Stops a request that writes to it, because its limit was another one. Raises NoSuchMedia,
        InvalidInput, ContentTooLarge, QuotaExceeded.
        """
        await self._tasks.stop(caller.user_id, media_id)
        self._require_allowed_size(size)
        async with self._database.transaction() as session:
            await files.lock_quota(session, caller.user_id)
            media = await files.find_own(session, caller, media_id)
            blob = await session.get_one(tables.Blob, media.blob_id, with_for_update=True)
            if blob.size not in (None, size) or size < blob.received:
                raise InvalidInput.of("Upload-Length", "The length of an upload cannot be changed.")
            used = await files.used_bytes(session, caller.user_id)
            if blob.size is None and used - blob.received + size > self.limits.quota_bytes:
                raise QuotaExceeded
            blob.size = size

    async def progress(self, caller: Caller, media_id: int) -> Progress:
        """Return how many bytes of an upload are stored. Raises NoSuchMedia.

        Stops a request that writes to it: its connection might be dead. Processes a file that is complete
        and was not processed, and then also raises what `append()` raises for a file.
        """
        await self._tasks.stop(caller.user_id, media_id)
        async with self._database.transaction() as session:
            media = await session.get(tables.Media, media_id)
            if media is None:
                size = await concatenation.size_of_part(session, caller, media_id)
                return Progress(size, size, None, is_partial=True)
            found = await self._progress_of(session, await files.find_own(session, caller, media_id))
        if found.is_complete and media.ready_at is None and not media.is_partial:
            await self._processor.process(media_id)
        return found

    async def append(
        self,
        caller: Caller,
        media_id: int,
        offset: int,
        chunks: AsyncIterator[bytes],
        checksum: Checksum | None = None,
    ) -> Progress:
        """Append `chunks` to an upload that has `offset` bytes; process the file once it is complete.

        If the chunks end early, what has arrived counts, except with a checksum. Raises NoSuchMedia,
        OffsetConflict, ContentTooLarge, QuotaExceeded, ChecksumMismatch, StorageFull, StorageAway, Busy;
        Forbidden for an upload that was put together from others.
        For a file that cannot be accepted it raises UnreadableFile or TypeNotAllowed, and the file is
        deleted.
        """
        await self._tasks.stop(caller.user_id, media_id)
        open_writer = partial(self._open_writer, caller, media_id, offset, checksum)
        writer = await self._tasks.run(caller.user_id, media_id, open_writer, chunks)
        if writer.is_complete and not writer.is_partial:
            await self._processor.process(media_id, writer.file_digest())
        return Progress(writer.position, writer.size, expiry(self.limits), is_partial=writer.is_partial)

    async def delete(self, caller: Caller, media_id: int) -> None:
        """Delete an upload, finished or not. Raises NoSuchMedia, MediaInUse."""
        await self._tasks.stop(caller.user_id, media_id)
        async with self._database.transaction() as session:
            await files.delete(session, caller, media_id)

    async def close(self) -> None:
        """Stop all requests. What has arrived is kept."""
        await self._tasks.close()

    async def _create(
        self,
        session: AsyncSession,
        caller: Caller,
        name: str,
        size: int | None,
        *,
        is_partial: bool = False,
    ) -> tuple[tables.Media, tables.Blob]:
        await files.lock_quota(session, caller.user_id)
        if await files.used_bytes(session, caller.user_id) + (size or 0) > self.limits.quota_bytes:
            raise QuotaExceeded
        if await files.count_unfinished(session, caller.user_id) >= MAX_UNFINISHED_UPLOADS:
            raise QuotaExceeded("You have too many unfinished uploads; finish or delete some first.")
        blob = tables.Blob(size=size, received=0)
        session.add(blob)
        await session.flush()
        media = tables.Media(
            user_id=caller.user_id,
            blob_id=blob.id,
            name=validation.file_name(name),
            expires_at=expiry(self.limits),
            is_partial=is_partial,
        )
        session.add(media)
        await session.flush()
        return media, blob

    @staticmethod
    async def _progress_of(session: AsyncSession, media: tables.Media) -> Progress:
        blob = await session.get_one(tables.Blob, media.blob_id)
        part_ids = tuple(part_id for part_id, _ in media.parts or ())
        return Progress(blob.received, blob.size, media.expires_at, media.name, media.is_partial, part_ids)

    async def _open_writer(
        self, caller: Caller, media_id: int, offset: int, checksum: Checksum | None
    ) -> PieceWriter:
        async with self._database.transaction() as session:
            media = await files.find_own(session, caller, media_id)
            blob = await session.get_one(tables.Blob, media.blob_id)
            if media.parts is not None:
                raise Forbidden("This upload was put together from others, and takes no bytes.")
            if media.ready_at is not None or blob.received != offset:
                raise OffsetConflict
        return self._writer(media, blob, checksum, is_last=False)

    def _writer(
        self, media: tables.Media, blob: tables.Blob, checksum: Checksum | None, *, is_last: bool
    ) -> PieceWriter:
        if blob.size is not None:
            size, excess_error = blob.size, ContentTooLarge("More bytes arrived than were declared.")
        else:
            size, excess_error = self.limits.max_file_bytes, self._file_too_large()
        return PieceWriter(
            database=self._database,
            storage=self._storage,
            media=media,
            blob=blob,
            max_bytes=size - blob.received,
            excess_error=excess_error,
            limits=self.limits,
            checksum=checksum,
            is_last=is_last,
        )

    def _require_allowed_size(self, size: int) -> None:
        if size > self.limits.max_file_bytes:
            raise self._file_too_large()

    def _file_too_large(self) -> ContentTooLarge:
        return ContentTooLarge(
            f"Files may have at most {self.limits.max_file_bytes:,} bytes on this server."
        )
