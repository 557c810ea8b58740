"""The HTTP client of an account: requests with its access token, which it renews, and typed responses."""

import asyncio
import math
import re
import time
from collections.abc import AsyncIterator, Mapping
from contextlib import asynccontextmanager
from datetime import datetime
from typing import TypeVar

import httpx2
import msgspec

from blazechat import __version__
from blazechat.client import login as logins
from blazechat.client.errors import (
    LoggedOut,
    RefreshTokenInvalid,
    SessionEnded,
    Unauthenticated,
    malformed_token,
)
from blazechat.client.login import Login, Vault
from blazechat.client.request import Query, Request, RequestSender
from blazechat.client.schemas import Page, Tokens

T = TypeVar("T")

USER_AGENT = f"blazechat-client/{__version__}"
TOKEN = re.compile(r"[!-~]+")
"""Visible ASCII characters. The HTTP library's error for any others would contain the token."""


class _Me(msgspec.Struct):
    id: int
    username: str


class HttpClient:
    """Sends requests for the account whose login is in `vault`.

    While the server is unreachable, requests are retried for `retry_seconds`. `device` names this client in
    the account's list of sessions.
    """

    def __init__(
        self,
        url: str,
        vault: Vault,
        *,
        retry_seconds: float,
        device: str,
        transport: httpx2.AsyncBaseTransport | None = None,
    ) -> None:
        self.url = url
        self.device = device
        self.retry_seconds = retry_seconds
        self.login: Login | None = None
        self.renew_token_at: float | None = None  # by the loop's clock; None if unknown
        self._vault = vault
        self._renewal: asyncio.Task[str] | None = None
        self._sender = RequestSender(
            url, retry_seconds=retry_seconds, user_agent=device, transport=transport
        )

    async def close(self) -> None:
        if self._renewal is not None:
            await asyncio.gather(self._renewal, return_exceptions=True)
        await self._sender.close()

    @property
    def server_time(self) -> datetime:
        """The time by the server's clock, accurate to about two seconds."""
        return self._sender.server_time

    @property
    def user_id(self) -> int:
        """The id of the account that is logged in; 0 if there is none."""
        return self.login.user_id if self.login is not None else 0

    # The login

    async def restore_login(self) -> Login | None:
        """Use the login of the vault; None if it has none for this server."""
        stored = await self._vault.load()
        # A token must reach only the server that issued it.
        self.login = stored if stored is not None and stored.url == self.url else None
        if self.login is not None and not self.login.refresh_token:
            self.renew_token_at = math.inf
        return self.login

    async def log_in(self, username: str, password: str, *, wait_for_server: bool = False) -> Login:
        """Create a session, and store its login in the vault. `username` may be the e-mail address."""
        form = {"username": username, "password": password}
        # Repeated after a lost response, it creates a second session, which does no harm.
        request = Request("POST", "/api/auth/login", form=form, is_idempotent=True)
        response = await self._sender.send(request, None, wait_for_server=wait_for_server)
        tokens = self._sender.decode(response, Tokens)
        me = await self._request_as(tokens.access_token, Request("GET", "/api/auth/me"), _Me)
        async with self._vault.lock():
            self._take_tokens(logins.new_login(self.url, me.id, me.username, tokens), tokens)
            await self._vault.save(self.login)
        assert self.login is not None
        return self.login

    async def use_token(self, token: str, *, wait_for_server: bool = False) -> Login:
        """Use an API token, and store it in the vault. Raises Unauthenticated."""
        if not TOKEN.fullmatch(token):
            raise malformed_token()
        request = Request("GET", "/api/auth/me")
        response = await self._sender.send(request, token, wait_for_server=wait_for_server)
        me = self._sender.decode(response, _Me)
        async with self._vault.lock():
            self.login = Login(self.url, me.id, me.username, token, "", 0.0)
            self.renew_token_at = math.inf
            await self._vault.save(self.login)
        return self.login

    async def forget_login(self) -> None:
        """Delete the login, here and in the vault. The session on the server stays."""
        async with self._vault.lock():
            self.login = None
            await self._vault.save(None)

    async def renew_token(self, rejected_token: str | None = None) -> str:
        """Return a new access token, in place of `rejected_token` or of the current one.

        A valid access token is renewed by itself, which can be repeated safely. The refresh token is used
        only if that is not possible. Raises SessionEnded if both are invalid.
        """
        if (
            rejected_token is not None
            and self.login is not None
            and self.login.access_token != rejected_token
        ):
            return self.login.access_token
        if self._renewal is None or self._renewal.done():
            # A separate task, because the caller may be cancelled. A used refresh token is invalid, so the
            # response with the new one must not be lost.
            self._renewal = asyncio.create_task(self._renew_token(is_valid=rejected_token is None))
            self._renewal.add_done_callback(lambda task: task.cancelled() or task.exception())
        return await asyncio.shield(self._renewal)

    async def _renew_token(self, *, is_valid: bool) -> str:
        if self.login is None:
            raise LoggedOut
        async with self._vault.lock():
            stored = await self._vault.load()
            if stored is None:
                raise SessionEnded("You logged out in another program on this machine. Log in again.")
            if stored.access_token != self.login.access_token and stored.user_id == self.login.user_id:
                self.login, self.renew_token_at = stored, None  # another program has renewed it
                return stored.access_token
            if not self.login.refresh_token:
                raise SessionEnded("The API token has expired or was revoked. Create a new one.")
            tokens = await self._new_tokens(self.login, is_valid=is_valid)
            self._take_tokens(logins.with_tokens(self.login, tokens), tokens)
            await self._vault.save(self.login)
            return self.login.access_token

    async def _new_tokens(self, login: Login, *, is_valid: bool) -> Tokens:
        if is_valid and time.time() - login.rotated_at < logins.ROTATE_SECONDS:
            try:
                return await self._request_as(
                    login.access_token, Request("POST", "/api/auth/refresh"), Tokens
                )
            except Unauthenticated:
                pass  # the access token is not valid any more
        body = {"refresh_token": login.refresh_token}
        request = Request("POST", "/api/auth/refresh", json=body, is_idempotent=False)
        try:
            return await self._request_as(None, request, Tokens)
        except RefreshTokenInvalid:
            raise SessionEnded("Your session has ended or has expired; log in again.") from None

    def _take_tokens(self, login: Login, tokens: Tokens) -> None:
        self.login = login
        loop_time = asyncio.get_running_loop().time()
        self.renew_token_at = loop_time + tokens.expires_in * logins.RENEW_FRACTION

    # Requests

    async def request(
        self,
        method: str,
        path: str,
        returns: type[T],
        *,
        body: object = None,
        query: Query | None = None,
        is_idempotent: bool | None = None,
    ) -> T:
        """Send a request with a JSON body, and return the decoded response.

        Retries while the server is unreachable, if the request is idempotent, which is the default for all
        methods except POST. Raises the server's errors, Unreachable, NotBlazeChat, LoggedOut or
        SessionEnded.
        """
        request = Request(method, path, query or {}, json=body, is_idempotent=is_idempotent)
        return self._sender.decode(await self.send(request), returns)

    async def request_anonymously(self, method: str, path: str, returns: type[T], *, body: object) -> T:
        """Send a request without a login. Raises what `request()` raises."""
        return await self._request_as(None, Request(method, path, json=body), returns)

    async def delete(self, path: str) -> None:
        """Send a DELETE whose response has no body. Raises what `request()` raises."""
        await self.request("DELETE", path, type(None))

    async def delete_returning(self, path: str, returns: type[T]) -> T | None:
        """Send a DELETE, and return the decoded response.

        Returns None if the response was lost, and the retry found that the request had been executed.
        Raises what `request()` raises.
        """
        response = await self.send(Request("DELETE", path))
        return self._sender.decode(response, returns) if response.content else None

    async def page(self, path: str, of: type[T], query: Query | None = None) -> Page[T]:
        """Return a page of a list. Its neighbours are in the `Link` header (RFC 8288)."""
        response = await self.send(Request("GET", path, query or {}))
        older, newer = (_linked_key(response, relation) for relation in ("next", "prev"))
        items: list[T] = self._sender.decode(response, list[of])  # type: ignore[valid-type]
        return Page(items, older, newer)

    async def send(self, request: Request) -> httpx2.Response:
        """Send a request with the access token, and return the successful response.

        If the server rejects the token, the request is sent again with a new one. Raises what `request()`
        raises.
        """
        if self.login is None:
            raise LoggedOut
        token = self.login.access_token
        try:
            return await self._sender.send(request, token)
        except Unauthenticated:
            token = await self.renew_token(token)
        try:
            return await self._sender.send(request, token)
        except Unauthenticated as error:
            raise SessionEnded(error.detail) from error

    @asynccontextmanager
    async def stream(self, path: str, headers: Mapping[str, str]) -> AsyncIterator[httpx2.Response]:
        """GET a response whose body is read piece by piece, without retries.

        Raises what `request()` raises; Unreachable also if the connection is lost within the body.
        """
        if self.login is None:
            raise LoggedOut
        request = Request("GET", path, headers=headers)
        try:
            response = await self._open_stream(request, self.login.access_token)
            try:
                yield response
            finally:
                await response.aclose()
        except httpx2.TransportError as error:
            raise self._sender.lost(error) from error

    async def _open_stream(self, request: Request, token: str) -> httpx2.Response:
        try:
            return await self._sender.open_stream(request, token)
        except Unauthenticated:
            return await self._sender.open_stream(request, await self.renew_token(token))

    async def _request_as(self, token: str | None, request: Request, returns: type[T]) -> T:
        return self._sender.decode(await self._sender.send(request, token), returns)


def _linked_key(response: httpx2.Response, relation: str) -> int | None:
    """Return the key in the link of this relation: the value of `before`, `after` or `skip`."""
    link = response.links.get(relation)
    if link is None or "url" not in link:
        return None
    try:
        query = httpx2.URL(link["url"]).params
        return next((int(query[name]) for name in ("before", "after", "skip") if name in query), None)
    except (httpx2.InvalidURL, ValueError):
        return None
