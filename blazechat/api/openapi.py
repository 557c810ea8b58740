"""The OpenAPI document: operation ids, and the schemas of problems, for generators of clients."""

from typing import Any

from fastapi import FastAPI
from fastapi.routing import APIRoute

from blazechat.api import problems

FASTAPI_ERROR = "HTTPValidationError"


def operation_id(route: APIRoute) -> str:
    """Return the name of the route's function, from which generators make names of functions.

    A function with two routes has an explicit `operation_id` for each.
    """
    return route.name


def install(app: FastAPI) -> None:
    """Add what FastAPI leaves out to the document of the app."""
    generate = app.openapi

    def document() -> dict[str, Any]:
        if app.openapi_schema is None:
            _describe_problems(generate())
        assert app.openapi_schema is not None
        return app.openapi_schema

    app.openapi = document  # type: ignore[method-assign]  # as FastAPI's documentation extends the document


def _describe_problems(document: dict[str, Any]) -> None:
    """Add the schemas of problems, and remove the error that FastAPI documents and no route has."""
    for operation in (each for methods in document["paths"].values() for each in methods.values()):
        if FASTAPI_ERROR in str(operation["responses"].get("422")):
            del operation["responses"]["422"]
    schemas = document["components"]["schemas"]
    for unused in (FASTAPI_ERROR, "ValidationError"):
        schemas.pop(unused, None)
    schemas |= problems.schemas()
