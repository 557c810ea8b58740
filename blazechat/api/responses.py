"""JSON responses, and `Link` headers that lead to further pages (RFC 8288)."""

from collections.abc import Mapping, Sequence
from typing import Any, Protocol, TypeVar
from urllib.parse import urlencode

import msgspec
from fastapi import Request, Response

KEPT_PARAMETERS = ("limit", "q")
"""Query parameters that a link to another page repeats."""

T = TypeVar("T")

encode = msgspec.json.Encoder().encode


class HasId(Protocol):
    @property
    def id(self) -> int: ...


def json(
    value: object,
    status: int = 200,
    *,
    location: str | None = None,
    link: str | None = None,
) -> Response:
    """Return `value` as JSON, encoded as on sockets."""
    headers = {}
    if location is not None:
        headers["Location"] = location
    if link is not None:
        headers["Link"] = link
    return Response(encode(value), status, headers, "application/json")


def encoded(body: bytes, *, link: str | None = None) -> Response:
    """Return JSON that is already encoded."""
    headers = {} if link is None else {"Link": link}
    return Response(body, 200, headers, "application/json")


def no_content() -> Response:
    return Response(status_code=204)


def keyset_page(
    request: Request, items: Sequence[HasId], limit: int, *, cursor: str, **filters: str | None
) -> Response:
    """Return a page of `limit` items, given one item more if there is a next page.

    The link to the next page has the last item's id as the query parameter `cursor`, and the `filters`.
    """
    page, has_more = page_of(items, limit)
    kept = {name: value for name, value in filters.items() if value is not None}
    return json(page, link=links(request, next={cursor: page[-1].id} | kept if has_more else None))


def skip_page(request: Request, items: Sequence[object], limit: int, skip: int) -> Response:
    """Return a page of `limit` items after `skip` others, given one item more if there is a next page."""
    page, has_more = page_of(items, limit)
    return json(page, link=skip_link(request, has_more, limit, skip))


def page_of(items: Sequence[T], limit: int) -> tuple[Sequence[T], bool]:
    """Return the first `limit` items, and whether there are more."""
    return items[:limit], len(items) > limit


def skip_link(request: Request, has_more: bool, limit: int, skip: int) -> str | None:
    """Return the `Link` header of a page after `skip` items."""
    return links(request, next={"skip": skip + limit} if has_more else None)


def links(request: Request, **relations: dict[str, Any] | None) -> str | None:
    """Return a `Link` header, or None if there is no link.

    Each relation (`next`, `prev`) has the query of its page, or None. The path is the one that the client
    used: with or without `/api`.
    """
    base = f"{request.url.scheme}://{request.url.netloc}{request.scope['original_path']}"
    query = request.query_params
    kept = {name: query[name] for name in query if name in KEPT_PARAMETERS}
    return link_header(base, kept, relations)


def link_header(
    base: str, kept: Mapping[str, str], relations: Mapping[str, dict[str, Any] | None]
) -> str | None:
    """Return a `Link` header to pages of the URL `base`, with the parameters `kept`."""
    return (
        ", ".join(
            f'<{base}?{urlencode({**kept, **page})}>; rel="{relation}"'
            for relation, page in relations.items()
            if page is not None
        )
        or None
    )
