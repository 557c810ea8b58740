"""A file has arrived: what is it, is it here already, may it stay.

Its bytes say what it is: `media/workshop.py` looks, in a process of its own. Images get thumbnails, and
lose what tells where they were taken. The same content is stored once.
"""

import asyncio
import hashlib
from collections.abc import Sequence
from contextlib import suppress
from dataclasses import dataclass, field
from datetime import UTC, datetime
from fnmatch import fnmatchcase

from sqlalchemy import delete, exists, func, select, update
from sqlalchemy.exc import IntegrityError
from sqlalchemy.ext.asyncio import AsyncSession

from blazechat.database import tables
from blazechat.database.engine import Transacts
from blazechat.domain.files import attachments, files
from blazechat.domain.schemas.files import Part
from blazechat.errors import Busy, Error, NoSuchMedia, StorageAway, TypeNotAllowed, UnreadableFile
from blazechat.media.file_types import LOOKED_AT, MOVING, kind_of
from blazechat.media.storage import Storage, StoredPiece, new_key
from blazechat.media.worker_pool import Unreadable, WorkerPool
from blazechat.media.worker_protocol import Patch, Seen

GLANCE = 4 * 1024 * 1024
"""Bytes at either end of sounds and films that are looked at; images are looked at as a whole."""
LARGEST_IMAGE = 64 * 1024 * 1024
WAITING = 100
ATTEMPTS = 3
"""To find a place for a content that others store at the same moment."""


class NotWanted(Exception):
    """Its owner has deleted the file, or another server has looked at it meanwhile."""


@dataclass(frozen=True, slots=True)
class Made:
    """A piece that is to be stored beside those that came."""

    part: Part
    content: bytes | bytearray
    about: dict[str, int]
    key: str = field(default_factory=new_key)


