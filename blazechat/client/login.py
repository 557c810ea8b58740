"""A login: its tokens, the rules for renewing them, and the vault that stores it."""

import asyncio
import time
from collections.abc import AsyncIterator
from contextlib import AbstractAsyncContextManager, asynccontextmanager
from typing import Protocol

from msgspec import Struct

from blazechat.client.schemas import Tokens

RENEW_FRACTION = 0.7
"""The part of an access token's lifetime after which it is renewed."""
ROTATE_SECONDS = 86_400.0
"""Age at which the refresh token is used in place of a valid access token: that extends the session."""


class Login(Struct):
    """A login as a vault stores it. `rotated_at` (Unix seconds) is when `refresh_token` was issued.

    An API token has an empty `refresh_token`: it is valid until it expires or is revoked.
    """

    url: str
    user_id: int
    username: str
    access_token: str
    refresh_token: str
    rotated_at: float

    def __repr__(self) -> str:
        return f"Login({self.username!r} at {self.url!r})"  # without tokens, since logs may contain it


class Vault(Protocol):
    """Stores a login. Several programs may share one; `lock()` serialises their renewals.

    The lock is necessary because a refresh token is valid once: a second use of it ends the session.
    """

    def lock(self) -> AbstractAsyncContextManager[None]:
        """Return a lock that excludes all other users of this vault."""
        ...

    async def load(self) -> Login | None:
        """Return the stored login, which another program may have renewed; None if there is none."""
        ...

    async def save(self, login: Login | None) -> None:
        """Store a login; None deletes it."""
        ...


class MemoryVault:
    """A vault in memory. Its login is lost when the process ends."""

    def __init__(self, login: Login | None = None) -> None:
        self._login = login
        self._lock = asyncio.Lock()

    @asynccontextmanager
    async def lock(self) -> AsyncIterator[None]:
        async with self._lock:
            yield

    async def load(self) -> Login | None:
        return self._login

    async def save(self, login: Login | None) -> None:
        self._login = login


def new_login(url: str, user_id: int, username: str, tokens: Tokens) -> Login:
    """Return the login for tokens that were issued just now."""
    return Login(url, user_id, username, tokens.access_token, tokens.refresh_token, time.time())


def with_tokens(login: Login, tokens: Tokens) -> Login:
    """Return the same login with new tokens. Without a new refresh token it keeps the old one."""
    if not tokens.refresh_token:
        return Login(
            login.url,
            login.user_id,
            login.username,
            tokens.access_token,
            login.refresh_token,
            login.rotated_at,
        )
    return new_login(login.url, login.user_id, login.username, tokens)
