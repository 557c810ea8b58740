"""Concatenation of uploads (tus 1.0): a final upload takes over the pieces of its partial uploads.

No byte is copied: the rows of the pieces move to the final upload, with other positions. A partial upload
ends with that. The final upload remembers its parts, so that a client that did not get the response can
repeat its requests.
"""

from collections.abc import Sequence

from sqlalchemy import func, select, update
from sqlalchemy.ext.asyncio import AsyncSession

from blazechat.database import tables
from blazechat.domain import validation
from blazechat.domain.auth.access import Caller
from blazechat.domain.files import attachments, files
from blazechat.domain.files.piece_writer import MAX_PIECES, UploadLimits, expiry
from blazechat.domain.schemas.files import Part
from blazechat.errors import ContentTooLarge, InvalidInput, NoSuchMedia, UploadUnfinished

MAX_PARTIALS = 100
"""Partial uploads of one final upload."""

Partial = tuple[tables.Media, tables.Blob]


async def concatenate(
    session: AsyncSession, caller: Caller, partial_ids: Sequence[int], *, name: str, limits: UploadLimits
) -> int:
    """Put partial uploads together in this order; return the id of the final upload. Idempotent.

    Raises NoSuchMedia, UploadUnfinished, ContentTooLarge, InvalidInput.
    """
    if not 1 <= len(partial_ids) <= MAX_PARTIALS or len(set(partial_ids)) < len(partial_ids):
        raise InvalidInput.of(
            "Upload-Concat", f"A final upload has 1 to {MAX_PARTIALS} different partial uploads."
        )
    found = await _lock_partials(session, caller, partial_ids)
    if not found:  # perhaps they were put together by an earlier request
        return await _final_of(session, caller, partial_ids)
    missing = [partial_id for partial_id in partial_ids if partial_id not in found]
    if missing:
        raise NoSuchMedia(f"There is no partial upload {missing[0]}, or you have no access to it.")
    partials = [found[partial_id] for partial_id in partial_ids]
    await _require_complete(session, partials, limits)
    final = await _insert_final(session, caller, partials, name, limits)
    await _move_pieces(session, partials, final.blob_id)
    await attachments.delete_unattached(session, sorted(found))
    return final.id


async def size_of_part(session: AsyncSession, caller: Caller, partial_id: int) -> int:
    """Return the size of a partial upload that is part of a final one by now. Raises NoSuchMedia."""
    finals = await session.scalars(
        select(tables.Media.parts).where(
            tables.Media.user_id == caller.user_id, tables.Media.parts.contains([[partial_id]])
        )
    )
    for parts in finals:
        for part_id, size in parts or ():
            if part_id == partial_id:
                return size
    raise NoSuchMedia


async def _lock_partials(
    session: AsyncSession, caller: Caller, partial_ids: Sequence[int]
) -> dict[int, Partial]:
    """Lock those of the uploads that are partial ones of the caller, and return them with their blobs."""
    own = (
        tables.Media.id.in_(partial_ids),
        tables.Media.user_id == caller.user_id,
        tables.Media.is_partial,
    )
    await session.execute(select(tables.Media.id).where(*own).order_by(tables.Media.id).with_for_update())
    rows = await session.execute(
        select(tables.Media, tables.Blob)
        .join(tables.Blob, tables.Blob.id == tables.Media.blob_id)
        .where(*own)
        .order_by(tables.Blob.id)
        .with_for_update(key_share=True, of=tables.Blob)
        .execution_options(populate_existing=True)
    )
    return {media.id: (media, blob) for media, blob in rows}


async def _final_of(session: AsyncSession, caller: Caller, partial_ids: Sequence[int]) -> int:
    """Return the id of the upload that was put together of exactly these. Raises NoSuchMedia."""
    finals = await session.scalars(
        select(tables.Media).where(
            tables.Media.user_id == caller.user_id, tables.Media.parts.contains([[partial_ids[0]]])
        )
    )
    for final in finals:
        if [part_id for part_id, _ in final.parts or ()] == list(partial_ids):
            return (await files.find_own(session, caller, final.id)).id
    raise NoSuchMedia(f"There is no partial upload {partial_ids[0]}, or you have no access to it.")


async def _require_complete(
    session: AsyncSession, partials: Sequence[Partial], limits: UploadLimits
) -> None:
    for media, blob in partials:
        if blob.received != blob.size:
            raise UploadUnfinished(f"The partial upload {media.id} is not complete. Finish it first.")
    if sum(blob.received for _, blob in partials) > limits.max_file_bytes:
        raise ContentTooLarge(f"Files may have at most {limits.max_file_bytes:,} bytes on this server.")
    in_partials = tables.Piece.blob_id.in_([blob.id for _, blob in partials])
    if (await session.scalar(select(func.count()).where(in_partials)) or 0) > MAX_PIECES:
        raise InvalidInput("These uploads have too many small parts; send larger ones.")


async def _insert_final(
    session: AsyncSession, caller: Caller, partials: Sequence[Partial], name: str, limits: UploadLimits
) -> tables.Media:
    size = sum(blob.received for _, blob in partials)
    blob = tables.Blob(size=size, received=size)
    session.add(blob)
    await session.flush()
    final = tables.Media(
        user_id=caller.user_id,
        blob_id=blob.id,
        name=validation.file_name(name),
        expires_at=expiry(limits),
        parts=[[media.id, blob.received] for media, blob in partials],
    )
    session.add(final)
    await session.flush()
    return final


async def _move_pieces(session: AsyncSession, partials: Sequence[Partial], blob_id: int) -> None:
    """Give the pieces to the final upload. Pieces that never counted stay, and are swept."""
    position = 0
    for _, blob in partials:
        await session.execute(
            update(tables.Piece)
            .where(tables.Piece.blob_id == blob.id, tables.Piece.part == Part.CONTENT, tables.Piece.stored)
            .values(blob_id=blob_id, position=tables.Piece.position + position)
        )
        position += blob.received