class FileProcessor:
    """`types` are patterns of media types that may stay: `*/*`, `image/*`, `application/pdf`.

    At most `places` files are looked at at a time, and WAITING wait for it.
    """

    def __init__(
        self,
        database: Transacts,
        storage: Storage,
        worker_pool: WorkerPool,
        types: Sequence[str],
        max_in_memory: int,
    ) -> None:
        self._database = database
        self._storage = storage
        self._worker_pool = worker_pool
        self._types = types
        self._under_way: dict[int, asyncio.Task[None]] = {}
        self._slots = asyncio.Semaphore(max_in_memory)  # a file to be looked at is in memory

    async def finish(self, media_id: int, digest: bytes | None = None) -> None:
        """Look at a file of which all has arrived; `digest` is its SHA-256 where that is known.

        Goes on if the caller goes away, and does nothing the second time. Raises UnreadableFile or
        TypeNotAllowed, after which the file is gone; StorageAway, StorageFull, Busy.
        """
        task = self._under_way.get(media_id)
        if task is None:
            if len(self._under_way) >= WAITING:
                raise Busy("Too many files wait to be looked at; try again in a moment.")
            task = asyncio.create_task(self._finish(media_id, digest), name="finishing")
            self._under_way[media_id] = task
            task.add_done_callback(lambda done: self._done(media_id, done))
        await asyncio.shield(task)

    async def close(self) -> None:
        await asyncio.gather(*self._under_way.values(), return_exceptions=True)

    def _done(self, media_id: int, task: asyncio.Task[None]) -> None:
        del self._under_way[media_id]
        if not task.cancelled():
            task.exception()  # whoever waits for it is told; perhaps nobody does any more

    async def _finish(self, media_id: int, digest: bytes | None) -> None:
        try:
            await self._make_ready(media_id, digest)
        except StorageAway:
            # Another server may have been faster, and have put other pieces in the place of some.
            if not await self._is_ready(media_id):
                raise

    async def _make_ready(self, media_id: int, digest: bytes | None) -> None:
        async with self._database.transaction() as session:
            row = await session.get(tables.Media, media_id)
            if row is None or row.ready_at is not None:
                return
            blob = await session.get_one(tables.Blob, row.blob_id)
            pieces = await files.content_of(session, blob.id)
            is_new = digest is not None and not await self._has_twin(session, digest)
        if digest is None:
            digest = await self._digest(pieces)
        try:
            for _ in range(ATTEMPTS):
                if not is_new and await self._adopt(media_id, digest):
                    return
                if await self._keep(media_id, blob, pieces, digest):
                    return
                is_new = False
                await self._is_ready(media_id)
        except (UnreadableFile, TypeNotAllowed):
            async with self._database.transaction() as session:
                await attachments.remove(session, [media_id])
            raise
        raise Busy

    async def _has_twin(self, session: AsyncSession, digest: bytes) -> bool:
        return await session.scalar(select(exists().where(tables.Blob.digest == digest))) or False

    async def _adopt(self, media_id: int, digest: bytes) -> bool:
        """Have the file be a content that is here already, if there is one like it."""
        async with self._database.transaction() as session:
            twin = await session.scalar(
                select(tables.Blob).where(tables.Blob.digest == digest).with_for_update(key_share=True)
            )
            if twin is None:
                return False
            self._require_allowed(twin.media_type or files.UNKNOWN_TYPE)
            row = await session.get(tables.Media, media_id, with_for_update=True)
            if row is not None and row.ready_at is None and row.blob_id != twin.id:
                await session.execute(
                    update(tables.Blob).where(tables.Blob.id == row.blob_id).values(loose_at=func.now())
                )
                row.blob_id, row.ready_at = twin.id, datetime.now(UTC)
            return True

    async def _keep(
        self, media_id: int, blob: tables.Blob, pieces: list[StoredPiece], digest: bytes
    ) -> bool:
        """Look at a content that is new here, and keep it; False if it is not new, or not wanted."""
        try:
            await self._look(media_id, blob, pieces, digest)
        except (IntegrityError, NotWanted):
            return False
        return True

    async def _look(
        self, media_id: int, blob: tables.Blob, pieces: list[StoredPiece], digest: bytes
    ) -> None:
        async with self._slots:
            seen = await self._seen(blob.size or 0, pieces)
        self._require_allowed(seen.media_type)
        stale, made = await self._patched(pieces, seen.patches)
        made += _thumbnails(seen)
        fresh = [each.key for each in made]
        try:
            await self._store(blob.id, made)
            async with self._database.transaction() as session:
                await _note(session, media_id, blob.id, digest, seen)
                await _mark(session, fresh, stored=True)
                await _mark(session, stale, stored=False)
        except BaseException:
            await self._remove(fresh)
            raise
        await self._remove(stale)

    async def _is_ready(self, media_id: int) -> bool:
        """Raises NoSuchMedia if its owner has deleted it meanwhile."""
        async with self._database.transaction() as session:
            row = await session.get(tables.Media, media_id)
            if row is None:
                raise NoSuchMedia
            return row.ready_at is not None

    async def _seen(self, size: int, pieces: list[StoredPiece]) -> Seen:
        kind = kind_of(b"".join(await self._storage.read(pieces, 0, min(size, LOOKED_AT))))
        if kind.startswith("image/") and kind != "image/svg+xml":
            if size > LARGEST_IMAGE:
                raise UnreadableFile(f"Images have at most {LARGEST_IMAGE:,} bytes here.")
            glance = size
        elif kind.startswith(MOVING):
            glance = min(size, GLANCE)
        else:
            return Seen(kind)
        head = await self._storage.read(pieces, 0, glance)
        tail = await self._storage.read(pieces, max(glance, size - glance), size)
        try:
            return await self._worker_pool.look(size, head, tail)
        except Unreadable as error:
            raise UnreadableFile(str(error)) from error

    def _require_allowed(self, media_type: str) -> None:
        if not any(fnmatchcase(media_type, pattern) for pattern in self._types):
            raise TypeNotAllowed(f"This server does not take files of the type {media_type}.")

    async def _patched(
        self, pieces: list[StoredPiece], patches: Sequence[Patch]
    ) -> tuple[list[str], list[Made]]:
        """The keys of pieces that cannot be kept as they are, and what comes in their places."""
        stale, made = [], []
        for piece in pieces:
            end = piece.position + piece.size
            within = [p for p in patches if p.offset < end and p.offset + len(p.content) > piece.position]
            if not within:
                continue
            content = bytearray(await self._storage.get(piece.key, 0, piece.size))
            for patch in within:
                _apply(patch, content, piece.position)
            made.append(Made(Part.CONTENT, content, {"position": piece.position}))
            stale.append(piece.key)
        return stale, made

    async def _store(self, blob_id: int, made: Sequence[Made]) -> None:
        """Store more pieces of a blob, that do not count yet."""
        if not made:
            return
        async with self._database.transaction() as session:
            session.add_all(
                tables.Piece(
                    key=each.key, blob_id=blob_id, part=each.part, size=len(each.content), **each.about
                )
                for each in made
            )
        for each in made:
            await self._storage.put(each.key, each.content)

    async def _remove(self, keys: list[str]) -> None:
        """Whatever fails here is swept up later."""
        if not keys:
            return
        with suppress(Error):
            await self._storage.delete(keys)
            async with self._database.transaction() as session:
                await session.execute(delete(tables.Piece).where(tables.Piece.key.in_(keys)))

    async def _digest(self, pieces: list[StoredPiece]) -> bytes:
        whole = hashlib.sha256()
        for piece in pieces:
            content = await self._storage.get(piece.key, 0, piece.size)
            await asyncio.to_thread(whole.update, content)
        return whole.digest()


def _thumbnails(seen: Seen) -> list[Made]:
    return [
        Made(part, made.content, {"width": made.width, "height": made.height})
        for part, made in zip((Part.SMALL, Part.LARGE), seen.thumbnails, strict=False)
    ]


def _apply(patch: Patch, content: bytearray, position: int) -> None:
    """Put as much of a patch as concerns it into the piece that begins at `position`."""
    skipped = max(0, position - patch.offset)
    first = patch.offset + skipped - position
    new = patch.content[skipped : skipped + len(content) - first]
    content[first : first + len(new)] = new


async def _note(session: AsyncSession, media_id: int, blob_id: int, digest: bytes, seen: Seen) -> None:
    """Raises NotWanted: a content that nobody has any more must not be found by its digest."""
    mine = (tables.Media.id == media_id, tables.Media.blob_id == blob_id, tables.Media.ready_at.is_(None))
    ready = update(tables.Media).where(*mine).values(ready_at=func.now()).returning(tables.Media.id)
    if (await session.execute(ready)).first() is None:
        raise NotWanted
    await session.execute(
        update(tables.Blob)
        .where(tables.Blob.id == blob_id)
        .values(
            digest=digest,
            media_type=seen.media_type,
            width=seen.width,
            height=seen.height,
            duration=seen.duration,
            placeholder=seen.placeholder,
        )
    )


async def _mark(session: AsyncSession, keys: Sequence[str], *, stored: bool) -> None:
    await session.execute(update(tables.Piece).where(tables.Piece.key.in_(keys)).values(stored=stored))
