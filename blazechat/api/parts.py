"""What routes are handed: the server's parts, the caller, the request's transaction."""

from collections.abc import AsyncIterator
from dataclasses import dataclass
from datetime import datetime
from typing import Annotated, Protocol

from fastapi import Depends, Path, Query, Request
from fastapi.security import OAuth2PasswordBearer
from sqlalchemy.ext.asyncio import AsyncSession

from blazechat.config import Settings
from blazechat.database.engine import Database
from blazechat.domain import access
from blazechat.domain.accounts import Accounts
from blazechat.domain.chats import Chats
from blazechat.domain.errors import Unauthenticated
from blazechat.domain.history import History
from blazechat.domain.ledger import Ledger
from blazechat.domain.members import Members
from blazechat.domain.receipts import ReadCursors
from blazechat.domain.sessions import Sessions
from blazechat.domain.shapes import Status
from blazechat.domain.tokens import AccessTokens
from blazechat.domain.tokens import Claims as TokenClaims
from blazechat.domain.uploads import Uploads
from blazechat.media.storage import Storage

LARGEST_ID = 2**53 - 1
"""Ids are JSON integers, and that is as far as those are exact everywhere (RFC 8259 section 6)."""


class KnowsPresence(Protocol):
    def status_of(self, user_id: int) -> Status: ...

    def choose(self, user_id: int, status: Status, seen: datetime | None = None) -> None: ...


@dataclass(frozen=True)
class Parts:
    settings: Settings
    database: Database
    tokens: AccessTokens
    logins: Sessions
    accounts: Accounts
    chats: Chats
    members: Members
    ledger: Ledger
    cursors: ReadCursors
    history: History
    uploads: Uploads
    storage: Storage
    presence: KnowsPresence


async def _parts(request: Request) -> Parts:
    parts: Parts = request.app.state.parts
    return parts


AllParts = Annotated[Parts, Depends(_parts)]

_bearer = OAuth2PasswordBearer(tokenUrl="/api/auth/login", auto_error=False)


async def _claims(parts: AllParts, token: Annotated[str | None, Depends(_bearer)]) -> TokenClaims:
    if not token:
        raise Unauthenticated
    return parts.tokens.verify(token)


async def _transaction(parts: AllParts) -> AsyncIterator[AsyncSession]:
    async with parts.database.transaction() as session:
        yield session


Claims = Annotated[TokenClaims, Depends(_claims)]
"""A valid access token; whether its session still lives is for the domain to find out."""

Transaction = Annotated[AsyncSession, Depends(_transaction, scope="function")]
"""The request's transaction: committed before the answer leaves, rolled back by any error."""


async def _caller(session: Transaction, claims: Claims) -> access.Caller:
    return await access.caller(session, claims)


async def _known_caller(parts: AllParts, claims: Claims) -> access.Caller:
    async with parts.database.transaction() as session:
        return await access.caller(session, claims)


Caller = Annotated[access.Caller, Depends(_caller)]
"""Whoever asks, found in the request's transaction."""

KnownCaller = Annotated[access.Caller, Depends(_known_caller)]
"""Whoever asks, for routes whose domain call has transactions of its own."""

Limit = Annotated[int, Query(ge=1, le=100, description="How many at most.")]
Skip = Annotated[int, Query(ge=0, le=LARGEST_ID, description="How many to leave out first.")]
Id = Annotated[int, Path(ge=1, le=LARGEST_ID)]
AnyId = Annotated[int, Query(ge=1, le=LARGEST_ID)]
