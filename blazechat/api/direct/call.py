"""The base of direct calls: claims, responses, errors and the access log, as FastAPI routes have them."""

import re
import time
from collections.abc import Coroutine
from dataclasses import dataclass
from typing import Any, ClassVar, Protocol

import structlog

from blazechat.api import middleware, problems
from blazechat.api.dependencies import Services
from blazechat.domain.auth.access_tokens import Claims
from blazechat.errors import Error, InternalError
from blazechat.vocabulary import Scope

log = structlog.get_logger("blazechat.http")

Header = tuple[bytes, bytes]

JSON_TYPES = frozenset(
    {b"application/json", b"application/json; charset=utf-8", b"application/json;charset=utf-8"}
)
"""Values of `Content-Type` that direct calls accept, in lower case."""
HOST = re.compile(rb"[A-Za-z0-9.\-]+(?::[0-9]+)?")
JSON_HEADER: Header = (b"content-type", b"application/json")


class Exchange(Protocol):
    """The HTTP protocol, as far as direct calls use it: one request and its response."""

    def respond(self, status: int, headers: list[Header], body: bytes) -> None:
        """Write the response. It is dropped if the client has left."""

    def spawn(self, work: Coroutine[Any, Any, None]) -> None:
        """Run `work` in a task that the server awaits when it stops."""

    def abort(self) -> None:
        """Close the connection without a response."""

    def scheme(self, forwarded: bytes | None) -> str:
        """Return the scheme of the client's URL. `forwarded` is the header X-Forwarded-Proto."""


@dataclass(frozen=True, kw_only=True)
class CallContext:
    """What all direct calls of a server share."""

    services: Services
    max_body_bytes: int
    access_log: bool
    last_headers: tuple[Header, ...]
    """Headers at the end of each response."""


@dataclass(slots=True)
class DirectRequest:
    """The head of a request, without repeated headers."""

    method: bytes
    url: bytes
    """The path of the client's URL and the query."""
    headers: dict[bytes, bytes]
    chat_id: int
    query: bytes

    @property
    def path(self) -> str:
        return self.url.partition(b"?")[0].decode()

    def is_json(self) -> bool:
        return self.headers.get(b"content-type", b"").lower() in JSON_TYPES


class DirectCall:
    """One request to one route.

    A call either answers the request or declines it, before the request has had any effect. A declined
    request goes to the FastAPI route of the same path. So a call accepts only what that route accepts in
    the same way, and all errors of wrong input come from that route.
    """

    __slots__ = ("_exchange", "_request_id", "_started", "context", "request")
    has_query: ClassVar[bool] = False
    """True if the route reads the query."""

    def __init__(self, context: CallContext, request: DirectRequest) -> None:
        self.context = context
        self.request = request
        self._started = time.perf_counter()
        self._request_id = ""  # set by `begin()`
        self._exchange: Exchange  # set by `begin()`

    def begin(self, body: bytes, exchange: Exchange) -> bool:
        """Answer the request, now or later. Returns False if the call declines it."""
        if len(body) > self.context.max_body_bytes:
            return False
        self._exchange = exchange
        self._request_id = middleware.request_id_of(self.request.headers.get(b"x-request-id"))
        try:
            return self._start(body)
        except Exception as error:  # noqa: BLE001 (an unexpected one is logged)
            self._fail(error)
            return True

    def _start(self, body: bytes) -> bool:
        """Do what `begin()` does. Errors that it raises are those of the response."""
        raise NotImplementedError

    def _claims(self, scope: Scope) -> Claims | None:
        """Return the claims of the token for this chat; None if the call must decline the request."""
        parts = self.request.headers.get(b"authorization", b"").split()
        if len(parts) != 2 or parts[0] != b"Bearer" or not parts[1].isascii():
            return None
        try:
            claims = self.context.services.credentials.known_claims_of(parts[1].decode())
            if claims is not None:
                claims.grant.require(scope)
                claims.grant.require_chat(self.request.chat_id)
        except Error:
            return None
        return claims

    def _spawn(self, work: Coroutine[Any, Any, None]) -> None:
        """Run the rest of the call in a task. Errors that it raises are those of the response."""
        self._exchange.spawn(self._run(work))

    async def _run(self, work: Coroutine[Any, Any, None]) -> None:
        structlog.contextvars.bind_contextvars(request_id=self._request_id)
        try:
            await work
        except Exception as error:  # noqa: BLE001 (an unexpected one is logged)
            self._fail(error)

    def _respond(self, status: int, body: bytes, *headers: Header) -> None:
        """Send a JSON response."""
        self._send(status, body, [*headers, (b"content-length", b"%d" % len(body)), JSON_HEADER])

    def _fail(self, error: Exception) -> None:
        """Send the response of an error."""
        if not isinstance(error, Error):
            log.error(
                "request failed",
                method=self.request.method.decode(),
                path=self.request.path,
                request_id=self._request_id,
                exc_info=error,
            )
            error = InternalError()
        response = problems.response_of(error, self._request_id)
        self._send(response.status_code, bytes(response.body), response.raw_headers)

    def _send(self, status: int, body: bytes, headers: list[Header]) -> None:
        headers.append((b"x-request-id", self._request_id.encode()))
        headers += self.context.last_headers
        try:
            self._exchange.respond(status, headers, body)
        except Exception:
            # Whoever reports a result, such as the ledger, has others to report.
            log.exception("response failed", path=self.request.path, request_id=self._request_id)
            self._exchange.abort()
        if self.context.access_log or status >= 400:
            middleware.log_request(
                self.request.method.decode(), self.request.path, status, self._started, self._request_id
            )
