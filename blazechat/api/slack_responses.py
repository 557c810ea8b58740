"""Responses of the routes that accept Slack's payloads. As Slack's: `ok`, or a word for the error."""

from collections.abc import Awaitable, Callable
from typing import Any

from fastapi import Request, Response
from starlette.exceptions import HTTPException

from blazechat.api import request_body
from blazechat.errors import Error, TemplateFailed

MAX_BODY_BYTES = 1_000_000
"""Ten times Slack's largest payloads."""
ERROR_WORDS = {
    400: "invalid_payload",
    404: "no_service",
    408: "timeout",
    413: "too_large",
    429: "rate_limited",
    503: "service_unavailable",
}
"""Slack's word per status; programs written for Slack compare them."""
OTHER_ERROR_WORD = "rollup_error"

RESPONSES: dict[int | str, dict[str, Any]] = {
    200: {"description": "`ok`", "content": {"text/plain": {}}},
    **{
        status: {"description": f"`{word}`", "content": {"text/plain": {}}}
        for status, word in ERROR_WORDS.items()
    },
}
"""The `responses` of such a route in OpenAPI."""
REQUEST_BODY = {
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
"""The `openapi_extra` of such a route."""


async def respond(request: Request, receive: Callable[[str, bytes], Awaitable[None]]) -> Response:
    """Call `receive(content_type, body)`. Return `ok`, or the word for the error that it raises.

    The `detail` of BadRequest is such a word itself. Raises TemplateFailed, whose sentence names the line.
    """
    try:
        body = await request_body.read(request, MAX_BODY_BYTES)
        await receive(request.headers.get("content-type", ""), body)
    except HTTPException as error:
        return _error_response(error.status_code)
    except TemplateFailed:
        raise
    except Error as error:
        return _error_response(
            error.status, error.detail if error.status == 400 else None, error.retry_after
        )
    return Response("ok", media_type="text/plain")


def _error_response(status: int, word: str | None = None, retry_after: int | None = None) -> Response:
    headers = {} if retry_after is None else {"Retry-After": str(retry_after)}
    content = word or ERROR_WORDS.get(status, OTHER_ERROR_WORD)
    return Response(content, status, headers, "text/plain")
