"""The outbox of webhooks: what they are to be told, written with the change itself, and taken in order.

The rows that wait for one webhook in one chat are a lane. A lane moves on only when its head is delivered
or given up, so a chat's events come in order; lanes know nothing of each other. Whoever delivers takes the
head, and some behind it, by putting the head's `due_at` into the future: should they be killed, it comes
due again. So an event is told at least once, under an id that stays the same.
"""

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

import msgspec
from sqlalchemy import text
from sqlalchemy.ext.asyncio import AsyncSession

from blazechat.database import tables
from blazechat.database.direct import Direct
from blazechat.domain import told
from blazechat.domain.batches import Batches
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
from blazechat.domain.shapes import Chat
from blazechat.domain.shown import shaped

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
RUN = 20
"""Events of a lane that are taken at once."""
LANES_AT_ONCE = 1_000

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

LANES = """
WITH RECURSIVE lanes AS (
    (SELECT webhook_id, chat_id FROM deliveries WHERE state = 'waiting'
     ORDER BY webhook_id, chat_id LIMIT 1)
    UNION ALL
    SELECT n.webhook_id, n.chat_id FROM lanes l CROSS JOIN LATERAL (
        SELECT webhook_id, chat_id FROM deliveries
        WHERE state = 'waiting' AND (webhook_id, chat_id) > (l.webhook_id, l.chat_id)
        ORDER BY webhook_id, chat_id LIMIT 1
    ) n
)
SELECT l.webhook_id, l.chat_id, w.failing_since IS NOT NULL AS failing
FROM lanes l
JOIN webhooks w ON w.id = l.webhook_id AND w.disabled_at IS NULL
CROSS JOIN LATERAL (
    SELECT due_at FROM deliveries d
    WHERE d.webhook_id = l.webhook_id AND d.chat_id = l.chat_id AND d.state = 'waiting'
    ORDER BY d.version, d.id LIMIT 1
) head
WHERE head.due_at <= now()
ORDER BY head.due_at
LIMIT $1
"""
"""Steps from lane to lane by the index, so it costs as much as there are lanes, however long they are."""

TAKE = """
WITH head AS (
    SELECT due_at FROM deliveries
    WHERE webhook_id = $1 AND chat_id = $2 AND state = 'waiting'
    ORDER BY version, id LIMIT 1 FOR UPDATE
), run AS (
    SELECT d.id FROM head, deliveries d
    WHERE head.due_at <= now() AND d.webhook_id = $1 AND d.chat_id = $2 AND d.state = 'waiting'
    ORDER BY d.version, d.id LIMIT $4
), taken AS (
    UPDATE deliveries d SET due_at = now() + make_interval(secs => $3)
    FROM run WHERE d.chat_id = $2 AND d.id = run.id
    RETURNING d.*
)
SELECT id, version, type, message_id, body, tries FROM taken ORDER BY version, id
"""
"""Waits for the head's row if somebody else is taking it, and then sees that it is not due any more."""

RELEASE = "UPDATE deliveries SET due_at = now() WHERE chat_id = $1 AND id = $2 AND state = 'waiting'"

RECORD = """
WITH done AS MATERIALIZED (
    SELECT * FROM unnest(
        $1::int8[], $2::int8[], $3::int8[], $4::text[], $5::float8[], $6::float8[], $7::int8[], $8::text[],
        $9::text[], $10::text[]
    ) AS d (chat_id, id, webhook_id, state, retry_in, seconds, status, error, headers, answer)
), moved AS (
    UPDATE deliveries d SET state = done.state, tries = d.tries + 1,
        due_at = now() + make_interval(secs => done.retry_in),
        finished_at = CASE WHEN done.state <> 'waiting' THEN now() END
    FROM done WHERE d.chat_id = done.chat_id AND d.id = done.id
    RETURNING d.chat_id, d.id
), noted AS (
    INSERT INTO attempts (chat_id, delivery_id, number, seconds, status, error, headers, answer)
    SELECT d.chat_id, d.id, 1 + coalesce((
        SELECT max(number) FROM attempts a WHERE a.chat_id = d.chat_id AND a.delivery_id = d.id
    ), 0), d.seconds, d.status, d.error, d.headers::jsonb, d.answer
    FROM done d JOIN moved USING (chat_id, id)
), failing AS (
    UPDATE webhooks w SET failing_since = CASE WHEN f.ok THEN NULL ELSE coalesce(failing_since, now()) END
    FROM (SELECT webhook_id, bool_or(state = 'delivered') AS ok FROM done GROUP BY webhook_id) f
    WHERE w.id = f.webhook_id AND f.ok = (failing_since IS NOT NULL)
)
SELECT count(*) FROM moved
"""


