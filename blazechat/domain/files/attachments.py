"""Attachments: the files of messages, their public form, and how they are detached and deleted."""

from collections.abc import Collection, Sequence
from typing import Any

import asyncpg
import msgspec
from sqlalchemy import JSON, BigInteger, bindparam, literal_column, select, text
from sqlalchemy import delete as sql_delete
from sqlalchemy.dialects.postgresql import ARRAY
from sqlalchemy.ext.asyncio import AsyncSession

from blazechat.database import tables
from blazechat.database.arrays import numbers
from blazechat.domain.schemas.files import Attachment, Thumbnail

FILE_JSON = """json_build_object(
    'id', f.id, 'name', f.name, 'media_type', b.media_type, 'size', b.size, 'width', b.width,
    'height', b.height, 'duration', b.duration, 'placeholder', encode(b.placeholder, 'base64'),
    'thumbnails', (
        SELECT json_agg(json_build_array(p.part, p.width, p.height) ORDER BY p.part DESC)
        FROM pieces p WHERE p.blob_id = b.id AND p.part <> 'content' AND p.stored
    )
)"""
"""SQL for a file `f` with its blob `b`, in the form that `public_fields()` takes."""

MESSAGE_FILES: Any = literal_column(
    f"""(SELECT json_agg({FILE_JSON} ORDER BY a.place) FROM attachments a
    JOIN media f ON f.id = a.media_id JOIN blobs b ON b.id = f.blob_id
    WHERE a.chat_id = messages.chat_id AND a.message_id = messages.id)""",  # noqa: S608 (put together from constants)
    JSON(),
)
"""A column for a query of messages: the files of each, in the form that `of_message()` takes."""

SELECT_READY = f"""SELECT f.id, {FILE_JSON}::text AS file FROM media f JOIN blobs b ON b.id = f.blob_id
WHERE f.id = ANY ($1::text::int8[]) AND f.ready_at IS NOT NULL"""  # noqa: S608 (put together from constants)

LOCK = tuple(
    text(statement).bindparams(bindparam("ids", type_=ARRAY(BigInteger)))
    for statement in (
        "SELECT FROM media WHERE id = ANY (:ids) ORDER BY id FOR UPDATE",
        """SELECT FROM blobs WHERE id IN (SELECT blob_id FROM media WHERE id = ANY (:ids))
        ORDER BY id FOR NO KEY UPDATE""",
    )
)

DELETE_UNATTACHED = text(
    """WITH gone AS (
        DELETE FROM media WHERE id = ANY (:ids)
            AND NOT EXISTS (SELECT FROM attachments WHERE media_id = media.id)
        RETURNING blob_id
    )
    UPDATE blobs SET loose_at = now()
    FROM (SELECT DISTINCT blob_id FROM gone) g WHERE blobs.id = g.blob_id"""
).bindparams(bindparam("ids", type_=ARRAY(BigInteger)))


def of_message(chat_id: int, files: Sequence[dict[str, Any]]) -> list[Attachment]:
    """Return the public form of the files of a message of this chat."""
    return [Attachment(**public_fields(f"/api/chats/{chat_id}/media/{file['id']}", file)) for file in files]


def public_fields(base_path: str, file: dict[str, Any]) -> dict[str, Any]:
    """Return the fields of an `Attachment`. Its URLs are below `base_path`."""
    thumbnails = [
        Thumbnail(part, width, height, f"{base_path}/{part}")
        for part, width, height in file["thumbnails"] or ()
    ]
    return file | {"url": f"{base_path}/content", "thumbnails": thumbnails}


async def load(connection: asyncpg.Connection, media_ids: Collection[int]) -> dict[int, dict[str, Any]]:
    """Return those of the files that are ready, by id, in the form that `of_message()` takes."""
    rows = await connection.fetch(SELECT_READY, numbers(media_ids))
    return {row["id"]: msgspec.json.decode(row["file"]) for row in rows}


async def is_attached(session: AsyncSession, chat_id: int, media_id: int, visible_after: int) -> bool:
    """True if a message of the chat with a greater id than `visible_after` has this file."""
    attachment = (
        select(tables.Attachment.media_id)
        .where(
            tables.Attachment.chat_id == chat_id,
            tables.Attachment.media_id == media_id,
            tables.Attachment.message_id > visible_after,
        )
        .limit(1)
    )
    return (await session.execute(attachment)).first() is not None


async def detach(session: AsyncSession, chat_id: int, message_id: int | None = None) -> None:
    """Remove all attachments of a message, or of all messages of a chat. The caller has locked the row.

    Files that no other message has are deleted: from every response with the commit, from the storage by
    the next sweep.
    """
    conditions = [tables.Attachment.chat_id == chat_id]
    if message_id is not None:
        conditions.append(tables.Attachment.message_id == message_id)
    detached = await session.scalars(
        sql_delete(tables.Attachment).where(*conditions).returning(tables.Attachment.media_id)
    )
    await delete_unattached(session, sorted(set(detached)))


async def delete_unattached(session: AsyncSession, media_ids: Sequence[int]) -> None:
    """Delete those of the files that no message has."""
    if not media_ids:
        return
    # Separate statements, so that the last one sees the messages that were sent before the locks.
    for statement in (*LOCK, DELETE_UNATTACHED):
        await session.execute(statement, {"ids": media_ids})
