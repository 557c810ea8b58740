"""What FastAPI injects into routes: the server's services, the request's transaction, the base URL.

`callers.py` has the authenticated caller, `fields.py` the types of parameters.
"""

from collections.abc import AsyncIterator
from dataclasses import dataclass
from datetime import datetime
from typing import Annotated, Protocol

from fastapi import Depends, Request
from sqlalchemy.ext.asyncio import AsyncSession

from blazechat.config import Settings
from blazechat.database.engine import Database
from blazechat.domain.accounts.accounts import Accounts
from blazechat.domain.accounts.api_tokens import Credentials
from blazechat.domain.accounts.bots import Bots
from blazechat.domain.accounts.directory import Directory
from blazechat.domain.auth.access import Caller
from blazechat.domain.auth.sessions import Sessions
from blazechat.domain.chats.changes_reader import ChangesReader
from blazechat.domain.chats.chat_query import ChatQuery
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
from blazechat.media.storage import Storage
from blazechat.vocabulary import Status


class PresenceService(Protocol):
    """`realtime/presence.py`, as far as routes use it."""

    def status_of(self, user_id: int, /) -> Status: ...

    def choose(self, user_id: int, status: Status, seen: datetime | None = None, /) -> None: ...


class SlashCommandRunner(Protocol):
    """`jobs/slash_command_caller.py`, as far as routes use it."""

    async def invoke(self, caller: Caller, chat_id: int, text: str, /) -> CommandAnswer: ...

    async def reply(self, token: str, content_type: str, body: bytes, /) -> None: ...


class WebhookPinger(Protocol):
    """`jobs/deliverer.py`, as far as routes use it."""

    async def ping(self, caller: Caller, chat_id: int | None, webhook_id: int, /) -> Attempt: ...


@dataclass(frozen=True)
class Services:
    """The parts of the server that routes use; `server.py` builds them."""

    settings: Settings
    database: Database
    credentials: Credentials
    sessions: Sessions
    accounts: Accounts
    bots: Bots
    directory: Directory
    incoming_webhooks: IncomingWebhooks
    slash_commands: SlashCommands
    slash_command_caller: SlashCommandRunner
    webhooks: Webhooks
    deliverer: WebhookPinger
    chats: Chats
    chat_query: ChatQuery
    members: Members
    ledger: Ledger
    read_cursors: ReadCursors
    page_cache: PageCache
    changes_reader: ChangesReader
    uploads: Uploads
    storage: Storage
    presence: PresenceService


async def _services(request: Request) -> Services:
    services: Services = request.app.state.services
    return services


AppServices = Annotated[Services, Depends(_services)]


async def _transaction(services: AppServices) -> AsyncIterator[AsyncSession]:
    async with services.database.transaction() as session:
        yield session


Transaction = Annotated[AsyncSession, Depends(_transaction, scope="function")]
"""The request's transaction. It commits before the response is sent; any error rolls it back."""


async def _base_url(request: Request, services: AppServices) -> str:
    """Return the configured public URL, or the URL that the client used."""
    return services.settings.public_url or f"{request.url.scheme}://{request.url.netloc}"


BaseUrl = Annotated[str, Depends(_base_url)]
"""The URL of this server, without a slash at the end."""
