"""Writes the bytes of one upload request as pieces, and advances the upload as each piece is stored.

So an upload that is interrupted, even by a killed server, continues after its last stored piece.
"""

import hashlib
from contextlib import suppress
from dataclasses import dataclass
from datetime import UTC, datetime, timedelta

from sqlalchemy import func, select, update
from sqlalchemy.exc import IntegrityError
from sqlalchemy.ext.asyncio import AsyncSession

from blazechat.database import tables
from blazechat.database.engine import TransactionSource
from blazechat.domain.files import files, pieces
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

PIECE_BYTES = 4 * 1024 * 1024
"""Bytes of an upload that are buffered before they are written as a piece. A killed server loses at most so
many of an upload."""
MAX_PIECES = 4_000
"""Pieces of one file, so that a client cannot send a file in millions of tiny requests."""


@dataclass(frozen=True, kw_only=True, slots=True)
class UploadLimits:
    """Limits of uploads. `quota_bytes` is per user."""

    max_file_bytes: int
    quota_bytes: int
    lifetime: timedelta
    """How long a file exists that no message has."""


@dataclass(frozen=True, slots=True)
class Checksum:
    """The expected digest of the body of a request. `algorithm` is a name of hashlib's."""

    algorithm: str
    digest: bytes


def expiry(limits: UploadLimits) -> datetime:
    """Return when an upload expires that is continued now."""
    return datetime.now(UTC) + limits.lifetime


