"""Disables webhooks whose receivers are gone, or have failed for long, and tells their owners."""

from datetime import UTC, datetime

import structlog
from sqlalchemy import select

from blazechat.database import tables
from blazechat.database.engine import Database
from blazechat.domain.integrations.system_messages import SystemMessages
from blazechat.domain.webhooks import webhooks
from blazechat.domain.webhooks.event_bodies import Target
from blazechat.errors import Error

log = structlog.get_logger("blazechat.webhooks")


class Disabler:
    def __init__(self, database: Database, notices: SystemMessages) -> None:
        self._database = database
        self._notices = notices

    async def disable(self, called: Target, because: str) -> None:
        """Tell it nothing more, and tell its owner; unless it was changed since it was `called`."""
        webhook_id, chat_id = called.id, called.chat_id
        async with self._database.transaction() as session:
            if chat_id is not None:  # as everybody locks: the chat first
                lock = select(tables.Chat.id).where(tables.Chat.id == chat_id)
                await session.execute(lock.with_for_update(key_share=True))
            webhook = await session.get(tables.Webhook, webhook_id, with_for_update=True)
            if webhook is None or webhook.disabled_at is not None:
                return
            has_worked = webhook.failing_since is None and called.failing_since is not None
            if has_worked or webhook.url != called.url:
                return
            webhook.disabled_at, webhook.disabled_because = datetime.now(UTC), because
            await session.flush()
            await webhooks.count(session, chat_id)
        where = f"chat {chat_id}" if chat_id is not None else "the whole server"
        words = (
            f"Your webhook {webhook_id} of {where} was disabled: {because}."
            " What waits for it is kept; enable it again to go on."
        )
        try:
            stamp = int(webhook.disabled_at.timestamp())
            await self._notices.send(webhook.owner_id, words, f"webhook-{webhook_id}-{stamp}")
        except Error as error:
            log.warning("an owner could not be told", webhook_id=webhook_id, reason=error.detail)
