"""Sends requests to untrusted servers, which may be slow, broken or hostile, with limits on time and size.

It uses the connection pool of httpcore2, because the httpx2 client does not accept a network backend. So
there are no redirects, cookies, proxies from the environment or decompression that would have to be
switched off.
"""

import asyncio
import ssl
import time
from collections.abc import Mapping
from contextlib import aclosing
from dataclasses import dataclass

import httpcore2
import structlog

from blazechat.errors import InvalidInput
from blazechat.jobs.name_resolver import NameResolver
from blazechat.jobs.ssrf_guard import (
    AddressNotAllowed,
    AllowedHosts,
    GuardedBackend,
    Resolve,
    UnknownHost,
    parse_url,
)

log = structlog.get_logger("blazechat.webhooks")

MAX_BODY_BYTES = 4_096
"""Bytes kept of a response's body; the connection of a longer response is closed."""
MAX_HEADER_CHARACTERS = 256
"""Characters kept of a response header's value."""
RESPONSE_HEADERS = {
    "content-type",
    "content-length",
    "date",
    "location",
    "retry-after",
    "server",
    "x-request-id",
}
"""Response headers that are kept for the delivery log and for retries. Cookies are not among them."""
RESERVED_HEADERS = {
    "host",
    "user-agent",
    "accept",
    "accept-encoding",
    "content-length",
    "connection",
    "transfer-encoding",
}
"""Request headers that callers cannot set."""
KEEPALIVE_SECONDS = 4.0
"""Lifetime of an idle connection: less than the five seconds after which many servers close theirs."""

EXPECTED_ERRORS = (
    InvalidInput,
    AddressNotAllowed,
    UnknownHost,
    TimeoutError,
    ssl.SSLError,
    httpcore2.TimeoutException,
    httpcore2.NetworkError,
    httpcore2.ProtocolError,
)
FAILURE_REASONS: tuple[tuple[type[Exception], str], ...] = (
    (ConnectionRefusedError, "The receiver refused the connection."),
    (ssl.SSLError, "The TLS handshake with the receiver failed."),
    (httpcore2.ConnectTimeout, "The receiver cannot be reached."),
    (httpcore2.ConnectError, "The receiver cannot be reached."),
    (TimeoutError, "The receiver did not answer within {timeout:g} seconds."),
    (httpcore2.LocalProtocolError, "The request was not sent: one of its headers is not valid."),
    (httpcore2.RemoteProtocolError, "The receiver did not send a complete and valid HTTP response."),
)
"""The reason of the first class that matches the error or its root cause."""


@dataclass(frozen=True, slots=True)
class HttpResponse:
    """The receiver's response, with any status; redirects are not followed."""

    status: int
    headers: dict[str, str]
    """The RESPONSE_HEADERS that it has, by lower-case name."""
    body: str
    """Its start, decoded as UTF-8. Invalid bytes and NUL, which PostgreSQL cannot store, are replaced."""
    seconds: float
    """Duration of the exchange."""


@dataclass(frozen=True, slots=True)
class HttpFailure:
    """There was no response."""

    reason: str
    """A sentence for the author of the URL."""
    seconds: float


class HttpCaller:
    """Sends requests over a pool of connections. A connection stays on the address that was checked for it.

    `timeout`, in seconds, covers a whole exchange, the wait for one of the `connections` included.
    `max_body_bytes` of a response's body are kept. By default, `resolve` asks the system's resolver, and
    `tls` trusts the default certificates of httpcore2.
    """

    def __init__(
        self,
        *,
        allowed: AllowedHosts,
        timeout: float = 15.0,
        connections: int = 100,
        user_agent: str,
        max_body_bytes: int = MAX_BODY_BYTES,
        resolve: Resolve | None = None,
        tls: ssl.SSLContext | None = None,
    ) -> None:
        self._timeout = timeout
        self._user_agent = user_agent
        self._max_body_bytes = max_body_bytes
        self._name_resolver = NameResolver()
        self._pool = httpcore2.AsyncConnectionPool(
            ssl_context=tls or httpcore2.default_ssl_context(),
            max_connections=connections,
            keepalive_expiry=KEEPALIVE_SECONDS,
            network_backend=GuardedBackend(allowed, resolve or self._name_resolver),
        )

    async def post(self, url: str, body: bytes, headers: Mapping[str, str]) -> HttpResponse | HttpFailure:
        """Send a POST request; return the response or the failure. Raises only CancelledError."""
        began = time.monotonic()
        try:
            async with asyncio.timeout(self._timeout):
                status, kept_headers, text = await self._exchange(url, body, headers)
        except EXPECTED_ERRORS as error:
            return HttpFailure(self._reason(error), time.monotonic() - began)
        except Exception:
            log.exception("request failed")
            reason = "The request failed because of an internal error, which the server has logged."
            return HttpFailure(reason, time.monotonic() - began)
        return HttpResponse(status, kept_headers, text, time.monotonic() - began)

    async def close(self) -> None:
        """Close all connections. All calls of `post()` must have ended."""
        self._name_resolver.close()
        await self._pool.aclose()

    async def _exchange(
        self, url: str, body: bytes, headers: Mapping[str, str]
    ) -> tuple[int, dict[str, str], str]:
        parsed = parse_url(url)
        target = httpcore2.URL(
            scheme=parsed.raw_scheme, host=parsed.raw_host, port=parsed.port, target=parsed.raw_path
        )
        sent = [(b"Host", parsed.netloc), *self._request_headers(headers)]
        async with self._pool.stream("POST", target, headers=sent, content=body) as response:
            return (
                response.status,
                _kept_headers(response.headers),
                await _read_body(response, self._max_body_bytes),
            )

    def _request_headers(self, given: Mapping[str, str]) -> list[tuple[bytes, bytes]]:
        headers = {name: value for name, value in given.items() if name.lower() not in RESERVED_HEADERS}
        headers |= {"User-Agent": self._user_agent, "Accept": "*/*", "Accept-Encoding": "identity"}
        return [(name.encode(), value.encode()) for name, value in headers.items()]

    def _reason(self, error: Exception) -> str:
        cause = _root_cause(error)
        if isinstance(error, InvalidInput | AddressNotAllowed | UnknownHost):
            return str(error)
        if isinstance(cause, ssl.SSLCertVerificationError):
            return f"The receiver's certificate is not valid: {cause.verify_message.rstrip('.')}."
        for kind, reason in FAILURE_REASONS:
            if isinstance(error, kind) or isinstance(cause, kind):
                return reason.format(timeout=self._timeout)
        return "The connection was closed before the receiver answered."


def _root_cause(error: BaseException) -> BaseException:
    """Return the first error of the chain. httpcore2 passes the error it caught as an argument instead."""
    while True:
        inner = error.args[0] if error.args and isinstance(error.args[0], Exception) else error.__cause__
        if inner is None:
            return error
        error = inner


def _kept_headers(headers: list[tuple[bytes, bytes]]) -> dict[str, str]:
    lines = [(name.decode("latin-1").lower(), value.decode("latin-1")) for name, value in headers]
    return {name: value[:MAX_HEADER_CHARACTERS] for name, value in lines if name in RESPONSE_HEADERS}


async def _read_body(response: httpcore2.Response, limit: int) -> str:
    """Return the first `limit` bytes as text; the rest of a longer body is not read."""
    body = bytearray()
    async with aclosing(response.aiter_stream()) as chunks:
        async for chunk in chunks:
            body += chunk
            if len(body) > limit:
                break
    return bytes(body[:limit]).decode(errors="replace").replace("\0", "\N{REPLACEMENT CHARACTER}")
