"""Webhooks and slash commands (docs/webhooks.md).

In `WebhooksResource`, `chat_id` is the chat of the webhooks. None means the webhooks of the server, which
only administrators have access to.
"""

from collections.abc import Sequence
from typing import Any

from blazechat.client.resources import Resource
from blazechat.client.schemas import (
    Attempt,
    CommandAnswer,
    Delivery,
    IncomingWebhook,
    Page,
    Redelivered,
    SlashCommand,
    TemplatePreview,
    Webhook,
)


class IncomingWebhooksResource(Resource):
    """Secret URLs that post into a group."""

    async def create(self, chat_id: int, name: str, *, template: str | None = None) -> IncomingWebhook:
        """Create an incoming webhook whose messages have `name` as author. Only this returns its `url`.

        `template` makes messages from posts: a text with `{{ … }}`, or the name of a ready-made one.
        """
        body = {"name": name, "template": template}
        return await self._http.request("POST", self._path(chat_id), IncomingWebhook, body=body)

    async def list_all(self, chat_id: int) -> list[IncomingWebhook]:
        """Return all incoming webhooks of a chat, the oldest first, without their URLs."""
        return await self._http.request("GET", self._path(chat_id), list[IncomingWebhook])

    async def change_template(self, chat_id: int, webhook_id: int, template: str | None) -> IncomingWebhook:
        """Replace the template of an incoming webhook; None removes it."""
        path = f"{self._path(chat_id)}/{webhook_id}"
        return await self._http.request("PUT", path, IncomingWebhook, body={"template": template})

    async def preview(
        self, chat_id: int, template: str, payload: dict[str, Any] | list[Any], *, event: str | None = None
    ) -> str:
        """Return the message that a template makes of a payload; empty if it posts none.

        Raises InvalidInput, with the line, if the template fails.
        """
        path = f"{self._path(chat_id)}/preview"
        body = {"template": template, "payload": payload, "event": event}
        return (await self._http.request("POST", path, TemplatePreview, body=body)).content

    async def revoke(self, chat_id: int, webhook_id: int) -> None:
        """Revoke an incoming webhook. Its messages stay."""
        await self._http.delete(f"{self._path(chat_id)}/{webhook_id}")

    def _path(self, chat_id: int) -> str:
        return f"/api/chats/{chat_id}/incoming-webhooks"


class SlashCommandsResource(Resource):
    """Commands of a group that external programs handle."""

    async def create(
        self, chat_id: int, word: str, url: str, *, name: str, description: str = ""
    ) -> SlashCommand:
        """Create a command whose answers have `name` as author. Only this call returns its `secret`."""
        body = {"word": word, "url": url, "name": name, "description": description}
        return await self._http.request("POST", self._path(chat_id), SlashCommand, body=body)

    async def list_all(self, chat_id: int) -> list[SlashCommand]:
        """Return all commands of a chat, ordered by word; with URLs if this account may change them."""
        return await self._http.request("GET", self._path(chat_id), list[SlashCommand])

    async def delete(self, chat_id: int, command_id: int) -> None:
        """Delete a command. Its messages stay."""
        await self._http.delete(f"{self._path(chat_id)}/{command_id}")

    async def invoke(self, chat_id: int, text: str) -> CommandAnswer:
        """Invoke a command, `/word and its arguments`. Later answers arrive as messages or `Notice` events.

        Raises NotFound if there is no such command, CommandFailed if its program fails.
        """
        path = f"/api/chats/{chat_id}/commands"
        body = {"text": text}
        return await self._http.request("POST", path, CommandAnswer, body=body, is_idempotent=False)

    def _path(self, chat_id: int) -> str:
        return f"/api/chats/{chat_id}/slash-commands"


class WebhooksResource(Resource):
    """URLs that receive events."""

    async def create(self, chat_id: int | None, url: str, events: Sequence[str] | None = None) -> Webhook:
        """Create a webhook for these types of events, or for all. Only this call returns its `secret`."""
        body = {"url": url, "events": None if events is None else list(events)}
        return await self._http.request("POST", _path(chat_id), Webhook, body=body)

    async def list_all(self, chat_id: int | None) -> list[Webhook]:
        """Return all webhooks, the oldest first, without their secrets."""
        return await self._http.request("GET", _path(chat_id), list[Webhook])

    async def get(self, chat_id: int | None, webhook_id: int) -> Webhook:
        """Return a webhook, with whether it is enabled and since when its deliveries fail."""
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
        """Change the fields that are not None. Enabling a webhook delivers the events that were waiting."""
        body = {"url": url, "events": None if events is None else list(events), "enabled": enabled}
        return await self._http.request("PUT", _path(chat_id, webhook_id), Webhook, body=body)

    async def rotate_secret(self, chat_id: int | None, webhook_id: int) -> Webhook:
        """Create a new `secret`, which only this call returns. For one day, the old one signs as well."""
        path = f"{_path(chat_id, webhook_id)}/secret"
        return await self._http.request("POST", path, Webhook)

    async def ping(self, chat_id: int | None, webhook_id: int) -> Attempt:
        """Send a ping to the URL now, once, and return the result."""
        return await self._http.request("POST", f"{_path(chat_id, webhook_id)}/ping", Attempt)

    async def delete(self, chat_id: int | None, webhook_id: int) -> None:
        """Delete a webhook, with its waiting events and its delivery log."""
        await self._http.delete(_path(chat_id, webhook_id))

    async def deliveries(
        self,
        chat_id: int | None,
        webhook_id: int,
        *,
        state: str | None = None,
        before: int | None = None,
        limit: int = 50,
    ) -> Page[Delivery]:
        """Return deliveries, the newest first: all, or those `delivered`, `waiting` or `dead`."""
        query = {"state": state, "before": before, "limit": limit}
        return await self._http.page(f"{_path(chat_id, webhook_id)}/deliveries", Delivery, query)

    async def delivery(self, chat_id: int | None, webhook_id: int, delivery_id: int) -> Delivery:
        """Return a delivery with its request and its attempts."""
        path = f"{_path(chat_id, webhook_id)}/deliveries/{delivery_id}"
        return await self._http.request("GET", path, Delivery)

    async def redeliver(self, chat_id: int | None, webhook_id: int, delivery_id: int) -> Delivery:
        """Deliver an event again, now."""
        path = f"{_path(chat_id, webhook_id)}/deliveries/{delivery_id}/redeliver"
        return await self._http.request("POST", path, Delivery)

    async def redeliver_all(self, chat_id: int | None, webhook_id: int) -> int:
        """Deliver all dead events again. Returns their number."""
        path = f"{_path(chat_id, webhook_id)}/redeliver"
        return (await self._http.request("POST", path, Redelivered)).count


def _path(chat_id: int | None, webhook_id: int | None = None) -> str:
    base = "/api/webhooks" if chat_id is None else f"/api/chats/{chat_id}/webhooks"
    return base if webhook_id is None else f"{base}/{webhook_id}"
