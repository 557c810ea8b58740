"""Messages: reading, editing and deleting them. Sending is the ledger's."""

from collections.abc import Iterable
from dataclasses import dataclass
from datetime import UTC, datetime

from sqlalchemy import ColumnElement, case, select
from sqlalchemy.ext.asyncio import AsyncSession

from blazechat.database import tables
from blazechat.domain import texts
from blazechat.domain.access import Action, Caller, Membership, chat_for, message_for
from blazechat.domain.errors import Forbidden, InvalidInput, MessageDeleted
from blazechat.domain.events import MessageDeleted as Deleted
from blazechat.domain.events import MessageUpdated, emit
from blazechat.domain.shapes import Author, Message

PAGE_LIMIT = 100


@dataclass(frozen=True, slots=True)
class Page:
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
class Found:
    """A page, the oldest message first, and whether there are messages before and behind it."""

    messages: list[Message]
    older: bool
    newer: bool


async def page(session: AsyncSession, asker: Caller, chat_id: int, wanted: Page) -> Found:
    """The wanted messages of the chat that the asker may see."""
    membership = await chat_for(session, asker.user_id, chat_id)
    newest, floor = membership.chat.last_message_id, membership.visible_from
    first, last = wanted.bounds(newest)
    first = max(first, floor + 1)
    found = await shaped(
        session,
        tables.Message.chat_id == chat_id,
        tables.Message.id.between(first, min(last, newest)),
    )
    return Found(found, older=bool(found) and first > floor + 1, newer=bool(found) and last < newest)


async def from_the_first(
    session: AsyncSession, asker: Caller, chat_id: int, *, skip: int, limit: int
) -> Found:
    """A page counted from the first message that the asker may see."""
    membership = await chat_for(session, asker.user_id, chat_id)
    wanted = Page(limit, after=membership.visible_from + skip)
    return await page(session, asker, chat_id, wanted)


async def latest(
    session: AsyncSession, asker: Caller, chat_ids: Iterable[int], count: int
) -> dict[int, list[Message]]:
    """The newest `count` messages of each of the asker's chats, the oldest first."""
    found = await shaped(
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
        tables.Message.id > _visible_from(asker.user_id),
    )
    grouped: dict[int, list[Message]] = {}
    for message in found:
        grouped.setdefault(message.chat_id, []).append(message)
    return grouped


async def one(session: AsyncSession, asker: Caller, chat_id: int, message_id: int) -> Message:
    """Raises NotFound."""
    membership = await chat_for(session, asker.user_id, chat_id)
    await message_for(session, membership, message_id)
    return await _shown(session, membership, message_id)


async def edit(
    session: AsyncSession, asker: Caller, chat_id: int, message_id: int, content: str
) -> Message:
    """Replace what one's own message says. Raises Forbidden, MessageDeleted, InvalidInput, NotFound."""
    texts.message(content)
    membership = await chat_for(session, asker.user_id, chat_id, Action.SEND)
    message = await message_for(session, membership, message_id)
    if message.author_id != asker.user_id:
        raise Forbidden("Only its author may edit a message.")
    if message.deleted_at is not None:
        raise MessageDeleted
    message.content = content
    message.edited_at = datetime.now(UTC)
    message.version = _next_version(membership)
    await session.flush()
    shown = await _shown(session, membership, message_id)
    emit(session, MessageUpdated(chat_id, message.version, shown))
    return shown


async def delete(session: AsyncSession, asker: Caller, chat_id: int, message_id: int) -> None:
    """Remove what a message says and leave a marker. Deleting twice is deleting once.

    Raises Forbidden to members for others' messages, NotFound.
    """
    membership = await chat_for(session, asker.user_id, chat_id, Action.SEND)
    message = await message_for(session, membership, message_id)
    if message.author_id != asker.user_id:
        membership.require(Action.DELETE_ANY)
    if message.deleted_at is not None:
        return
    message.content, message.digest = "", None
    message.deleted_at = datetime.now(UTC)
    message.version = _next_version(membership)
    await session.flush()
    shown = await _shown(session, membership, message_id)
    emit(session, Deleted(chat_id, message.version, shown))


async def shaped(session: AsyncSession, *which: ColumnElement[bool]) -> list[Message]:
    """Messages as they are shown, by chat, the oldest first."""
    message, reader = tables.Message, tables.Member
    is_read = (
        select(reader.user_id)
        .where(
            reader.chat_id == message.chat_id,
            reader.read_id >= message.id,
            reader.joined_id < message.id,
            reader.user_id != message.author_id,
        )
        .correlate(message)
        .exists()
    )
    rows = await session.execute(
        select(
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
        )
        .join(tables.User, tables.User.id == message.author_id)
        .where(*which)
        .order_by(message.chat_id, message.id)
    )
    return [
        Message(
            id=row.id,
            chat_id=row.chat_id,
            user_id=row.author_id,
            user=Author(row.author_id, row.username, row.display_name),
            content=row.content,
            client_id=row.client_id,
            reply_to=row.reply_to,
            version=row.version,
            is_read=row.is_read,
            created_at=row.created_at,
            updated_at=row.deleted_at or row.edited_at or row.created_at,
            edited_at=row.edited_at,
            deleted_at=row.deleted_at,
        )
        for row in rows
    ]


async def _shown(session: AsyncSession, membership: Membership, message_id: int) -> Message:
    (message,) = await shaped(
        session,
        tables.Message.chat_id == membership.chat.id,
        tables.Message.id == message_id,
    )
    return message


def _next_version(membership: Membership) -> int:
    """Raise the version of a chat whose row is locked."""
    membership.chat.version += 1
    return membership.chat.version


def _visible_from(user_id: int) -> ColumnElement[int]:
    """For a query of messages: the id behind which the user may read in the message's chat."""
    return (
        select(case((tables.Chat.history == "joined", tables.Member.joined_id), else_=0))
        .join(tables.Chat, tables.Chat.id == tables.Member.chat_id)
        .where(tables.Member.chat_id == tables.Message.chat_id, tables.Member.user_id == user_id)
        .correlate(tables.Message)
        .scalar_subquery()
    )
