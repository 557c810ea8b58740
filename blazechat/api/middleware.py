"""The front door, before any routing: paths, request ids, limits on bodies, the last catch."""

import asyncio
import itertools
import re
import secrets
import sys
import time
from urllib.parse import quote

import structlog
from starlette.exceptions import HTTPException
from starlette.types import ASGIApp, Message, Receive, Scope, Send

from blazechat.api import problems
from blazechat.errors import ContentTooLarge, InternalError, NotFound

log = structlog.get_logger("blazechat.http")

BODY_TIMEOUT = 30.0
"""Seconds that a body may pause while it arrives."""
LONGEST_PATH = 500
LONG_NUMBER = 18
BARE = frozenset({"auth", "users", "chats", "messages", "token", "ws"})
"""First parts of paths that the seeds' documents list without `/api`; they mean the same."""
TUS, TUS_VERSION = "/api/uploads", "1.0.0"
UPLOADS = ("/api/media", TUS)
"""Paths of bodies that are handed on as they come, and never held as a whole."""
AROUND_A_FILE = 65_536
"""Bytes of a form beside its file."""
REQUEST_ID = re.compile(rb"[A-Za-z0-9._\-]{1,64}")

_process = secrets.token_hex(4)
_serial = itertools.count(1)


class RequestMiddleware:
    """ASGI middleware around the routes."""

    def __init__(self, app: ASGIApp, max_body: int, max_file: int, access_log: bool) -> None:
        self._app = app
        self._max_body = max_body
        self._max_upload = max_file + AROUND_A_FILE
        self._access_log = access_log

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        if scope["type"] == "lifespan":
            await self._app(scope, receive, send)
            return
        scope["asked_path"] = quote(scope["path"], safe="/~")
        scope["path"] = _routed(scope["path"])
        headers = dict(scope["headers"])
        scope["request_id"] = _request_id(headers.get(b"x-request-id"))
        if scope["type"] == "http":
            await self._serve(scope, receive, send, _announced_size(headers.get(b"content-length")))
        else:
            await self._app(scope, receive, send)

    async def _serve(self, scope: Scope, receive: Receive, send: Send, announced: int) -> None:
        began = time.perf_counter()
        status = 0
        version = TUS_VERSION.encode()
        max_body = self._max_upload if scope["path"].startswith(UPLOADS) else self._max_body

        async def send_with_headers(message: Message) -> None:
            nonlocal status
            if message["type"] == "http.response.start":
                status = message["status"]
                headers = message["headers"]
                headers.append((b"x-request-id", scope["request_id"].encode()))
                headers.append((b"x-content-type-options", b"nosniff"))
                if scope["path"].startswith(TUS):
                    headers += [(b"tus-resumable", version), (b"tus-version", version)]
            await send(message)

        structlog.contextvars.bind_contextvars(request_id=scope["request_id"])
        try:
            if announced > max_body or len(scope["path"]) > LONGEST_PATH:
                refusal = NotFound() if announced <= max_body else ContentTooLarge()
                response = problems.answer(refusal, scope["request_id"])
                response.headers["connection"] = "close"
                await response(scope, receive, send_with_headers)
            else:
                limited = _limited(receive, max_body)
                await self._app(scope, limited, send_with_headers)
        except Exception:
            log.exception("request failed", method=scope["method"], path=scope["asked_path"])
            if not status:
                response = problems.answer(InternalError(), scope["request_id"])
                await response(scope, receive, send_with_headers)
        if self._access_log or status >= 400:
            log.info(
                "request",
                method=scope["method"],
                path=scope["asked_path"],
                status=status,
                ms=round((time.perf_counter() - began) * 1000, 1),
            )


def _routed(path: str) -> str:
    """The path as routes know it: under `/api`, without a slash at its end."""
    if len(path) > 1:
        path = path.rstrip("/") or "/"
    if path[1:].partition("/")[0] in BARE:
        return f"/api{path}"
    return path


def _request_id(given: bytes | None) -> str:
    """The one that a proxy gave, if it can do no harm in a log, or one of our own."""
    if given is not None and REQUEST_ID.fullmatch(given):
        return given.decode()
    return f"{_process}{next(_serial):x}"


def _announced_size(length: bytes | None) -> int:
    if length is None or not length.isdigit():
        return 0
    return int(length) if len(length) < LONG_NUMBER else sys.maxsize


def _limited(receive: Receive, max_body: int) -> Receive:
    """`receive`, refusing bodies that are too large or too slow.

    As HTTPException, the one kind of error that FastAPI lets through while it reads a body.
    """
    received = 0
    complete = False

    async def receive_within_limits() -> Message:
        nonlocal received, complete
        if complete:
            return await receive()
        try:
            async with asyncio.timeout(BODY_TIMEOUT):
                message = await receive()
        except TimeoutError:
            raise HTTPException(408) from None
        received += len(message.get("body", b""))
        complete = not message.get("more_body", False)
        if received > max_body:
            raise HTTPException(413)
        return message

    return receive_within_limits