@dataclass(frozen=True, slots=True)
class Lane:
    webhook_id: int
    chat_id: int
    failing: bool
    """Whether the webhook's last call failed: then one lane at a time is enough to find out more."""


@dataclass(frozen=True, slots=True)
class Event:
    """A row of the outbox that is being delivered."""

    id: int
    chat_id: int
    version: int
    type: str
    message_id: int | None
    body: str | None
    tries: int

    @property
    def name(self) -> str:
        """Its id for receivers (`webhook-id`): the same for every try and every webhook."""
        return f"evt_{self.chat_id}_{self.version}" if self.chat_id else f"ping_{self.id}"


@dataclass(frozen=True, slots=True)
class Outcome:
    """What came of a call. Without a `status` there was no answer, and `error` says why."""

    chat_id: int
    id: int
    webhook_id: int
    state: str
    retry_in: float
    seconds: float
    status: int | None
    error: str | None
    headers: dict[str, str] | None
    answer: str | None


class Outbox:
    """`direct` is a connection for the statements that run all the time."""

    def __init__(self, direct: Direct) -> None:
        self._direct = direct
        self._records: Batches[Outcome, None] = Batches(self._record)

    async def is_used(self) -> bool:
        """Whether there is any webhook that is told of events."""
        (row,) = await self._direct.fetch("SELECT EXISTS (SELECT FROM webhooks WHERE disabled_at IS NULL)")
        return bool(row["exists"])

    async def lanes(self) -> list[Lane]:
        """Those whose head is due, the longest due first."""
        rows = await self._direct.fetch(LANES, LANES_AT_ONCE)
        return [Lane(row["webhook_id"], row["chat_id"], row["failing"]) for row in rows]

    async def take(self, lane: Lane, lease: float) -> list[Event]:
        """The head of a lane and some behind it, for `lease` seconds; nothing if it is not due."""
        rows = await self._direct.fetch(TAKE, lane.webhook_id, lane.chat_id, lease, RUN)
        return [
            Event(
                row["id"],
                lane.chat_id,
                row["version"],
                row["type"],
                row["message_id"],
                row["body"],
                row["tries"],
            )
            for row in rows
        ]

    async def release(self, event: Event) -> None:
        """Let go of a lane whose head this is now, without having tried."""
        await self._direct.fetch(RELEASE, event.chat_id, event.id)

    async def record(self, outcome: Outcome) -> None:
        """Note what came of a call; many are noted at once."""
        await self._records.ask(outcome)

    async def close(self) -> None:
        await self._records.close()

    async def _record(self, outcomes: list[Outcome]) -> list[None]:
        await self._direct.fetch(
            RECORD,
            [outcome.chat_id for outcome in outcomes],
            [outcome.id for outcome in outcomes],
            [outcome.webhook_id for outcome in outcomes],
            [outcome.state for outcome in outcomes],
            [outcome.retry_in for outcome in outcomes],
            [outcome.seconds for outcome in outcomes],
            [outcome.status for outcome in outcomes],
            [outcome.error for outcome in outcomes],
            [
                None if outcome.headers is None else msgspec.json.encode(outcome.headers).decode()
                for outcome in outcomes
            ],
            [outcome.answer for outcome in outcomes],
        )
        return [None] * len(outcomes)


async def body_of(session: AsyncSession, event: Event) -> bytes | None:
    """What a receiver is told, as JSON: the event as on `/ws`, with the message as it is now.

    None where nothing is left to tell: the message went with its chat.
    """
    if event.message_id is None:
        return (event.body or "{}").encode()
    found = await shaped(
        session, tables.Message.chat_id == event.chat_id, tables.Message.id == event.message_id
    )
    if not found:
        return None
    (message,) = found
    kind: type[told.Event] = told.MessageDeletedEvent
    if message.deleted_at is None:
        created = event.type == "message.created"
        kind = told.MessageCreatedEvent if created else told.MessageUpdatedEvent
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
    shown: Any = told.of(event)
    if isinstance(event, ChatCreated):
        shown = _NewChat(event.chat_id, event.version, event.chat)
    return msgspec.json.encode(shown).decode()


class _NewChat(told.Event, tag="chat.created"):
    """As it is for everybody in it: a webhook has no seat there."""

    chat: Chat
