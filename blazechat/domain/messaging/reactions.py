"""Reactions of members to messages. Each is a change of the message, with a new version, like an edit."""

from typing import Any

from sqlalchemy import delete, func, select
from sqlalchemy.dialects.postgresql import insert
from sqlalchemy.ext.asyncio import AsyncSession

from blazechat.database import tables
from blazechat.domain.auth.access import Action, Caller, Membership, chat_for, message_for
from blazechat.domain.events import MessageUpdated
from blazechat.domain.messaging import emoji_set, message_query, messages
from blazechat.domain.schemas.messages import Message
from blazechat.errors import MessageAlreadyDeleted, TooManyReactions

MAX_EMOJI_PER_MESSAGE = 20
"""Different emoji."""


async def add(session: AsyncSession, caller: Caller, chat_id: int, message_id: int, emoji: Any) -> Message:
    """Add the caller's reaction. Idempotent.

    Raises InvalidInput, MessageAlreadyDeleted, NotFound, TooManyReactions.
    """
    emoji = emoji_set.qualified(emoji)
    membership, message = await _membership_and_message(session, caller, chat_id, message_id)
    if message.deleted_at is not None:
        raise MessageAlreadyDeleted
    kinds = set(
        await session.scalars(select(tables.Reaction.emoji).distinct().where(*_reactions_to(message)))
    )
    emoji = _same_in(kinds, emoji) or emoji
    if len(kinds | {emoji}) > MAX_EMOJI_PER_MESSAGE:
        raise TooManyReactions
    row = {"chat_id": chat_id, "message_id": message_id, "emoji": emoji, "user_id": caller.user_id}
    added = await session.execute(
        insert(tables.Reaction).values(row).on_conflict_do_nothing().returning(tables.Reaction.user_id)
    )
    return await _record(session, membership, message, len(added.all()))


async def remove(
    session: AsyncSession, caller: Caller, chat_id: int, message_id: int, emoji: Any
) -> Message:
    """Remove the caller's reaction, if there is one. Raises InvalidInput, NotFound."""
    key = emoji_set.stored_key(emoji)
    membership, message = await _membership_and_message(session, caller, chat_id, message_id)
    removed = await session.execute(
        delete(tables.Reaction)
        .where(
            *_reactions_to(message),
            func.replace(tables.Reaction.emoji, emoji_set.VARIATION_SELECTOR, "") == key,
            tables.Reaction.user_id == caller.user_id,
        )
        .returning(tables.Reaction.user_id)
    )
    return await _record(session, membership, message, -len(removed.all()))


def _same_in(kinds: set[str], emoji: str) -> str | None:
    """Return the emoji of a message that is the same one, perhaps stored in another form; None if it has
    none."""
    key = emoji_set.comparison_key(emoji)
    same = {kind for kind in kinds if emoji_set.comparison_key(kind) == key}
    return emoji if emoji in same else min(same, default=None)


def _reactions_to(message: tables.Message) -> tuple[Any, ...]:
    return (
        tables.Reaction.chat_id == message.chat_id,
        tables.Reaction.message_id == message.id,
    )


async def _membership_and_message(
    session: AsyncSession, caller: Caller, chat_id: int, message_id: int
) -> tuple[Membership, tables.Message]:
    membership = await chat_for(session, caller.user_id, chat_id, Action.SEND)
    return membership, await message_for(session, membership, message_id)


async def _record(
    session: AsyncSession, membership: Membership, message: tables.Message, difference: int
) -> Message:
    """Return the message, with a new version if the number of reactions has changed."""
    if not difference:
        return await message_query.reload(session, message)
    message.reaction_count += difference
    return await messages.record_change(session, membership, message, MessageUpdated)
