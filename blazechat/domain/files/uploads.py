"""Uploads: from bytes that arrive, over however many requests, to a file that can be attached.

How bytes become pieces is in `writing.py`, what happens when all of them are there in `finishing.py`.
docs/decisions/0006-files-in-pieces.md says why nothing is ever put together.
"""

import asyncio
from collections.abc import AsyncIterator, Awaitable, Callable, Coroutine
from contextlib import suppress
from dataclasses import dataclass
from datetime import UTC, datetime
from functools import partial
from typing import Any

from sqlalchemy.ext.asyncio import AsyncSession

from blazechat.database import tables
from blazechat.database.engine import Transacts
from blazechat.domain import validation
from blazechat.domain.auth.access import Caller
from blazechat.domain.files import files
from blazechat.domain.files.piece_writer import Checksum, PieceWriter, UploadLimits
from blazechat.domain.files.processing import FileProcessor
from blazechat.domain.files.upload_pacing import UploadPacer
from blazechat.domain.schemas.files import Progress, Upload
from blazechat.errors import Busy, ContentTooLarge, Error, InvalidInput, OffsetConflict, QuotaExceeded
from blazechat.media.storage import Storage

AT_ONCE, AT_ONCE_PER_USER = 32, 12
"""Requests that may bring bytes at the same time."""
UNFINISHED_LIMIT = 1000
"""Uploads of a user that have been begun and not finished."""
STOP_TIMEOUT = 10.0
"""Seconds for a request that is stopped to store what it had."""


Opening = Callable[[], Awaitable[PieceWriter]]


@dataclass(frozen=True, slots=True)
class UploadTask:
    """A request of this server that brings bytes."""

    user_id: int
    task: asyncio.Task[PieceWriter]


