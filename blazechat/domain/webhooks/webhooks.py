"""Outgoing webhooks: registration, changes and secrets.

A chat's webhooks are managed by its owner and admins, those of the server by its administrators.
outbox.py stores the events that they receive; jobs/deliverer.py delivers them.
"""

import base64
import secrets
from collections.abc import Callable, Sequence
from datetime import UTC, datetime, timedelta

from sqlalchemy import ColumnElement, func, select, text, update
from sqlalchemy import delete as sql_delete
from sqlalchemy.ext.asyncio import AsyncSession

from blazechat import signing
from blazechat.database import tables
from blazechat.domain.auth.access import Action, Caller, chat_for, lock_chat, require_admin
from blazechat.domain.events import WebhooksChanged, emit
from blazechat.domain.rate_limits import RateLimiter
from blazechat.domain.schemas.integrations import Webhook
from blazechat.domain.webhooks.event_bodies import WebhookTarget
from blazechat.domain.webhooks.outbox import NO_CHAT, TYPE_NAMES
from blazechat.errors import InvalidInput, NotFound, TooManyWebhooks

EVENT_TYPES = tuple(TYPE_NAMES.values())
MAX_WEBHOOKS = 50
"""Webhooks of one chat, or webhooks of the server."""
MAX_WEBHOOKS_PER_OWNER = 500
RESTARTS_PER_MINUTE = 10
"""Restarts of one webhook: it is enabled, gets another URL, or redelivers its dead events."""
SECRET_BYTES = 32
OLD_SECRET_LIFETIME = timedelta(hours=24)
"""How long requests are signed with the replaced secret as well."""


