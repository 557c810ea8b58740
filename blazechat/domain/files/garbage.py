"""Garbage collection of files: finds and deletes the files, blobs and pieces that are not needed any more.

The database knows every object in the storage, so the storage is never listed. jobs/sweeper.py calls this
and deletes the objects.
"""

from collections.abc import Collection
from datetime import timedelta

from sqlalchemy import ColumnElement, delete, func, select, update
from sqlalchemy.ext.asyncio import AsyncSession

from blazechat.database import tables
from blazechat.domain.files import attachments

MAX_REQUEST_AGE = timedelta(hours=24)
"""No request lives longer. So a piece of this age that is not stored is not being written any more."""


async def delete_expired_files(session: AsyncSession, limit: int) -> int:
    """Delete uploads that were not continued and files that no message has; return how many were found."""
    expired = select(tables.Media.id).where(tables.Media.expires_at < func.now()).limit(limit)
    media_ids = sorted(await session.scalars(expired.with_for_update(skip_locked=True)))
    await attachments.delete_unattached(session, media_ids)
    return len(media_ids)


async def take_loose_blobs(session: AsyncSession, limit: int) -> tuple[int, set[int]]:
    """Find blobs that a file has stopped using. Returns their number, and the ids of those without a file.

    The latter lose their digest, so that no new file can use them from the commit on.
    """
    loose = set(
        await session.scalars(
            select(tables.Blob.id)
            .where(tables.Blob.loose_at.is_not(None))
            .order_by(tables.Blob.loose_at)
            .limit(limit)
            .with_for_update(skip_locked=True)
        )
    )
    # A separate statement, so that it sees the files that began to use such a blob before the lock.
    used = set(
        await session.scalars(
            select(tables.Media.blob_id).where(tables.Media.blob_id.in_(loose)).distinct()
        )
    )
    unused = loose - used
    await session.execute(update(tables.Blob).where(tables.Blob.id.in_(used)).values(loose_at=None))
    await session.execute(update(tables.Blob).where(tables.Blob.id.in_(unused)).values(digest=None))
    return len(loose), unused


async def pieces_of_blobs(session: AsyncSession, blob_ids: Collection[int]) -> dict[str, int]:
    """Return the sizes of the blobs' pieces by key, without pieces that might still be written."""
    settled = tables.Piece.stored | (tables.Piece.created_at < func.now() - MAX_REQUEST_AGE)
    return await _sizes(session, tables.Piece.blob_id.in_(blob_ids), settled)


async def delete_blobs(session: AsyncSession, blob_ids: Collection[int], keys: Collection[str]) -> None:
    """Delete the rows of pieces whose objects are deleted, and the blobs that have no pieces left.

    A later sweep finds the other blobs again.
    """
    await session.execute(delete(tables.Piece).where(tables.Piece.key.in_(keys)))
    remaining = select(tables.Piece.key).where(tables.Piece.blob_id == tables.Blob.id).exists()
    selected = tables.Blob.id.in_(blob_ids)
    await session.execute(delete(tables.Blob).where(selected, ~remaining))
    await session.execute(update(tables.Blob).where(selected).values(loose_at=func.now()))


async def abandoned_pieces(session: AsyncSession, limit: int) -> dict[str, int]:
    """Return the sizes of pieces by key that were written, or perhaps not, when a server was killed."""
    return await _sizes(session, *_abandoned(), limit=limit)


async def delete_abandoned_pieces(session: AsyncSession, keys: Collection[str]) -> None:
    """Delete the rows of abandoned pieces whose objects are deleted."""
    await session.execute(delete(tables.Piece).where(tables.Piece.key.in_(keys), *_abandoned()))


def _abandoned() -> tuple[ColumnElement[bool], ...]:
    return ~tables.Piece.stored, tables.Piece.created_at < func.now() - MAX_REQUEST_AGE


async def _sizes(
    session: AsyncSession, *conditions: ColumnElement[bool], limit: int | None = None
) -> dict[str, int]:
    rows = await session.execute(
        select(tables.Piece.key, tables.Piece.size).where(*conditions).limit(limit)
    )
    return {row.key: row.size for row in rows}
