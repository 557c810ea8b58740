"""Routes of incoming webhooks: managing those of a chat, and posting to their URLs."""

from dataclasses import replace
from typing import Annotated, Any

from fastapi import APIRouter, Request, Response
from pydantic import BaseModel, ConfigDict, Field

from blazechat.api import problems, responses, slack_responses
from blazechat.api.callers import AdminCaller, AdminCallerNoTransaction
from blazechat.api.dependencies import AppServices, BaseUrl, Transaction
from blazechat.api.field_errors import checked
from blazechat.api.fields import MAX_FIELD_CHARACTERS, Label, PathId
from blazechat.api.openapi import operation_id
from blazechat.domain.integrations.incoming_templates import well_formed
from blazechat.domain.integrations.incoming_webhooks import HookRequest
from blazechat.domain.schemas.integrations import IncomingWebhook, TemplatePreview
from blazechat.errors import ChatFull, DirectChatFixed, TemplateFailed, TooManyWebhooks

router = APIRouter(tags=["Webhooks"], generate_unique_id_function=operation_id)

EVENT_HEADERS = ("x-github-event", "x-gitea-event", "x-gitlab-event", "x-event-key")
"""Headers in which senders name the type of their payload."""

Template = Annotated[
    Annotated[str, checked(well_formed)] | None,
    Field(
        description="Makes messages from payloads of any program: a text with `{{ … }}` (Jinja), or the "
        "name of a ready-made template: `alertmanager`, `github`, `grafana`. Without it, posts have the "
        "format of Slack or Mattermost, or `title` and `message`.",
    ),
]


class NewIncomingWebhook(BaseModel):
    model_config = ConfigDict(
        json_schema_extra={"examples": [{"name": "Grafana"}, {"name": "GitHub", "template": "github"}]}
    )

    name: Annotated[Label, Field(description="The author name of its messages.")]
    template: Template = None


class IncomingWebhookChange(BaseModel):
    template: Template


class NewTemplatePreview(BaseModel):
    model_config = ConfigDict(
        json_schema_extra={
            "examples": [{"template": "Build {{ number }}: {{ status }}", "payload": {"number": 7}}]
        }
    )

    template: str
    payload: dict[str, Any] | list[Any]
    event: Annotated[
        str | None, Field(max_length=MAX_FIELD_CHARACTERS, description="As GitHub's `X-GitHub-Event`.")
    ] = None


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
    caller: AdminCallerNoTransaction,
    chat_id: PathId,
    new: NewIncomingWebhook,
) -> Response:
    """For the owner and admins of a group. `url` accepts `{"content": …}` and the payloads of Slack and
    Mattermost; with a `template`, the payloads of any program. It contains a secret, so only this response
    returns it."""
    webhook, token = await services.incoming_webhooks.create(caller, chat_id, new.name, new.template)
    url = f"{base_url}/hooks/{token}"
    location = f"/api/chats/{chat_id}/incoming-webhooks/{webhook.id}"
    return responses.json(replace(webhook, url=url), 201, location=location)


@router.get(
    "/api/chats/{chat_id}/incoming-webhooks",
    summary="List incoming webhooks",
    response_model=list[IncomingWebhook],
    responses=problems.documented(*problems.CHAT_ERRORS, DirectChatFixed),
)
async def list_incoming_webhooks(
    services: AppServices, session: Transaction, caller: AdminCaller, chat_id: PathId
) -> Response:
    """For the owner and admins. Oldest first, without URLs. `last_used_at` is exact to the minute."""
    return responses.json(await services.incoming_webhooks.list_all(session, caller, chat_id))


@router.put(
    "/api/chats/{chat_id}/incoming-webhooks/{webhook_id:int}",
    summary="Change the template of an incoming webhook",
    response_model=IncomingWebhook,
    responses=problems.documented(*problems.CHAT_ERRORS, DirectChatFixed),
)
async def change_incoming_template(
    services: AppServices,
    caller: AdminCallerNoTransaction,
    chat_id: PathId,
    webhook_id: PathId,
    change: IncomingWebhookChange,
) -> Response:
    """For the owner and admins. Null removes the template. The URL stays the same."""
    template = change.template
    return responses.json(
        await services.incoming_webhooks.change_template(caller, chat_id, webhook_id, template)
    )


@router.post(
    "/api/chats/{chat_id}/incoming-webhooks/preview",
    summary="Preview a template",
    response_model=TemplatePreview,
    responses=problems.documented(*problems.CHAT_ERRORS, DirectChatFixed),
)
async def preview_template(
    services: AppServices, caller: AdminCallerNoTransaction, chat_id: PathId, new: NewTemplatePreview
) -> Response:
    """For the owner and admins. Returns the message that the template makes of the payload, and posts
    nothing. The message is empty if the template posts none. An error names the line."""
    content = await services.incoming_webhooks.preview(
        caller, chat_id, new.template, new.payload, new.event
    )
    return responses.json(TemplatePreview(content))


@router.delete(
    "/api/chats/{chat_id}/incoming-webhooks/{webhook_id:int}",
    summary="Delete an incoming webhook",
    status_code=204,
    responses=problems.documented(*problems.CHAT_ERRORS, DirectChatFixed),
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
    responses=slack_responses.RESPONSES | problems.only(TemplateFailed),
    openapi_extra=slack_responses.REQUEST_BODY,
)
async def post_to_incoming_webhook(request: Request, services: AppServices, token: str) -> Response:
    """Send `{"content": …}`, or a payload of Slack or Mattermost, as JSON or as a form with `payload`; or
    what the webhook's template displays. The response is `ok` after the message is committed, or a word for
    the error. The failure of a template is a problem."""
    event = next(filter(None, map(request.headers.get, EVENT_HEADERS)), None)

    async def receive(content_type: str, body: bytes) -> None:
        await services.incoming_webhooks.post(token, HookRequest(content_type, body, event))

    return await slack_responses.respond(request, receive)
