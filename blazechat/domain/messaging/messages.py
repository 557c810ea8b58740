"""Messages: reading, editing, pinning and deleting them. Sending is the ledger's."""

from collections.abc import Iterable
from dataclasses import dataclass
from datetime import UTC, datetime

from sqlalchemy import ColumnElement, case, func, select
from sqlalchemy import delete as sql_delete
from sqlalchemy.ext.asyncio import AsyncSession

from blazechat.database import tables
from blazechat.domain import validation
from blazechat.domain.auth.access import Action, Caller, Membership, chat_for, message_for
from blazechat.domain.events import MessageDeleted as Deleted
from blazechat.domain.events import MessageUpdated as Updated
from blazechat.domain.events import emit
from blazechat.domain.files import attachments
from blazechat.domain.messaging.message_query import find, readers_of, reload
from blazechat.domain.schemas.messages import Message
from blazechat.errors import Forbidden, InvalidInput, MessageDeleted, TooManyPins

PAGE_LIMIT = 100
PINS_LIMIT = 100
"""Pinned messages of one chat."""


@dataclass(frozen=True, slots=True)
class PageRequest:
    """Which messages: at most `limit`, next to one of these places; without any, the newest."""

    limit: int = 50
    before: int | None = None
    after: int | None = None
    around: int | None = None
    skip: int | None = None

    def __post_init__(self) -> None:
        places = (self.before, self.after, self.around, self.skip)
        if sum(place is not None for place in places) > 1:
            raise InvalidInput.of("before", "Give one of before, after, around and skip.")

    @property
    def is_newest(self) -> bool:
        return self.before is self.after is self.around is None and not self.skip

    def bounds(self, newest: int) -> tuple[int, int]:
        """The first and last id of the page in a chat with this newest message.

        Ids have no holes, so a page is a range of them, wherever it lies.
        """
        if self.after is not None:
            return self.after + 1, self.after + self.limit
        if self.around is not None:
            first = max(1, min(self.around - self.limit // 2, newest - self.limit + 1))
            return first, first + self.limit - 1
        last = newest - (self.skip or 0)
        if self.before is not None:
            last = min(newest, self.before - 1)
        return last - self.limit + 1, last


@dataclass(frozen=True, slots=True)
class MessagePage:
    """A page, the oldest message first, and whether there are messages before and behind it."""

    messages: list[Message]
    older: bool
    newer: bool


async def page(session: AsyncSession, asker: Caller, chat_id: int, wanted: PageRequest) -> MessagePage:
    """The wanted messages of the chat that the asker may see."""
    membership = await chat_for(session, asker.user_id, chat_id)
    newest, floor = membership.chat.last_message_id, membership.visible_after
    first, last = wanted.bounds(newest)
    first = max(first, floor + 1)
    found = await find(
        session,
        tables.Message.chat_id == chat_id,
        tables.Message.id.between(first, min(last, newest)),
        readers=readers_of(chat_id, first),
    )
    return MessagePage(found, older=bool(found) and first > floor + 1, newer=bool(found) and last < newest)


async def from_the_first(
    session: AsyncSession, asker: Caller, chat_id: int, *, skip: int, limit: int
) -> MessagePage:
    """A page counted from the first message that the asker may see."""
    membership = await chat_for(session, asker.user_id, chat_id)
    wanted = PageRequest(limit, after=membership.visible_after + skip)
    return await page(session, asker, chat_id, wanted)


async def latest(
    session: AsyncSession, asker: Caller, chat_ids: Iterable[int], count: int
) -> dict[int, list[Message]]:
    """The newest `count` messages of each of the asker's chats, the oldest first."""
    found = await find(
        session,
        tables.Message.chat_id.in_(
            select(tables.Member.chat_id).where(
                tables.Member.user_id == asker.user_id, tables.Member.chat_id.in_(list(chat_ids))
            )
        ),
        tables.Message.id
        > select(tables.Chat.last_message_id - count)
        .where(tables.Chat.id == tables.Message.chat_id)
        .correlate(tables.Message)
        .scalar_subquery(),
        tables.Message.id > _visible_after(asker.user_id),
    )
    grouped: dict[int, list[Message]] = {}
    for message in found:
        grouped.setdefault(message.chat_id, []).append(message)
    return grouped


async def one(session: AsyncSession, asker: Caller, chat_id: int, message_id: int) -> Message:
    """Raises NotFound."""
    membership = await chat_for(session, asker.user_id, chat_id)
    return await reload(session, await message_for(session, membership, message_id))


async def edit(
    session: AsyncSession, asker: Caller, chat_id: int, message_id: int, content: str
) -> Message:
    """Replace what one's own message says. Raises Forbidden, MessageDeleted, InvalidInput, NotFound."""
    membership = await chat_for(session, asker.user_id, chat_id, Action.SEND)
    message = await message_for(session, membership, message_id)
    (validation.caption if message.attachment_count else validation.message)(content)
    if message.author_id != asker.user_id:
        raise Forbidden("Only its author may edit a message.")
    if message.deleted_at is not None:
        raise MessageDeleted
    message.content = content
    message.edited_at = datetime.now(UTC)
    return await change(session, membership, message, Updated)


async def delete(session: AsyncSession, asker: Caller, chat_id: int, message_id: int) -> Message:
    """Remove what a message says and leave a marker. Deleting twice is deleting once.

    Raises Forbidden to members for others' messages, NotFound.
    """
    membership = await chat_for(session, asker.user_id, chat_id, Action.SEND)
    message = await message_for(session, membership, message_id)
    if message.author_id != asker.user_id:
        membership.require(Action.DELETE_ANY)
    if message.deleted_at is not None:
        return await reload(session, message)
    message.content, message.digest, message.pinned_at, message.shown_as = "", None, None, None
    message.deleted_at = datetime.now(UTC)
    message.reaction_count = message.attachment_count = 0
    of_it = (tables.Reaction.chat_id == chat_id, tables.Reaction.message_id == message_id)
    await session.execute(sql_delete(tables.Reaction).where(*of_it))
    await attachments.release(session, chat_id, message_id)
    return await change(session, membership, message, Deleted)


async def pin(session: AsyncSession, asker: Caller, chat_id: int, message_id: int, pinned: bool) -> Message:
    """Pin a message to its chat, or unpin it; doing so twice is doing so once.

    Raises Forbidden, MessageDeleted, NotFound, TooManyPins.
    """
    membership = await chat_for(session, asker.user_id, chat_id, Action.PIN)
    message = await message_for(session, membership, message_id)
    if message.deleted_at is not None:
        raise MessageDeleted
    if (message.pinned_at is not None) == pinned:
        return await reload(session, message)
    if pinned and await _pin_count(session, chat_id) >= PINS_LIMIT:
        raise TooManyPins
    message.pinned_at = datetime.now(UTC) if pinned else None
    return await change(session, membership, message, Updated)


async def pins(session: AsyncSession, asker: Caller, chat_id: int) -> list[Message]:
    """The chat's pinned messages that the asker may see, the last pinned first."""
    membership = await chat_for(session, asker.user_id, chat_id)
    return await find(
        session,
        tables.Message.chat_id == chat_id,
        tables.Message.pinned_at.is_not(None),
        tables.Message.id > membership.visible_after,
        order=(tables.Message.pinned_at.desc(), tables.Message.id),
        limit=PINS_LIMIT,
    )


async def _pin_count(session: AsyncSession, chat_id: int) -> int:
    pinned = (tables.Message.chat_id == chat_id, tables.Message.pinned_at.is_not(None))
    return await session.scalar(select(func.count()).where(*pinned)) or 0


async def change(
    session: AsyncSession, membership: Membership, message: tables.Message, event: type[Updated | Deleted]
) -> Message:
    """Give a changed message of a locked chat its version, and tell about it."""
    membership.chat.version += 1
    message.version = membership.chat.version
    await session.flush()
    shown = await reload(session, message)
    emit(session, event(message.chat_id, message.version, shown))
    return shown


def _visible_after(user_id: int) -> ColumnElement[int]:
    """For a query of messages: the id behind which the user may read in the message's chat."""
    return (
        select(case((tables.Chat.history == "joined", tables.Member.joined_id), else_=0))
        .join(tables.Chat, tables.Chat.id == tables.Member.chat_id)
        .where(tables.Member.chat_id == tables.Message.chat_id, tables.Member.user_id == user_id)
        .correlate(tables.Message)
        .scalar_subquery()
    )
