"""Reactions: who answered a message with which emoji. A change of the message, like an edit."""

from typing import Any

from sqlalchemy import delete, select
from sqlalchemy.dialects.postgresql import insert
from sqlalchemy.ext.asyncio import AsyncSession

from blazechat.database import tables
from blazechat.domain import validation
from blazechat.domain.auth.access import Action, Caller, Membership, chat_for, message_for
from blazechat.domain.events import MessageUpdated
from blazechat.domain.messaging import message_query, messages
from blazechat.domain.schemas.messages import Message
from blazechat.errors import MessageDeleted, TooManyReactions

KINDS_LIMIT = 20
"""Different emoji on one message."""


async def add(session: AsyncSession, asker: Caller, chat_id: int, message_id: int, emoji: Any) -> Message:
    """React; doing so twice is doing so once.

    Raises InvalidInput, MessageDeleted, NotFound, TooManyReactions.
    """
    emoji = validation.emoji(emoji)
    membership, message = await _found(session, asker, chat_id, message_id)
    if message.deleted_at is not None:
        raise MessageDeleted
    kinds = set(await session.scalars(select(tables.Reaction.emoji).distinct().where(*_of(message))))
    if len(kinds | {emoji}) > KINDS_LIMIT:
        raise TooManyReactions
    row = {"chat_id": chat_id, "message_id": message_id, "emoji": emoji, "user_id": asker.user_id}
    added = await session.execute(
        insert(tables.Reaction).values(row).on_conflict_do_nothing().returning(tables.Reaction.user_id)
    )
    return await _changed(session, membership, message, len(added.all()))


async def remove(
    session: AsyncSession, asker: Caller, chat_id: int, message_id: int, emoji: Any
) -> Message:
    """Take one's own reaction back, if there is one. Raises InvalidInput, NotFound."""
    emoji = validation.emoji(emoji)
    membership, message = await _found(session, asker, chat_id, message_id)
    removed = await session.execute(
        delete(tables.Reaction)
        .where(*_of(message), tables.Reaction.emoji == emoji, tables.Reaction.user_id == asker.user_id)
        .returning(tables.Reaction.user_id)
    )
    return await _changed(session, membership, message, -len(removed.all()))


def _of(message: tables.Message) -> tuple[Any, ...]:
    return (
        tables.Reaction.chat_id == message.chat_id,
        tables.Reaction.message_id == message.id,
    )


async def _found(
    session: AsyncSession, asker: Caller, chat_id: int, message_id: int
) -> tuple[Membership, tables.Message]:
    membership = await chat_for(session, asker.user_id, chat_id, Action.SEND)
    return membership, await message_for(session, membership, message_id)


async def _changed(
    session: AsyncSession, membership: Membership, message: tables.Message, difference: int
) -> Message:
    """The message as it is shown then; a new version of it only if there is a difference."""
    if not difference:
        return await message_query.reload(session, message)
    message.reaction_count += difference
    return await messages.change(session, membership, message, MessageUpdated)
