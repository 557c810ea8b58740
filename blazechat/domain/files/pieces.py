"""Pieces: the objects in the storage that make up a file, and their rows in the database.

A row is inserted before its object is written and deleted after it, so the database knows every object. The
object counts once the row is marked as stored.
"""

from collections.abc import Sequence
from contextlib import suppress
from dataclasses import dataclass, field

from sqlalchemy import delete, select, update
from sqlalchemy.ext.asyncio import AsyncSession

from blazechat.database import tables
from blazechat.database.engine import TransactionSource
from blazechat.database.locks import may_delete_objects
from blazechat.domain.schemas.files import Part
from blazechat.errors import Error
from blazechat.media.storage import Storage, StoredPiece, new_key
from blazechat.media.worker_protocol import FileInfo, Patch


@dataclass(frozen=True, slots=True)
class NewPiece:
    """A piece that the server makes of an uploaded file: a patched piece or a thumbnail."""

    part: Part
    content: bytes | bytearray
    columns: dict[str, int]
    """Further columns of its row."""
    key: str = field(default_factory=new_key)


async def of_blob(session: AsyncSession, blob_id: int, part: Part = Part.CONTENT) -> list[StoredPiece]:
    """Return the stored pieces of a part of the blob, in order."""
    rows = await session.execute(
        select(tables.Piece.key, tables.Piece.position, tables.Piece.size)
        .where(tables.Piece.blob_id == blob_id, tables.Piece.part == part, tables.Piece.stored)
        .order_by(tables.Piece.position)
    )
    return [StoredPiece(*row) for row in rows]


async def set_stored(session: AsyncSession, keys: Sequence[str], *, stored: bool) -> None:
    await session.execute(update(tables.Piece).where(tables.Piece.key.in_(keys)).values(stored=stored))


async def write(
    database: TransactionSource, storage: Storage, blob_id: int, new_pieces: Sequence[NewPiece]
) -> None:
    """Write more pieces of a blob. They do not count until they are marked as stored."""
    if not new_pieces:
        return
    async with database.transaction() as session:
        session.add_all(
            tables.Piece(
                key=piece.key, blob_id=blob_id, part=piece.part, size=len(piece.content), **piece.columns
            )
            for piece in new_pieces
        )
    for piece in new_pieces:
        await storage.put(piece.key, piece.content)


async def discard(database: TransactionSource, storage: Storage, keys: Sequence[str]) -> None:
    """Delete pieces that do not count. If this fails, the sweeper deletes them later."""
    if not keys:
        return
    with suppress(Error):
        await storage.delete(keys)
        async with database.transaction() as session:
            await session.execute(delete(tables.Piece).where(tables.Piece.key.in_(keys)))


async def discard_replaced(database: TransactionSource, storage: Storage, keys: Sequence[str]) -> None:
    """Delete pieces that counted until now. While a backup copies objects, the sweeper does it later."""
    if not keys:
        return
    with suppress(Error):
        async with database.transaction() as session:
            if not await may_delete_objects(session):
                return
        await discard(database, storage, keys)


async def patched(
    storage: Storage, pieces: Sequence[StoredPiece], patches: Sequence[Patch]
) -> tuple[list[str], list[NewPiece]]:
    """Return the keys of the pieces that the patches change, and the pieces that replace them."""
    stale_keys, new_pieces = [], []
    for piece in pieces:
        end = piece.position + piece.size
        overlapping = [
            patch
            for patch in patches
            if patch.offset < end and patch.offset + len(patch.content) > piece.position
        ]
        if not overlapping:
            continue
        content = bytearray(await storage.get(piece.key, 0, piece.size))
        for patch in overlapping:
            _apply(patch, content, piece.position)
        new_pieces.append(NewPiece(Part.CONTENT, content, {"position": piece.position}))
        stale_keys.append(piece.key)
    return stale_keys, new_pieces


def thumbnails(info: FileInfo) -> list[NewPiece]:
    """Return the thumbnails of an inspected file as pieces."""
    return [
        NewPiece(part, thumbnail.content, {"width": thumbnail.width, "height": thumbnail.height})
        for part, thumbnail in zip((Part.SMALL, Part.LARGE), info.thumbnails, strict=False)
    ]


def _apply(patch: Patch, content: bytearray, position: int) -> None:
    """Apply a patch to the piece that begins at `position`, as far as it overlaps with the piece."""
    skipped = max(0, position - patch.offset)
    first = patch.offset + skipped - position
    replacement = patch.content[skipped : skipped + len(content) - first]
    content[first : first + len(replacement)] = replacement
