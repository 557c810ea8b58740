"""ASGI middleware around all routes: paths, request ids, body limits, unexpected errors, access log."""

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

from blazechat.api import problems, tus_headers
from blazechat.errors import ContentTooLarge, Error, InternalError, NotFound, RequestTimeout

log = structlog.get_logger("blazechat.http")

BODY_TIMEOUT_SECONDS = 30.0
"""Longest pause between two chunks of a body."""
MIN_BYTES_PER_SECOND = 1024
"""A body with a lower average rate fails after SLOW_START_SECONDS."""
SLOW_START_SECONDS = 60.0
MAX_PATH_CHARACTERS = 500
MAX_CONTENT_LENGTH_DIGITS = 17
FORM_OVERHEAD_BYTES = 65_536
"""Bytes of a form in addition to its file."""
UNPREFIXED_PATHS = frozenset({"auth", "users", "chats", "messages", "token", "ws"})
"""First segments of the paths that also work without `/api`."""
TUS_PATH = "/api/uploads"
STREAMED_PATHS = ("/api/media", TUS_PATH)
"""Paths whose bodies are streamed, never held in memory as a whole."""
REQUEST_ID = re.compile(rb"[A-Za-z0-9._\-]{1,64}")
NO_SNIFF = (b"x-content-type-options", b"nosniff")

_id_prefix = secrets.token_hex(4)
_id_serial = itertools.count(1)


class RequestMiddleware:
    """Adds `original_path` and `request_id` to the scope of each request and socket.

    `max_body_bytes` limits bodies; `max_file_bytes` limits files on STREAMED_PATHS. With `access_log` all
    requests are logged, without it only those that fail.
    """

    def __init__(self, app: ASGIApp, *, max_body_bytes: int, max_file_bytes: int, access_log: bool) -> None:
        self._app = app
        self._max_body_bytes = max_body_bytes
        self._max_upload_bytes = max_file_bytes + FORM_OVERHEAD_BYTES
        self._access_log = access_log

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        if scope["type"] == "lifespan":
            await self._app(scope, receive, send)
            return
        scope["original_path"] = quote(scope["path"], safe="/~")
        scope["path"] = _route_path(scope["path"])
        headers = dict(scope["headers"])
        scope["request_id"] = request_id_of(headers.get(b"x-request-id"))
        if scope["type"] == "http":
            await self._serve(scope, receive, send, _content_length(headers.get(b"content-length")))
        else:
            await self._app(scope, receive, send)

    async def _serve(self, scope: Scope, receive: Receive, send: Send, content_length: int) -> None:
        started = time.perf_counter()
        status = 0  # until the response starts

        async def send_with_headers(message: Message) -> None:
            nonlocal status
            if message["type"] == "http.response.start":
                status = message["status"]
                _add_headers(message, scope)
            await send(message)

        structlog.contextvars.bind_contextvars(request_id=scope["request_id"])
        try:
            max_bytes = self._max_bytes(scope["path"])
            error = _rejection(scope["path"], content_length, max_bytes)
            if error is None:
                await self._app(scope, _limited(receive, max_bytes), send_with_headers)
            else:
                await _send_error(error, scope, receive, send_with_headers, close=True)
        except Exception:
            log.exception("request failed", method=scope["method"], path=scope["original_path"])
            if not status:
                await _send_error(InternalError(), scope, receive, send_with_headers)
        if self._access_log or status >= 400:
            log_request(scope["method"], scope["original_path"], status, started, scope["request_id"])

    def _max_bytes(self, path: str) -> int:
        return self._max_upload_bytes if path.startswith(STREAMED_PATHS) else self._max_body_bytes


def log_request(method: str, path: str, status: int, started: float, request_id: str) -> None:
    """Write a line of the access log. `started` is by `time.perf_counter()`."""
    log.info(
        "request",
        method=method,
        path=path,
        status=status,
        ms=round((time.perf_counter() - started) * 1000, 1),
        request_id=request_id,
    )


def _route_path(path: str) -> str:
    """Return the path as routes have it: with `/api`, without a slash at the end."""
    if len(path) > 1:
        path = path.rstrip("/") or "/"
    if path[1:].partition("/")[0] in UNPREFIXED_PATHS:
        return f"/api{path}"
    return path


def request_id_of(header: bytes | None) -> str:
    """Return the id that a proxy has sent, if it is safe to log, or a new one."""
    if header is not None and REQUEST_ID.fullmatch(header):
        return header.decode()
    return f"{_id_prefix}{next(_id_serial):x}"


def _content_length(header: bytes | None) -> int:
    """Return the announced size of the body, 0 without a valid one."""
    if header is None or not header.isdigit():
        return 0
    return int(header) if len(header) <= MAX_CONTENT_LENGTH_DIGITS else sys.maxsize


def _rejection(path: str, content_length: int, max_bytes: int) -> Error | None:
    """Return the error of a request that is rejected before it is routed."""
    if content_length > max_bytes:
        return ContentTooLarge()
    return NotFound() if len(path) > MAX_PATH_CHARACTERS else None


def _add_headers(message: Message, scope: Scope) -> None:
    headers = message["headers"]
    headers.append((b"x-request-id", scope["request_id"].encode()))
    headers.append(NO_SNIFF)
    if message["status"] == RequestTimeout.status and scope["http_version"].startswith("1"):
        # The rest of the body might still come; the server would read the next request as a part of it.
        headers.append((b"connection", b"close"))
    if scope["path"].startswith(TUS_PATH):
        version = tus_headers.VERSION.encode()
        headers += [(b"tus-resumable", version), (b"tus-version", version)]


async def _send_error(
    error: Error, scope: Scope, receive: Receive, send: Send, *, close: bool = False
) -> None:
    response = problems.response_of(error, scope["request_id"])
    if close:
        response.headers["connection"] = "close"
    await response(scope, receive, send)


def _limited(receive: Receive, max_bytes: int) -> Receive:
    """Return a `receive` that rejects bodies that are too large (413), too slow or stopped (408).

    It raises HTTPException: FastAPI turns any other exception that occurs while it reads a body into a 400.
    """
    received = 0
    is_complete = False
    started = time.monotonic()

    async def receive_within_limits() -> Message:
        nonlocal received, is_complete
        if is_complete:
            return await receive()
        try:
            async with asyncio.timeout(BODY_TIMEOUT_SECONDS):
                message = await receive()
        except TimeoutError:
            raise HTTPException(408) from None
        received += len(message.get("body", b""))
        is_complete = not message.get("more_body", False)
        if received > max_bytes:
            raise HTTPException(413)
        seconds = time.monotonic() - started
        if not is_complete and seconds > SLOW_START_SECONDS and received < MIN_BYTES_PER_SECOND * seconds:
            raise HTTPException(408)
        return message

    return receive_within_limits