class Webhooks:
    """Manages webhooks. In all methods, `chat_id` is None for the webhooks of the server.

    `check_url` returns a URL in its normal form, or raises InvalidInput.
    """

    def __init__(self, check_url: Callable[[str], str]) -> None:
        self.check_url = check_url
        self._restarts = RateLimiter(RESTARTS_PER_MINUTE)

    async def create(
        self,
        session: AsyncSession,
        caller: Caller,
        chat_id: int | None,
        *,
        url: str,
        events: Sequence[str] | None,
    ) -> Webhook:
        """Create a webhook that receives these types of events, or all. Only this call returns its secret.

        Raises InvalidInput, NotFound, Forbidden, TooManyWebhooks.
        """
        await _require_access(session, caller, chat_id)
        is_owned = tables.Webhook.owner_id == caller.user_id
        for condition, limit in ((_in_scope(chat_id), MAX_WEBHOOKS), (is_owned, MAX_WEBHOOKS_PER_OWNER)):
            if (await session.scalar(select(func.count()).where(condition)) or 0) >= limit:
                raise TooManyWebhooks
        webhook = tables.Webhook(
            chat_id=chat_id,
            owner_id=caller.user_id,
            url=self.check_url(url),
            events=event_types(events),
            secret=new_secret(),
        )
        session.add(webhook)
        await session.flush()
        await session.refresh(webhook)
        await _update_count(session, chat_id)
        emit(session, WebhooksChanged())
        return _public_form(webhook, secret=webhook.secret)

    async def list_all(self, session: AsyncSession, caller: Caller, chat_id: int | None) -> list[Webhook]:
        """Return the webhooks without their secrets, oldest first. Raises NotFound, Forbidden."""
        await _require_access(session, caller, chat_id, lock=False)
        rows = select(tables.Webhook).where(_in_scope(chat_id)).order_by(tables.Webhook.id)
        return [_public_form(row) for row in await session.scalars(rows.limit(MAX_WEBHOOKS))]

    async def get(
        self, session: AsyncSession, caller: Caller, chat_id: int | None, webhook_id: int
    ) -> Webhook:
        """Return a webhook without its secret. Raises NotFound, Forbidden."""
        return _public_form(await find(session, caller, chat_id, webhook_id, lock=False))

    async def change(
        self,
        session: AsyncSession,
        caller: Caller,
        chat_id: int | None,
        webhook_id: int,
        *,
        url: str | None,
        events: Sequence[str] | None,
        enabled: bool | None,
    ) -> Webhook:
        """Change what is not None. Waiting events are due as soon as the webhook is enabled.

        Raises InvalidInput, NotFound, Forbidden, TooManyPosts.
        """
        webhook = await find(session, caller, chat_id, webhook_id)
        new_url = webhook.url if url is None else self.check_url(url)
        if enabled or new_url != webhook.url:
            self._restarts.admit(webhook.id.to_bytes(8))
        if new_url != webhook.url:
            webhook.url, webhook.failing_since = new_url, None
        if events is not None:
            webhook.events = event_types(events)
        if enabled is not None:
            if enabled:
                webhook.disabled_at = webhook.disabled_because = webhook.failing_since = None
                await _make_due(session, webhook)
            elif webhook.disabled_at is None:
                webhook.disabled_at, webhook.disabled_because = datetime.now(UTC), "by hand"
        await session.flush()
        await _update_count(session, chat_id)
        emit(session, WebhooksChanged())
        return _public_form(webhook)

    async def redeliver_all(
        self, session: AsyncSession, caller: Caller, chat_id: int | None, webhook_id: int
    ) -> int:
        """Make all dead events due again, in order; return their number.

        Raises NotFound, Forbidden, TooManyPosts.
        """
        webhook = await find(session, caller, chat_id, webhook_id)
        self._restarts.admit(webhook.id.to_bytes(8))
        restarted = await session.execute(
            update(tables.Delivery)
            .where(
                tables.Delivery.webhook_id == webhook.id,
                tables.Delivery.state == "dead",
                tables.Delivery.chat_id != NO_CHAT,  # pings are redelivered one by one only
            )
            .values(state="waiting", tries=0, finished_at=None, due_at=func.now())
            .returning(tables.Delivery.id)
        )
        emit(session, WebhooksChanged())
        return len(restarted.all())

    async def rotate_secret(
        self, session: AsyncSession, caller: Caller, chat_id: int | None, webhook_id: int
    ) -> Webhook:
        """Replace the secret. Only this call returns the new one; the old one signs as well for a day.

        Raises NotFound, Forbidden.
        """
        webhook = await find(session, caller, chat_id, webhook_id)
        webhook.old_secret, webhook.old_until = webhook.secret, datetime.now(UTC) + OLD_SECRET_LIFETIME
        webhook.secret = new_secret()
        await session.flush()
        return _public_form(webhook, secret=webhook.secret)

    async def delete(
        self, session: AsyncSession, caller: Caller, chat_id: int | None, webhook_id: int
    ) -> None:
        """Delete a webhook with its waiting events and its log. Raises NotFound, Forbidden."""
        webhook = await find(session, caller, chat_id, webhook_id)
        await session.execute(sql_delete(tables.Delivery).where(tables.Delivery.webhook_id == webhook.id))
        await session.delete(webhook)
        await session.flush()
        await _update_count(session, chat_id)


async def find(
    session: AsyncSession, caller: Caller, chat_id: int | None, webhook_id: int, *, lock: bool = True
) -> tables.Webhook:
    """Return the webhook if the caller may manage it. With `lock`, lock its chat, then the webhook.

    Raises NotFound, Forbidden.
    """
    await _require_access(session, caller, chat_id, lock=lock)
    for_update = {"key_share": True} if lock else None
    webhook = await session.get(
        tables.Webhook, webhook_id, with_for_update=for_update, populate_existing=True
    )
    if webhook is None or webhook.chat_id != chat_id:
        raise NotFound("There is no such webhook.")
    return webhook


