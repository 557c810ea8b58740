"""Webhooks that are told of events: a chat's, and on the same paths without a chat the server's."""

from collections.abc import Callable
from typing import Annotated, Any, Literal, TypeVar

from fastapi import APIRouter, Depends, Query, Request, Response
from pydantic import BaseModel, ConfigDict, Field

from blazechat.api import problems, responses
from blazechat.api.dependencies import (
    LARGEST_ID,
    AdminCaller,
    AllServices,
    AnyId,
    Id,
    KnownAdmin,
    Limit,
    Transaction,
)
from blazechat.domain.schemas.integrations import Attempt, Delivery, Webhook
from blazechat.domain.webhooks import delivery_log
from blazechat.errors import Error, Forbidden, NotFound, TooManyPosts, TooManyWebhooks

router = APIRouter(prefix="/api", tags=["Webhooks"])

Handler = TypeVar("Handler", bound=Callable[..., Any])

URL_LENGTH = 4_000
CHAT_ID = {
    "name": "chat_id",
    "in": "path",
    "required": True,
    "schema": {"type": "integer", "minimum": 1, "maximum": LARGEST_ID},
}
REFUSALS = (*problems.SIGNED_IN, Forbidden, NotFound)


def _both(
    method: str,
    path: str = "",
    *,
    summary: str,
    errors: tuple[type[Error], ...] = (),
    **options: Any,
) -> Callable[[Handler], Handler]:
    """A route of a chat's webhooks and of the server's: who may call it is decided by the chat, if any."""
    documented = problems.documented(*REFUSALS, *errors)

    def add(handler: Handler) -> Handler:
        router.add_api_route(
            f"/chats/{{chat_id}}/webhooks{path}",
            handler,
            methods=[method],
            summary=f"{summary} (of a chat)",
            responses=documented,
            openapi_extra={"parameters": [CHAT_ID]},
            **options,
        )
        router.add_api_route(
            f"/webhooks{path}",
            handler,
            methods=[method],
            summary=f"{summary} (of the server)",
            responses=documented,
            **options,
        )
        return handler

    return add


async def _chat(request: Request) -> int | None:
    """The chat in the path; None for the server's webhooks. Raises NotFound for what is no id."""
    given = request.path_params.get("chat_id")
    if given is None:
        return None
    if not str(given).isdecimal() or not 1 <= len(str(given)) <= 16:
        raise NotFound
    return int(given)


Chat = Annotated[int | None, Depends(_chat)]
EventTypes = Annotated[
    list[str] | None, Field(max_length=100, description="types of events, as on `/ws`; without, all")
]
Url = Annotated[str, Field(max_length=URL_LENGTH, description="where to POST; a public address")]


class NewWebhook(BaseModel):
    model_config = ConfigDict(
        json_schema_extra={"examples": [{"url": "https://example.com/hook", "events": ["message.created"]}]}
    )

    url: Url
    events: EventTypes = None


class WebhookChange(BaseModel):
    url: Url | None = None
    events: EventTypes = None
    enabled: bool | None = Field(None, description="on again, it is told what had been waiting")


class Redelivered(BaseModel):
    count: int


@_both(
    "POST",
    summary="Make a webhook",
    status_code=201,
    response_model=Webhook,
    errors=(TooManyWebhooks,),
)
async def create_webhook(
    request: Request,
    services: AllServices,
    session: Transaction,
    caller: AdminCaller,
    chat_id: Chat,
    new: NewWebhook,
) -> Response:
    """It is told of events by requests signed as Standard Webhooks has it; docs/webhooks.md has all. The
    `secret` is told this once. A chat's: owner and admins; the server's: its administrators."""
    made = await services.webhooks.create(session, caller, chat_id, url=new.url, events=new.events)
    return responses.json(made, 201, location=f"{request.url.path}/{made.id}")


@_both("GET", summary="List webhooks", response_model=list[Webhook])
async def list_webhooks(
    services: AllServices, session: Transaction, caller: AdminCaller, chat_id: Chat
) -> Response:
    """The oldest first, without their secrets."""
    return responses.json(await services.webhooks.listed(session, caller, chat_id))


@_both("GET", "/{webhook_id}", summary="Show a webhook", response_model=Webhook)
async def show_webhook(
    services: AllServices, session: Transaction, caller: AdminCaller, chat_id: Chat, webhook_id: Id
) -> Response:
    """Whether it is enabled, and since when calls to it fail."""
    return responses.json(await services.webhooks.show(session, caller, chat_id, webhook_id))


