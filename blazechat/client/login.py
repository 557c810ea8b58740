"""Who one is towards a server: tokens, and how they are renewed before and after they run out."""

import asyncio
import time
from collections.abc import AsyncIterator
from contextlib import AbstractAsyncContextManager, asynccontextmanager
from typing import Protocol

from msgspec import Struct

from blazechat.client.schemas import Tokens

RENEW_FRACTION = 0.7
"""Part of an access token's life after which the next one is asked for."""
ROTATE_SECONDS = 86_400.0
"""Seconds after which the refresh token is used although the other would do: it prolongs the session."""


class Login(Struct):
    """A log-in as it is remembered. `rotated_at` (Unix seconds) is when `refresh_token` was given.

    An API token has no `refresh_token`: it is good as it is, until it is not.
    """

    url: str
    user_id: int
    username: str
    access_token: str
    refresh_token: str
    rotated_at: float

    def __repr__(self) -> str:
        return f"Login({self.username!r} at {self.url!r})"  # without tokens: this may come into a log


class Vault(Protocol):
    """Where a log-in is kept. A refresh token is good once, so whoever shares one takes turns."""

    def lock(self) -> AbstractAsyncContextManager[None]:
        """While it is held, nobody else who shares the log-in renews it."""
        ...

    async def load(self) -> Login | None:
        """The log-in as it is now; somebody else may have renewed it."""
        ...

    async def save(self, login: Login | None) -> None:
        """Remember it; None forgets it."""
        ...


class MemoryVault:
    """A vault that is gone with the process."""

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
    """A log-in that has just been made."""
    return Login(url, user_id, username, tokens.access_token, tokens.refresh_token, time.time())


def with_tokens(login: Login, tokens: Tokens) -> Login:
    """The same log-in with other tokens; where there is no new refresh token, the old one stays."""
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
