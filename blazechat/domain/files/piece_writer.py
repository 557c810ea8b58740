"""Bytes that arrive become pieces: objects in the storage, each noted before it is written.

A piece counts once it is there. So an upload that breaks off, or whose server is killed, goes on behind the
last one.
"""

import hashlib
from contextlib import suppress
from dataclasses import dataclass
from datetime import UTC, datetime, timedelta

from sqlalchemy import delete, func, select, update
from sqlalchemy.exc import IntegrityError
from sqlalchemy.ext.asyncio import AsyncSession

from blazechat.database import tables
from blazechat.database.engine import Transacts
from blazechat.domain.files import files
from blazechat.domain.schemas.files import Part
from blazechat.errors import (
    ChecksumMismatch,
    Error,
    InvalidInput,
    NoSuchMedia,
    OffsetConflict,
    QuotaExceeded,
)
from blazechat.media.storage import Storage, new_key

PIECE = 4 * 1024 * 1024
"""Bytes of one upload that wait in memory, and are lost at most if the server is killed; a piece is what
has come when it is as much."""
PIECES_LIMIT = 4_000
"""Of one file: whoever brings it a few bytes a request is stopped here."""


@dataclass(frozen=True, slots=True)
class UploadLimits:
    """`file` and `quota` in bytes, the latter a user; `lifetime` of what no message has."""

    file: int
    quota: int
    lifetime: timedelta


@dataclass(frozen=True, slots=True)
class Checksum:
    """What all that a request brings has to come to. `algorithm` is a name of hashlib's."""

    algorithm: str
    digest: bytes


class PieceWriter:
    """One request that brings bytes of an upload.

    At most `room` of them, or `refusal` is raised. With a checksum nothing counts before the end; then all
    of it does, or nothing. If it is the last one, its end says how large the file is.
    """

    def __init__(
        self,
        database: Transacts,
        storage: Storage,
        row: tables.Media,
        blob: tables.Blob,
        room: int,
        refusal: Error,
        limits: UploadLimits,
        checksum: Checksum | None,
        *,
        is_last: bool = False,
    ) -> None:
        self.size = blob.size
        self.position = blob.received  # behind the last byte that is stored
        self._database = database
        self._storage = storage
        self._media_id = row.id
        self._user_id = row.user_id
        self._blob_id = blob.id
        self._counted = blob.received
        self._room = room
        self._refusal = refusal
        self._limits = limits
        self._checksum = checksum
        self._is_last = is_last
        self._proof = None if checksum is None else hashlib.new(checksum.algorithm, usedforsecurity=False)
        self._whole = hashlib.sha256() if blob.received == 0 else None
        self._chunks: list[bytes] = []  # that make the next piece
        self._waiting = 0  # bytes of these
        self._uncounted: list[str] = []  # keys of pieces that are stored
        self._noted = False  # whether this request has brought a piece
        self._is_broken = False  # whether what comes next would leave a hole

    @property
    def complete(self) -> bool:
        return self._counted == self.size

    def whole_digest(self) -> bytes | None:
        """SHA-256 of all that this request brought, if that is the file from its first byte on."""
        return None if self._whole is None else self._whole.digest()

    def take(self, chunk: bytes) -> bool:
        """Keep a chunk in memory; whether there is enough for a piece now. Raises `refusal`."""
        if len(chunk) > self._room:
            raise self._refusal
        self._room -= len(chunk)
        self._chunks.append(chunk)
        for digest in (self._whole, self._proof):
            if digest is not None:
                digest.update(chunk)
        self._waiting += len(chunk)
        return self._waiting >= PIECE

    async def end(self) -> None:
        """All has come. Raises ChecksumMismatch, after which nothing of it counts."""
        await self.store(is_end=self._is_last)
        if self._checksum is None or self._proof is None:
            return
        if self._proof.digest() != self._checksum.digest:
            await self._forget(self._uncounted)
            raise ChecksumMismatch
        await self._count(self._uncounted, self.position)

    async def save(self) -> None:
        """It broke off: what came counts, unless it had to be proved, or something before it does not."""
        with suppress(Error):
            if self._checksum is not None:
                await self._forget(self._uncounted)
            elif not self._is_broken:
                await self.store()

    async def store(self, *, is_end: bool = False) -> None:
        """Make a piece of what waits, perhaps the file's last.

        Is to be seen to its end, whoever goes away meanwhile.
        """
        size = self._waiting
        if not size:
            return
        self._is_broken = True  # unless all that follows comes to its end
        key = new_key()
        await self._note(key, size)
        try:
            await self._storage.put(key, *self._chunks)
        except Error:
            await self._forget([key])
            raise
        self._chunks.clear()
        if self._checksum is None:
            await self._count([key], self.position + size, is_end=is_end)
        else:
            self._uncounted.append(key)
        self._waiting = 0
        self.position += size
        self._is_broken = False

    async def _note(self, key: str, size: int) -> None:
        """Have the piece known before it is written, so that it is found if it is never counted."""
        try:
            async with self._database.transaction() as session:
                pieces = select(func.count()).where(tables.Piece.blob_id == self._blob_id)
                if not self._noted and (await session.scalar(pieces) or 0) >= PIECES_LIMIT:
                    raise InvalidInput("This upload comes in too many small parts; send larger ones.")
                place = {"position": self.position, "size": size}
                session.add(tables.Piece(key=key, blob_id=self._blob_id, part=Part.CONTENT, **place))
        except IntegrityError:  # given up, and swept up
            raise NoSuchMedia from None
        self._noted = True

    async def _count(self, keys: list[str], end: int, *, is_end: bool = False) -> None:
        """Have stored pieces count, up to `end`. Raises OffsetConflict if others brought these bytes."""
        try:
            async with self._database.transaction() as session:
                await self._advance(session, end, is_end=is_end)
                of_these = tables.Piece.key.in_(keys)
                await session.execute(update(tables.Piece).where(of_these).values(stored=True))
        except (OffsetConflict, QuotaExceeded):
            await self._forget(keys)
            raise
        self._counted = end
        if is_end:
            self.size = end

    async def _advance(self, session: AsyncSession, end: int, *, is_end: bool) -> None:
        still_open = await session.execute(
            update(tables.Media)
            .where(
                tables.Media.id == self._media_id,
                tables.Media.blob_id == self._blob_id,
                tables.Media.ready_at.is_(None),
            )
            .values(expires_at=datetime.now(UTC) + self._limits.lifetime)
            .returning(tables.Media.id)
        )
        announced = func.coalesce(tables.Blob.size, end)
        moved = await session.execute(
            update(tables.Blob)
            .where(
                tables.Blob.id == self._blob_id,
                tables.Blob.received == self._counted,
                announced == end if is_end else announced >= end,  # somebody may have said it meanwhile
            )
            .values(received=end, size=end if is_end else tables.Blob.size)
            .returning(tables.Blob.id)
        )
        if still_open.first() is None or moved.first() is None:
            raise OffsetConflict
        if self.size is None:  # what was announced has its place in the quota already
            await files.lock_quota(session, self._user_id)
            if await files.usage(session, self._user_id) > self._limits.quota:
                raise QuotaExceeded

    async def _forget(self, keys: list[str]) -> None:
        """Remove pieces that never counted. Whatever fails here is swept up later."""
        with suppress(Error):
            await self._storage.delete(keys)
            async with self._database.transaction() as session:
                await session.execute(delete(tables.Piece).where(tables.Piece.key.in_(keys)))
