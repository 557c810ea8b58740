"""Selects messages in their public form: the columns, and how a row becomes a `Message`."""

from functools import cache
from typing import Any

from sqlalchemy import (
    ARRAY,
    BigInteger,
    ColumnElement,
    Select,
    bindparam,
    case,
    func,
    literal,
    select,
    true,
)
from sqlalchemy.dialects.postgresql import aggregate_order_by
from sqlalchemy.ext.asyncio import AsyncSession
from sqlalchemy.orm import aliased

from blazechat.database import tables
from blazechat.database.engine import Database
from blazechat.domain.files import attachments
from blazechat.domain.schemas.messages import AuthorOverride, Message, Reaction
from blazechat.domain.schemas.users import Author
from blazechat.errors import NoSuchMessage

MAX_REACTION_USERS = 50
"""User ids per emoji that a message carries; the count is exact."""

Readers = Any
"""The columns of a query of members."""


async def find(
    session: AsyncSession,
    *which: ColumnElement[bool],
    readers: Readers = None,
    order: tuple[Any, ...] = (tables.Message.chat_id, tables.Message.id),
    limit: int | None = None,
) -> list[Message]:
    """Return the messages for which all conditions hold, by default ordered by chat and id.

    `readers` are the members that count for `is_read`, by default all of the chat.
    """
    rows = await session.execute(
        select(*columns(readers))
        .join(tables.User, tables.User.id == tables.Message.author_id)
        .where(*which)
        .order_by(*order)
        .limit(limit)
    )
    return [from_row(row) for row in rows]


def readers_of(chat_id: int, first: int) -> Readers:
    """Return the members who have read the chat's message `first` or a later one, for a whole page.

    It is a materialised CTE. Without it, each message of a large chat that few members have read would scan
    all members.
    """
    query = select_readers(literal(chat_id, BigInteger), literal(first, BigInteger))
    return query.cte("readers").prefix_with("MATERIALIZED", dialect="postgresql").c


def select_readers(chat_id: ColumnElement[int], first: ColumnElement[int]) -> Select[Any]:
    """Return a query of the members who have read the message `first` of a chat or a later one."""
    readers = _all_readers()
    return select(*readers).where(readers.chat_id == chat_id, readers.read_id >= first)


async def stored(database: Database, chat_id: int, message_id: int | None) -> Message | None:
    """Return a message, in a transaction of its own; None if there is none with this id."""
    async with database.transaction() as session:
        rows = await session.execute(
            _select_message(), {"of_chat_id": chat_id, "of_message_id": message_id}
        )
        row = rows.one_or_none()
    return None if row is None else from_row(row)


async def reload(session: AsyncSession, message: tables.Message) -> Message:
    """Return the public form of a message. Raises NoSuchMessage if its chat was deleted meanwhile."""
    rows = await session.execute(
        _select_message(), {"of_chat_id": message.chat_id, "of_message_id": message.id}
    )
    row = rows.one_or_none()
    if row is None:
        raise NoSuchMessage
    return from_row(row)


@cache
def _select_message() -> Select[Any]:
    """Return the query of one message, built once: building it takes a millisecond."""
    return (
        select(*columns())
        .join(tables.User, tables.User.id == tables.Message.author_id)
        .where(
            tables.Message.chat_id == bindparam("of_chat_id", type_=BigInteger),
            tables.Message.id == bindparam("of_message_id", type_=BigInteger),
        )
    )


def columns(readers: Readers = None) -> list[Any]:
    """Return the columns of messages and users that `from_row()` needs."""
    return _default_columns() if readers is None else _columns(readers)


@cache
def _default_columns() -> list[Any]:
    return _columns(_all_readers())


def _all_readers() -> Readers:
    """Return the read cursors of members, those of authors from the rows of their chats as well.

    An author can be there twice: the greater cursor counts. PostgreSQL applies the conditions of the query
    to both parts, so each is an access by index.
    """
    member, chat = aliased(tables.Member), aliased(tables.Chat)
    author = (
        func.unnest(chat.author_ids, chat.author_read_ids)
        .table_valued("user_id", "read_id")
        .render_derived()
    )
    return (
        select(member.chat_id, member.user_id, member.read_id, member.joined_id)
        .union_all(
            select(member.chat_id, member.user_id, author.c.read_id, member.joined_id)
            .select_from(chat)
            .join(author, true())
            .join(member, (member.chat_id == chat.id) & (member.user_id == author.c.user_id))
        )
        .subquery("readers")
        .c
    )


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
        case((message.attachment_count > 0, attachments.MESSAGE_FILES), else_=None).label("attachments"),
    ]


def from_row(row: Any) -> Message:
    """Return the message of a row with `columns()`."""
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
        attachments=attachments.of_message(row.chat_id, row.attachments) if row.attachments else [],
    )


def _reactions() -> Any:
    """An SQL expression: a JSON list of `[emoji, count, user ids]`, in the order of first use."""
    reaction, message = tables.Reaction, tables.Message
    in_order = aggregate_order_by(reaction.user_id, reaction.created_at, reaction.user_id)
    by_emoji = (
        select(
            reaction.emoji,
            func.count().label("count"),
            func.array_agg(in_order, type_=ARRAY(BigInteger))[1:MAX_REACTION_USERS].label("users"),
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
