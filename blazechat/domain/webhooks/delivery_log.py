"""The delivery log of a webhook: its deliveries with their attempts, and redelivery."""

from dataclasses import replace
from datetime import UTC, datetime, timedelta

from sqlalchemy import delete, func, select, text
from sqlalchemy.ext.asyncio import AsyncSession

from blazechat import signing
from blazechat.database import tables
from blazechat.domain.auth.access import Caller
from blazechat.domain.events import WebhooksChanged, emit
from blazechat.domain.schemas.integrations import Attempt, Delivery, SentRequest
from blazechat.domain.webhooks.outbox import OutboxEvent, load_body
from blazechat.domain.webhooks.webhooks import find
from blazechat.errors import NotFound

MAX_ATTEMPTS = 50
"""The latest attempts of a delivery that are returned with it."""
DELETED_PREFIX = b'{"type":"message.deleted"'


async def list_page(
    session: AsyncSession,
    caller: Caller,
    chat_id: int | None,
    webhook_id: int,
    *,
    state: str | None,
    limit: int,
    before: int | None,
) -> list[Delivery]:
    """Return a page of the webhook's deliveries, newest first: those with ids less than `before`.

    Raises NotFound, Forbidden.
    """
    webhook = await find(session, caller, chat_id, webhook_id, lock=False)
    query = select(tables.Delivery).where(tables.Delivery.webhook_id == webhook.id)
    if state is not None:
        query = query.where(tables.Delivery.state == state)
    if before is not None:
        query = query.where(tables.Delivery.id < before)
    rows = await session.scalars(query.order_by(tables.Delivery.id.desc()).limit(limit))
    return [_public_form(row, []) for row in rows]


async def get(
    session: AsyncSession,
    caller: Caller,
    chat_id: int | None,
    webhook_id: int,
    delivery_id: int,
) -> Delivery:
    """Return a delivery with its latest attempts and the request that would be sent now.

    Responses are left out if the message was deleted: they might repeat its content. Raises NotFound,
    Forbidden.
    """
    webhook = await find(session, caller, chat_id, webhook_id, lock=False)
    row = await _find_delivery(session, webhook, delivery_id)
    rows = await session.scalars(
        select(tables.Attempt)
        .where(tables.Attempt.chat_id == row.chat_id, tables.Attempt.delivery_id == row.id)
        .order_by(tables.Attempt.number.desc())
        .limit(MAX_ATTEMPTS)
    )
    event = OutboxEvent(row.id, row.chat_id, row.version, row.type, row.message_id, row.body, row.tries)
    body = await load_body(session, event)
    request = SentRequest(
        webhook.url, signing.constant_headers(event.event_id), None if body is None else body.decode()
    )
    attempts = [_public_attempt(attempt) for attempt in rows]
    if row.message_id is not None and (body is None or body.startswith(DELETED_PREFIX)):
        attempts = [replace(attempt, answer=None) for attempt in attempts]
    return replace(_public_form(row, attempts), request=request)


async def redeliver(
    session: AsyncSession,
    caller: Caller,
    chat_id: int | None,
    webhook_id: int,
    delivery_id: int,
) -> Delivery:
    """Restart a delivery in any state: it is due now, with all its tries. Raises NotFound, Forbidden."""
    webhook = await find(session, caller, chat_id, webhook_id)
    row = await _find_delivery(session, webhook, delivery_id)
    row.state, row.tries, row.finished_at, row.due_at = "waiting", 0, None, datetime.now(UTC)
    await session.flush()
    emit(session, WebhooksChanged())
    return _public_form(row, [])


DELETE_ORPHANED = text("""
WITH RECURSIVE pending AS (
    (SELECT webhook_id AS id FROM deliveries WHERE state = 'waiting' ORDER BY webhook_id LIMIT 1)
    UNION ALL
    SELECT n.id FROM pending p CROSS JOIN LATERAL (
        SELECT webhook_id AS id FROM deliveries WHERE state = 'waiting' AND webhook_id > p.id
        ORDER BY webhook_id LIMIT 1
    ) n
), gone AS (
    SELECT id FROM pending WHERE NOT EXISTS (SELECT FROM webhooks WHERE id = pending.id) LIMIT 1
), orphaned AS (
    SELECT d.chat_id, d.id FROM gone, deliveries d
    WHERE d.webhook_id = gone.id AND d.state = 'waiting' LIMIT :limit
)
DELETE FROM deliveries d USING orphaned o WHERE d.chat_id = o.chat_id AND d.id = o.id RETURNING d.id
""")
"""The recursion reads the webhooks of waiting deliveries by an index, one row per webhook."""


async def delete_orphaned(session: AsyncSession, limit: int) -> int:
    """Delete up to `limit` waiting deliveries of one deleted webhook. Returns how many were deleted.

    They were inserted while their webhook was deleted, or waited when `webhooks.delete_orphaned()` deleted
    it.
    """
    return len((await session.execute(DELETE_ORPHANED, {"limit": limit})).all())


async def delete_expired(session: AsyncSession, retention: timedelta, limit: int) -> int:
    """Delete up to `limit` deliveries that finished longer ago. Returns how many were deleted."""
    is_expired = tables.Delivery.finished_at < func.now() - retention
    expired = select(tables.Delivery.id).where(is_expired).limit(limit).scalar_subquery()
    deleted = await session.execute(
        delete(tables.Delivery)
        .where(tables.Delivery.id.in_(expired), is_expired)
        .returning(tables.Delivery.id)
    )
    return len(deleted.all())


async def _find_delivery(
    session: AsyncSession, webhook: tables.Webhook, delivery_id: int
) -> tables.Delivery:
    row = await session.scalar(
        select(tables.Delivery).where(
            tables.Delivery.webhook_id == webhook.id, tables.Delivery.id == delivery_id
        )
    )
    if row is None:
        raise NotFound("This webhook has no such delivery.")
    return row


def _public_form(row: tables.Delivery, attempts: list[Attempt]) -> Delivery:
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


def _public_attempt(row: tables.Attempt) -> Attempt:
    return Attempt(row.number, row.at, row.seconds, row.status, row.error, row.headers or {}, row.answer)
