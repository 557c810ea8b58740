"""Who has read what: a cursor a member, that never goes back and never passes the last message."""

from sqlalchemy import func, select, update
from sqlalchemy.ext.asyncio import AsyncSession

from blazechat.database import tables
from blazechat.domain.access import Caller, chat_for, message_for
from blazechat.domain.errors import NotFound
from blazechat.domain.shapes import ReadCursor, ReadStatus


async def read(session: AsyncSession, asker: Caller, chat_id: int, up_to: int | None = None) -> ReadCursor:
    """Move the asker's cursor up to a message; without one, to the newest."""
    await chat_for(session, asker.user_id, chat_id)
    newest = select(tables.Chat.last_message_id).where(tables.Chat.id == chat_id).scalar_subquery()
    target = newest if up_to is None else func.least(up_to, newest)
    moved = await session.execute(
        update(tables.Member)
        .where(tables.Member.chat_id == chat_id, tables.Member.user_id == asker.user_id)
        .values(read_id=func.greatest(tables.Member.read_id, target))
        .returning(tables.Member.read_id, newest.label("newest"))
    )
    row = moved.one_or_none()
    if row is None:  # removed since we looked
        raise NotFound
    # `newest` is of the beginning of the statement; a message sent meanwhile may have moved the cursor.
    return ReadCursor("Messages marked as read", row.read_id, max(0, row.newest - row.read_id))


async def status(session: AsyncSession, asker: Caller, chat_id: int, message_id: int) -> ReadStatus:
    """Who of those that were there when a message was said has read it, its author left out."""
    membership = await chat_for(session, asker.user_id, chat_id)
    message = await message_for(session, membership, message_id)
    rows = await session.execute(
        select(tables.Member.user_id, tables.Member.read_id)
        .where(
            tables.Member.chat_id == chat_id,
            tables.Member.user_id != message.author_id,
            tables.Member.joined_id < message_id,
        )
        .order_by(tables.Member.user_id)
    )
    readers = {row.user_id: row.read_id >= message_id for row in rows}
    read_by = [user_id for user_id, has_read in readers.items() if has_read]
    unread_by = [user_id for user_id, has_read in readers.items() if not has_read]
    return ReadStatus(bool(read_by), read_by, unread_by)
