"""Requests to a server: with who one is, tried again where that can do no harm, answered with types."""

import asyncio
import logging
import math
import random
import time
from collections.abc import AsyncIterator, Mapping
from contextlib import asynccontextmanager
from datetime import UTC, datetime, timedelta
from email.utils import parsedate_to_datetime
from typing import TypeVar

import httpx2
import msgspec

from blazechat import __version__
from blazechat.client import login as logins
from blazechat.client.errors import (
    LoggedOut,
    NotBlazeChat,
    NotConnected,
    NotFound,
    RefreshTokenInvalid,
    SessionEnded,
    Unauthenticated,
    Unavailable,
    Unreachable,
    invalid_unicode,
    from_response,
)
from blazechat.client.login import Login, Vault
from blazechat.client.schemas import Page, Tokens
from blazechat.client.server_url import reason_of

T = TypeVar("T")
Query = Mapping[str, str | int | None]

USER_AGENT = f"blazechat-client/{__version__}"
TIMEOUT = httpx2.Timeout(30.0, connect=10.0)
FIRST_PAUSE, LONGEST_PAUSE = 0.2, 5.0
"""Seconds between tries of a request; they double."""

log = logging.getLogger("blazechat.client")


class HttpClient:
    """`patience` is for how many seconds a request is tried again while the server cannot be reached."""

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
        self.login: Login | None = None
        self.renew_token_at: float | None = None  # loop time at which to renew; None if that is not known
        self._vault = vault
        self._patience = retry_seconds
        self._renewing: asyncio.Task[str] | None = None
        self._ahead = timedelta()  # of the server's clock, of ours
        self._http = httpx2.AsyncClient(
            base_url=url, timeout=TIMEOUT, headers={"user-agent": device}, transport=transport
        )

    async def close(self) -> None:
        if self._renewing is not None:
            await asyncio.gather(self._renewing, return_exceptions=True)
        await self._http.aclose()

    @property
    def server_time(self) -> datetime:
        """What time it is by the server's clock, to the second or two."""
        return datetime.now(UTC) + self._ahead

    # Who one is

    async def restore_login(self) -> Login | None:
        """The log-in of the vault, taken up again; None if there is none."""
        kept = await self._vault.load()
        # A token is for the server that gave it, and for no other.
        self.login = kept if kept is not None and kept.url == self.url else None
        if self.login is not None and not self.login.refresh_token:
            self.renew_token_at = math.inf
        return self.login

    async def log_in(self, username: str, password: str) -> Login:
        """A new session, kept in the vault. `username` may be the e-mail address."""
        form = {"username": username, "password": password}
        tokens = await self.request_as("POST", "/api/auth/login", Tokens, form=form, token=None)
        me = await self.request_as("GET", "/api/auth/me", _Me, token=tokens.access_token)
        async with self._vault.lock():
            self._take(logins.new_login(self.url, me.id, me.username, tokens), tokens)
            await self._vault.save(self.login)
        assert self.login is not None
        return self.login

    async def use_token(self, token: str) -> Login:
        """Whom an API token speaks for, kept in the vault."""
        me = await self.request_as("GET", "/api/auth/me", _Me, token=token)
        async with self._vault.lock():
            self.login = logins.Login(self.url, me.id, me.username, token, "", 0.0)
            self.renew_token_at = math.inf
            await self._vault.save(self.login)
        return self.login

    async def forget_login(self) -> None:
        """Log out here; the server is told by whoever calls this."""
        async with self._vault.lock():
            self.login = None
            await self._vault.save(None)

    async def renew_token(self, rejected_token: str | None = None) -> str:
        """Another access token in place of `worn`, or of the present one.

        An access token that is still good is renewed by itself, which can be repeated without harm; the
        refresh token is used only where it has to be. Raises SessionEnded when neither is good any more.
        """
        if (
            rejected_token is not None
            and self.login is not None
            and self.login.access_token != rejected_token
        ):
            return self.login.access_token
        if self._renewing is None or self._renewing.done():
            # A task of its own: whoever asks may be cancelled, but a refresh token that was used must not
            # be lost with the answer.
            self._renewing = asyncio.create_task(self._renew(is_good=rejected_token is None))
            self._renewing.add_done_callback(lambda task: task.cancelled() or task.exception())
        return await asyncio.shield(self._renewing)

    async def _renew(self, *, is_good: bool) -> str:
        if self.login is None:
            raise LoggedOut("Nobody is logged in.")
        async with self._vault.lock():
            kept = await self._vault.load()
            if kept is None:
                raise SessionEnded("You have logged out of this server elsewhere on this machine.")
            if kept.access_token != self.login.access_token and kept.user_id == self.login.user_id:
                self.login, self.renew_token_at = kept, None
                return kept.access_token
            if not self.login.refresh_token:
                raise SessionEnded("The API token has expired or was revoked.")
            tokens = await self._renewal(self.login, is_good=is_good)
            self._take(logins.with_tokens(self.login, tokens), tokens)
            await self._vault.save(self.login)
            return self.login.access_token

    async def _renewal(self, login: Login, *, is_good: bool) -> Tokens:
        if is_good and time.time() - login.rotated_at < logins.ROTATE_SECONDS:
            try:
                return await self.request_as("POST", "/api/auth/refresh", Tokens, token=login.access_token)
            except Unauthenticated:
                pass  # it was not good after all
        try:
            body = {"refresh_token": login.refresh_token}
            return await self.request_as(
                "POST", "/api/auth/refresh", Tokens, body=body, token=None, is_idempotent=False
            )
        except RefreshTokenInvalid:
            raise SessionEnded("Your session has ended or has expired; log in again.") from None

    def _take(self, login: Login, tokens: Tokens) -> None:
        self.login = login
        self.renew_token_at = asyncio.get_running_loop().time() + tokens.expires_in * logins.RENEW_FRACTION

    # What is asked

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
        """What the server answers to who is logged in. With `repeat`, doing it twice does no harm.

        Raises the server's errors, Unreachable, LoggedOut or SessionEnded.
        """
        return self._read(await self._call(method, path, body, query, is_idempotent), returns)

    async def delete(self, method: str, path: str, returns: type[T]) -> T | None:
        """The same of what was perhaps done by a try whose answer was lost: then there is none."""
        answer = await self._call(method, path, None, None, None)
        return self._read(answer, returns) if answer.content else None

    async def request_raw(
        self,
        method: str,
        path: str,
        *,
        content: bytes | None = None,
        headers: Mapping[str, str] | None = None,
        is_idempotent: bool,
    ) -> httpx2.Response:
        """The answer itself, to a body and headers of one's own."""
        return await self._call(method, path, _Raw(content, headers or {}), None, is_idempotent)

    @asynccontextmanager
    async def stream(self, path: str, headers: Mapping[str, str]) -> AsyncIterator[httpx2.Response]:
        """An answer that comes little by little.

        Raises what `call()` does, and Unreachable where it breaks off.
        """
        if self.login is None:
            raise LoggedOut("Nobody is logged in.")
        try:
            answer = await self._begun(path, headers, self.login.access_token)
            try:
                yield answer
            finally:
                await answer.aclose()
        except httpx2.TransportError as error:
            raise Unreachable(f"The connection to {self.url} was lost: {_reason(error)}.") from error

    async def _begun(
        self, path: str, headers: Mapping[str, str], token: str, *, again: bool = False
    ) -> httpx2.Response:
        who = {"authorization": f"Bearer {token}"}
        request = self._http.build_request("GET", path, headers={**headers, **who})
        answer = await self._http.send(request, stream=True)
        if answer.is_success:
            return answer
        error = from_response(answer.status_code, await answer.aread(), answer.headers.get("retry-after"))
        await answer.aclose()
        if isinstance(error, Unauthenticated) and not again:
            return await self._begun(path, headers, await self.renew_token(token), again=True)
        raise error

    async def page(self, path: str, of: type[T], query: Query | None = None) -> Page[T]:
        """A page of a list, and where it goes on by its `Link` header (RFC 8288)."""
        answer = await self._call("GET", path, None, query, None)
        older, newer = (_leads_to(answer, relation) for relation in ("next", "prev"))
        items: list[T] = self._read(answer, list[of])  # type: ignore[valid-type]
        return Page(items, older, newer)

    async def request_as(
        self,
        method: str,
        path: str,
        returns: type[T],
        *,
        body: object = None,
        form: Mapping[str, str] | None = None,
        token: str | None,
        is_idempotent: bool | None = None,
    ) -> T:
        """The same by somebody else's token, or nobody's."""
        return self._read(
            await self._repeated(method, path, body, None, form, token, is_idempotent), returns
        )

    async def _call(
        self, method: str, path: str, body: object, query: Query | None, repeat: bool | None
    ) -> httpx2.Response:
        if self.login is None:
            raise LoggedOut("Nobody is logged in.")
        token = self.login.access_token
        try:
            return await self._repeated(method, path, body, query, None, token, repeat)
        except Unauthenticated:
            token = await self.renew_token(token)
        try:
            return await self._repeated(method, path, body, query, None, token, repeat)
        except Unauthenticated as error:
            raise SessionEnded(error.detail) from error

    async def _repeated(
        self,
        method: str,
        path: str,
        body: object,
        query: Query | None,
        form: Mapping[str, str] | None,
        who: str | None,
        repeat: bool | None,
    ) -> httpx2.Response:
        repeat = method != "POST" if repeat is None else repeat
        headers = {"authorization": f"Bearer {who}"} if who else {}
        content = None
        if isinstance(body, _Raw):
            content = body.content
            headers |= body.headers
        elif body is not None:
            content = _encoded(body)
            headers["content-type"] = "application/json"
        params = {key: value for key, value in (query or {}).items() if value is not None}
        deadline = time.monotonic() + self._patience
        pause, was_lost = FIRST_PAUSE, False
        while True:
            try:
                return await self._once(
                    self._http.build_request(
                        method, path, content=content, params=params, data=form, headers=headers
                    )
                )
            except NotFound:
                if method == "DELETE" and was_lost:
                    return httpx2.Response(204)  # it was done the first time
                raise
            except (Unreachable, Unavailable) as error:
                was_lost = True
                wait = max(random.uniform(0, pause), getattr(error, "retry_after", None) or 0)  # noqa: S311
                never_came = isinstance(error.__cause__, httpx2.ConnectError | httpx2.ConnectTimeout)
                if not (repeat or never_came) or time.monotonic() + wait > deadline:
                    raise
                log.debug("%s %s is tried again in %.1f s: %s", method, path, wait, error)
            await asyncio.sleep(wait)
            pause = min(pause * 2, LONGEST_PAUSE)

    async def _once(self, request: httpx2.Request) -> httpx2.Response:
        try:
            answer = await self._http.send(request)
        except httpx2.ConnectError as error:
            raise Unreachable(f"{self.url} cannot be reached: {_reason(error)}.") from error
        except httpx2.TimeoutException as error:
            raise Unreachable(f"{self.url} did not answer in time.") from error
        except httpx2.TransportError as error:
            raise Unreachable(f"The connection to {self.url} was lost: {_reason(error)}.") from error
        except (httpx2.RequestError, httpx2.InvalidURL, UnicodeError) as error:
            raise NotBlazeChat(f"{self.url} does not answer as a server does: {error}.") from error
        except RuntimeError as error:
            if not self._http.is_closed:
                raise
            raise NotConnected("This client was closed.") from error
        self._note_time(answer)
        if not answer.is_success:
            raise from_response(answer.status_code, answer.content, answer.headers.get("retry-after"))
        return answer

    def _read(self, answer: httpx2.Response, returns: type[T]) -> T:
        if returns is type(None) and not answer.content:
            return None
        try:
            return msgspec.json.decode(answer.content, type=returns)
        except (msgspec.MsgspecError, UnicodeError, RecursionError) as error:
            raise NotBlazeChat(
                f"{self.url} does not answer as a BlazeChat server does ({error})."
            ) from error

    def _note_time(self, answer: httpx2.Response) -> None:
        try:
            told = parsedate_to_datetime(answer.headers["date"])
            self._ahead = told - datetime.now(UTC)
        except (KeyError, ValueError, TypeError, OverflowError):
            return


class _Raw(msgspec.Struct):
    content: bytes | None
    headers: Mapping[str, str]


class _Me(msgspec.Struct):
    id: int
    username: str


def _leads_to(answer: httpx2.Response, relation: str) -> int | None:
    """The id in the link of that relation: `?before=…`, `?after=…` or `?skip=…`."""
    link = answer.links.get(relation)
    if link is None or "url" not in link:
        return None
    try:
        query = httpx2.URL(link["url"]).params
        return next((int(query[name]) for name in ("before", "after", "skip") if name in query), None)
    except (httpx2.InvalidURL, ValueError):
        return None


def _encoded(body: object) -> bytes:
    try:
        return msgspec.json.encode(body)
    except UnicodeEncodeError:
        raise invalid_unicode() from None


def _reason(error: Exception) -> str:
    cause: BaseException = error
    while (deeper := cause.__cause__ or cause.__context__) is not None:
        cause = deeper
    if isinstance(cause, OSError):
        return reason_of(cause)
    return str(cause).rstrip(".") or type(cause).__name__
