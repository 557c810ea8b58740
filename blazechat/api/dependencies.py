"""What routes are handed: the server's parts, the caller, the request's transaction."""

from collections.abc import AsyncIterator, Awaitable, Callable
from dataclasses import dataclass
from datetime import datetime
from typing import Annotated, Protocol

from fastapi import Depends, Path, Query, Request
from fastapi.security import OAuth2PasswordBearer
from sqlalchemy.ext.asyncio import AsyncSession

from blazechat.config import Settings
from blazechat.database.engine import Database
from blazechat.domain.accounts.accounts import Accounts
from blazechat.domain.accounts.api_tokens import Credentials
from blazechat.domain.accounts.bots import Bots
from blazechat.domain.auth import access
from blazechat.domain.auth.access_tokens import Claims as TokenClaims
from blazechat.domain.auth.sessions import Sessions
from blazechat.domain.chats.chats import Chats
from blazechat.domain.chats.members import Members
from blazechat.domain.files.uploads import Uploads
from blazechat.domain.integrations.incoming_webhooks import IncomingWebhooks
from blazechat.domain.integrations.slash_commands import SlashCommands
from blazechat.domain.messaging.ledger import Ledger
from blazechat.domain.messaging.page_cache import PageCache
from blazechat.domain.messaging.read_cursors import ReadCursors
from blazechat.domain.schemas.integrations import Attempt, CommandAnswer
from blazechat.domain.webhooks.webhooks import Webhooks
from blazechat.errors import Unauthenticated
from blazechat.media.storage import Storage
from blazechat.vocabulary import Scope, Status

LARGEST_ID = 2**53 - 1
"""Ids are JSON integers, and that is as far as those are exact everywhere (RFC 8259 section 6)."""


class KnowsPresence(Protocol):
    def status_of(self, user_id: int) -> Status: ...

    def choose(self, user_id: int, status: Status, seen: datetime | None = None) -> None: ...


class CallsSlashCommands(Protocol):
    async def invoke(self, asker: access.Caller, chat_id: int, text: str) -> CommandAnswer: ...

    async def reply(self, token: str, content_type: str, body: bytes) -> None: ...


class PingsWebhooks(Protocol):
    async def ping(self, asker: access.Caller, chat_id: int | None, webhook_id: int) -> Attempt: ...


@dataclass(frozen=True)
class Services:
    settings: Settings
    database: Database
    credentials: Credentials
    sessions: Sessions
    accounts: Accounts
    bots: Bots
    incoming_webhooks: IncomingWebhooks
    slash_commands: SlashCommands
    slash_command_caller: CallsSlashCommands
    webhooks: Webhooks
    deliverer: PingsWebhooks
    chats: Chats
    members: Members
    ledger: Ledger
    read_cursors: ReadCursors
    page_cache: PageCache
    uploads: Uploads
    storage: Storage
    presence: KnowsPresence


async def _services(request: Request) -> Services:
    services: Services = request.app.state.services
    return services


AllServices = Annotated[Services, Depends(_services)]


async def _base_url(request: Request, services: AllServices) -> str:
    """How this server is reached, as it is set, else as this caller says."""
    return services.settings.public_url or f"{request.url.scheme}://{request.url.netloc}"


BaseUrl = Annotated[str, Depends(_base_url)]

_bearer = OAuth2PasswordBearer(tokenUrl="/api/auth/login", auto_error=False)


CHAT_IN_PATH = ("chat_id", "conversation_id")


def _claims(scope: Scope, anywhere: bool = False) -> Callable[..., Awaitable[TokenClaims]]:
    """Finds whoever holds a token that is good for `scope`.

    One that is good for certain chats is good on paths of these chats; and `anywhere`, where the domain
    looks at the chats itself, or none are touched.
    """

    async def claims(
        request: Request, services: AllServices, token: Annotated[str | None, Depends(_bearer)]
    ) -> TokenClaims:
        if not token:
            raise Unauthenticated
        found = await services.credentials.claims_of(token)
        found.grant.require(scope)
        if found.grant.chat_ids is not None and not anywhere:
            chat_id = next(filter(None, map(request.path_params.get, CHAT_IN_PATH)), None)
            if chat_id is None:
                found.grant.require_everywhere()
            else:
                found.grant.require_chat(int(chat_id) if str(chat_id).isdecimal() else 0)
        return found

    return claims


async def _transaction(services: AllServices) -> AsyncIterator[AsyncSession]:
    async with services.database.transaction() as session:
        yield session


Transaction = Annotated[AsyncSession, Depends(_transaction, scope="function")]
"""The request's transaction: committed before the answer leaves, rolled back by any error."""


_reading, _writing = _claims(Scope.READ), _claims(Scope.WRITE)
_reading_anywhere, _writing_anywhere = (
    _claims(Scope.READ, anywhere=True),
    _claims(Scope.WRITE, anywhere=True),
)

ReaderClaims = Annotated[TokenClaims, Depends(_reading)]
WriterClaims = Annotated[TokenClaims, Depends(_writing)]
AnywhereClaims = Annotated[TokenClaims, Depends(_reading_anywhere)]
"""A valid token; whether its session still lives is for the domain to find out."""

_Found = Callable[..., Awaitable[access.Caller]]


def _caller(claims_of: Callable[..., Awaitable[TokenClaims]]) -> _Found:
    async def caller(
        session: Transaction, claims: Annotated[TokenClaims, Depends(claims_of)]
    ) -> access.Caller:
        return await access.caller(session, claims)

    return caller


def _known(claims_of: Callable[..., Awaitable[TokenClaims]]) -> _Found:
    """For routes whose domain call has transactions of its own."""

    async def caller(
        services: AllServices, claims: Annotated[TokenClaims, Depends(claims_of)]
    ) -> access.Caller:
        async with services.database.transaction() as session:
            return await access.caller(session, claims)

    return caller


# Whoever asks, found in the request's transaction: each route says what a token has to be good for.
ReadCaller = Annotated[access.Caller, Depends(_caller(_reading))]
WriteCaller = Annotated[access.Caller, Depends(_caller(_writing))]
AdminCaller = Annotated[access.Caller, Depends(_caller(_claims(Scope.ADMIN)))]
LoginCaller = Annotated[access.Caller, Depends(_caller(_claims(Scope.LOGIN)))]
"""Of the account itself, logged in: no API token."""
AnyReadCaller = Annotated[access.Caller, Depends(_caller(_reading_anywhere))]
AnyWriteCaller = Annotated[access.Caller, Depends(_caller(_writing_anywhere))]

KnownWriter = Annotated[access.Caller, Depends(_known(_writing_anywhere))]
KnownMember = Annotated[access.Caller, Depends(_known(_writing))]
KnownAdmin = Annotated[access.Caller, Depends(_known(_claims(Scope.ADMIN)))]
KnownOwner = Annotated[access.Caller, Depends(_known(_claims(Scope.LOGIN)))]

Limit = Annotated[int, Query(ge=1, le=100, description="How many at most.")]
Skip = Annotated[int, Query(ge=0, le=LARGEST_ID, description="How many to leave out first.")]
Id = Annotated[int, Path(ge=1, le=LARGEST_ID)]
AnyId = Annotated[int, Query(ge=1, le=LARGEST_ID)]
