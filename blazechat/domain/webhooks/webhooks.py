"""Webhooks that are told of events: a chat's are its owner's and admins', the server's its administrators'.

What they are told, `outbox.py` has, and who tells them, `jobs/deliverer.py`.
"""

import base64
import secrets
from collections.abc import Callable, Sequence
from datetime import UTC, datetime, timedelta

from sqlalchemy import ColumnElement, func, select, update
from sqlalchemy import delete as sql_delete
from sqlalchemy.ext.asyncio import AsyncSession

from blazechat.database import tables
from blazechat.domain.auth.access import Action, Caller, chat_for, require_admin
from blazechat.domain.events import WebhooksChanged, emit
from blazechat.domain.rate_limits import Pace
from blazechat.domain.schemas.integrations import Webhook
from blazechat.domain.webhooks.outbox import TYPES
from blazechat.errors import InvalidInput, NotFound, TooManyWebhooks

EVENT_TYPES = tuple(TYPES.values())
WEBHOOKS_LIMIT = 50
"""Webhooks of one chat, or of the server."""
OWNED_LIMIT = 500
"""Webhooks that somebody has made."""
HURRIES_PER_MINUTE = 10
"""How often a webhook can start anew: enabled, led elsewhere, told all again that was given up."""
SECRET_BYTES = 32
PREFIX = "whsec_"
OLD_FOR = timedelta(hours=24)
"""How long what is sent is signed with the secret before as well."""


class Webhooks:
    """`chat_id` is the chat of a webhook everywhere, None for those of the server.

    `check_url` gives a URL in its normal form, or raises InvalidInput.
    """

    def __init__(self, check_url: Callable[[str], str]) -> None:
        self._check_url = check_url
        self._hurries = Pace(HURRIES_PER_MINUTE)

    async def create(
        self,
        session: AsyncSession,
        asker: Caller,
        chat_id: int | None,
        *,
        url: str,
        events: Sequence[str] | None,
    ) -> Webhook:
        """A webhook that is told of these types of events, or of all; its secret is told this once.

        Raises InvalidInput, NotFound, Forbidden, TooManyWebhooks.
        """
        await _require(session, asker, chat_id)
        mine = tables.Webhook.owner_id == asker.user_id
        for those, limit in ((_of(chat_id), WEBHOOKS_LIMIT), (mine, OWNED_LIMIT)):
            if (await session.scalar(select(func.count()).where(those)) or 0) >= limit:
                raise TooManyWebhooks
        webhook = tables.Webhook(
            chat_id=chat_id,
            owner_id=asker.user_id,
            url=self._check_url(url),
            events=_events(events),
            secret=new_secret(),
        )
        session.add(webhook)
        await session.flush()
        await session.refresh(webhook)
        await count(session, chat_id)
        emit(session, WebhooksChanged())
        return shown(webhook, secret=webhook.secret)

    async def listed(self, session: AsyncSession, asker: Caller, chat_id: int | None) -> list[Webhook]:
        """The oldest first, without their secrets."""
        await _require(session, asker, chat_id, lock=False)
        rows = select(tables.Webhook).where(_of(chat_id)).order_by(tables.Webhook.id)
        return [shown(row) for row in await session.scalars(rows.limit(WEBHOOKS_LIMIT))]

    async def show(
        self, session: AsyncSession, asker: Caller, chat_id: int | None, webhook_id: int
    ) -> Webhook:
        return shown(await find(session, asker, chat_id, webhook_id, lock=False))

    async def change(
        self,
        session: AsyncSession,
        asker: Caller,
        chat_id: int | None,
        webhook_id: int,
        *,
        url: str | None,
        events: Sequence[str] | None,
        enabled: bool | None,
    ) -> Webhook:
        """Change what is given. One that is enabled again is told what had been waiting for it.

        Raises InvalidInput, NotFound, Forbidden, TooManyPosts.
        """
        webhook = await find(session, asker, chat_id, webhook_id)
        checked = webhook.url if url is None else self._check_url(url)
        if enabled or checked != webhook.url:
            self._hurries.admit(webhook.id.to_bytes(8))
        if checked != webhook.url:
            webhook.url, webhook.failing_since = checked, None
        if events is not None:
            webhook.events = _events(events)
        if enabled is not None:
            if enabled:
                webhook.disabled_at = webhook.disabled_because = webhook.failing_since = None
                await _hurry(session, webhook)
            elif webhook.disabled_at is None:
                webhook.disabled_at, webhook.disabled_because = datetime.now(UTC), "by hand"
        await session.flush()
        await count(session, chat_id)
        emit(session, WebhooksChanged())
        return shown(webhook)

    async def redeliver_all(
        self, session: AsyncSession, asker: Caller, chat_id: int | None, webhook_id: int
    ) -> int:
        """Tell all again that was given up, in order; how many that is.

        Raises NotFound, Forbidden, TooManyPosts.
        """
        webhook = await find(session, asker, chat_id, webhook_id)
        self._hurries.admit(webhook.id.to_bytes(8))
        again = await session.execute(
            update(tables.Delivery)
            .where(
                tables.Delivery.webhook_id == webhook.id,
                tables.Delivery.state == "dead",
                tables.Delivery.chat_id != 0,  # pings were for that moment
            )
            .values(state="waiting", tries=0, finished_at=None, due_at=func.now())
            .returning(tables.Delivery.id)
        )
        emit(session, WebhooksChanged())
        return len(again.all())

    async def rotate(
        self, session: AsyncSession, asker: Caller, chat_id: int | None, webhook_id: int
    ) -> Webhook:
        """Another secret, told this once; for a day, the one before signs as well."""
        webhook = await find(session, asker, chat_id, webhook_id)
        webhook.old_secret, webhook.old_until = webhook.secret, datetime.now(UTC) + OLD_FOR
        webhook.secret = new_secret()
        await session.flush()
        return shown(webhook, secret=webhook.secret)

    async def delete(
        self, session: AsyncSession, asker: Caller, chat_id: int | None, webhook_id: int
    ) -> None:
        """With what waits for it, and its log."""
        webhook = await find(session, asker, chat_id, webhook_id)
        await session.execute(sql_delete(tables.Delivery).where(tables.Delivery.webhook_id == webhook.id))
        await session.delete(webhook)
        await session.flush()
        await count(session, chat_id)


