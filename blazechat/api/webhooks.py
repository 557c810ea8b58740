"""Routes of outgoing webhooks: those of a chat, and on the same paths without a chat those of the
server."""

from functools import partial
from typing import Annotated

from fastapi import APIRouter, Request, Response
from pydantic import BaseModel, ConfigDict, Field

from blazechat.api import responses
from blazechat.api.callers import AdminCaller, AdminCallerNoTransaction
from blazechat.api.dependencies import AppServices, Transaction
from blazechat.api.field_errors import checked
from blazechat.api.fields import SERVICE_CHECKS, PathId, Url
from blazechat.api.openapi import operation_id
from blazechat.api.webhook_routes import OptionalChatId, chat_and_server_route
from blazechat.domain.schemas.integrations import Attempt, Webhook
from blazechat.domain.webhooks import webhooks
from blazechat.errors import TooManyPosts, TooManyWebhooks

router = APIRouter(prefix="/api", tags=["Webhooks"], generate_unique_id_function=operation_id)
route = partial(chat_and_server_route, router)

EventTypes = Annotated[
    list[str] | None,
    Field(max_length=100, description="Event types, as on `/ws`; by default all."),
    checked(webhooks.event_types),
]


class NewWebhook(BaseModel):
    model_config = ConfigDict(
        json_schema_extra={"examples": [{"url": "https://example.com/hook", "events": ["message.created"]}]}
    )

    url: Url
    events: EventTypes = None


class WebhookChange(BaseModel):
    url: Url | None = None
    events: EventTypes = None
    enabled: bool | None = Field(
        None, description="A webhook that is enabled again receives the events that are still waiting."
    )


@route(
    "POST",
    operation="create_{}_webhook",
    summary="Create a webhook",
    dependencies=SERVICE_CHECKS,
    status_code=201,
    response_model=Webhook,
    errors=(TooManyWebhooks,),
)
async def create_webhook(
    request: Request,
    services: AppServices,
    session: Transaction,
    caller: AdminCaller,
    chat_id: OptionalChatId,
    new: NewWebhook,
) -> Response:
    """For the owner and admins of the chat; for administrators of the server. The webhook receives events
    as POST requests, signed as in Standard Webhooks (docs/webhooks.md). Only this response returns
    `secret`."""
    webhook = await services.webhooks.create(session, caller, chat_id, url=new.url, events=new.events)
    return responses.json(webhook, 201, location=f"{request.url.path}/{webhook.id}")


@route("GET", operation="list_{}_webhooks", summary="List webhooks", response_model=list[Webhook])
async def list_webhooks(
    services: AppServices, session: Transaction, caller: AdminCaller, chat_id: OptionalChatId
) -> Response:
    """Oldest first, without secrets."""
    return responses.json(await services.webhooks.list_all(session, caller, chat_id))


@route("GET", "/{webhook_id}", operation="get_{}_webhook", summary="Get a webhook", response_model=Webhook)
async def show_webhook(
    services: AppServices,
    session: Transaction,
    caller: AdminCaller,
    chat_id: OptionalChatId,
    webhook_id: PathId,
) -> Response:
    """Returns whether it is enabled, and since when its requests fail."""
    return responses.json(await services.webhooks.get(session, caller, chat_id, webhook_id))


@route(
    "PUT",
    "/{webhook_id}",
    operation="change_{}_webhook",
    summary="Change a webhook",
    dependencies=SERVICE_CHECKS,
    response_model=Webhook,
    errors=(TooManyPosts,),
)
async def change_webhook(
    services: AppServices,
    session: Transaction,
    caller: AdminCaller,
    chat_id: OptionalChatId,
    webhook_id: PathId,
    change: WebhookChange,
) -> Response:
    """Changes the URL or the event types, or enables or disables the webhook."""
    webhook = await services.webhooks.change(session, caller, chat_id, webhook_id, **dict(change))
    return responses.json(webhook)


@route(
    "DELETE", "/{webhook_id}", operation="delete_{}_webhook", summary="Delete a webhook", status_code=204
)
async def delete_webhook(
    services: AppServices,
    session: Transaction,
    caller: AdminCaller,
    chat_id: OptionalChatId,
    webhook_id: PathId,
) -> Response:
    """Deletes its waiting deliveries and its log as well."""
    await services.webhooks.delete(session, caller, chat_id, webhook_id)
    return responses.no_content()


@route(
    "POST",
    "/{webhook_id}/secret",
    operation="rotate_{}_webhook_secret",
    summary="Rotate a webhook's secret",
    response_model=Webhook,
)
async def rotate_secret(
    services: AppServices,
    session: Transaction,
    caller: AdminCaller,
    chat_id: OptionalChatId,
    webhook_id: PathId,
) -> Response:
    """Only this response returns the new `secret`. For 24 hours, requests are signed with the previous one
    as well."""
    return responses.json(await services.webhooks.rotate_secret(session, caller, chat_id, webhook_id))


@route(
    "POST",
    "/{webhook_id}/ping",
    operation="test_{}_webhook",
    summary="Test a webhook",
    response_model=Attempt,
    errors=(TooManyPosts,),
)
async def ping_webhook(
    services: AppServices, caller: AdminCallerNoTransaction, chat_id: OptionalChatId, webhook_id: PathId
) -> Response:
    """Sends `{"type": "ping"}` once, immediately, and returns the result."""
    return responses.json(await services.deliverer.ping(caller, chat_id, webhook_id))
