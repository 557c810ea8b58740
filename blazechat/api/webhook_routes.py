"""What the routes of webhooks share: each handler serves the webhooks of a chat and those of the server."""

from collections.abc import Callable
from typing import Annotated, Any, TypeVar

from fastapi import APIRouter, Depends, Request

from blazechat.api import problems
from blazechat.api.fields import MAX_ID
from blazechat.errors import Error, Forbidden, NotFound

WEBHOOK_ERRORS = (*problems.CALLER_ERRORS, Forbidden, NotFound)
"""Errors of every route of webhooks."""
MAX_ID_DIGITS = 16
CHAT_ID_PARAMETER = {
    "name": "chat_id",
    "in": "path",
    "required": True,
    "schema": {"type": "integer", "minimum": 1, "maximum": MAX_ID},
}

Handler = TypeVar("Handler", bound=Callable[..., Any])


def chat_and_server_route(
    router: APIRouter,
    method: str,
    path: str = "",
    *,
    operation: str,
    summary: str,
    errors: tuple[type[Error], ...] = (),
    **options: Any,
) -> Callable[[Handler], Handler]:
    """Decorate a handler to serve `/chats/{chat_id}/webhooks` + `path`, and `/webhooks` + `path`.

    `operation` is the operation id, with `{}` in place of `chat` or `server`. The handler's `chat_id` is an
    OptionalChatId. The domain call decides by it who may call the route.
    """
    responses = problems.documented(*WEBHOOK_ERRORS, *errors)

    def add_routes(handler: Handler) -> Handler:
        router.add_api_route(
            f"/chats/{{chat_id}}/webhooks{path}",
            handler,
            methods=[method],
            operation_id=operation.format("chat"),
            summary=f"{summary} (of a chat)",
            responses=responses,
            openapi_extra={"parameters": [CHAT_ID_PARAMETER]},
            **options,
        )
        router.add_api_route(
            f"/webhooks{path}",
            handler,
            methods=[method],
            operation_id=operation.format("server"),
            summary=f"{summary} (of the server)",
            responses=responses,
            **options,
        )
        return handler

    return add_routes


async def _chat_id(request: Request) -> int | None:
    chat_id = request.path_params.get("chat_id")
    if chat_id is None:
        return None
    if not str(chat_id).isdecimal() or not 1 <= len(str(chat_id)) <= MAX_ID_DIGITS:
        raise NotFound
    return int(chat_id)


OptionalChatId = Annotated[int | None, Depends(_chat_id)]
"""The chat's id in the path; None for the webhooks of the server. Raises NotFound if it is not an id."""
