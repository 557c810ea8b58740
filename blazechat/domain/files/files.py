"""Files of one's own and files in chats: showing, finding, deleting them. Receiving is `uploads.py`'s."""

from dataclasses import dataclass
from typing import Any

from sqlalchemy import JSON, column, func, select, text
from sqlalchemy.ext.asyncio import AsyncSession

from blazechat.database import tables
from blazechat.domain.auth.access import Caller, Membership
from blazechat.domain.files import attachments
from blazechat.domain.schemas.files import Part, Upload
from blazechat.errors import MediaInUse, NoSuchMedia, UploadUnfinished
from blazechat.media.storage import StoredPiece

UNKNOWN_TYPE = "application/octet-stream"
LARGEST = 2**63 - 1
LEAST = 4096

OWN = text(
    f"""SELECT {attachments.FILE} AS file, f.created_at, f.ready_at, f.expires_at, b.received
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
    """What a download needs to know. `tag` stands for these bytes and no others."""

    name: str
    media_type: str
    size: int
    tag: str
    pieces: list[StoredPiece]


async def own(session: AsyncSession, asker: Caller, media_id: int) -> tables.Media:
    """A file that the asker uploads or has uploaded. Raises NoSuchMedia.

    For a token for certain chats, only until a message has it: that may be one of another chat.
    """
    media = await session.get(tables.Media, media_id)
    if media is None or media.user_id != asker.user_id:
        raise NoSuchMedia
    if asker.grant.chat_ids is not None and media.expires_at is None:
        raise NoSuchMedia
    return media


async def listed(session: AsyncSession, asker: Caller, *, limit: int, before: int | None) -> list[Upload]:
    """The asker's files, the newest first, those with a smaller id than `before`."""
    return await _uploads(session, asker, 1, LARGEST if before is None else before - 1, limit)


async def shown(session: AsyncSession, asker: Caller, media_id: int) -> Upload:
    """Raises NoSuchMedia."""
    found = await _uploads(session, asker, media_id, media_id, 1)
    if not found:
        raise NoSuchMedia
    return found[0]


async def lock_quota(session: AsyncSession, user_id: int) -> None:
    """From here on nobody else finds the room in this user's quota that we find."""
    await session.execute(
        select(tables.User.id).where(tables.User.id == user_id).with_for_update(key_share=True)
    )


async def usage(session: AsyncSession, user_id: int) -> int:
    """Bytes of files that count for this user, of uploads under way all that was announced.

    Each file counts as LEAST bytes at least: nothing takes no room at all.
    """
    size = func.greatest(func.coalesce(tables.Blob.size, tables.Blob.received), LEAST)
    counted = select(func.coalesce(func.sum(size), 0)).join(
        tables.Media, tables.Media.blob_id == tables.Blob.id
    )
    return int(await session.scalar(counted.where(tables.Media.user_id == user_id)) or 0)


async def unfinished(session: AsyncSession, user_id: int) -> int:
    """How many uploads this user has begun and not finished."""
    begun = select(func.count()).where(tables.Media.user_id == user_id, tables.Media.ready_at.is_(None))
    return await session.scalar(begun) or 0


async def delete(session: AsyncSession, asker: Caller, media_id: int) -> None:
    """Remove a file that no message has, or give up an upload. Raises NoSuchMedia, MediaInUse."""
    await own(session, asker, media_id)
    await attachments.remove(session, [media_id])
    still_there = select(tables.Media.id).where(tables.Media.id == media_id)
    if (await session.execute(still_there)).first() is not None:
        raise MediaInUse


async def open_own(session: AsyncSession, asker: Caller, media_id: int, part: Part) -> StoredFile:
    """Raises NoSuchMedia, UploadUnfinished."""
    media = await own(session, asker, media_id)
    if media.ready_at is None:
        raise UploadUnfinished
    return await _stored(session, media, part)


async def open_attached(
    session: AsyncSession, membership: Membership, media_id: int, part: Part
) -> StoredFile:
    """A file of a message that this member may see. Raises NoSuchMedia."""
    if not await attachments.has(session, membership.chat.id, media_id, membership.visible_after):
        raise NoSuchMedia
    media = await session.get(tables.Media, media_id)
    if media is None:
        raise NoSuchMedia
    return await _stored(session, media, part)


async def content_of(session: AsyncSession, blob_id: int, part: Part = Part.CONTENT) -> list[StoredPiece]:
    """The pieces of a part, in order."""
    rows = await session.execute(
        select(tables.Piece.key, tables.Piece.position, tables.Piece.size)
        .where(tables.Piece.blob_id == blob_id, tables.Piece.part == part, tables.Piece.stored)
        .order_by(tables.Piece.position)
    )
    return [StoredPiece(*row) for row in rows]


async def _stored(session: AsyncSession, media: tables.Media, part: Part) -> StoredFile:
    blob = await session.get_one(tables.Blob, media.blob_id)
    pieces = await content_of(session, blob.id, part)
    if part is not Part.CONTENT and not pieces:
        raise NoSuchMedia("This file has no such thumbnail.")
    tag = f"{media.id:x}-{part}"  # not of the blob, which would tell that somebody else has the same
    if part is Part.CONTENT:
        return StoredFile(media.name, blob.media_type or UNKNOWN_TYPE, blob.size or 0, tag, pieces)
    return StoredFile(f"{media.name}.webp", "image/webp", sum(p.size for p in pieces), tag, pieces)


async def _uploads(session: AsyncSession, asker: Caller, first: int, last: int, limit: int) -> list[Upload]:
    rows = await session.execute(
        OWN, {"user_id": asker.user_id, "first": first, "last": last, "limit": limit}
    )
    return [_upload(row) for row in rows]


def _upload(row: Any) -> Upload:
    found = attachments.fields(f"/api/media/{row.file['id']}", row.file)
    found["media_type"] = found["media_type"] or UNKNOWN_TYPE
    found["size"] = row.received if found["size"] is None else found["size"]
    return Upload(
        **found,
        received=row.received,
        ready=row.ready_at is not None,
        created_at=row.created_at,
        expires_at=row.expires_at,
    )
