"""What routes answer with: the domain's objects as JSON, and links to further pages (RFC 8288)."""

from collections.abc import Sequence
from typing import Any, TypeVar
from urllib.parse import urlencode

import msgspec
from fastapi import Request, Response

T = TypeVar("T")

encode = msgspec.json.Encoder().encode


def json(
    value: object,
    status: int = 200,
    *,
    location: str | None = None,
    link: str | None = None,
) -> Response:
    """`value` as the same JSON that sockets carry."""
    headers = {}
    if location is not None:
        headers["Location"] = location
    if link is not None:
        headers["Link"] = link
    return Response(encode(value), status, headers, "application/json")


def body(encoded: bytes, *, link: str | None = None) -> Response:
    """JSON that was encoded before."""
    headers = {} if link is None else {"Link": link}
    return Response(encoded, 200, headers, "application/json")


def nothing() -> Response:
    return Response(status_code=204)


def link(request: Request, **relations: dict[str, Any] | None) -> str | None:
    """A `Link` header: for each relation the query of its page on the path asked for; None is none."""
    base = f"{request.url.scheme}://{request.url.netloc}{request.scope['asked_path']}"
    kept = dict(request.query_params)
    links = []
    for relation, query in relations.items():
        if query is not None:
            page = {key: kept[key] for key in kept if key in ("limit", "q")} | query
            links.append(f'<{base}?{urlencode(page)}>; rel="{relation}"')
    return ", ".join(links) or None


def cut(found: Sequence[T], limit: int) -> tuple[Sequence[T], bool]:
    """A page of `limit` from a list that was asked for one more, and whether there is a next page."""
    return found[:limit], len(found) > limit


def next_skip(request: Request, more: bool, limit: int, skip: int) -> str | None:
    """The link to the next page, where pages are counted."""
    return link(request, next={"skip": skip + limit} if more else None)