@_both("PUT", "/{webhook_id}", summary="Change a webhook", response_model=Webhook, errors=(TooManyPosts,))
async def change_webhook(
    services: AllServices,
    session: Transaction,
    caller: AdminCaller,
    chat_id: Chat,
    webhook_id: Id,
    change: WebhookChange,
) -> Response:
    """Its URL, its types of events, or whether it is enabled."""
    changed = await services.webhooks.change(session, caller, chat_id, webhook_id, **dict(change))
    return responses.json(changed)


@_both("DELETE", "/{webhook_id}", summary="Delete a webhook", status_code=204)
async def delete_webhook(
    services: AllServices, session: Transaction, caller: AdminCaller, chat_id: Chat, webhook_id: Id
) -> Response:
    """With all that waits for it, and its log."""
    await services.webhooks.delete(session, caller, chat_id, webhook_id)
    return responses.nothing()


@_both("POST", "/{webhook_id}/secret", summary="Change a webhook's secret", response_model=Webhook)
async def rotate_secret(
    services: AllServices, session: Transaction, caller: AdminCaller, chat_id: Chat, webhook_id: Id
) -> Response:
    """The new `secret` is told this once. For a day, requests are signed with the one before as well."""
    return responses.json(await services.webhooks.rotate(session, caller, chat_id, webhook_id))


@_both(
    "POST",
    "/{webhook_id}/ping",
    summary="Try a webhook",
    response_model=Attempt,
    errors=(TooManyPosts,),
)
async def ping_webhook(
    services: AllServices, caller: KnownAdmin, chat_id: Chat, webhook_id: Id
) -> Response:
    """Sends `{"type": "ping"}` once, now, and answers with what came of it."""
    return responses.json(await services.deliverer.ping(caller, chat_id, webhook_id))


@_both("GET", "/{webhook_id}/deliveries", summary="List deliveries", response_model=list[Delivery])
async def list_deliveries(
    request: Request,
    services: AllServices,
    session: Transaction,
    caller: AdminCaller,
    chat_id: Chat,
    webhook_id: Id,
    state: Annotated[
        Literal["waiting", "delivered", "dead"] | None, Query(description="`dead`: given up.")
    ] = None,
    limit: Limit = 50,
    before: AnyId | None = None,
) -> Response:
    """What it was told, what waits, and what was given up; the newest first."""
    listed = await delivery_log.listed(
        session, caller, chat_id, webhook_id, state=state, limit=limit + 1, before=before
    )
    found, more = responses.cut(listed, limit)
    following = {"before": found[-1].id} | ({"state": state} if state else {}) if more else None
    return responses.json(found, link=responses.link(request, next=following))


@_both("GET", "/{webhook_id}/deliveries/{delivery_id}", summary="Show a delivery", response_model=Delivery)
async def show_delivery(
    services: AllServices,
    session: Transaction,
    caller: AdminCaller,
    chat_id: Chat,
    webhook_id: Id,
    delivery_id: Id,
) -> Response:
    """With the request, as it would be sent now, and each try: when, how long, the answer or why none."""
    shown = await delivery_log.show(session, caller, chat_id, webhook_id, delivery_id)
    return responses.json(shown)


@_both(
    "POST",
    "/{webhook_id}/deliveries/{delivery_id}/redeliver",
    summary="Deliver again",
    status_code=202,
    response_model=Delivery,
)
async def redeliver(
    services: AllServices,
    session: Transaction,
    caller: AdminCaller,
    chat_id: Chat,
    webhook_id: Id,
    delivery_id: Id,
) -> Response:
    """One of them, now, under the same id."""
    again = await delivery_log.redeliver(session, caller, chat_id, webhook_id, delivery_id)
    return responses.json(again, 202)


@_both(
    "POST",
    "/{webhook_id}/redeliver",
    summary="Deliver all again",
    status_code=202,
    response_model=Redelivered,
    errors=(TooManyPosts,),
)
async def redeliver_all(
    services: AllServices, session: Transaction, caller: AdminCaller, chat_id: Chat, webhook_id: Id
) -> Response:
    """All that was given up, in the order in which it happened."""
    found = await services.webhooks.redeliver_all(session, caller, chat_id, webhook_id)
    return responses.json({"count": found}, 202)
