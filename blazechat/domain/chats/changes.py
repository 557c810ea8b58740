"""The changes of a chat after a version, for clients and hubs that missed its events.

There is no event log. A page has the current state of everything that changed, each thing once, and no
intermediate states. Pages are in the order of versions, so a reader can stop after any page and continue
later.
"""

from collections.abc import Collection
from dataclasses import dataclass

from sqlalchemy.ext.asyncio import AsyncSession

from blazechat.database import tables
from blazechat.domain import public_events
from blazechat.domain.auth.access import Caller, chat_for
from blazechat.domain.chats.chat_query import ChatQuery
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

PAGE_ROWS = 100


@dataclass(frozen=True, slots=True)
class Changes:
    """A page of changes, by version. It has all changes up to `version`.

    `refreshed` is set if the chat itself changed, even if that was after `version`, so that it is not among
    `events` yet: users that it does not list as members must not receive the events.
    """

    events: list[ChatEvent]
    version: int
    newest_version: int
    """The chat's version when the page was read."""
    refreshed: ChatRefreshed | None = None

    @property
    def is_complete(self) -> bool:
        """True if there is no further page."""
        return self.version >= self.newest_version


@dataclass(frozen=True, slots=True)
class Missed:
    """A page of the changes that a client missed, all of them up to `version`. `more` if there is another
    page.

    With `reset`, the client missed too many changes, or its version is unknown. It has to load the chat
    again.
    """

    events: list[public_events.PublicEvent]
    version: int
    more: bool
    reset: bool


async def since(
    session: AsyncSession, chat_query: ChatQuery, chat_id: int, version: int, user_ids: Collection[int]
) -> Changes:
    """Return the first page of changes after `version`.

    If the chat itself changed, the page has the state of those users of `user_ids` who are members. This
    must be the first query of its transaction, because all queries read one snapshot.
    """
    await session.connection(execution_options={"isolation_level": "REPEATABLE READ"})
    chat = await session.get(tables.Chat, chat_id)
    if chat is None:
        return Changes([ChatDeleted(chat_id, version + 1)], version + 1, version + 1)
    return await _page(session, chat_query, chat, version, user_ids)


async def missed(
    session: AsyncSession, chat_query: ChatQuery, caller: Caller, chat_id: int, *, after: int, limit: int
) -> Missed:
    """Return the first page of changes after the version `after`. Raises NoSuchChat.

    If there are more than `limit` changes, the page is empty and asks for a reset.
    """
    membership = await chat_for(session, caller.user_id, chat_id)
    newest = membership.chat.version
    visible_after = membership.visible_after
    if must_reset(newest, after, limit, visible_after, membership.member.joined_version):
        return Missed([], newest, more=False, reset=True)
    changes = await _page(session, chat_query, membership.chat, after, [caller.user_id])
    return as_seen(changes, chat_id, visible_after)


def must_reset(newest: int, after: int, limit: int, visible_after: int, joined_version: int) -> bool:
    """True if a member who joined at `joined_version` cannot catch up from the version `after`."""
    joined_later = visible_after and after < joined_version
    return bool(joined_later) or not 0 <= newest - after <= limit


def as_seen(changes: Changes, chat_id: int, visible_after: int) -> Missed:
    """Return the changes as a member gets them who sees messages after `visible_after`."""
    events = [
        public_events.HiddenEvent(chat_id, event.version)
        if public_events.is_hidden_from(event, visible_after)
        else public_events.public_form(event)
        for event in changes.events
    ]
    return Missed(events, changes.version, more=not changes.is_complete, reset=False)


def page_of(
    changed: list[Message], after: int, newest: int, refreshed: ChatRefreshed | None = None
) -> Changes:
    """Return the page that begins after the version `after`.

    `changed` are the first PAGE_ROWS messages that have changed up to the chat's version `newest`.
    """
    reached = changed[-1].version if len(changed) == PAGE_ROWS else max(after, newest)
    events = [_event_of(message) for message in changed]
    if refreshed is not None and refreshed.version <= reached:
        events.append(refreshed)
        events.sort(key=lambda event: event.version)
    return Changes(events, reached, newest, refreshed)


async def _page(
    session: AsyncSession,
    chat_query: ChatQuery,
    chat: tables.Chat,
    version: int,
    user_ids: Collection[int],
) -> Changes:
    """Return the changes after `version`, up to the version that the chat's row was read with."""
    found = await find(
        session,
        tables.Message.chat_id == chat.id,
        tables.Message.version.between(version + 1, chat.version),
        order=(tables.Message.version,),
        limit=PAGE_ROWS,
    )
    refreshed = None
    if chat.info_version > version:
        refreshed = await chat_query.refreshed(session, chat, user_ids)
    return page_of(found, version, chat.version, refreshed)


def _event_of(message: Message) -> ChatEvent:
    """Return the event that gives a reader the current state of a message."""
    if message.deleted_at is not None:
        return MessageDeleted(message.chat_id, message.version, message)
    if message.edited_at is not None or message.reactions or message.pinned_at is not None:
        return MessageUpdated(message.chat_id, message.version, message)
    return MessageCreated(message.chat_id, message.version, message)
