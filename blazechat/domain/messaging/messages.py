"""Read, edit, delete and pin messages. The ledger stores new ones."""

from collections.abc import Iterable
from dataclasses import dataclass
from datetime import UTC, datetime

from sqlalchemy import case, func, select, true, tuple_
from sqlalchemy import delete as sql_delete
from sqlalchemy.ext.asyncio import AsyncSession
from sqlalchemy.orm import aliased

from blazechat.database import tables
from blazechat.domain import validation
from blazechat.domain.auth.access import Action, Caller, Membership, chat_for, message_for
from blazechat.domain.events import MessageDeleted as Deleted
from blazechat.domain.events import MessageUpdated as Updated
from blazechat.domain.events import emit
from blazechat.domain.files import attachments
from blazechat.domain.messaging.message_query import find, readers_of, reload
from blazechat.domain.schemas.messages import Message
from blazechat.errors import Forbidden, InvalidInput, MessageAlreadyDeleted, TooManyPins

MAX_PAGE_MESSAGES = 100
MAX_PINS = 100
"""Pinned messages of one chat."""
MAX_MESSAGE_ID = 2**63 - 1


@dataclass(frozen=True, slots=True)
class PageRequest:
    """Which messages of a chat: at most `limit`, at one of these positions; without any, the newest."""

    limit: int = 50
    before: int | None = None
    after: int | None = None
    around: int | None = None
    skip: int | None = None

    def __post_init__(self) -> None:
        positions = (self.before, self.after, self.around, self.skip)
        if sum(position is not None for position in positions) > 1:
            raise InvalidInput.of("before", "Give one of before, after, around and skip.")

    @property
    def is_newest(self) -> bool:
        return self.before is self.after is self.around is None and not self.skip

    @property
    def last_id_range(self) -> tuple[int, int]:
        """The smallest and the greatest id that the last message of the page can have.

        Within them it is the newest message, or the one `skip` messages before it.
        """
        if self.after is not None:
            return self.after + self.limit, self.after + self.limit
        if self.around is not None:
            return self.limit, self.around - self.limit // 2 + self.limit - 1
        return 0, MAX_MESSAGE_ID if self.before is None else self.before - 1

    def bounds(self, newest: int) -> tuple[int, int]:
        """Return the first and last id of the page in a chat whose newest message has the id `newest`.

        Ids have no holes, so every page is a range of ids. READ_PAGES computes the same in SQL.
        """
        least, greatest = self.last_id_range
        last = max(least, min(greatest, newest - (self.skip or 0)))
        return last - self.limit + 1, last


async def page_without_deleted(
    session: AsyncSession, caller: Caller, chat_id: int, *, limit: int, skip: int
) -> list[Message]:
    """Return the newest messages that are not deleted after `skip` others, newest first. Raises
    NoSuchChat."""
    membership = await chat_for(session, caller.user_id, chat_id)
    message = tables.Message
    ids = await session.scalars(
        select(message.id)
        .where(
            message.chat_id == chat_id,
            message.id > membership.visible_after,
            message.deleted_at.is_(None),
        )
        .order_by(message.id.desc())
        .offset(skip)
        .limit(limit)
    )
    wanted = ids.all()
    if not wanted:
        return []
    return await find(
        session,
        message.chat_id == chat_id,
        message.id.in_(wanted),
        readers=readers_of(chat_id, wanted[-1]),
        order=(message.id.desc(),),
    )


async def latest(
    session: AsyncSession, caller: Caller, chat_ids: Iterable[int], count: int
) -> dict[int, list[Message]]:
    """Return the newest `count` messages of each of the caller's chats, without deleted ones, the newest
    first, by chat id."""
    member, newest = tables.Member, aliased(tables.Message)
    newest_ids = (
        select(newest.id)
        .where(
            newest.chat_id == member.chat_id,
            newest.id > case((tables.Chat.history == "joined", member.joined_id), else_=0),
            newest.deleted_at.is_(None),
        )
        .order_by(newest.id.desc())
        .limit(count)
        .correlate(member, tables.Chat)
        .lateral()
    )
    found = await find(
        session,
        tuple_(tables.Message.chat_id, tables.Message.id).in_(
            select(member.chat_id, newest_ids.c.id)
            .join(tables.Chat, tables.Chat.id == member.chat_id)
            .join(newest_ids, true())
            .where(member.user_id == caller.user_id, member.chat_id.in_(list(chat_ids)))
        ),
        order=(tables.Message.chat_id, tables.Message.id.desc()),
    )
    grouped: dict[int, list[Message]] = {}
    for message in found:
        grouped.setdefault(message.chat_id, []).append(message)
    return grouped


