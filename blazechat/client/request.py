"""Sends single HTTP requests: retries them where that is safe, and maps failures to the SDK's errors."""

import asyncio
import logging
import math
import random
import time
from collections.abc import Mapping
from dataclasses import dataclass, field
from datetime import UTC, datetime, timedelta
from email.utils import parsedate_to_datetime
from typing import Any, TypeVar

import httpx2
import msgspec

from blazechat.client.connection_errors import from_failure, reason_of
from blazechat.client.errors import (
    NotBlazeChat,
    NotConnected,
    NotFound,
    Unavailable,
    Unreachable,
    from_response,
    invalid_unicode,
)

T = TypeVar("T")
Query = Mapping[str, str | int | None]

TIMEOUT = httpx2.Timeout(30.0, connect=10.0)
FIRST_PAUSE_SECONDS, MAX_PAUSE_SECONDS = 0.2, 2.0
"""The pause between attempts is a random part of a maximum, which doubles from the first to the second."""

log = logging.getLogger("blazechat.client")


@dataclass(frozen=True, slots=True)
class Request:
    """One request to the API. It has at most one of `json`, `form` and `content`."""

    method: str
    path: str
    query: Query = field(default_factory=dict)
    """Parameters that are None are omitted."""
    json: object = None
    form: Mapping[str, str] | None = None
    content: bytes | None = None
    headers: Mapping[str, str] = field(default_factory=dict)
    is_idempotent: bool | None = None
    """True if executing it twice does no harm. None means True for every method except POST."""

    @property
    def can_repeat(self) -> bool:
        return self.method != "POST" if self.is_idempotent is None else self.is_idempotent

    def build_arguments(self, token: str | None) -> dict[str, Any]:
        """Return the arguments of `httpx2.AsyncClient.build_request`. Raises InvalidInput."""
        headers = dict(self.headers)
        content = self.content
        if token:
            headers["authorization"] = f"Bearer {token}"
        if self.json is not None:
            content = _encoded(self.json)
            headers["content-type"] = "application/json"
        return {
            "method": self.method,
            "url": self.path,
            "params": {name: value for name, value in self.query.items() if value is not None},
            "content": content,
            "data": self.form,
            "headers": headers,
        }


class RequestSender:
    """Sends requests to one server, with retries for `retry_seconds` while it is unreachable."""

    def __init__(
        self,
        url: str,
        *,
        retry_seconds: float,
        user_agent: str,
        transport: httpx2.AsyncBaseTransport | None = None,
    ) -> None:
        self.url = url
        self._retry_seconds = retry_seconds
        self._clock_offset = timedelta()  # the server's clock minus the local one
        self._http = httpx2.AsyncClient(
            base_url=url, timeout=TIMEOUT, headers={"user-agent": user_agent}, transport=transport
        )

    async def close(self) -> None:
        await self._http.aclose()

    @property
    def server_time(self) -> datetime:
        """The time by the server's clock, accurate to about two seconds."""
        return datetime.now(UTC) + self._clock_offset

    async def send(
        self, request: Request, token: str | None, *, wait_for_server: bool = False
    ) -> httpx2.Response:
        """Send a request, with an access token or without, and return the successful response.

        A request that cannot be repeated is retried only if no connection was made. With
        `wait_for_server`, there is no time limit. Raises the server's errors, Unreachable, NotBlazeChat or
        NotConnected.
        """
        arguments = request.build_arguments(token)
        deadline = math.inf if wait_for_server else time.monotonic() + self._retry_seconds
        max_pause, was_lost = FIRST_PAUSE_SECONDS, False
        while True:
            try:
                return await self._send_once(self._http.build_request(**arguments))
            except NotFound:
                if request.method == "DELETE" and was_lost:
                    return httpx2.Response(
                        204
                    )  # an earlier attempt, whose response was lost, has deleted it
                raise
            except (Unreachable, Unavailable) as error:
                if wait_for_server and not was_lost:
                    log.warning("%s Waiting for the server.", error)
                was_lost = True
                retry_after = getattr(error, "retry_after", None) or 0
                pause = max(random.uniform(0, max_pause), retry_after)  # noqa: S311
                never_sent = isinstance(error.__cause__, httpx2.ConnectError | httpx2.ConnectTimeout)
                if not (request.can_repeat or never_sent) or time.monotonic() + pause > deadline:
                    raise
                log.debug("retrying %s %s in %.1f s: %s", request.method, request.path, pause, error)
            await asyncio.sleep(pause)
            max_pause = min(max_pause * 2, MAX_PAUSE_SECONDS)

    async def open_stream(self, request: Request, token: str) -> httpx2.Response:
        """Send a request once, and return the response before its body. The caller closes it.

        Raises the server's errors, and httpx2.TransportError.
        """
        sent = self._http.build_request(**request.build_arguments(token))
        response = await self._http.send(sent, stream=True)
        if response.is_success:
            return response
        body = await response.aread()
        await response.aclose()
        raise from_response(response.status_code, body, response.headers.get("retry-after"))

    def decode(self, response: httpx2.Response, returns: type[T]) -> T:
        """Decode the JSON of a response. Raises NotBlazeChat if it is not of this type."""
        if returns is type(None) and not response.content:
            return None
        try:
            return msgspec.json.decode(response.content, type=returns)
        except (msgspec.MsgspecError, UnicodeError, RecursionError) as error:
            detail = f"{self.url} does not answer as a BlazeChat server does ({error}). Check the address."
            raise NotBlazeChat(detail) from error

    def lost(self, error: httpx2.TransportError) -> Unreachable:
        """Return the error for a connection that was lost before the end of the response."""
        return Unreachable(f"The connection to {self.url} was lost: {reason_of(error)}. Try again.")

    async def _send_once(self, request: httpx2.Request) -> httpx2.Response:
        try:
            response = await self._http.send(request)
        except httpx2.ConnectError as error:
            raise from_failure(self.url, error) from error
        except httpx2.TimeoutException as error:
            raise Unreachable(f"{self.url} did not answer in time. Try again later.") from error
        except httpx2.TransportError as error:
            raise self.lost(error) from error
        except (httpx2.RequestError, httpx2.InvalidURL, UnicodeError) as error:
            detail = f"{self.url} does not answer as an HTTP server does ({error}). Check the address."
            raise NotBlazeChat(detail) from error
        except RuntimeError as error:
            if not self._http.is_closed:
                raise
            raise NotConnected("This client is closed. Create a new one.") from error
        self._measure_clock(response)
        if not response.is_success:
            raise from_response(response.status_code, response.content, response.headers.get("retry-after"))
        return response

    def _measure_clock(self, response: httpx2.Response) -> None:
        try:
            server_time = parsedate_to_datetime(response.headers["date"])
            self._clock_offset = server_time - datetime.now(UTC)
        except (KeyError, ValueError, TypeError, OverflowError):
            return


def _encoded(value: object) -> bytes:
    try:
        return msgspec.json.encode(value)
    except UnicodeEncodeError:
        raise invalid_unicode() from None
