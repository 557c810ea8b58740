"""Routes of web pages: `/`, `/docs/<page>`, their assets, and what a browser gets for an unknown path.

`/docs` itself is the API explorer (web.py).
"""

import asyncio
import re
from typing import TYPE_CHECKING

from fastapi import APIRouter, Request, Response
from starlette.exceptions import HTTPException

from blazechat.api.dependencies import AppServices, BaseUrl
from blazechat.api.pages.accept import prefers_html
from blazechat.domain.auth import users
from blazechat.errors import Unavailable

if TYPE_CHECKING:
    from blazechat.api.pages.site import Content, Site

router = APIRouter(include_in_schema=False)

READ = ["GET", "HEAD"]
API_PATHS = ("/api", "/hooks", "/ws")
"""Paths that answer every client as an API, browsers too."""
ADDRESS = re.compile(r"https?://[A-Za-z0-9.\-]+(:\d{1,5})?|https?://\[[0-9a-fA-F:.]+\](:\d{1,5})?")
MAX_ADDRESS_CHARACTERS = 300
"""A name in DNS has at most 253. A page is kept per address, so its length bounds the memory."""
UNKNOWN_ADDRESS = "http://SERVER"

SECURITY_HEADERS = {
    "Content-Security-Policy": "default-src 'none'; script-src 'self'; style-src 'self'; img-src 'self'; "
    "base-uri 'none'; form-action 'none'; frame-ancestors 'none'",
    "Referrer-Policy": "same-origin",
}
REVALIDATE = "no-cache"
KEEP = "public, max-age=31536000, immutable"


@router.api_route("/", methods=READ)
async def home(request: Request, services: AppServices, base_url: BaseUrl) -> Response:
    """For a browser, the page of this server. Programs get the same as for any unknown path."""
    if not _is_for_browser(request):
        raise HTTPException(404)
    is_address = len(base_url) <= MAX_ADDRESS_CHARACTERS and ADDRESS.fullmatch(base_url)
    address = base_url if is_address else UNKNOWN_ADDRESS
    is_new = await _is_new(services)
    content = await asyncio.to_thread(
        lambda: _site().home(address, is_new=is_new, registration=services.settings.registration)
    )
    response = _response(request, content)
    response.headers["Vary"] = "Accept"
    return response


@router.api_route("/docs/{name:path}", methods=READ)
async def document(request: Request, name: str) -> Response:
    return _response(request, await asyncio.to_thread(lambda: _site().document(name)))


@router.api_route("/pages/{name}", methods=READ)
async def asset(request: Request, name: str) -> Response:
    content = await asyncio.to_thread(lambda: _site().asset(name))
    version = request.query_params.get("v")
    is_current = content is not None and content.version == version
    return _response(request, content, cache=KEEP if is_current else REVALIDATE)


@router.api_route("/favicon.ico", methods=READ)
async def favicon(request: Request) -> Response:
    return await asset(request, "favicon.ico")


async def not_found(request: Request) -> Response | None:
    """Return the page for an unknown path; None for programs, which get a problem."""
    if request.scope["path"].startswith(API_PATHS) or request.method not in READ:
        return None
    if not _is_for_browser(request):
        return None
    content = await asyncio.to_thread(lambda: _site().not_found())
    return Response(content.body, 404, SECURITY_HEADERS | {"Vary": "Accept"}, content.media_type)


def _is_for_browser(request: Request) -> bool:
    return prefers_html(", ".join(request.headers.getlist("accept")))


async def _is_new(services: AppServices) -> bool:
    """Return whether this server has no accounts. While the database is away, it counts as having some."""
    try:
        async with services.database.transaction() as session:
            return not await users.exist(session)
    except Unavailable:
        return False


def _site() -> "Site":
    # Its libraries are loaded by the first page, and not at the start of the server.
    from blazechat.api.pages.site import site

    return site()


def _response(request: Request, content: "Content | None", cache: str = REVALIDATE) -> Response:
    """Return the content, or 304 if the client has it (RFC 9110 section 13.1.2). Raises HTTPException."""
    if content is None:
        raise HTTPException(404)
    headers = SECURITY_HEADERS | {"ETag": content.etag, "Cache-Control": cache}
    known = request.headers.get("if-none-match", "")
    if known == "*" or content.etag in re.findall(r'"[^"]*"', known):
        return Response(None, 304, headers)
    return Response(content.body, 200, headers, content.media_type)
