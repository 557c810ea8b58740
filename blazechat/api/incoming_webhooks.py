"""Routes of incoming webhooks: managing those of a chat, and posting to their URLs."""

from dataclasses import replace
from typing import Annotated

from fastapi import APIRouter, Request, Response
from pydantic import BaseModel, ConfigDict, Field

from blazechat.api import problems, responses, slack_responses
from blazechat.api.callers import AdminCaller
from blazechat.api.dependencies import AppServices, BaseUrl, Transaction
from blazechat.api.fields import MAX_FIELD_CHARACTERS, PathId
from blazechat.api.openapi import operation_id
from blazechat.domain.schemas.integrations import IncomingWebhook
from blazechat.errors import ChatFull, DirectChatFixed, TooManyWebhooks

router = APIRouter(tags=["Webhooks"], generate_unique_id_function=operation_id)


class NewIncomingWebhook(BaseModel):
    model_config = ConfigDict(json_schema_extra={"examples": [{"name": "Grafana"}]})

    name: Annotated[
        str, Field(max_length=MAX_FIELD_CHARACTERS, description="The author name of its messages.")
    ]


@router.post(
    "/api/chats/{chat_id}/incoming-webhooks",
    summary="Create an incoming webhook",
    status_code=201,
    response_model=IncomingWebhook,
    responses=problems.documented(*problems.CHAT_ERRORS, DirectChatFixed, ChatFull, TooManyWebhooks),
)
async def create_incoming_webhook(
    base_url: BaseUrl,
    services: AppServices,
    session: Transaction,
    caller: AdminCaller,
    chat_id: PathId,
    new: NewIncomingWebhook,
) -> Response:
    """For the owner and admins of a group. `url` accepts `{"content": …}` and the payloads of Slack and
    Mattermost. It contains a secret, so only this response returns it."""
    webhook, token = await services.incoming_webhooks.create(session, caller, chat_id, new.name)
    url = f"{base_url}/hooks/{token}"
    location = f"/api/chats/{chat_id}/incoming-webhooks/{webhook.id}"
    return responses.json(replace(webhook, url=url), 201, location=location)


@router.get(
    "/api/chats/{chat_id}/incoming-webhooks",
    summary="List incoming webhooks",
    response_model=list[IncomingWebhook],
    responses=problems.documented(*problems.CHAT_ERRORS),
)
async def list_incoming_webhooks(
    services: AppServices, session: Transaction, caller: AdminCaller, chat_id: PathId
) -> Response:
    """For the owner and admins. Oldest first, without URLs. `last_used_at` is exact to the minute."""
    return responses.json(await services.incoming_webhooks.list_all(session, caller, chat_id))


@router.delete(
    "/api/chats/{chat_id}/incoming-webhooks/{webhook_id}",
    summary="Delete an incoming webhook",
    status_code=204,
    responses=problems.documented(*problems.CHAT_ERRORS),
)
async def delete_incoming_webhook(
    services: AppServices, session: Transaction, caller: AdminCaller, chat_id: PathId, webhook_id: PathId
) -> Response:
    """For the owner and admins. The URL stops working. The messages that it posted stay, under its name."""
    await services.incoming_webhooks.revoke(session, caller, chat_id, webhook_id)
    return responses.no_content()


@router.post(
    "/hooks/{token}",
    summary="Post a message through an incoming webhook",
    response_class=Response,
    responses=slack_responses.RESPONSES,
    openapi_extra=slack_responses.REQUEST_BODY,
)
async def post_to_incoming_webhook(request: Request, services: AppServices, token: str) -> Response:
    """Send `{"content": …}`, or a payload of Slack or Mattermost, as JSON or as a form with `payload`. The
    response is `ok` after the message is committed, or a word for the error."""

    async def receive(content_type: str, body: bytes) -> None:
        await services.incoming_webhooks.post(token, content_type, body)

    return await slack_responses.respond(request, receive)
