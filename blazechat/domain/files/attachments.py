"""Files that messages have: how they are shown, and letting go of them."""

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

FILE = """json_build_object(
    'id', f.id, 'name', f.name, 'media_type', b.media_type, 'size', b.size, 'width', b.width,
    'height', b.height, 'duration', b.duration, 'placeholder', encode(b.placeholder, 'base64'),
    'thumbnails', (
        SELECT json_agg(json_build_array(p.part, p.width, p.height) ORDER BY p.part DESC)
        FROM pieces p WHERE p.blob_id = b.id AND p.part <> 'content' AND p.stored
    )
)"""
"""A file `f` with its blob `b`, as `fields()` takes it."""

OF_MESSAGE: Any = literal_column(
    f"""(SELECT json_agg({FILE} ORDER BY a.place) FROM attachments a
    JOIN media f ON f.id = a.media_id JOIN blobs b ON b.id = f.blob_id
    WHERE a.chat_id = messages.chat_id AND a.message_id = messages.id)""",  # noqa: S608 (put together from constants)
    JSON(),
)
"""For a query of messages: the files of each, for `shown()`."""

LOAD = f"""SELECT f.id, {FILE}::text AS file FROM media f JOIN blobs b ON b.id = f.blob_id
WHERE f.id = ANY ($1::text::int8[]) AND f.ready_at IS NOT NULL"""  # noqa: S608 (put together from constants)

HOLD = tuple(
    text(statement).bindparams(bindparam("ids", type_=ARRAY(BigInteger)))
    for statement in (
        "SELECT FROM media WHERE id = ANY (:ids) ORDER BY id FOR UPDATE",
        """SELECT FROM blobs WHERE id IN (SELECT blob_id FROM media WHERE id = ANY (:ids))
        ORDER BY id FOR NO KEY UPDATE""",
    )
)

REMOVE = text(
    """WITH gone AS (
        DELETE FROM media WHERE id = ANY (:ids)
            AND NOT EXISTS (SELECT FROM attachments WHERE media_id = media.id)
        RETURNING blob_id
    )
    UPDATE blobs SET loose_at = now()
    FROM (SELECT DISTINCT blob_id FROM gone) g WHERE blobs.id = g.blob_id"""
).bindparams(bindparam("ids", type_=ARRAY(BigInteger)))


def shown(chat_id: int, found: Sequence[dict[str, Any]]) -> list[Attachment]:
    """Files of a message of this chat."""
    return [attachment(f"/api/chats/{chat_id}/media/{each['id']}", each) for each in found]


def attachment(base: str, found: dict[str, Any]) -> Attachment:
    """A file below the path `base`."""
    return Attachment(**fields(base, found))


def fields(base: str, found: dict[str, Any]) -> dict[str, Any]:
    """What an Attachment is made of."""
    thumbnails = [
        Thumbnail(part, width, height, f"{base}/{part}")
        for part, width, height in found["thumbnails"] or ()
    ]
    return found | {"url": f"{base}/content", "thumbnails": thumbnails}


async def load(connection: asyncpg.Connection, media_ids: Collection[int]) -> dict[int, dict[str, Any]]:
    """Those of the files that have arrived, by id, for `shown()`."""
    rows = await connection.fetch(LOAD, numbers(media_ids))
    return {row["id"]: msgspec.json.decode(row["file"]) for row in rows}


async def release(session: AsyncSession, chat_id: int, message_id: int | None = None) -> None:
    """Take all files from a message, or from all of a chat, whose row is locked.

    Those that no other message has are gone with it: from every answer at once, from the storage soon.
    """
    which = [tables.Attachment.chat_id == chat_id]
    if message_id is not None:
        which.append(tables.Attachment.message_id == message_id)
    let_go = await session.scalars(
        sql_delete(tables.Attachment).where(*which).returning(tables.Attachment.media_id)
    )
    await remove(session, sorted(set(let_go)))


async def remove(session: AsyncSession, media_ids: Sequence[int]) -> None:
    """Remove those of the files that no message has."""
    if not media_ids:
        return
    # Statements of their own: the last one then sees the messages that were sent before the locks.
    for statement in (*HOLD, REMOVE):
        await session.execute(statement, {"ids": media_ids})


async def has(session: AsyncSession, chat_id: int, media_id: int, visible_after: int) -> bool:
    """Whether a message of the chat behind `visible_after` has this file."""
    found = (
        select(tables.Attachment.media_id)
        .where(
            tables.Attachment.chat_id == chat_id,
            tables.Attachment.media_id == media_id,
            tables.Attachment.message_id > visible_after,
        )
        .limit(1)
    )
    return (await session.execute(found)).first() is not None
