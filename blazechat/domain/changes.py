"""What changed in a chat since some version: what the hub asks when an event did not reach it."""

from dataclasses import dataclass

from sqlalchemy.ext.asyncio import AsyncSession

from blazechat.database import tables
from blazechat.domain import messages
from blazechat.domain.chats import Chats
from blazechat.domain.events import (
    ChatDeleted,
    ChatEvent,
    MessageCreated,
    MessageDeleted,
    MessageUpdated,
)
from blazechat.domain.shapes import Message

LIMIT = 2000
"""Changes that are caught up with; whoever is further behind reads the chat anew."""


@dataclass(frozen=True, slots=True)
class Mark:
    """How far somebody has come in a chat: its version, and its newest message then."""

    version: int
    message_id: int


@dataclass(frozen=True, slots=True)
class Changes:
    """The chat's own state, then new messages by id, then changes of old ones; and how far all lead."""

    events: list[ChatEvent]
    mark: Mark
    too_many: bool = False
    """Nothing is told, because more changed than is caught up with."""


async def since(session: AsyncSession, chats: Chats, chat_id: int, mark: Mark) -> Changes:
    """What is different in the chat from what somebody at `mark` has seen.

    That is the present state, each changed message once, and not what happened to it in between.
    Has to be the first thing in its transaction: all is read from one snapshot.
    """
    await session.connection(execution_options={"isolation_level": "REPEATABLE READ"})
    chat = await session.get(tables.Chat, chat_id)
    if chat is None:
        gone = ChatDeleted(chat_id, mark.version + 1)
        return Changes([gone], Mark(gone.version, mark.message_id))
    reached = Mark(chat.version, chat.last_message_id)
    if chat.version - mark.version > LIMIT:
        return Changes([], reached, too_many=True)
    found = await messages.shaped(
        session, tables.Message.chat_id == chat_id, tables.Message.version > mark.version
    )
    # New messages first, in their order, however they were changed since; `found` comes by id.
    events = [_event(message, mark) for message in found if message.id > mark.message_id]
    changed = [message for message in found if message.id <= mark.message_id]
    events += [_event(message, mark) for message in sorted(changed, key=lambda m: m.version)]
    if chat.info_version > mark.version:
        # First of all: whoever is not a member any more must not be told the rest.
        events.insert(0, await chats.updated(session, chat))
    return Changes(events, reached)


def _event(message: Message, mark: Mark) -> ChatEvent:
    if message.id > mark.message_id:
        return MessageCreated(message.chat_id, message.version, message)
    if message.deleted_at is not None:
        return MessageDeleted(message.chat_id, message.version, message)
    return MessageUpdated(message.chat_id, message.version, message)