async def get(session: AsyncSession, caller: Caller, chat_id: int, message_id: int) -> Message:
    """Return one message. Raises NoSuchChat, NoSuchMessage."""
    membership = await chat_for(session, caller.user_id, chat_id)
    return await reload(session, await message_for(session, membership, message_id))


async def edit(
    session: AsyncSession, caller: Caller, chat_id: int, message_id: int, content: str
) -> Message:
    """Replace the content of the caller's own message. The same content changes nothing.

    Raises Forbidden, MessageAlreadyDeleted, InvalidInput, NotFound.
    """
    membership = await chat_for(session, caller.user_id, chat_id, Action.SEND)
    message = await message_for(session, membership, message_id)
    (validation.caption if message.attachment_count else validation.message)(content)
    if message.author_id != caller.user_id:
        raise Forbidden("Only its author may edit a message.")
    if message.deleted_at is not None:
        raise MessageAlreadyDeleted
    if message.content == content:
        return await reload(session, message)
    message.content = content
    message.edited_at = datetime.now(UTC)
    return await record_change(session, membership, message, Updated)


async def delete(session: AsyncSession, caller: Caller, chat_id: int, message_id: int) -> Message:
    """Remove the content of a message, and keep its row as a tombstone. Idempotent.

    Raises Forbidden if the caller may not delete other members' messages, NotFound.
    """
    membership = await chat_for(session, caller.user_id, chat_id, Action.SEND)
    message = await message_for(session, membership, message_id)
    if message.author_id != caller.user_id:
        membership.require(Action.DELETE_OTHERS)
    if message.deleted_at is not None:
        return await reload(session, message)
    message.content, message.digest, message.pinned_at, message.shown_as = "", None, None, None
    message.deleted_at = datetime.now(UTC)
    message.reaction_count = message.attachment_count = 0
    to_message = (tables.Reaction.chat_id == chat_id, tables.Reaction.message_id == message_id)
    await session.execute(sql_delete(tables.Reaction).where(*to_message))
    await attachments.detach(session, chat_id, message_id)
    return await record_change(session, membership, message, Deleted)


async def pin(
    session: AsyncSession, caller: Caller, chat_id: int, message_id: int, pinned: bool
) -> Message:
    """Pin a message to its chat, or unpin it. Idempotent.

    Raises Forbidden, MessageAlreadyDeleted, NotFound, TooManyPins.
    """
    membership = await chat_for(session, caller.user_id, chat_id, Action.PIN)
    message = await message_for(session, membership, message_id)
    if message.deleted_at is not None:
        raise MessageAlreadyDeleted
    if (message.pinned_at is not None) == pinned:
        return await reload(session, message)
    if pinned and await _pin_count(session, chat_id) >= MAX_PINS:
        raise TooManyPins
    message.pinned_at = datetime.now(UTC) if pinned else None
    return await record_change(session, membership, message, Updated)


async def pins(session: AsyncSession, caller: Caller, chat_id: int) -> list[Message]:
    """Return the pinned messages that the caller may see, the last pinned first. Raises NoSuchChat."""
    membership = await chat_for(session, caller.user_id, chat_id)
    return await find(
        session,
        tables.Message.chat_id == chat_id,
        tables.Message.pinned_at.is_not(None),
        tables.Message.id > membership.visible_after,
        order=(tables.Message.pinned_at.desc(), tables.Message.id),
        limit=MAX_PINS,
    )


async def _pin_count(session: AsyncSession, chat_id: int) -> int:
    pinned = (tables.Message.chat_id == chat_id, tables.Message.pinned_at.is_not(None))
    return await session.scalar(select(func.count()).where(*pinned)) or 0


async def record_change(
    session: AsyncSession, membership: Membership, message: tables.Message, event: type[Updated | Deleted]
) -> Message:
    """Assign the next version to a changed message, and emit the event. The chat must be locked."""
    membership.chat.version += 1
    message.version = membership.chat.version
    await session.flush()
    changed = await reload(session, message)
    emit(session, event(message.chat_id, message.version, changed))
    return changed