class PieceWriter:
    """Writes the bytes of one request of an upload.

    It accepts at most `max_bytes`, then raises `excess_error`. With a checksum, the bytes count only if all
    of them match it. If the request is the last one of its upload, its end determines the size of the file.
    """

    def __init__(
        self,
        *,
        database: TransactionSource,
        storage: Storage,
        media: tables.Media,
        blob: tables.Blob,
        max_bytes: int,
        excess_error: Error,
        limits: UploadLimits,
        checksum: Checksum | None,
        is_last: bool,
    ) -> None:
        self.size = blob.size
        """Bytes of the whole file; None until it is known."""
        self.position = blob.received
        """Where in the file the next piece begins."""
        self.is_partial = media.is_partial
        self._database = database
        self._storage = storage
        self._media_id = media.id
        self._user_id = media.user_id
        self._blob_id = blob.id
        self._counted_position = blob.received  # up to here, the bytes count
        self._bytes_left = max_bytes
        self._excess_error = excess_error
        self._limits = limits
        self._checksum = checksum
        self._is_last = is_last
        self._request_hash = (
            None if checksum is None else hashlib.new(checksum.algorithm, usedforsecurity=False)
        )
        self._file_hash = hashlib.sha256() if blob.received == 0 else None
        self._buffer: list[bytes] = []  # chunks of the next piece
        self._buffered_bytes = 0
        self._uncounted_keys: list[str] = []  # pieces that are written and wait for the checksum
        self._has_pieces = False  # true once this request has inserted a piece
        self._has_gap = False  # true while a piece is being written, and after that failed

    @property
    def is_complete(self) -> bool:
        """True if the whole file has arrived and counts."""
        return self._counted_position == self.size

    def file_digest(self) -> bytes | None:
        """Return the SHA-256 of the file; None if this request did not begin at the file's first byte."""
        return None if self._file_hash is None else self._file_hash.digest()

    def add(self, chunk: bytes) -> bool:
        """Buffer a chunk. Returns True if the buffer is large enough for a piece. Raises `excess_error`."""
        if len(chunk) > self._bytes_left:
            raise self._excess_error
        self._bytes_left -= len(chunk)
        self._buffer.append(chunk)
        for digest in (self._file_hash, self._request_hash):
            if digest is not None:
                digest.update(chunk)
        self._buffered_bytes += len(chunk)
        return self._buffered_bytes >= PIECE_BYTES

    async def finish(self) -> None:
        """Write the rest, because the body has ended. Raises ChecksumMismatch; then nothing of it
        counts."""
        await self.flush(is_end=self._is_last)
        if self._checksum is None or self._request_hash is None:
            return
        if self._request_hash.digest() != self._checksum.digest:
            await pieces.discard(self._database, self._storage, self._uncounted_keys)
            raise ChecksumMismatch
        await self._count(self._uncounted_keys, self.position)

    async def save_interrupted(self) -> None:
        """Write the rest, because the request was interrupted.

        With a checksum, discards everything instead. If a piece could not be written, discards the buffer.
        """
        with suppress(Error):
            if self._checksum is not None:
                await pieces.discard(self._database, self._storage, self._uncounted_keys)
            elif not self._has_gap:
                await self.flush()

    async def flush(self, *, is_end: bool = False) -> None:
        """Write the buffer as a piece, which is the last one of the file if `is_end` is true.

        Must not be cancelled.
        """
        size = self._buffered_bytes
        if not size:
            return
        self._has_gap = True
        key = new_key()
        await self._insert(key, size)
        try:
            await self._storage.put(key, *self._buffer)
        except Error:
            await pieces.discard(self._database, self._storage, [key])
            raise
        self._buffer.clear()
        if self._checksum is None:
            await self._count([key], self.position + size, is_end=is_end)
        else:
            self._uncounted_keys.append(key)
        self._buffered_bytes = 0
        self.position += size
        self._has_gap = False

    async def _insert(self, key: str, size: int) -> None:
        """Insert the row of a piece before it is written, so that the sweeper finds it if it never
        counts."""
        try:
            async with self._database.transaction() as session:
                written = select(func.count()).where(tables.Piece.blob_id == self._blob_id)
                if not self._has_pieces and (await session.scalar(written) or 0) >= MAX_PIECES:
                    raise InvalidInput("This upload has too many small parts; send larger ones.")
                span = {"position": self.position, "size": size}
                session.add(tables.Piece(key=key, blob_id=self._blob_id, part=Part.CONTENT, **span))
        except IntegrityError:  # the upload was deleted, and swept
            raise NoSuchMedia from None
        self._has_pieces = True

    async def _count(self, keys: list[str], end: int, *, is_end: bool = False) -> None:
        """Mark pieces as stored and advance the upload to `end`, in one transaction.

        Raises OffsetConflict if another request has advanced the upload, or QuotaExceeded.
        """
        try:
            async with self._database.transaction() as session:
                await self._advance(session, end, is_end=is_end)
                await pieces.set_stored(session, keys, stored=True)
        except (OffsetConflict, QuotaExceeded):
            await pieces.discard(self._database, self._storage, keys)
            raise
        self._counted_position = end
        if is_end:
            self.size = end

    async def _advance(self, session: AsyncSession, end: int, *, is_end: bool) -> None:
        unfinished = await session.execute(
            update(tables.Media)
            .where(
                tables.Media.id == self._media_id,
                tables.Media.blob_id == self._blob_id,
                tables.Media.ready_at.is_(None),
            )
            .values(expires_at=expiry(self._limits))
            .returning(tables.Media.id)
        )
        declared_size = func.coalesce(tables.Blob.size, end)
        advanced = await session.execute(
            update(tables.Blob)
            .where(
                tables.Blob.id == self._blob_id,
                tables.Blob.received == self._counted_position,
                # Another request might have declared the size in the meantime.
                declared_size == end if is_end else declared_size >= end,
            )
            .values(received=end, size=end if is_end else tables.Blob.size)
            .returning(tables.Blob.id)
        )
        if unfinished.first() is None or advanced.first() is None:
            raise OffsetConflict
        if self.size is None:  # a declared size is in the quota already
            await files.lock_quota(session, self._user_id)
            if await files.used_bytes(session, self._user_id) > self._limits.quota_bytes:
                raise QuotaExceeded
