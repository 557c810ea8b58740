"""Incoming webhooks: those of a chat, and the URLs that others post to, answered as Slack answers."""

from collections.abc import Awaitable, Callable
from dataclasses import replace
from typing import Annotated, Any

from fastapi import APIRouter, Request, Response
from pydantic import BaseModel, ConfigDict, Field
from starlette.exceptions import HTTPException

from blazechat.api import problems, responses
from blazechat.api.auth import NAME_LIMIT
from blazechat.api.dependencies import AdminCaller, AllServices, BaseUrl, Id, Transaction
from blazechat.domain.schemas.integrations import IncomingWebhook
from blazechat.errors import ChatFull, DirectChatFixed, Error, TooManyWebhooks

router = APIRouter(tags=["Webhooks"])

BODY_LIMIT = 1_000_000
"""Bytes of one post: Slack's largest payloads are a tenth of it."""
WORDS = {
    400: "invalid_payload",
    404: "no_service",
    408: "timeout",
    413: "too_large",
    429: "rate_limited",
    503: "service_unavailable",
}
"""What Slack answers, for programs that look for it."""


class NewIncomingWebhook(BaseModel):
    model_config = ConfigDict(json_schema_extra={"examples": [{"name": "Grafana"}]})

    name: Annotated[str, Field(max_length=NAME_LIMIT, description="as it is shown as the author")]


@router.post(
    "/api/chats/{chat_id}/incoming-webhooks",
    summary="Make an incoming webhook",
    status_code=201,
    response_model=IncomingWebhook,
    responses=problems.documented(*problems.IN_CHAT, DirectChatFixed, ChatFull, TooManyWebhooks),
)
async def create_incoming(
    base_url: BaseUrl,
    services: AllServices,
    session: Transaction,
    caller: AdminCaller,
    chat_id: Id,
    new: NewIncomingWebhook,
) -> Response:
    """Its `url`, told this once, takes `{"content": …}`, and whatever posts to Slack or Mattermost. Owner
    and admins; groups only."""
    made, token = await services.incoming_webhooks.create(session, caller, chat_id, new.name)
    url = f"{base_url}/hooks/{token}"
    location = f"/api/chats/{chat_id}/incoming-webhooks/{made.id}"
    return responses.json(replace(made, url=url), 201, location=location)


@router.get(
    "/api/chats/{chat_id}/incoming-webhooks",
    summary="List incoming webhooks",
    response_model=list[IncomingWebhook],
    responses=problems.documented(*problems.IN_CHAT),
)
async def list_incoming(
    services: AllServices, session: Transaction, caller: AdminCaller, chat_id: Id
) -> Response:
    """The oldest first, without their URLs, with their last use (to the minute). Owner and admins."""
    return responses.json(await services.incoming_webhooks.listed(session, caller, chat_id))


@router.delete(
    "/api/chats/{chat_id}/incoming-webhooks/{webhook_id}",
    summary="Revoke an incoming webhook",
    status_code=204,
    responses=problems.documented(*problems.IN_CHAT),
)
async def revoke_incoming(
    services: AllServices, session: Transaction, caller: AdminCaller, chat_id: Id, webhook_id: Id
) -> Response:
    """Its URL is worth nothing from now on; what it said stays, under its name. Owner and admins."""
    await services.incoming_webhooks.revoke(session, caller, chat_id, webhook_id)
    return responses.nothing()


POST_RESPONSES: dict[int | str, dict[str, Any]] = {
    200: {"description": "`ok`", "content": {"text/plain": {}}},
    **{
        status: {"description": f"`{word}`", "content": {"text/plain": {}}}
        for status, word in WORDS.items()
    },
}
POST_BODY = {
    "requestBody": {
        "required": True,
        "content": {
            "application/json": {
                "schema": {"type": "object"},
                "example": {"text": "Deployed.", "username": "Deploys"},
            },
            "application/x-www-form-urlencoded": {
                "schema": {"type": "object", "properties": {"payload": {"type": "string"}}}
            },
        },
    }
}


@router.post(
    "/hooks/{token}",
    summary="Post a message",
    response_class=Response,
    responses=POST_RESPONSES,
    openapi_extra=POST_BODY,
)
async def post(request: Request, services: AllServices, token: str) -> Response:
    """To an incoming webhook's URL: `{"content": …}`, or what Slack and Mattermost take, as JSON or as a
    form with `payload`. Answered with `ok` when the message is stored for good, or with a word that says
    why not."""

    async def take(content_type: str, body: bytes) -> None:
        await services.incoming_webhooks.post(token, content_type, body)

    return await answered(request, take)


async def answered(request: Request, take: Callable[[str, bytes], Awaitable[None]]) -> Response:
    """`ok` once `take` has taken the body, by its type; else a word of Slack's."""
    try:
        await take(request.headers.get("content-type", ""), await _body(request))
    except HTTPException as error:
        return _word(error.status_code)
    except Error as error:
        return _word(error.status, error.detail if error.status == 400 else None, error.retry_after)
    return Response("ok", media_type="text/plain")


async def _body(request: Request) -> bytes:
    body = bytearray()
    async for chunk in request.stream():
        body += chunk
        if len(body) > BODY_LIMIT:
            raise HTTPException(413)
    return bytes(body)


def _word(status: int, word: str | None = None, retry_after: int | None = None) -> Response:
    headers = {} if retry_after is None else {"Retry-After": str(retry_after)}
    return Response(word or WORDS.get(status, "rollup_error"), status, headers, "text/plain")
