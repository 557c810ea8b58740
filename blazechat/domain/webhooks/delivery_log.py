"""What webhooks were told and what waits for them: looking at it, and having it told again."""

from dataclasses import replace
from datetime import UTC, datetime

from sqlalchemy import select
from sqlalchemy.ext.asyncio import AsyncSession

from blazechat import signing
from blazechat.database import tables
from blazechat.domain.auth.access import Caller
from blazechat.domain.events import WebhooksChanged, emit
from blazechat.domain.schemas.integrations import Attempt, Delivery, SentRequest
from blazechat.domain.webhooks.outbox import OutboxEvent, body_of
from blazechat.domain.webhooks.webhooks import find
from blazechat.errors import NotFound

ATTEMPTS_SHOWN = 50
DELETED = b'{"type":"message.deleted"'


async def listed(
    session: AsyncSession,
    asker: Caller,
    chat_id: int | None,
    webhook_id: int,
    *,
    state: str | None,
    limit: int,
    before: int | None,
) -> list[Delivery]:
    """What it was told, and what waits or was given up; the newest first."""
    webhook = await find(session, asker, chat_id, webhook_id, lock=False)
    wanted = select(tables.Delivery).where(tables.Delivery.webhook_id == webhook.id)
    if state is not None:
        wanted = wanted.where(tables.Delivery.state == state)
    if before is not None:
        wanted = wanted.where(tables.Delivery.id < before)
    rows = await session.scalars(wanted.order_by(tables.Delivery.id.desc()).limit(limit))
    return [_delivery(row, []) for row in rows]


async def show(
    session: AsyncSession,
    asker: Caller,
    chat_id: int | None,
    webhook_id: int,
    delivery_id: int,
) -> Delivery:
    """One of them, with the request as it would be sent now, and what each try met."""
    webhook = await find(session, asker, chat_id, webhook_id, lock=False)
    row = await _of_webhook(session, webhook, delivery_id)
    attempts = await session.scalars(
        select(tables.Attempt)
        .where(tables.Attempt.chat_id == row.chat_id, tables.Attempt.delivery_id == row.id)
        .order_by(tables.Attempt.number.desc())
        .limit(ATTEMPTS_SHOWN)
    )
    event = OutboxEvent(row.id, row.chat_id, row.version, row.type, row.message_id, row.body, row.tries)
    body = await body_of(session, event)
    request = SentRequest(webhook.url, signing.content(event.name), None if body is None else body.decode())
    shown = [_attempt(attempt) for attempt in attempts]
    if row.message_id is not None and (body is None or body.startswith(DELETED)):
        shown = [replace(each, answer=None) for each in shown]  # it may repeat what was deleted
    return replace(_delivery(row, shown), request=request)


async def redeliver(
    session: AsyncSession,
    asker: Caller,
    chat_id: int | None,
    webhook_id: int,
    delivery_id: int,
) -> Delivery:
    """Tell it again, now, whatever came of it before."""
    webhook = await find(session, asker, chat_id, webhook_id)
    row = await _of_webhook(session, webhook, delivery_id)
    row.state, row.tries, row.finished_at, row.due_at = "waiting", 0, None, datetime.now(UTC)
    await session.flush()
    emit(session, WebhooksChanged())
    return _delivery(row, [])


async def _of_webhook(session: AsyncSession, webhook: tables.Webhook, delivery_id: int) -> tables.Delivery:
    row = await session.scalar(
        select(tables.Delivery).where(
            tables.Delivery.webhook_id == webhook.id, tables.Delivery.id == delivery_id
        )
    )
    if row is None:
        raise NotFound("There is no such delivery of this webhook.")
    return row


def _delivery(row: tables.Delivery, attempts: list[Attempt]) -> Delivery:
    return Delivery(
        id=row.id,
        webhook_id=row.webhook_id,
        chat_id=row.chat_id or None,
        version=row.version if row.chat_id else None,
        type=row.type,
        state=row.state,
        tries=row.tries,
        created_at=row.created_at,
        due_at=row.due_at if row.state == "waiting" else None,
        finished_at=row.finished_at,
        attempts=attempts,
    )


def _attempt(row: tables.Attempt) -> Attempt:
    return Attempt(row.number, row.at, row.seconds, row.status, row.error, row.headers or {}, row.answer)
