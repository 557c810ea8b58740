"""The delivery log of a webhook: its deliveries with their attempts, and redelivery."""

from dataclasses import replace
from datetime import UTC, datetime

from sqlalchemy import select
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
