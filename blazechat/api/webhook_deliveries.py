"""Routes of the delivery log of a webhook: read it, and deliver events again."""

from functools import partial
from typing import Annotated, Literal

from fastapi import APIRouter, Query, Request, Response
from pydantic import BaseModel

from blazechat.api import responses
from blazechat.api.callers import AdminCaller
from blazechat.api.dependencies import AppServices, Transaction
from blazechat.api.fields import Limit, PathId, QueryId
from blazechat.api.openapi import operation_id
from blazechat.api.webhook_routes import OptionalChatId, chat_and_server_route
from blazechat.domain.schemas.integrations import Delivery
from blazechat.domain.webhooks import delivery_log
from blazechat.errors import TooManyPosts

router = APIRouter(prefix="/api", tags=["Webhooks"], generate_unique_id_function=operation_id)
route = partial(chat_and_server_route, router)

DeliveryState = Annotated[
    Literal["waiting", "delivered", "dead"] | None,
    Query(description="`dead`: the server has given up."),
]


class Redelivered(BaseModel):
    count: int


@route(
    "GET",
    "/{webhook_id}/deliveries",
    operation="list_{}_webhook_deliveries",
    summary="List deliveries",
    response_model=list[Delivery],
)
async def list_deliveries(
    request: Request,
    session: Transaction,
    caller: AdminCaller,
    chat_id: OptionalChatId,
    webhook_id: PathId,
    state: DeliveryState = None,
    limit: Limit = 50,
    before: QueryId | None = None,
) -> Response:
    """Newest first: delivered, waiting and dead."""
    found = await delivery_log.list_page(
        session, caller, chat_id, webhook_id, state=state, limit=limit + 1, before=before
    )
    return responses.keyset_page(request, found, limit, cursor="before", state=state)


@route(
    "GET",
    "/{webhook_id}/deliveries/{delivery_id}",
    operation="get_{}_webhook_delivery",
    summary="Get a delivery",
    response_model=Delivery,
)
async def show_delivery(
    session: Transaction,
    caller: AdminCaller,
    chat_id: OptionalChatId,
    webhook_id: PathId,
    delivery_id: PathId,
) -> Response:
    """Returns the request as the server would send it now, and each attempt with its time, duration, and
    response or error."""
    delivery = await delivery_log.get(session, caller, chat_id, webhook_id, delivery_id)
    return responses.json(delivery)


@route(
    "POST",
    "/{webhook_id}/deliveries/{delivery_id}/redeliver",
    operation="redeliver_{}_webhook_event",
    summary="Redeliver an event",
    status_code=202,
    response_model=Delivery,
)
async def redeliver(
    session: Transaction,
    caller: AdminCaller,
    chat_id: OptionalChatId,
    webhook_id: PathId,
    delivery_id: PathId,
) -> Response:
    """Delivers one event again, now, under the same id."""
    delivery = await delivery_log.redeliver(session, caller, chat_id, webhook_id, delivery_id)
    return responses.json(delivery, 202)


@route(
    "POST",
    "/{webhook_id}/redeliver",
    operation="redeliver_dead_{}_webhook_events",
    summary="Redeliver all dead events",
    status_code=202,
    response_model=Redelivered,
    errors=(TooManyPosts,),
)
async def redeliver_all(
    services: AppServices,
    session: Transaction,
    caller: AdminCaller,
    chat_id: OptionalChatId,
    webhook_id: PathId,
) -> Response:
    """Delivers all events again that the server gave up on, in their order."""
    count = await services.webhooks.redeliver_all(session, caller, chat_id, webhook_id)
    return responses.json({"count": count}, 202)
