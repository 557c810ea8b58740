"""A user's files and the files of chats: list, find, open and delete them. uploads.py receives them."""

from dataclasses import dataclass
from typing import Any

from sqlalchemy import JSON, column, func, select, text
from sqlalchemy.ext.asyncio import AsyncSession

from blazechat.database import tables
from blazechat.domain.auth.access import Caller, Membership
from blazechat.domain.files import attachments, pieces
from blazechat.domain.schemas.files import Part, Upload
from blazechat.errors import MediaInUse, NoSuchMedia, UploadUnfinished
from blazechat.media.file_types import UNKNOWN_TYPE
from blazechat.media.storage import StoredPiece

MAX_ID = 2**63 - 1
MIN_COUNTED_BYTES = 4096
"""The quota counts every file as at least this size, because an empty file takes room as well."""

SELECT_UPLOADS = text(
    f"""SELECT {attachments.FILE_JSON} AS file, f.created_at, f.ready_at, f.expires_at, b.received
    FROM media f JOIN blobs b ON b.id = f.blob_id
    WHERE f.user_id = :user_id AND f.id BETWEEN :first AND :last ORDER BY f.id DESC LIMIT :limit"""  # noqa: S608 (put together from constants)
).columns(
    column("file", JSON()),
    column("created_at"),
    column("ready_at"),
    column("expires_at"),
    column("received"),
)


@dataclass(frozen=True, slots=True)
class StoredFile:
    """What a download needs of a file, or of a thumbnail. `etag` identifies exactly these bytes."""

    name: str
    media_type: str
    size: int
    etag: str
    pieces: list[StoredPiece]


async def list_uploads(
    session: AsyncSession, caller: Caller, *, limit: int, before: int | None
) -> list[Upload]:
    """Return the caller's files with smaller ids than `before`, the newest first."""
    return await _uploads(session, caller, 1, MAX_ID if before is None else before - 1, limit)


async def show_upload(session: AsyncSession, caller: Caller, media_id: int) -> Upload:
    """Return a file of the caller. Raises NoSuchMedia."""
    found = await _uploads(session, caller, media_id, media_id, 1)
    if not found:
        raise NoSuchMedia
    return found[0]


async def find_own(session: AsyncSession, caller: Caller, media_id: int) -> tables.Media:
    """Return a file that the caller uploads or has uploaded. Raises NoSuchMedia.

    A token for certain chats permits this only until a message has the file, which might be a message of
    another chat.
    """
    media = await session.get(tables.Media, media_id)
    if media is None or media.user_id != caller.user_id:
        raise NoSuchMedia
    if caller.grant.chat_ids is not None and media.expires_at is None:
        raise NoSuchMedia
    return media


async def open_own(session: AsyncSession, caller: Caller, media_id: int, part: Part) -> StoredFile:
    """Return a part of the caller's file, for a download. Raises NoSuchMedia, UploadUnfinished."""
    media = await find_own(session, caller, media_id)
    if media.ready_at is None:
        raise UploadUnfinished
    return await _stored_file(session, media, part)


async def open_attached(
    session: AsyncSession, membership: Membership, media_id: int, part: Part
) -> StoredFile:
    """Return a part of a file of a message that this member can see, for a download. Raises NoSuchMedia."""
    if not await attachments.is_attached(session, membership.chat.id, media_id, membership.visible_after):
        raise NoSuchMedia
    media = await session.get(tables.Media, media_id)
    if media is None:
        raise NoSuchMedia
    return await _stored_file(session, media, part)


async def delete(session: AsyncSession, caller: Caller, media_id: int) -> None:
    """Delete a file that no message has, or an unfinished upload. Raises NoSuchMedia, MediaInUse."""
    await find_own(session, caller, media_id)
    await attachments.delete_unattached(session, [media_id])
    remaining = select(tables.Media.id).where(tables.Media.id == media_id)
    if (await session.execute(remaining)).first() is not None:
        raise MediaInUse


async def lock_quota(session: AsyncSession, user_id: int) -> None:
    """Lock the user's row, so that no concurrent transaction fills the same room in the quota."""
    await session.execute(
        select(tables.User.id).where(tables.User.id == user_id).with_for_update(key_share=True)
    )


async def used_bytes(session: AsyncSession, user_id: int) -> int:
    """Return how many bytes of this user's quota are used. An unfinished upload counts with its declared
    size."""
    size = func.greatest(func.coalesce(tables.Blob.size, tables.Blob.received), MIN_COUNTED_BYTES)
    total = select(func.coalesce(func.sum(size), 0)).join(
        tables.Media, tables.Media.blob_id == tables.Blob.id
    )
    return int(await session.scalar(total.where(tables.Media.user_id == user_id)) or 0)


async def count_unfinished(session: AsyncSession, user_id: int) -> int:
    """Return how many uploads this user has begun and not finished."""
    begun = select(func.count()).where(tables.Media.user_id == user_id, tables.Media.ready_at.is_(None))
    return await session.scalar(begun) or 0


async def _stored_file(session: AsyncSession, media: tables.Media, part: Part) -> StoredFile:
    blob = await session.get_one(tables.Blob, media.blob_id)
    found = await pieces.of_blob(session, blob.id, part)
    if part is not Part.CONTENT and not found:
        raise NoSuchMedia("This file has no such thumbnail.")
    # Not the blob's id, which would reveal that another user has the same content.
    etag = f"{media.id:x}-{part}"
    if part is Part.CONTENT:
        return StoredFile(media.name, blob.media_type or UNKNOWN_TYPE, blob.size or 0, etag, found)
    return StoredFile(f"{media.name}.webp", "image/webp", sum(piece.size for piece in found), etag, found)


async def _uploads(
    session: AsyncSession, caller: Caller, first: int, last: int, limit: int
) -> list[Upload]:
    rows = await session.execute(
        SELECT_UPLOADS, {"user_id": caller.user_id, "first": first, "last": last, "limit": limit}
    )
    return [_upload(row) for row in rows]


def _upload(row: Any) -> Upload:
    fields = attachments.public_fields(f"/api/media/{row.file['id']}", row.file)
    fields["media_type"] = fields["media_type"] or UNKNOWN_TYPE
    fields["size"] = row.received if fields["size"] is None else fields["size"]
    return Upload(
        **fields,
        received=row.received,
        ready=row.ready_at is not None,
        created_at=row.created_at,
        expires_at=row.expires_at,
    )
