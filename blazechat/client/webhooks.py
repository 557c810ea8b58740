"""Webhooks: secret URLs that post into a chat, and URLs that are told of events (docs/webhooks.md).

`chat_id` says whose webhooks; None are the server's, for administrators.
"""

from collections.abc import Sequence

from blazechat.client.resources import Resource
from blazechat.client.schemas import (
    Attempt,
    CommandAnswer,
    Delivery,
    IncomingWebhook,
    Page,
    Redelivered,
    SlashCommand,
    Webhook,
)


class IncomingWebhooksResource(Resource):
    """Secret URLs that post into a group."""

    async def create(self, chat_id: int, name: str) -> IncomingWebhook:
        """One whose messages are shown under `name`; its `url` is told this once."""
        path = f"/api/chats/{chat_id}/incoming-webhooks"
        return await self._http.request("POST", path, IncomingWebhook, body={"name": name})

    async def list_all(self, chat_id: int) -> list[IncomingWebhook]:
        """The oldest first, without their URLs."""
        path = f"/api/chats/{chat_id}/incoming-webhooks"
        return await self._http.request("GET", path, list[IncomingWebhook])

    async def revoke(self, chat_id: int, webhook_id: int) -> None:
        """Its URL is worth nothing from then on; what it said stays."""
        await self._http.request(
            "DELETE", f"/api/chats/{chat_id}/incoming-webhooks/{webhook_id}", type(None)
        )


class SlashCommandsResource(Resource):
    """Words of a group that another program answers."""

    async def create(
        self, chat_id: int, word: str, url: str, *, name: str, description: str = ""
    ) -> SlashCommand:
        """One that speaks as `name`; its `secret` is told this once."""
        body = {"word": word, "url": url, "name": name, "description": description}
        return await self._http.request("POST", self._path(chat_id), SlashCommand, body=body)

    async def list_all(self, chat_id: int) -> list[SlashCommand]:
        """By their words; with their URLs for who may change them."""
        return await self._http.request("GET", self._path(chat_id), list[SlashCommand])

    async def delete(self, chat_id: int, command_id: int) -> None:
        """What it said stays."""
        await self._http.request("DELETE", f"{self._path(chat_id)}/{command_id}", type(None))

    async def invoke(self, chat_id: int, text: str) -> CommandAnswer:
        """Give a command, `/word and the rest`. What is answered later comes as a message or a Notice.

        Raises NotFound where there is no such command, CommandFailed where its program fails.
        """
        path = f"/api/chats/{chat_id}/commands"
        return await self._http.request(
            "POST", path, CommandAnswer, body={"text": text}, is_idempotent=False
        )

    def _path(self, chat_id: int) -> str:
        return f"/api/chats/{chat_id}/slash-commands"


class WebhooksResource(Resource):
    """URLs that are told of events."""

    async def create(self, chat_id: int | None, url: str, events: Sequence[str] | None = None) -> Webhook:
        """One that is told of these types of events, or of all; its `secret` is told this once."""
        body = {"url": url, "events": None if events is None else list(events)}
        return await self._http.request("POST", _path(chat_id), Webhook, body=body)

    async def list_all(self, chat_id: int | None) -> list[Webhook]:
        """The oldest first, without their secrets."""
        return await self._http.request("GET", _path(chat_id), list[Webhook])

    async def get(self, chat_id: int | None, webhook_id: int) -> Webhook:
        """Whether it is enabled, and since when calls to it fail."""
        return await self._http.request("GET", _path(chat_id, webhook_id), Webhook)

    async def update(
        self,
        chat_id: int | None,
        webhook_id: int,
        *,
        url: str | None = None,
        events: Sequence[str] | None = None,
        enabled: bool | None = None,
    ) -> Webhook:
        """What is not None. One that is enabled again is told what had been waiting."""
        body = {"url": url, "events": None if events is None else list(events), "enabled": enabled}
        return await self._http.request("PUT", _path(chat_id, webhook_id), Webhook, body=body)

    async def rotate_secret(self, chat_id: int | None, webhook_id: int) -> Webhook:
        """Another `secret`, told this once; for a day the one before signs as well."""
        path = f"{_path(chat_id, webhook_id)}/secret"
        return await self._http.request("POST", path, Webhook)

    async def ping(self, chat_id: int | None, webhook_id: int) -> Attempt:
        """Call it once, now; what came of it."""
        return await self._http.request("POST", f"{_path(chat_id, webhook_id)}/ping", Attempt)

    async def delete(self, chat_id: int | None, webhook_id: int) -> None:
        """With what waits for it, and its log."""
        await self._http.request("DELETE", _path(chat_id, webhook_id), type(None))

    async def deliveries(
        self,
        chat_id: int | None,
        webhook_id: int,
        *,
        state: str | None = None,
        before: int | None = None,
        limit: int = 50,
    ) -> Page[Delivery]:
        """What it was told, what is `waiting`, and what is `dead`; the newest first."""
        query = {"state": state, "before": before, "limit": limit}
        return await self._http.page(f"{_path(chat_id, webhook_id)}/deliveries", Delivery, query)

    async def delivery(self, chat_id: int | None, webhook_id: int, delivery_id: int) -> Delivery:
        """One, with its request and what each try met."""
        path = f"{_path(chat_id, webhook_id)}/deliveries/{delivery_id}"
        return await self._http.request("GET", path, Delivery)

    async def redeliver(self, chat_id: int | None, webhook_id: int, delivery_id: int) -> Delivery:
        """Tell it again, now."""
        path = f"{_path(chat_id, webhook_id)}/deliveries/{delivery_id}/redeliver"
        return await self._http.request("POST", path, Delivery)

    async def redeliver_all(self, chat_id: int | None, webhook_id: int) -> int:
        """Tell it all again that was given up; how many that is."""
        path = f"{_path(chat_id, webhook_id)}/redeliver"
        return (await self._http.request("POST", path, Redelivered)).count


def _path(chat_id: int | None, webhook_id: int | None = None) -> str:
    base = "/api/webhooks" if chat_id is None else f"/api/chats/{chat_id}/webhooks"
    return base if webhook_id is None else f"{base}/{webhook_id}"
