"""Errors as responses: `application/problem+json` (RFC 9457), for ours and the framework's alike."""

import re
from collections.abc import Sequence
from typing import Any

import msgspec
from fastapi import FastAPI, Request, Response
from fastapi.exceptions import RequestValidationError
from pydantic import BaseModel, Field
from starlette.exceptions import HTTPException

from blazechat.errors import (
    BadRequest,
    Busy,
    ContentTooLarge,
    Error,
    FieldError,
    Forbidden,
    InternalError,
    InvalidInput,
    MethodNotAllowed,
    NotFound,
    RequestTimeout,
    Unauthenticated,
    Unavailable,
)

MEDIA_TYPE = "application/problem+json"
FIELDS_SHOWN = 20


class WrongField(BaseModel):
    field: str = Field(examples=["content"])
    detail: str = Field(examples=["A message cannot be blank."])


class Problem(BaseModel):
    """What went wrong (RFC 9457)."""

    type: str = Field(examples=["urn:blazechat:problem:not_found"])
    title: str = Field(examples=["Not found"])
    status: int = Field(examples=[404])
    detail: str = Field(
        description="A sentence for a person.",
        examples=["There is no such chat, or you are not in it."],
    )
    code: str = Field(description="Stable, for programs.", examples=["not_found"])
    request_id: str = Field(examples=["f3b1c2d4e5a60718"])
    errors: list[WrongField] | None = Field(None, description="For invalid input: what is wrong.")


def answer(error: Error, request_id: str) -> Response:
    """The error as an HTTP response."""
    told: dict[str, Any] = {
        "type": f"urn:blazechat:problem:{error.code}",
        "title": error.title,
        "status": error.status,
        "detail": error.detail,
        "code": error.code,
        "request_id": request_id,
    }
    if error.fields:
        told["errors"] = error.fields[:FIELDS_SHOWN]
    headers = {}
    if isinstance(error, Unauthenticated):
        headers["WWW-Authenticate"] = "Bearer"
    if error.retry_after is not None:
        headers["Retry-After"] = str(error.retry_after)
    return Response(msgspec.json.encode(told), error.status, headers, MEDIA_TYPE)


def documented(*kinds: type[Error]) -> dict[int | str, dict[str, Any]]:
    """These errors, and those that every route can give, for OpenAPI's `responses`."""
    everywhere: tuple[type[Error], ...] = (
        InvalidInput,
        BadRequest,
        ContentTooLarge,
        RequestTimeout,
        InternalError,
        Unavailable,
        Busy,
    )
    by_status: dict[int, list[type[Error]]] = {}
    for kind in kinds + everywhere:
        by_status.setdefault(kind.status, []).append(kind)
    return {
        status: {
            "description": "; ".join(f"{kind.title} (`{kind.code}`)" for kind in same),
            "model": Problem,
            "content": {MEDIA_TYPE: {"examples": {kind.code: _example(kind) for kind in same}}},
        }
        for status, same in sorted(by_status.items())
    }


SIGNED_IN = (Unauthenticated,)
IN_CHAT = (Unauthenticated, NotFound, Forbidden)


def install(app: FastAPI) -> None:
    """Have all errors of the app's routes answered as problems."""
    app.add_exception_handler(Error, _ours)
    app.add_exception_handler(RequestValidationError, _invalid)
    app.add_exception_handler(HTTPException, _of_the_framework)


def request_id_of(request: Request) -> str:
    return str(request.scope.get("request_id", ""))


async def _ours(request: Request, error: Exception) -> Response:
    assert isinstance(error, Error)
    return answer(error, request_id_of(request))


async def _invalid(request: Request, error: Exception) -> Response:
    assert isinstance(error, RequestValidationError)
    fields = tuple(_field(problem) for problem in error.errors())
    first = fields[0]
    detail = f"{first.field}: {first.detail}" if first.field else first.detail
    return answer(InvalidInput(detail, fields=fields), request_id_of(request))


async def _of_the_framework(request: Request, error: Exception) -> Response:
    assert isinstance(error, HTTPException)
    kinds: dict[int, Error] = {
        404: NotFound("There is nothing at this path."),
        405: MethodNotAllowed(),
        408: RequestTimeout(),
        413: ContentTooLarge(),
    }
    response = answer(kinds.get(error.status_code, BadRequest()), request_id_of(request))
    if error.status_code == 405:
        response.headers["Allow"] = ", ".join(_methods_of(request.app, request.scope["path"]))
    return response


def _methods_of(app: FastAPI, path: str) -> list[str]:
    """What can be asked of a path (RFC 9110 section 10.2.1); the router tells of one route only."""
    found = {
        method.upper()
        for template, methods in app.openapi()["paths"].items()
        if re.fullmatch(re.sub(r"\\{.*?\\}", "[0-9]+", re.escape(template)), path)
        for method in methods
    }
    return sorted(found)


def _field(problem: dict[str, Any]) -> FieldError:
    place: Sequence[Any] = problem["loc"][1:] or problem["loc"]
    if problem["type"] == "json_invalid":
        return FieldError("", "The body is not valid JSON.")
    # Where a body may be one of several things, pydantic puts the things' names between the fields'.
    name = ".".join(str(part) for part in place if re.fullmatch(r"[a-z0-9_]+", str(part)))
    detail = str(problem["msg"]).removeprefix("Value error, ")
    return FieldError(name, detail.encode(errors="replace").decode())


def _example(kind: type[Error]) -> dict[str, Any]:
    return {
        "value": {
            "type": f"urn:blazechat:problem:{kind.code}",
            "title": kind.title,
            "status": kind.status,
            "detail": kind.detail,
            "code": kind.code,
            "request_id": "f3b1c2d4e5a60718",
        }
    }
