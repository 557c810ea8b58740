"""Exception handlers: every error of a route, of FastAPI or of Starlette becomes a problem response."""

import re

from fastapi import FastAPI, Request, Response
from fastapi.exceptions import RequestValidationError
from starlette.exceptions import HTTPException

from blazechat.api import field_errors, problems
from blazechat.api.pages import routes as pages
from blazechat.errors import (
    BadRequest,
    ContentTooLarge,
    Error,
    MethodNotAllowed,
    NotFound,
    RequestTimeout,
)


def install(app: FastAPI) -> None:
    app.add_exception_handler(Error, _on_error)
    app.add_exception_handler(RequestValidationError, _on_validation_error)
    app.add_exception_handler(HTTPException, _on_http_exception)


async def _on_error(request: Request, error: Exception) -> Response:
    assert isinstance(error, Error)
    return _response_of(error, request)


async def _on_validation_error(request: Request, error: Exception) -> Response:
    assert isinstance(error, RequestValidationError)
    return _response_of(field_errors.invalid_input(request, error.errors()), request)


async def _on_http_exception(request: Request, error: Exception) -> Response:
    assert isinstance(error, HTTPException)
    if error.status_code == 404 and (page := await pages.not_found(request)) is not None:
        return page
    by_status: dict[int, Error] = {
        404: NotFound("There is nothing at this path."),
        405: MethodNotAllowed(),
        408: RequestTimeout(),
        413: ContentTooLarge(),
    }
    response = _response_of(by_status.get(error.status_code, BadRequest()), request)
    if error.status_code == 405:
        undocumented = sorted((error.headers or {}).get("Allow", "").split(", "))
        methods = _methods_of(request.app, request.scope["path"]) or undocumented
        response.headers["Allow"] = ", ".join(methods)
    return response


def _response_of(error: Error, request: Request) -> Response:
    return problems.response_of(error, str(request.scope.get("request_id", "")))


def _methods_of(app: FastAPI, path: str) -> list[str]:
    """Return all methods of a path for `Allow` (RFC 9110 section 10.2.1).

    Starlette's own header has the methods of a single route only.
    """
    found = {
        method.upper()
        for template, methods in app.openapi()["paths"].items()
        if re.fullmatch(re.sub(r"\\{(\w+)\\}", _pattern_of, re.escape(template)), path)
        for method in methods
    }
    return sorted(found)


def _pattern_of(parameter: re.Match[str]) -> str:
    """Ids are digits: a word in the place of an id is another path."""
    return "[0-9]+" if parameter[1].endswith("_id") else "[^/]+"
