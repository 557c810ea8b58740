"""The transactional outbox of webhooks: events are stored in the transaction that causes them.

Events of messages are stored without a body, which is built just before delivery (event_bodies.py).
delivery_queue.py leases the rows in order.
"""

from collections.abc import Sequence
from dataclasses import dataclass
from datetime import UTC, datetime
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

TYPE_NAMES: dict[type[ChatEvent], str] = {
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
"""The `type` of each event that webhooks can receive."""

NO_CHAT = 0
"""The `chat_id` of deliveries that belong to no chat: pings."""

INSERT_DELIVERIES = text("""
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
    """A row of the outbox: one event for one webhook."""

    id: int
    chat_id: int
    version: int
    type: str
    message_id: int | None
    body: str | None
    """JSON; None for events of messages, whose body is built just before delivery."""
    tries: int
    leased_until: datetime | None = None
    """When the lease ends and another worker may lease the event; None if it is not leased."""

    @property
    def event_id(self) -> str:
        """The header `webhook-id`, an idempotency key: the same for every try and every webhook."""
        return f"evt_{self.chat_id}_{self.version}" if self.chat_id else f"ping_{self.id}"


async def write_outbox(session: AsyncSession, events: Sequence[object]) -> None:
    """Store a transaction's events for each webhook that receives them, in that transaction."""
    chat_events = [event for event in events if isinstance(event, ChatEvent)]
    if not chat_events:
        return
    await session.execute(
        INSERT_DELIVERIES,
        {
            "chat_ids": [event.chat_id for event in chat_events],
            "versions": [event.version for event in chat_events],
            "types": [TYPE_NAMES[type(event)] for event in chat_events],
            "message_ids": [getattr(getattr(event, "message", None), "id", None) for event in chat_events],
            "bodies": [_stored_body(event) for event in chat_events],
        },
    )


async def add_ping(session: AsyncSession, webhook: tables.Webhook) -> OutboxEvent:
    """Store a ping in the state `dead`, so that no worker delivers it; the caller sends it."""
    body = f'{{"type":"ping","webhook_id":{webhook.id}}}'
    row = tables.Delivery(
        webhook_id=webhook.id,
        chat_id=NO_CHAT,
        version=0,
        type="ping",
        state="dead",
        body=body,
        finished_at=datetime.now(UTC),
    )
    session.add(row)
    await session.flush()
    return OutboxEvent(row.id, row.chat_id, row.version, row.type, None, body, tries=0)


async def load_body(session: AsyncSession, event: OutboxEvent) -> bytes | None:
    """Return the body that a receiver would get now; see `encode_body()`."""
    found: list[Message] = []
    if event.message_id is not None:
        found = await find(
            session, tables.Message.chat_id == event.chat_id, tables.Message.id == event.message_id
        )
    return encode_body(event, found[0] if found else None)


def encode_body(event: OutboxEvent, message: Message | None) -> bytes | None:
    """Return the event as JSON, in its public form on `/ws`, with its message in its current state.

    Returns None if the event is about a message that no longer exists, because its chat was deleted.
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


def _stored_body(event: ChatEvent) -> str | None:
    """Return the JSON of a change of the chat itself, in its state at that time; None for messages."""
    if isinstance(event, (MessageCreated, MessageUpdated, MessageDeleted)):
        return None
    public: Any = public_events.public_form(event)
    if isinstance(event, ChatCreated):
        public = _WebhookChatCreated(event.chat_id, event.version, event.chat)
    return msgspec.json.encode(public).decode()


class _WebhookChatCreated(public_events.PublicEvent, tag="chat.created"):
    """A new chat without a member's own fields (`role`, `read_id`, …): a webhook is not a member."""

    chat: Chat
