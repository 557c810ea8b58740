"""Errors as responses: `application/problem+json` (RFC 9457), and their documentation in OpenAPI."""

from typing import Any

import msgspec
from fastapi import Response
from pydantic import BaseModel, Field

from blazechat.errors import (
    BadRequest,
    Busy,
    ContentTooLarge,
    Error,
    Forbidden,
    InternalError,
    InvalidInput,
    NoSuchChat,
    NotFound,
    RequestTimeout,
    Unauthenticated,
    Unavailable,
)

MEDIA_TYPE = "application/problem+json"
SCHEMAS = "#/components/schemas"
MAX_FIELD_ERRORS = 20
EXAMPLE_REQUEST_ID = "f3b1c2d4e5a60718"

CALLER_ERRORS = (Unauthenticated,)
"""Errors of every route that needs a caller."""
CHAT_ERRORS = (Unauthenticated, NotFound, Forbidden)
"""Errors of every route of one chat."""
COMMON_ERRORS = (
    InvalidInput,
    BadRequest,
    ContentTooLarge,
    RequestTimeout,
    InternalError,
    Unavailable,
    Busy,
)
"""Errors of every route."""


class WrongField(BaseModel):
    field: str = Field(examples=["content"])
    detail: str = Field(examples=["A message cannot be blank."])


class Problem(BaseModel):
    """An error (RFC 9457)."""

    type: str = Field(examples=["urn:blazechat:problem:not_found"])
    title: str = Field(examples=["Not found"])
    status: int = Field(examples=[404])
    detail: str = Field(description="A sentence for the user.", examples=[NoSuchChat.detail])
    code: str = Field(description="A stable code for programs.", examples=["not_found"])
    request_id: str = Field(examples=[EXAMPLE_REQUEST_ID])
    errors: list[WrongField] | None = Field(
        None, description="The invalid fields; only with `invalid_input`."
    )


def response_of(error: Error, request_id: str) -> Response:
    """Return the HTTP response of an error."""
    problem = _problem(error, request_id)
    if error.fields:
        problem["errors"] = error.fields[:MAX_FIELD_ERRORS]
    headers = {}
    if isinstance(error, Unauthenticated):
        headers["WWW-Authenticate"] = "Bearer"
    if error.retry_after is not None:
        headers["Retry-After"] = str(error.retry_after)
    return Response(msgspec.json.encode(problem), error.status, headers, MEDIA_TYPE)


def documented(*errors: type[Error]) -> dict[int | str, dict[str, Any]]:
    """Return these errors and the COMMON_ERRORS for the `responses` of a route in OpenAPI."""
    return only(*errors, *COMMON_ERRORS)


def only(*errors: type[Error]) -> dict[int | str, dict[str, Any]]:
    """Return these errors for the `responses` of a route in OpenAPI."""
    by_status: dict[int, list[type[Error]]] = {}
    for error in errors:
        by_status.setdefault(error.status, []).append(error)
    return {
        status: {
            "description": "; ".join(f"{error.title} (`{error.code}`)" for error in same_status),
            "content": {
                MEDIA_TYPE: {
                    "schema": {"$ref": f"{SCHEMAS}/{Problem.__name__}"},
                    "examples": {error.code: _example(error) for error in same_status},
                }
            },
        }
        for status, same_status in sorted(by_status.items())
    }


def schemas() -> dict[str, Any]:
    """Return the schemas of problems by name.

    FastAPI generates the schema of a `model` for `application/json` only, which no error has.
    """
    found = Problem.model_json_schema(ref_template=f"{SCHEMAS}/{{model}}")
    parts: dict[str, Any] = found.pop("$defs")
    return parts | {Problem.__name__: found}


def _example(error: type[Error]) -> dict[str, Any]:
    return {"value": _problem(error, EXAMPLE_REQUEST_ID)}


def _problem(error: Error | type[Error], request_id: str) -> dict[str, Any]:
    return {
        "type": f"urn:blazechat:problem:{error.code}",
        "title": error.title,
        "status": error.status,
        "detail": error.detail,
        "code": error.code,
        "request_id": request_id,
    }
