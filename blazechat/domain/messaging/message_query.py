"""Messages as they are shown: what to select for it, and how it becomes a `Message`."""

from functools import cache
from typing import Any

from sqlalchemy import ARRAY, BigInteger, ColumnElement, case, func, select
from sqlalchemy.dialects.postgresql import aggregate_order_by
from sqlalchemy.ext.asyncio import AsyncSession

from blazechat.database import tables
from blazechat.domain.files import attachments
from blazechat.domain.schemas.messages import AuthorOverride, Message, Reaction
from blazechat.domain.schemas.users import Author
from blazechat.errors import NoSuchMessage

REACTORS_SHOWN = 50
"""Of those who reacted alike, the ids that a message carries."""

Readers = Any
"""Columns of a selection of members."""


async def find(
    session: AsyncSession,
    *which: ColumnElement[bool],
    readers: Readers = None,
    order: tuple[Any, ...] = (tables.Message.chat_id, tables.Message.id),
    limit: int | None = None,
) -> list[Message]:
    """Messages as they are shown; by chat, the oldest first, unless `order` says otherwise."""
    rows = await session.execute(
        select(*columns(readers))
        .join(tables.User, tables.User.id == tables.Message.author_id)
        .where(*which)
        .order_by(*order)
        .limit(limit)
    )
    return [of_row(row) for row in rows]


def readers_of(chat_id: int, first: int) -> Readers:
    """Those who have read the chat's message `first` or later, gathered once for a whole page.

    Else each message of a large chat that few have read would look through all of its members.
    """
    member = tables.Member
    return (
        select(member.chat_id, member.user_id, member.read_id, member.joined_id)
        .where(member.chat_id == chat_id, member.read_id >= first)
        .cte("readers")
        .prefix_with("MATERIALIZED", dialect="postgresql")
        .c
    )


async def reload(session: AsyncSession, message: tables.Message) -> Message:
    """The message as it is shown. Raises NotFound if its chat was deleted a moment ago."""
    found = await find(session, tables.Message.chat_id == message.chat_id, tables.Message.id == message.id)
    if not found:
        raise NoSuchMessage
    return found[0]


def columns(readers: Readers = None) -> list[Any]:
    """What has to be selected of messages and users for `of_row()`; `readers` are all by default."""
    return _usual_columns() if readers is None else _columns(readers)


@cache
def _usual_columns() -> list[Any]:
    return _columns(tables.Member.__table__.c)


def _columns(readers: Readers) -> list[Any]:
    message = tables.Message
    is_read = (
        select(readers.user_id)
        .where(
            readers.chat_id == message.chat_id,
            readers.read_id >= message.id,
            readers.joined_id < message.id,
            readers.user_id != message.author_id,
        )
        .correlate(message)
        .exists()
    )
    return [
        message.id,
        message.chat_id,
        message.author_id,
        tables.User.username,
        tables.User.display_name,
        message.content,
        message.client_id,
        message.reply_to,
        message.version,
        is_read.label("is_read"),
        message.created_at,
        message.edited_at,
        message.deleted_at,
        message.pinned_at,
        message.shown_as,
        case((message.reaction_count > 0, _reactions()), else_=None).label("reactions"),
        case((message.attachment_count > 0, attachments.OF_MESSAGE), else_=None).label("attachments"),
    ]


def of_row(row: Any) -> Message:
    author = Author(row.author_id, row.username, row.display_name)
    return Message(
        id=row.id,
        chat_id=row.chat_id,
        user_id=row.author_id,
        user=AuthorOverride(**row.shown_as).apply(author) if row.shown_as else author,
        content=row.content,
        client_id=row.client_id,
        reply_to=row.reply_to,
        version=row.version,
        is_read=row.is_read,
        created_at=row.created_at,
        updated_at=row.deleted_at or row.edited_at or row.created_at,
        edited_at=row.edited_at,
        deleted_at=row.deleted_at,
        pinned_at=row.pinned_at,
        reactions=[Reaction(*found) for found in row.reactions or ()],
        attachments=attachments.shown(row.chat_id, row.attachments) if row.attachments else [],
    )


def _reactions() -> Any:
    """A JSON list of `[emoji, count, user ids]`, the first used first."""
    reaction, message = tables.Reaction, tables.Message
    in_order = aggregate_order_by(reaction.user_id, reaction.created_at, reaction.user_id)
    by_emoji = (
        select(
            reaction.emoji,
            func.count().label("count"),
            func.array_agg(in_order, type_=ARRAY(BigInteger))[1:REACTORS_SHOWN].label("users"),
            func.min(reaction.created_at).label("first"),
        )
        .where(reaction.chat_id == message.chat_id, reaction.message_id == message.id)
        .group_by(reaction.emoji)
        .correlate(message)
        .subquery()
    )
    row = func.json_build_array(by_emoji.c.emoji, by_emoji.c.count, by_emoji.c.users)
    return select(
        func.json_agg(aggregate_order_by(row, by_emoji.c.first, by_emoji.c.emoji))
    ).scalar_subquery()
