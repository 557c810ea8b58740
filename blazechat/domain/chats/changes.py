"""What changed in a chat since some version: for whoever did not hear it happen.

That is the present state of each thing that changed, once, and not what happened in between: there is
no log of events. Page by page in the order of versions, so that whoever stops can go on from there.
"""

from collections.abc import Collection
from dataclasses import dataclass

from sqlalchemy.ext.asyncio import AsyncSession

from blazechat.database import tables
from blazechat.domain import public_events
from blazechat.domain.auth.access import Caller, chat_for
from blazechat.domain.chats.chats import Chats
from blazechat.domain.events import (
    ChatDeleted,
    ChatEvent,
    ChatRefreshed,
    MessageCreated,
    MessageDeleted,
    MessageUpdated,
)
from blazechat.domain.messaging.message_query import find
from blazechat.domain.schemas.messages import Message

PAGE = 100


@dataclass(frozen=True, slots=True)
class Mark:
    """How far somebody has come in a chat: its version, and its newest message then."""

    version: int
    message_id: int


@dataclass(frozen=True, slots=True)
class Changes:
    """Some of what changed, by version; all of it up to `version`. `newest` is the chat's own by now.

    `refreshed` is there if the chat itself changed, even if only behind `version`, where it is not among
    the `events` yet: whoever is no member any more must not be told the rest.
    """

    events: list[ChatEvent]
    version: int
    newest: int
    refreshed: ChatRefreshed | None = None

    @property
    def complete(self) -> bool:
        return self.version >= self.newest


async def since(
    session: AsyncSession, chats: Chats, chat_id: int, version: int, among: Collection[int]
) -> Changes:
    """The first page of what changed above `version`.

    Where the chat itself did, it tells which of the users `among` are in it now. Has to be the first
    thing in its transaction: all is read from one snapshot.
    """
    await session.connection(execution_options={"isolation_level": "REPEATABLE READ"})
    chat = await session.get(tables.Chat, chat_id)
    if chat is None:
        return Changes([ChatDeleted(chat_id, version + 1)], version + 1, version + 1)
    return await _page(session, chats, chat, version, among)


async def _page(
    session: AsyncSession, chats: Chats, chat: tables.Chat, version: int, among: Collection[int]
) -> Changes:
    """As of the version that the chat's row was read with; what is newer by now is told the next time."""
    found = await find(
        session,
        tables.Message.chat_id == chat.id,
        tables.Message.version.between(version + 1, chat.version),
        order=(tables.Message.version,),
        limit=PAGE,
    )
    reached = found[-1].version if len(found) == PAGE else max(version, chat.version)
    events = [event_of(message) for message in found]
    refreshed = None
    if chat.info_version > version:
        refreshed = await chats.refreshed(session, chat, among)
        if refreshed.version <= reached:
            events.append(refreshed)
            events.sort(key=lambda event: event.version)
    return Changes(events, reached, chat.version, refreshed)


@dataclass(frozen=True, slots=True)
class Missed:
    """A page of what somebody missed, all of it up to `version`; `more` if there is another page.

    With `reset` too much was missed, or nothing is known of the version asked for: load the chat anew.
    """

    events: list[public_events.PublicEvent]
    version: int
    more: bool
    reset: bool


async def missed(
    session: AsyncSession, chats: Chats, asker: Caller, chat_id: int, version: int, limit: int
) -> Missed:
    """What the asker has not seen of the chat if they were at `version`; at most `limit` changes.

    Raises NotFound.
    """
    membership = await chat_for(session, asker.user_id, chat_id)
    newest = membership.chat.version
    came_later = membership.visible_after and version < membership.member.joined_version
    if came_later or not 0 <= newest - version <= limit:
        return Missed([], newest, more=False, reset=True)
    changes = await _page(session, chats, membership.chat, version, [asker.user_id])
    events = [
        public_events.HiddenEvent(chat_id, event.version)
        if public_events.is_hidden_from(event, membership.visible_after)
        else public_events.public_form(event)
        for event in changes.events
    ]
    return Missed(events, changes.version, more=not changes.complete, reset=False)


def event_of(message: Message) -> ChatEvent:
    """What became of a message: the first that one hears of it may be how it is now."""
    if message.deleted_at is not None:
        return MessageDeleted(message.chat_id, message.version, message)
    if message.edited_at is not None or message.reactions or message.pinned_at is not None:
        return MessageUpdated(message.chat_id, message.version, message)
    return MessageCreated(message.chat_id, message.version, message)
