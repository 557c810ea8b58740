"""Requests to other people's servers, slow, broken or hostile: each costs a bounded time and size.

Built on the pool of httpx2's core, not on its client, which takes no network backend; so there are neither
redirects, cookies, proxies of the environment nor decompression to be turned off.
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
from blazechat.jobs.ssrf_guard import (
    AddressRefused,
    Allowed,
    GuardedBackend,
    Names,
    NameUnknown,
    Resolve,
    parse_url,
)

log = structlog.get_logger("blazechat.webhooks")

BODY_LIMIT = 4_096
"""Bytes kept of an answer's body; one that has more costs its connection."""
HEADER_LIMIT = 256
"""Characters kept of a header's value."""
KEPT = {"content-type", "content-length", "date", "location", "retry-after", "server", "x-request-id"}
"""Headers of an answer that say what went wrong, or what to do next. Cookies are nobody's business."""
OURS = {
    "host",
    "user-agent",
    "accept",
    "accept-encoding",
    "content-length",
    "connection",
    "transfer-encoding",
}
"""Headers of a request that are not the caller's to choose."""
IDLE_SECONDS = 4.0
"""Life of an unused connection: below the five seconds after which widespread servers close theirs."""

EXPECTED = (
    InvalidInput,
    AddressRefused,
    NameUnknown,
    TimeoutError,
    ssl.SSLError,
    httpcore2.TimeoutException,
    httpcore2.NetworkError,
    httpcore2.ProtocolError,
)
REASONS: tuple[tuple[type[Exception], str], ...] = (
    (ConnectionRefusedError, "The receiver refused the connection."),
    (ssl.SSLError, "No secure connection (TLS) could be made with the receiver."),
    (httpcore2.ConnectTimeout, "The receiver cannot be reached."),
    (httpcore2.ConnectError, "The receiver cannot be reached."),
    (TimeoutError, "The receiver did not answer within {timeout:g} seconds."),
    (httpcore2.LocalProtocolError, "The request could not be written: one of its headers is not valid."),
    (httpcore2.RemoteProtocolError, "The receiver's answer was not complete and valid HTTP."),
)
"""The first that fits the error, or what caused it."""


@dataclass(frozen=True, slots=True)
class Answered:
    """The receiver answered, whatever it said; 3xx is an answer like others."""

    status: int
    headers: dict[str, str]
    """Some that are of use, by their names in small letters."""
    body: str
    """Its beginning, as UTF-8; what is not is replaced, and so is NUL, which PostgreSQL cannot keep."""
    seconds: float


@dataclass(frozen=True, slots=True)
class Failed:
    """There was no answer; `reason` is a sentence for whoever gave the URL."""

    reason: str
    seconds: float


class HttpCaller:
    """Sends requests and keeps connections for the next, each to the address it was checked for.

    `timeout`, in seconds, is for the whole of an exchange, from waiting for one of the `connections` on.
    Of an answer's body `answer_bytes` are kept. `resolve` and `tls` are the network's and the system's
    unless given.
    """

    def __init__(
        self,
        *,
        allowed: Allowed,
        timeout: float = 15.0,
        connections: int = 100,
        user_agent: str,
        answer_bytes: int = BODY_LIMIT,
        resolve: Resolve | None = None,
        tls: ssl.SSLContext | None = None,
    ) -> None:
        self._timeout = timeout
        self._user_agent = user_agent
        self._answer_bytes = answer_bytes
        self._names = Names()
        self._pool = httpcore2.AsyncConnectionPool(
            ssl_context=tls or httpcore2.default_ssl_context(),
            max_connections=connections,
            keepalive_expiry=IDLE_SECONDS,
            network_backend=GuardedBackend(allowed, resolve or self._names),
        )

    async def post(self, url: str, body: bytes, headers: Mapping[str, str]) -> Answered | Failed:
        """What came of it. Raises nothing but what cancels it."""
        began = time.monotonic()
        try:
            async with asyncio.timeout(self._timeout):
                status, answer_headers, answer = await self._exchange(url, body, headers)
        except EXPECTED as error:
            return Failed(self._reason(error), time.monotonic() - began)
        except Exception:
            log.exception("webhook_call_failed")
            reason = "The request failed for a reason of the server's own, which has logged it."
            return Failed(reason, time.monotonic() - began)
        return Answered(status, answer_headers, answer, time.monotonic() - began)

    async def close(self) -> None:
        """Close all connections. Whoever calls has ended their calls before."""
        self._names.close()
        await self._pool.aclose()

    async def _exchange(
        self, url: str, body: bytes, headers: Mapping[str, str]
    ) -> tuple[int, dict[str, str], str]:
        parsed = parse_url(url)
        target = httpcore2.URL(
            scheme=parsed.raw_scheme, host=parsed.raw_host, port=parsed.port, target=parsed.raw_path
        )
        sent = [(b"Host", parsed.netloc), *self._headers(headers)]
        async with self._pool.stream("POST", target, headers=sent, content=body) as response:
            return response.status, _kept(response.headers), await _beginning(response, self._answer_bytes)

    def _headers(self, given: Mapping[str, str]) -> list[tuple[bytes, bytes]]:
        headers = {name: value for name, value in given.items() if name.lower() not in OURS}
        headers |= {"User-Agent": self._user_agent, "Accept": "*/*", "Accept-Encoding": "identity"}
        return [(name.encode(), value.encode()) for name, value in headers.items()]

    def _reason(self, error: Exception) -> str:
        cause = _first_cause(error)
        if isinstance(error, InvalidInput | AddressRefused | NameUnknown):
            return str(error)
        if isinstance(cause, ssl.SSLCertVerificationError):
            return f"The receiver's certificate is not valid: {cause.verify_message.rstrip('.')}."
        for kind, reason in REASONS:
            if isinstance(error, kind) or isinstance(cause, kind):
                return reason.format(timeout=self._timeout)
        return "The connection broke off before the receiver had answered."


def _first_cause(error: BaseException) -> BaseException:
    """What the core's error was made of: it hands on what it caught as an argument, and cuts the chain."""
    while True:
        inner = error.args[0] if error.args and isinstance(error.args[0], Exception) else error.__cause__
        if inner is None:
            return error
        error = inner


def _kept(headers: list[tuple[bytes, bytes]]) -> dict[str, str]:
    lines = [(name.decode("latin-1").lower(), value.decode("latin-1")) for name, value in headers]
    return {name: value[:HEADER_LIMIT] for name, value in lines if name in KEPT}


async def _beginning(response: httpcore2.Response, limit: int) -> str:
    body = bytearray()
    async with aclosing(response.aiter_stream()) as chunks:
        async for chunk in chunks:
            body += chunk
            if len(body) > limit:
                break
    return bytes(body[:limit]).decode(errors="replace").replace("\0", "\N{REPLACEMENT CHARACTER}")
