"""Disables webhooks whose receivers are gone or have failed for days, and notifies their owners."""

import structlog

from blazechat.database import tables
from blazechat.database.engine import Database
from blazechat.domain.integrations.system_messages import SystemMessages
from blazechat.domain.webhooks import webhooks
from blazechat.domain.webhooks.event_bodies import WebhookTarget
from blazechat.errors import Error

log = structlog.get_logger("blazechat.webhooks")


class Disabler:
    def __init__(self, database: Database, system_messages: SystemMessages) -> None:
        self._database = database
        self._system_messages = system_messages

    async def disable(self, target: WebhookTarget, reason: str) -> None:
        """Disable a webhook after a failed call, and send its owner a system message.

        Does nothing if the webhook has changed since `target` was loaded. Raises Unavailable or Busy.
        """
        async with self._database.transaction() as session:
            webhook = await webhooks.disable(session, target, reason)
        if webhook is not None:
            await self._notify_owner(webhook)

    async def _notify_owner(self, webhook: tables.Webhook) -> None:
        scope = f"chat {webhook.chat_id}" if webhook.chat_id is not None else "the whole server"
        # Without the URL: the owner might no longer be allowed to manage this webhook.
        content = (
            f"Your webhook {webhook.id} of {scope} was disabled: {webhook.disabled_because}."
            " Its waiting events are kept; enable it again to deliver them."
        )
        assert webhook.disabled_at is not None
        client_id = f"webhook-{webhook.id}-{int(webhook.disabled_at.timestamp())}"
        try:
            await self._system_messages.send(webhook.owner_id, content, client_id)
        except Error as error:
            log.warning(
                "owner of a disabled webhook not notified", webhook_id=webhook.id, reason=error.detail
            )
