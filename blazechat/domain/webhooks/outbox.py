"""The outbox of webhooks: what they are to be told, written with the change itself, and its bodies.

Who delivers it, and in which order, `lanes.py` has.
"""

from collections.abc import Sequence
from dataclasses import dataclass
from datetime import datetime
from typing import Any

import msgspec
from sqlalchemy import text
from sqlalchemy.ext.asyncio import AsyncSession

from blazechat.database import tables
from blazechat.domain import public_events
from blazechat.domain.events import (
    ChatCreated,
    ChatDeleted,
    ChatEvent,
    ChatUpdated,
    MemberRemoved,
    MembersAdded,
    MembersUpdated,
    MessageCreated,
    MessageDeleted,
    MessageUpdated,
)
from blazechat.domain.messaging.message_query import find
from blazechat.domain.schemas.chats import Chat
from blazechat.domain.schemas.messages import Message

TYPES: dict[type[ChatEvent], str] = {
    MessageCreated: "message.created",
    MessageUpdated: "message.updated",
    MessageDeleted: "message.deleted",
    ChatCreated: "chat.created",
    ChatUpdated: "chat.updated",
    ChatDeleted: "chat.deleted",
    MembersAdded: "member.added",
    MemberRemoved: "member.removed",
    MembersUpdated: "member.updated",
}

NOTE = text("""
INSERT INTO deliveries (webhook_id, chat_id, version, type, message_id, body)
SELECT w.id, e.chat_id, e.version, e.type, e.message_id, e.body
FROM unnest(
    CAST(:chat_ids AS int8[]), CAST(:versions AS int8[]), CAST(:types AS text[]),
    CAST(:message_ids AS int8[]), CAST(:bodies AS text[])
) AS e (chat_id, version, type, message_id, body)
JOIN webhooks w ON (w.chat_id = e.chat_id OR w.chat_id IS NULL)
    AND w.disabled_at IS NULL AND e.type = ANY (w.events)
ORDER BY e.chat_id, e.version
""")


@dataclass(frozen=True, slots=True)
class OutboxEvent:
    """A row of the outbox that is being delivered."""

    id: int
    chat_id: int
    version: int
    type: str
    message_id: int | None
    body: str | None
    tries: int
    until: datetime | None = None
    """When somebody else may take it, if it was taken; as long as that is so, nobody has."""

    @property
    def name(self) -> str:
        """Its id for receivers (`webhook-id`): the same for every try and every webhook."""
        return f"evt_{self.chat_id}_{self.version}" if self.chat_id else f"ping_{self.id}"


async def body_of(session: AsyncSession, event: OutboxEvent) -> bytes | None:
    """What a receiver would be told of it now (`body_with`)."""
    found: list[Message] = []
    if event.message_id is not None:
        found = await find(
            session, tables.Message.chat_id == event.chat_id, tables.Message.id == event.message_id
        )
    return body_with(event, found[0] if found else None)


def body_with(event: OutboxEvent, message: Message | None) -> bytes | None:
    """What a receiver is told, as JSON: the event as on `/ws`, with its message as that is now.

    None where nothing is left to tell: the message went with its chat.
    """
    if event.message_id is None:
        return (event.body or "{}").encode()
    if message is None:
        return None
    kind: type[public_events.PublicEvent] = public_events.MessageDeletedEvent
    if message.deleted_at is None:
        created = event.type == "message.created"
        kind = public_events.MessageCreatedEvent if created else public_events.MessageUpdatedEvent
    return msgspec.json.encode(kind(event.chat_id, event.version, message))  # type: ignore[call-arg]


async def note(session: AsyncSession, events: Sequence[object]) -> None:
    """Write what webhooks are to be told of a transaction's events, in that transaction."""
    of_chats = [event for event in events if isinstance(event, ChatEvent)]
    if not of_chats:
        return
    await session.execute(
        NOTE,
        {
            "chat_ids": [event.chat_id for event in of_chats],
            "versions": [event.version for event in of_chats],
            "types": [TYPES[type(event)] for event in of_chats],
            "message_ids": [getattr(getattr(event, "message", None), "id", None) for event in of_chats],
            "bodies": [_body(event) for event in of_chats],
        },
    )


def _body(event: ChatEvent) -> str | None:
    """What is told of a change of the chat itself: as it was then."""
    if isinstance(event, (MessageCreated, MessageUpdated, MessageDeleted)):
        return None
    shown: Any = public_events.public_form(event)
    if isinstance(event, ChatCreated):
        shown = _NewChat(event.chat_id, event.version, event.chat)
    return msgspec.json.encode(shown).decode()


class _NewChat(public_events.PublicEvent, tag="chat.created"):
    """As it is for everybody in it: a webhook has no seat there."""

    chat: Chat
