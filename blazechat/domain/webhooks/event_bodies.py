"""What webhooks are told, read at the last moment; many events at once, by statements that are prepared.

At the last moment, so that nothing leaves that was deleted, and nothing goes by an old secret or URL.
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
from blazechat.domain.messaging.message_query import columns, of_row
from blazechat.domain.schemas.messages import Message
from blazechat.domain.webhooks.outbox import OutboxEvent, body_with

AT_ONCE = 64
TARGETS = """
SELECT id, chat_id, url, secret, old_secret, old_until, failing_since, disabled_at
FROM webhooks WHERE id = ANY ($1::int8[])
"""
JSON = ("shown_as", "reactions", "attachments")
"""Columns of a message that come as JSON."""


@dataclass(frozen=True, slots=True)
class Target:
    """A webhook as it is now."""

    id: int
    chat_id: int | None
    url: str
    secret: str
    old_secret: str | None
    old_until: datetime | None
    failing_since: datetime | None
    disabled_at: datetime | None

    def secrets(self, now: datetime) -> list[str]:
        """Those with which it is signed."""
        if self.old_secret and self.old_until and self.old_until > now:
            return [self.secret, self.old_secret]
        return [self.secret]


def target_of(webhook: tables.Webhook) -> Target:
    return Target(**{each.name: getattr(webhook, each.name) for each in fields(Target)})


@dataclass(frozen=True, slots=True)
class WebhookRequest:
    """Whom to tell what. No `target` if the webhook is gone, no `body` if there is nothing left to tell."""

    target: Target | None
    body: bytes | None


class EventBodies:
    """`direct` is a connection for the statements that run all the time."""

    def __init__(self, direct: DirectConnection) -> None:
        self._direct = direct
        self._asked: Batcher[tuple[int, OutboxEvent], WebhookRequest] = Batcher(self._read, AT_ONCE)

    async def of(self, webhook_id: int, event: OutboxEvent) -> WebhookRequest:
        """What that webhook is to be told of an event, as things are now."""
        return await self._asked.ask((webhook_id, event))

    async def close(self) -> None:
        await self._asked.close()

    async def _read(self, asked: Sequence[tuple[int, OutboxEvent]]) -> list[WebhookRequest]:
        rows = await self._direct.fetch(TARGETS, list({webhook_id for webhook_id, _ in asked}))
        targets = {row["id"]: Target(**row) for row in rows}
        messages = await self._messages(
            list({(event.chat_id, event.message_id) for _, event in asked if event.message_id is not None})
        )
        return [
            WebhookRequest(
                targets.get(webhook_id),
                body_with(event, messages.get((event.chat_id, event.message_id or 0))),
            )
            for webhook_id, event in asked
        ]

    async def _messages(self, which: list[tuple[int, int]]) -> dict[tuple[int, int], Message]:
        if not which:
            return {}
        statement, arguments = _messages_among()
        given = {"chats": [chat_id for chat_id, _ in which], "ids": [message_id for _, message_id in which]}
        rows = await self._direct.fetch(statement, *(given.get(name, value) for name, value in arguments))
        return {(row["chat_id"], row["id"]): of_row(_decoded(row)) for row in rows}


@cache
def _messages_among() -> tuple[str, list[tuple[str, Any]]]:
    """Messages by chats and ids, as they are shown: for asyncpg, and its arguments in their order."""
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


def _decoded(row: asyncpg.Record) -> SimpleNamespace:
    found = dict(row)
    for name in JSON:
        if found[name] is not None:
            found[name] = msgspec.json.decode(found[name])
    return SimpleNamespace(**found)