async def disable(session: AsyncSession, target: WebhookTarget, reason: str) -> tables.Webhook | None:
    """Disable a webhook after a failed call; `target` is its state when the call began.

    Returns None and changes nothing if the webhook was deleted, disabled, given another URL, or called
    successfully since.
    """
    if target.chat_id is not None:
        await lock_chat(session, target.chat_id)
    webhook = await session.get(tables.Webhook, target.id, with_for_update=True)
    if webhook is None or webhook.disabled_at is not None or webhook.url != target.url:
        return None
    has_recovered = webhook.failing_since is None and target.failing_since is not None
    if has_recovered:
        return None
    webhook.disabled_at, webhook.disabled_because = datetime.now(UTC), reason
    await session.flush()
    await _update_count(session, target.chat_id)
    return webhook


def new_secret() -> str:
    """Return a new secret in the form of Standard Webhooks."""
    return signing.KEY_PREFIX + base64.b64encode(secrets.token_bytes(SECRET_BYTES)).decode()


DELETE_ORPHANED = text("""
DELETE FROM webhooks w
WHERE chat_id IS NOT NULL AND NOT EXISTS (SELECT FROM chats WHERE id = w.chat_id) AND (
    disabled_at IS NOT NULL
    OR NOT EXISTS (SELECT FROM deliveries WHERE webhook_id = w.id AND state = 'waiting')
)
""")


async def delete_orphaned(session: AsyncSession) -> None:
    """Delete webhooks of deleted chats, once no delivery of them waits, or immediately if they are
    disabled.

    Deliveries that still wait for a disabled one become orphaned (`delivery_log.delete_orphaned()`).
    """
    await session.execute(DELETE_ORPHANED)


def _public_form(webhook: tables.Webhook, secret: str | None = None) -> Webhook:
    return Webhook(
        id=webhook.id,
        chat_id=webhook.chat_id,
        owner_id=webhook.owner_id,
        url=webhook.url,
        events=webhook.events,
        enabled=webhook.disabled_at is None,
        disabled_at=webhook.disabled_at,
        disabled_because=webhook.disabled_because,
        failing_since=webhook.failing_since,
        created_at=webhook.created_at,
        secret=secret,
    )


async def _require_access(
    session: AsyncSession, caller: Caller, chat_id: int | None, *, lock: bool = True
) -> None:
    """Raises NotFound, Forbidden. Calls that only read pass no `lock`, because sends skip locked chats."""
    if chat_id is None:
        require_admin(caller)
    elif lock:
        await chat_for(session, caller.user_id, chat_id, Action.MANAGE_WEBHOOKS)
    else:
        (await chat_for(session, caller.user_id, chat_id)).require(Action.MANAGE_WEBHOOKS)


async def _update_count(session: AsyncSession, chat_id: int | None) -> None:
    """Store the number of a chat's enabled webhooks in the chat's row, where FAST_APPEND reads it."""
    if chat_id is not None:
        enabled = select(func.count()).where(_in_scope(chat_id), tables.Webhook.disabled_at.is_(None))
        await session.execute(
            update(tables.Chat).where(tables.Chat.id == chat_id).values(hooks=enabled.scalar_subquery())
        )


def _in_scope(chat_id: int | None) -> ColumnElement[bool]:
    return tables.Webhook.chat_id.is_(None) if chat_id is None else tables.Webhook.chat_id == chat_id


def event_types(given: Sequence[str] | None) -> list[str]:
    """Return these types of events, by default all, in our order. Raises InvalidInput."""
    if given is None:
        return list(EVENT_TYPES)
    if not given or any(name not in EVENT_TYPES for name in given):
        known = ", ".join(EVENT_TYPES)
        raise InvalidInput.of("events", f"Name one or more of these types of events: {known}.")
    return [name for name in EVENT_TYPES if name in given]


async def _make_due(session: AsyncSession, webhook: tables.Webhook) -> None:
    """Make all waiting events of the webhook due now, with all their tries."""
    waiting = (tables.Delivery.webhook_id == webhook.id, tables.Delivery.state == "waiting")
    await session.execute(update(tables.Delivery).where(*waiting).values(due_at=func.now(), tries=0))
