"""All of somebody's chats at a glance, in one query."""

from datetime import datetime
from typing import Any

from sqlalchemy import func, select
from sqlalchemy.dialects.postgresql import aggregate_order_by
from sqlalchemy.ext.asyncio import AsyncSession
from sqlalchemy.orm import aliased

from blazechat.database import tables
from blazechat.domain.auth.access import Caller
from blazechat.domain.chats.chats import chat_of, granted_chats, my_chat, seat_of
from blazechat.domain.messaging.message_query import columns, of_row
from blazechat.domain.schemas.chats import MyChat
from blazechat.domain.schemas.users import Member, StatusOf
from blazechat.vocabulary import History, Role

FEW = 8
"""Members that a chat is shown with in the overview of all chats."""


async def overview(
    session: AsyncSession, asker: Caller, status_of: StatusOf, *, limit: int, skip: int
) -> list[MyChat]:
    """The asker's chats, those with the latest message first, in one query.

    What it costs depends on how many chats there are, not on how long they are. Of the members of
    a group the first few are shown.
    """
    me, chat, message = tables.Member, tables.Chat, tables.Message
    rows = await session.execute(
        select(chat, me, _first_people().label("people"), *columns())
        .select_from(chat)
        .join(me, me.chat_id == chat.id)
        .outerjoin(
            message,
            (message.chat_id == chat.id)
            & (message.id == chat.last_message_id)
            & ((chat.history != History.JOINED) | (message.id > me.joined_id)),
        )
        .outerjoin(tables.User, tables.User.id == message.author_id)
        .where(me.user_id == asker.user_id, granted_chats(asker))
        .order_by(func.coalesce(message.created_at, chat.created_at).desc(), chat.id.desc())
        .offset(skip)
        .limit(limit)
        .execution_options(populate_existing=True)
    )
    return [
        my_chat(
            chat_of(row.Chat, [_member(person, status_of) for person in row.people or ()]),
            seat_of(row.Member),
            of_row(row) if row.id is not None else None,
        )
        for row in rows
    ]


def _member(person: list[Any], status_of: StatusOf) -> Member:
    """A row of `_first_people()`; times come as text in JSON."""
    user_id, username, display_name, created_at, last_seen, kind, role = person
    return Member(
        user_id,
        username,
        display_name,
        datetime.fromisoformat(created_at),
        datetime.fromisoformat(last_seen) if last_seen else None,
        status_of(user_id),
        kind != "person",
        Role(role),
    )


def _first_people() -> Any:
    """For a query of chats: a JSON list of the first members of each."""
    member, user = aliased(tables.Member), aliased(tables.User)
    first = (
        select(member.user_id, member.role)
        .where(member.chat_id == tables.Chat.id)
        .order_by(member.user_id)
        .limit(FEW)
        .correlate(tables.Chat)
        .subquery()
    )
    person = func.json_build_array(
        user.id, user.username, user.display_name, user.created_at, user.last_seen, user.kind, first.c.role
    )
    return (
        select(func.json_agg(aggregate_order_by(person, user.id)))
        .join(first, first.c.user_id == user.id)
        .scalar_subquery()
    )