class Uploads:
    def __init__(
        self,
        database: Transacts,
        storage: Storage,
        processor: FileProcessor,
        pacer: UploadPacer,
        limits: UploadLimits,
    ) -> None:
        self.limits = limits
        self._pacer = pacer
        self._database = database
        self._storage = storage
        self._processor = processor
        self._writers: dict[int, UploadTask] = {}  # by media id

    @property
    def writing(self) -> set[int]:
        """Ids of the uploads to which bytes come just now."""
        return set(self._writers)

    async def begin(self, asker: Caller, name: str, size: int | None) -> Upload:
        """A new upload of `size` bytes; None if that is not known yet.

        Raises ContentTooLarge, QuotaExceeded.
        """
        if size is not None and size > self.limits.file:
            raise ContentTooLarge(f"Files have at most {self.limits.file:,} bytes here.")
        async with self._database.transaction() as session:
            row, _ = await self._begin(session, asker, name, size)
            return await files.shown(session, asker, row.id)

    async def take(self, asker: Caller, name: str, chunks: AsyncIterator[bytes]) -> Upload:
        """A file that comes at once: whole, or not at all. Raises what `begin()` and `receive()` do."""
        async with self._database.transaction() as session:
            row, blob = await self._begin(session, asker, name, None)

        async def opened() -> PieceWriter:
            return self._writing(row, blob, None, is_last=True)

        try:
            writing = await self._receive(asker, row.id, opened, chunks)
            if not writing.complete:  # nothing came behind a piece, or nothing at all
                await self.announce(asker, row.id, writing.position)
            await self._processor.finish(row.id, writing.whole_digest())
            async with self._database.transaction() as session:
                return await files.shown(session, asker, row.id)
        except BaseException:
            with suppress(Error):
                await self.discard(asker, row.id)
            raise

    async def announce(self, asker: Caller, media_id: int, size: int) -> None:
        """Say how large an upload will be that was begun without.

        Whoever writes to it is stopped: they were given another room. Raises NoSuchMedia, InvalidInput,
        ContentTooLarge, QuotaExceeded.
        """
        await self._stop(asker, media_id)
        if size > self.limits.file:
            raise ContentTooLarge(f"Files have at most {self.limits.file:,} bytes here.")
        async with self._database.transaction() as session:
            await files.lock_quota(session, asker.user_id)
            row = await files.own(session, asker, media_id)
            blob = await session.get_one(tables.Blob, row.blob_id, with_for_update=True)
            if blob.size not in (None, size) or size < blob.received:
                raise InvalidInput.of("Upload-Length", "The length of an upload is said once.")
            used = await files.usage(session, asker.user_id)
            if blob.size is None and used - blob.received + size > self.limits.quota:
                raise QuotaExceeded
            blob.size = size

    async def progress(self, asker: Caller, media_id: int) -> Progress:
        """How far an upload has come. Whoever still writes to it is stopped: a dead connection, say."""
        await self._stop(asker, media_id)
        async with self._database.transaction() as session:
            row = await files.own(session, asker, media_id)
            blob = await session.get_one(tables.Blob, row.blob_id)
            found = Progress(blob.received, blob.size, row.expires_at, row.name)
        if found.complete and row.ready_at is None:
            await self._processor.finish(media_id)
        return found

    async def receive(
        self,
        asker: Caller,
        media_id: int,
        offset: int,
        chunks: AsyncIterator[bytes],
        checksum: Checksum | None = None,
    ) -> Progress:
        """Take what `chunks` bring from `offset` on; once all has arrived, the file is looked at.

        What came counts even if the chunks end early, except where a checksum is given. Raises NoSuchMedia,
        OffsetConflict, ContentTooLarge, QuotaExceeded, ChecksumMismatch, StorageFull, StorageAway, Busy,
        and for a file that cannot be taken UnreadableFile or TypeNotAllowed, after which it is gone.
        """
        await self._stop(asker, media_id)
        opening = partial(self._open, asker, media_id, offset, checksum)
        writing = await self._receive(asker, media_id, opening, chunks)
        if writing.complete:
            await self._processor.finish(media_id, writing.whole_digest())
        expires_at = datetime.now(UTC) + self.limits.lifetime
        return Progress(writing.position, writing.size, expires_at)

    async def discard(self, asker: Caller, media_id: int) -> None:
        """Give an upload up. Raises NoSuchMedia, MediaInUse."""
        await self._stop(asker, media_id)
        async with self._database.transaction() as session:
            await files.delete(session, asker, media_id)

    async def close(self) -> None:
        """Stop whoever writes; what came is kept."""
        await asyncio.gather(*(_stopped(writer) for writer in list(self._writers.values())))

    async def _stop(self, asker: Caller, media_id: int) -> None:
        """Stop a request of the asker's that brings bytes of this upload."""
        writer = self._writers.get(media_id)
        if writer is not None and writer.user_id == asker.user_id:
            await _stopped(writer)

    def _require_place(self, asker: Caller, media_id: int) -> None:
        of_user = sum(writer.user_id == asker.user_id for writer in self._writers.values())
        if len(self._writers) >= AT_ONCE or of_user >= AT_ONCE_PER_USER or media_id in self._writers:
            raise Busy("Too many uploads at once; try again in a moment.")

    async def _begin(
        self, session: AsyncSession, asker: Caller, name: str, size: int | None
    ) -> tuple[tables.Media, tables.Blob]:
        await files.lock_quota(session, asker.user_id)
        if await files.usage(session, asker.user_id) + (size or 0) > self.limits.quota:
            raise QuotaExceeded
        if await files.unfinished(session, asker.user_id) >= UNFINISHED_LIMIT:
            raise QuotaExceeded("You have begun more uploads than this server keeps; give some up first.")
        blob = tables.Blob(size=size, received=0)
        session.add(blob)
        await session.flush()
        row = tables.Media(
            user_id=asker.user_id,
            blob_id=blob.id,
            name=validation.file_name(name),
            expires_at=datetime.now(UTC) + self.limits.lifetime,
        )
        session.add(row)
        await session.flush()
        return row, blob

    async def _receive(
        self, asker: Caller, media_id: int, opening: Opening, chunks: AsyncIterator[bytes]
    ) -> PieceWriter:
        """Write what comes in a task of its own, so that somebody else can stop it."""
        self._require_place(asker, media_id)
        task = asyncio.create_task(self._write(opening, chunks), name="upload")
        self._writers[media_id] = UploadTask(asker.user_id, task)
        try:
            return await task
        except asyncio.CancelledError:
            me = asyncio.current_task()
            if me is not None and me.cancelling():
                task.cancel()
                await asyncio.wait([task])
                raise
            raise OffsetConflict("The upload goes on in another request.") from None
        finally:
            del self._writers[media_id]

    async def _write(self, opening: Opening, chunks: AsyncIterator[bytes]) -> PieceWriter:
        writing = await opening()
        try:
            async for chunk in chunks:
                await self._pacer.wait(len(chunk))
                if writing.take(chunk):
                    await _to_its_end(writing.store())
        except BaseException:
            await _to_its_end(writing.save())
            raise
        await _to_its_end(writing.end())
        return writing

    async def _open(
        self, asker: Caller, media_id: int, offset: int, checksum: Checksum | None
    ) -> PieceWriter:
        async with self._database.transaction() as session:
            row = await files.own(session, asker, media_id)
            blob = await session.get_one(tables.Blob, row.blob_id)
            if row.ready_at is not None or blob.received != offset:
                raise OffsetConflict
        return self._writing(row, blob, checksum)

    def _writing(
        self, row: tables.Media, blob: tables.Blob, checksum: Checksum | None, *, is_last: bool = False
    ) -> PieceWriter:
        room, refusal = self._room(blob)
        places = (self._database, self._storage)
        return PieceWriter(*places, row, blob, room, refusal, self.limits, checksum, is_last=is_last)

    def _room(self, blob: tables.Blob) -> tuple[int, Error]:
        """How many bytes may still come, and what is told to whoever sends more."""
        if blob.size is not None:
            return blob.size - blob.received, ContentTooLarge("More came than was announced.")
        refusal = ContentTooLarge(f"Files have at most {self.limits.file:,} bytes here.")
        return self.limits.file - blob.received, refusal


async def _stopped(writer: UploadTask) -> None:
    writer.task.cancel()
    await asyncio.wait([writer.task], timeout=STOP_TIMEOUT)
    await asyncio.sleep(0)  # for whoever waits for it


async def _to_its_end(work: Coroutine[Any, Any, None]) -> None:
    """Whoever is cancelled in the middle is cancelled behind it: half of a piece would leave a hole."""
    task = asyncio.create_task(work)
    cancelled = False
    while not task.done():
        try:
            await asyncio.shield(task)
        except asyncio.CancelledError:
            cancelled = True
        except Error:
            break
    await task
    if cancelled:
        raise asyncio.CancelledError
