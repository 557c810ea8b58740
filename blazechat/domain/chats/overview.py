"""The overview of a user's chats, in one query."""

from datetime import datetime
from functools import cache
from typing import Any

from sqlalchemy import ARRAY, BigInteger, Select, bindparam, func, select
from sqlalchemy.dialects.postgresql import aggregate_order_by
from sqlalchemy.ext.asyncio import AsyncSession
from sqlalchemy.orm import aliased

from blazechat.database import tables
from blazechat.domain.auth.access import Caller
from blazechat.domain.chats.chat_query import chat_of, member_state_of, my_chat
from blazechat.domain.messaging.message_query import columns, from_row
from blazechat.domain.schemas.chats import MyChat
from blazechat.domain.schemas.users import Member, StatusOf
from blazechat.vocabulary import History, Role

MAX_USERS_IN_OVERVIEW = 8
"""Members in `Chat.users` of the overview."""


async def overview(
    session: AsyncSession, caller: Caller, status_of: StatusOf, *, limit: int, skip: int
) -> list[MyChat]:
    """Return the caller's chats, those with the latest message first.

    The cost depends on the number of chats, not on the number of their messages. A chat has its first few
    members only.
    """
    chat_ids = caller.grant.chat_ids
    rows = await session.execute(
        _select_chats(has_chat_ids=chat_ids is not None),
        {"user_id": caller.user_id, "chat_ids": list(chat_ids or ()), "skip": skip, "limit": limit},
    )
    return [
        my_chat(
            chat_of(row.Chat, [_member(fields, status_of) for fields in row.members or ()]),
            member_state_of(row.Chat, row.Member),
            from_row(row) if row.id is not None else None,
        )
        for row in rows
    ]


@cache
def _select_chats(*, has_chat_ids: bool) -> Select[Any]:
    """Return the query for `user_id`, built once: building it takes longer than PostgreSQL takes to run it.

    With `has_chat_ids`, it is limited to the chats `chat_ids`.
    """
    me, chat, message = tables.Member, tables.Chat, tables.Message
    query = (
        select(chat, me, _first_members().label("members"), *columns())
        .select_from(chat)
        .join(me, me.chat_id == chat.id)
        .outerjoin(
            message,
            (message.chat_id == chat.id)
            & (message.id == chat.last_message_id)
            & ((chat.history != History.JOINED) | (message.id > me.joined_id)),
        )
        .outerjoin(tables.User, tables.User.id == message.author_id)
        .where(me.user_id == bindparam("user_id", type_=BigInteger))
        .order_by(func.coalesce(message.created_at, chat.created_at).desc(), chat.id.desc())
        .offset(bindparam("skip", type_=BigInteger))
        .limit(bindparam("limit", type_=BigInteger))
        .execution_options(populate_existing=True)
    )
    if has_chat_ids:
        query = query.where(chat.id == func.any(bindparam("chat_ids", type_=ARRAY(BigInteger))))
    return query


def _first_members() -> Any:
    """Return a column for a query of chats: a JSON list of the first members, each a list of fields."""
    member, user = aliased(tables.Member), aliased(tables.User)
    first = (
        select(member.user_id, member.role)
        .where(member.chat_id == tables.Chat.id)
        .order_by(member.user_id)
        .limit(MAX_USERS_IN_OVERVIEW)
        .correlate(tables.Chat)
        .subquery()
    )
    fields = func.json_build_array(
        user.id, user.username, user.display_name, user.created_at, user.last_seen, user.kind, first.c.role
    )
    return (
        select(func.json_agg(aggregate_order_by(fields, user.id)))
        .join(first, first.c.user_id == user.id)
        .scalar_subquery()
    )


def _member(fields: list[Any], status_of: StatusOf) -> Member:
    """Return the member with these fields of `_first_members()`. JSON has timestamps as text."""
    user_id, username, display_name, created_at, last_seen, kind, role = fields
    return Member(
        id=user_id,
        username=username,
        display_name=display_name,
        created_at=datetime.fromisoformat(created_at),
        last_seen=datetime.fromisoformat(last_seen) if last_seen else None,
        status=status_of(user_id),
        is_bot=kind != "person",
        role=Role(role),
    )
