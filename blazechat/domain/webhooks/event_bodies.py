"""Builds webhook bodies just before delivery, so that deleted content and old secrets never leave.

Requests for many events are answered in batches, each by two prepared statements.
"""

from collections.abc import Sequence
from dataclasses import dataclass, fields
from datetime import datetime
from functools import cache
from types import SimpleNamespace
from typing import Any

import asyncpg
import msgspec
from sqlalchemy import BigInteger, bindparam, column, func, select
from sqlalchemy.dialects.postgresql import ARRAY
from sqlalchemy.dialects.postgresql import asyncpg as dialect

from blazechat.database import tables
from blazechat.database.direct import DirectConnection
from blazechat.domain.batching import Batcher
from blazechat.domain.messaging.message_query import columns, from_row
from blazechat.domain.schemas.messages import Message
from blazechat.domain.webhooks.outbox import OutboxEvent, encode_body

BATCH_BODIES = 64
"""Maximum requests that are built by one pair of statements."""
SELECT_TARGETS = """
SELECT id, chat_id, url, secret, old_secret, old_until, failing_since, disabled_at
FROM webhooks WHERE id = ANY ($1::int8[])
"""
JSON_COLUMNS = ("shown_as", "reactions", "attachments")
"""Columns of a message that asyncpg returns as JSON text."""


@dataclass(frozen=True, slots=True)
class WebhookTarget:
    """The current URL, secrets and state of a webhook."""

    id: int
    chat_id: int | None
    url: str
    secret: str
    old_secret: str | None
    old_until: datetime | None
    failing_since: datetime | None
    disabled_at: datetime | None

    def secrets(self, now: datetime) -> list[str]:
        """Return the secrets that sign a request: two while a replaced secret is still valid."""
        if self.old_secret and self.old_until and self.old_until > now:
            return [self.secret, self.old_secret]
        return [self.secret]


def target_of(webhook: tables.Webhook) -> WebhookTarget:
    return WebhookTarget(**{field.name: getattr(webhook, field.name) for field in fields(WebhookTarget)})


@dataclass(frozen=True, slots=True)
class WebhookRequest:
    """A delivery that is ready to be sent."""

    target: WebhookTarget | None
    """None if the webhook was deleted."""
    body: bytes | None
    """None if the event's message no longer exists."""


class EventBodies:
    """Builds requests. `direct` is a connection outside the pool."""

    def __init__(self, direct: DirectConnection) -> None:
        self._direct = direct
        self._requests: Batcher[tuple[int, OutboxEvent], WebhookRequest] = Batcher(
            self._load_requests, BATCH_BODIES
        )

    async def request_for(self, webhook_id: int, event: OutboxEvent) -> WebhookRequest:
        """Return the request that delivers the event, from the current state of webhook and message.

        Raises Unavailable or Busy if the database cannot answer, ShuttingDown after `close()`.
        """
        return await self._requests.submit((webhook_id, event))

    async def close(self) -> None:
        """Accept no more calls; those in progress are answered."""
        await self._requests.close()

    async def _load_requests(self, batch: Sequence[tuple[int, OutboxEvent]]) -> list[WebhookRequest]:
        rows = await self._direct.fetch(SELECT_TARGETS, list({webhook_id for webhook_id, _ in batch}))
        targets = {row["id"]: WebhookTarget(**row) for row in rows}
        messages = await self._load_messages(
            list({(event.chat_id, event.message_id) for _, event in batch if event.message_id is not None})
        )
        return [
            WebhookRequest(
                targets.get(webhook_id),
                encode_body(event, messages.get((event.chat_id, event.message_id or 0))),
            )
            for webhook_id, event in batch
        ]

    async def _load_messages(self, keys: list[tuple[int, int]]) -> dict[tuple[int, int], Message]:
        """Return messages by chat id and message id."""
        if not keys:
            return {}
        statement, defaults = _select_messages()
        given = {"chats": [chat_id for chat_id, _ in keys], "ids": [message_id for _, message_id in keys]}
        rows = await self._direct.fetch(statement, *(given.get(name, value) for name, value in defaults))
        return {(row["chat_id"], row["id"]): from_row(_decode_row(row)) for row in rows}


@cache
def _select_messages() -> tuple[str, list[tuple[str, Any]]]:
    """Return the SELECT of messages by chat ids and ids, compiled for asyncpg, and its parameters.

    Each parameter is a name and a default value, in order; the caller replaces `chats` and `ids`.
    """
    numbers = ARRAY(BigInteger)
    arrays = func.unnest(bindparam("chats", type_=numbers), bindparam("ids", type_=numbers))
    given = arrays.table_valued(
        column("chat_id", BigInteger), column("id", BigInteger), name="given"
    ).render_derived()
    compiled = (
        select(*columns())
        .select_from(given)
        .join(
            tables.Message,
            (tables.Message.chat_id == given.c.chat_id) & (tables.Message.id == given.c.id),
        )
        .join(tables.User, tables.User.id == tables.Message.author_id)
        .compile(dialect=dialect.dialect())  # type: ignore[no-untyped-call]
    )
    values = compiled.params
    return str(compiled), [(name, values[name]) for name in compiled.positiontup or ()]


def _decode_row(row: asyncpg.Record) -> SimpleNamespace:
    """Return the row with attributes, as `message_query` reads it, and with its JSON decoded."""
    values = dict(row)
    for name in JSON_COLUMNS:
        if values[name] is not None:
            values[name] = msgspec.json.decode(values[name])
    return SimpleNamespace(**values)