async def find(
    session: AsyncSession, asker: Caller, chat_id: int | None, webhook_id: int, *, lock: bool = True
) -> tables.Webhook:
    """The webhook, if it is the asker's to manage; locked, with its chat, for whoever changes it.

    Raises NotFound, Forbidden.
    """
    await _require(session, asker, chat_id, lock=lock)
    how = {"key_share": True} if lock else None
    webhook = await session.get(tables.Webhook, webhook_id, with_for_update=how, populate_existing=True)
    if webhook is None or webhook.chat_id != chat_id:
        raise NotFound("There is no such webhook here.")
    return webhook


async def count(session: AsyncSession, chat_id: int | None) -> None:
    """Note at a chat how many webhooks are told of it: the ledger looks only at that."""
    if chat_id is not None:
        live = select(func.count()).where(_of(chat_id), tables.Webhook.disabled_at.is_(None))
        await session.execute(
            update(tables.Chat).where(tables.Chat.id == chat_id).values(hooks=live.scalar_subquery())
        )


def shown(webhook: tables.Webhook, secret: str | None = None) -> Webhook:
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


async def _require(session: AsyncSession, asker: Caller, chat_id: int | None, *, lock: bool = True) -> None:
    """Raises NotFound, Forbidden. Sends skip a locked chat, so that whoever only looks locks nothing."""
    if chat_id is None:
        require_admin(asker)
    elif lock:
        await chat_for(session, asker.user_id, chat_id, Action.HOOK)
    else:
        (await chat_for(session, asker.user_id, chat_id)).require(Action.HOOK)


def _of(chat_id: int | None) -> ColumnElement[bool]:
    return tables.Webhook.chat_id.is_(None) if chat_id is None else tables.Webhook.chat_id == chat_id


def _events(wanted: Sequence[str] | None) -> list[str]:
    if wanted is None:
        return list(EVENT_TYPES)
    unknown = [each for each in wanted if each not in EVENT_TYPES]
    if unknown or not wanted:
        known = ", ".join(EVENT_TYPES)
        raise InvalidInput.of("events", f"Name some of these types of events: {known}.")
    return [each for each in EVENT_TYPES if each in wanted]


async def _hurry(session: AsyncSession, webhook: tables.Webhook) -> None:
    """Have what waits tried now, not when it had been put off to."""
    waiting = (tables.Delivery.webhook_id == webhook.id, tables.Delivery.state == "waiting")
    await session.execute(update(tables.Delivery).where(*waiting).values(due_at=func.now(), tries=0))


def new_secret() -> str:
    """As Standard Webhooks writes them."""
    return PREFIX + base64.b64encode(secrets.token_bytes(SECRET_BYTES)).decode()
