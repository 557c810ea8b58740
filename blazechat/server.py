"""The composition root: builds the parts of a server, starts them, and stops them in reverse order."""

import asyncio
from collections.abc import AsyncIterator, Callable
from contextlib import AsyncExitStack, asynccontextmanager
from dataclasses import dataclass
from datetime import timedelta
from typing import TYPE_CHECKING

import structlog
from fastapi import FastAPI

from blazechat import __version__
from blazechat.api.dependencies import Services
from blazechat.config import Settings, SettingsError, media_location
from blazechat.database.direct import ASYNC_COMMIT, DirectConnection
from blazechat.database.engine import Database, LimitedDatabase
from blazechat.database.migrate import migrate
from blazechat.database.source import embedded_postgres
from blazechat.domain.accounts.accounts import Accounts
from blazechat.domain.accounts.api_tokens import Credentials
from blazechat.domain.accounts.bots import Bots
from blazechat.domain.accounts.directory import Directory
from blazechat.domain.auth.access_tokens import AccessTokens
from blazechat.domain.auth.batch_access import BatchAccess
from blazechat.domain.auth.passwords import Passwords
from blazechat.domain.auth.sessions import Sessions
from blazechat.domain.chats.changes_reader import ChangesReader
from blazechat.domain.chats.chat_query import ChatQuery
from blazechat.domain.chats.chats import Chats
from blazechat.domain.chats.members import Members
from blazechat.domain.files.piece_writer import UploadLimits
from blazechat.domain.files.processing import FileProcessor
from blazechat.domain.files.upload_pacing import UploadPacer
from blazechat.domain.files.uploads import Uploads
from blazechat.domain.integrations.incoming_templates import IncomingTemplates
from blazechat.domain.integrations.incoming_webhooks import IncomingWebhooks
from blazechat.domain.integrations.integration_users import IntegrationUsers, retire_users_of_chat
from blazechat.domain.integrations.slash_commands import SlashCommands
from blazechat.domain.integrations.system_messages import SystemMessages
from blazechat.domain.messaging.ledger import Ledger
from blazechat.domain.messaging.page_cache import PageCache
from blazechat.domain.messaging.page_reader import PageReader
from blazechat.domain.messaging.read_cursors import ReadCursors
from blazechat.domain.rate_limits import AttemptLimiter, RateLimiter
from blazechat.domain.webhooks.delivery_queue import DeliveryQueue
from blazechat.domain.webhooks.event_bodies import EventBodies
from blazechat.domain.webhooks.outbox import write_outbox
from blazechat.domain.webhooks.webhooks import Webhooks
from blazechat.jobs import slash_command_caller
from blazechat.jobs.deliverer import Deliverer
from blazechat.jobs.disabler import Disabler
from blazechat.jobs.http_caller import HttpCaller
from blazechat.jobs.retry_policy import RetryPolicy
from blazechat.jobs.slash_command_caller import SlashCommandCaller
from blazechat.jobs.ssrf_guard import AllowedHosts, check_url, parse_allowed_hosts
from blazechat.jobs.sweeper import Sweeper
from blazechat.media.inspector import Inspector
from blazechat.media.storage import Storage
from blazechat.realtime.bus import LocalBus
from blazechat.realtime.connection import SocketLimits
from blazechat.realtime.gateway import Gateway
from blazechat.realtime.presence import PresenceTracker
from blazechat.secret_key import secret_key_of

if TYPE_CHECKING:
    from blazechat.database.embedded import EmbeddedPostgres

log = structlog.get_logger("blazechat.server")

USER_AGENT = f"BlazeChat/{__version__}"

MAX_UPLOAD_TRANSACTIONS = 2
"""Concurrent transactions of all uploads together, so that sends find the database free."""
WATCH_SECONDS = 0.5
"""Interval between checks that the embedded database still runs."""


@asynccontextmanager
async def lifespan(app: FastAPI) -> AsyncIterator[None]:
    """Build and start everything that the app needs; stop it in reverse order at the end of the block.

    It is the app's lifespan. `blazechat serve` enters it itself, to report why a start fails: uvicorn
    logs an error of a lifespan and does not raise it. Raises EmbeddedError, MigrationError,
    SettingsError, OSError, asyncpg.PostgresError.
    """
    settings: Settings = app.state.settings
    secret_key_of(settings)  # a damaged key is reported before the database is started
    async with AsyncExitStack() as stack:
        bus = LocalBus()
        dsn = settings.database_url or await _start_embedded(settings, stack)
        database = Database(
            dsn, pool_size=settings.database_pool, publish=bus.publish, before_commit=write_outbox
        )
        stack.push_async_callback(database.close)
        await migrate(database)
        server = _Builder(settings, database, bus, stack).build()
        app.state.services = server.services
        app.state.gateway = server.gateway
        app.state.sweeper = server.sweeper
        app.state.deliverer = server.deliverer
        app.state.drain = server.drain
        stack.push_async_callback(server.drain)
        server.start()
        yield


@dataclass(frozen=True, kw_only=True)
class _Server:
    """The parts of one server that are started and drained."""

    services: Services
    gateway: Gateway
    sweeper: Sweeper
    deliverer: Deliverer

    def start(self) -> None:
        self.services.ledger.start()
        self.gateway.start()
        self.sweeper.start()
        self.deliverer.start()

    async def drain(self) -> None:
        """Commit the sends in flight, then close the sockets."""
        await self.services.ledger.drain()
        await self.services.incoming_webhooks.close()
        await self.gateway.close()


class _Builder:
    """Builds the parts of one server. Each part that has to be closed is registered with `stack`.

    Parts are closed in the reverse order of their creation.
    """

    def __init__(
        self, settings: Settings, database: Database, bus: LocalBus, stack: AsyncExitStack
    ) -> None:
        self._settings = settings
        self._database = database
        self._bus = bus
        self._stack = stack
        self._presence = PresenceTracker(settings.presence_grace_seconds)
        tokens = AccessTokens(
            secret_key_of(settings), settings.algorithm, settings.access_token_expire_minutes * 60
        )
        self._credentials = Credentials(database, tokens)
        self._sessions = Sessions(tokens, timedelta(days=settings.session_days))
        self._passwords = Passwords(
            rounds=settings.bcrypt_rounds,
            threads=settings.hashing_threads,
            min_length=settings.password_min_length,
        )
        stack.callback(self._passwords.close)
        self._chat_query = ChatQuery(self._presence.status_of)
        self._chats = Chats(
            self._chat_query,
            max_members=settings.max_chat_members,
            retire_integrations=retire_users_of_chat,
        )
        self._members = Members(self._chats, self._chat_query)
        self._bots = Bots(self._members, self._presence.status_of)
        self._ledger = Ledger(
            database, bus.publish, max_queued=settings.max_queued_sends, timeout=settings.send_timeout
        )
        bus.listen(self._ledger.handle)
        self._batch_access = BatchAccess(self._direct())
        stack.push_async_callback(self._batch_access.close)
        self._read_cursors = ReadCursors(self._direct(), bus.publish)
        stack.push_async_callback(self._read_cursors.close)
        page_reader = PageReader(self._direct())
        stack.push_async_callback(page_reader.close)
        self._page_cache = PageCache(page_reader, self._batch_access)
        self._changes_reader = ChangesReader(database, self._direct(), self._chat_query)
        bus.listen(self._page_cache.handle)

    def build(self) -> _Server:
        """Raises SettingsError where a setting cannot work."""
        settings = self._settings
        gateway = self._gateway()
        storage = self._storage()
        pacer = UploadPacer(settings.media_rate_beside_chat, lambda: self._ledger.last_send)
        uploads = self._uploads(storage, pacer)
        sweeper = Sweeper(
            self._database,
            storage,
            log_retention=timedelta(days=settings.webhook_log_days),
            is_chat_active=lambda: pacer.is_chat_active,
        )
        self._stack.push_async_callback(sweeper.close)
        integration_users = IntegrationUsers(self._members, self._bots)
        slash_commands = SlashCommands(integration_users, check_url)
        deliverer = self._deliverer()
        services = Services(
            settings=settings,
            database=self._database,
            credentials=self._credentials,
            sessions=self._sessions,
            accounts=self._accounts(),
            bots=self._bots,
            directory=Directory(settings.directory, self._presence.status_of),
            incoming_webhooks=self._incoming_webhooks(integration_users),
            slash_commands=slash_commands,
            slash_command_caller=self._slash_command_caller(slash_commands),
            webhooks=Webhooks(check_url),
            deliverer=deliverer,
            chats=self._chats,
            chat_query=self._chat_query,
            members=self._members,
            ledger=self._ledger,
            read_cursors=self._read_cursors,
            page_cache=self._page_cache,
            changes_reader=self._changes_reader,
            uploads=uploads,
            storage=storage,
            presence=self._presence,
        )
        return _Server(services=services, gateway=gateway, sweeper=sweeper, deliverer=deliverer)

    def _gateway(self) -> Gateway:
        settings = self._settings
        gateway = Gateway(
            database=self._database,
            credentials=self._credentials,
            batch_access=self._batch_access,
            ledger=self._ledger,
            read_cursors=self._read_cursors,
            chat_query=self._chat_query,
            changes_reader=self._changes_reader,
            presence=self._presence,
            publish=self._bus.publish,
            allowed_origins=settings.allowed_origins,
            limits=SocketLimits(
                outbox=settings.outbox_bytes,
                frame=settings.max_frame_bytes,
                rate=settings.commands_per_second,
                burst=settings.command_burst,
                heartbeat=settings.heartbeat_seconds,
                handshake=settings.login_frame_seconds,
            ),
            sockets_per_user=settings.sockets_per_user,
            resume_limit=settings.resume_limit,
        )
        self._bus.listen(gateway.handle)
        return gateway

    def _incoming_webhooks(self, integration_users: IntegrationUsers) -> IncomingWebhooks:
        incoming_webhooks = IncomingWebhooks(
            database=self._database,
            credentials=self._credentials,
            integration_users=integration_users,
            templates=IncomingTemplates(),
            ledger=self._ledger,
            rate_limiter=RateLimiter(self._settings.hook_messages_per_minute),
        )
        self._stack.push_async_callback(incoming_webhooks.close)
        return incoming_webhooks

    def _accounts(self) -> Accounts:
        return Accounts(
            database=self._database,
            passwords=self._passwords,
            sessions=self._sessions,
            members=self._members,
            bots=self._bots,
            status_of=self._presence.status_of,
            registration=self._settings.registration,
            attempts_per_user=AttemptLimiter(self._settings.login_attempts_per_user),
            attempts_per_address=AttemptLimiter(self._settings.login_attempts_per_address),
        )

    def _storage(self) -> Storage:
        try:
            storage = Storage(media_location(self._settings))
        except ValueError as error:
            raise SettingsError(f"BLAZECHAT_MEDIA_STORE: {error}.") from error
        self._stack.callback(storage.close)
        return storage

    def _uploads(self, storage: Storage, pacer: UploadPacer) -> Uploads:
        settings = self._settings
        inspector = Inspector(
            processes=settings.media_processes,
            job_seconds=settings.media_seconds,
            memory_bytes=settings.media_memory_bytes,
            max_pixels=settings.max_image_pixels,
            is_chat_active=lambda: pacer.is_chat_active,
        )
        database = LimitedDatabase(self._database, MAX_UPLOAD_TRANSACTIONS)
        processor = FileProcessor(
            database,
            storage,
            inspector,
            allowed_types=settings.media_types,
            max_in_memory=settings.media_processes + 1,
        )
        self._stack.push_async_callback(processor.close)
        self._stack.push_async_callback(inspector.close)  # first, so that no job waits for a worker
        limits = UploadLimits(
            max_file_bytes=settings.max_file_bytes,
            quota_bytes=settings.media_quota_bytes,
            lifetime=timedelta(hours=settings.media_hours),
        )
        uploads = Uploads(
            database=database, storage=storage, processor=processor, pacer=pacer, limits=limits
        )
        self._stack.push_async_callback(uploads.close)
        return uploads

    def _deliverer(self) -> Deliverer:
        settings = self._settings
        http = HttpCaller(
            allowed=self._allowed_hosts(), timeout=settings.webhook_timeout, user_agent=USER_AGENT
        )
        retry_policy = RetryPolicy(
            schedule=tuple(settings.webhook_retry_seconds),
            disable_after=timedelta(days=settings.webhook_disable_days),
            timeout=settings.webhook_timeout,
        )
        async_commit = self._direct(**ASYNC_COMMIT)
        system_messages = SystemMessages(self._database, self._chats, self._ledger)
        deliverer = Deliverer(
            database=self._database,
            queue=DeliveryQueue(self._direct(), async_commit),
            bodies=EventBodies(async_commit),
            http=http,
            disabler=Disabler(self._database, system_messages),
            retry_policy=retry_policy,
        )
        self._stack.push_async_callback(deliverer.close)
        self._bus.listen(deliverer.handle)
        return deliverer

    def _slash_command_caller(self, commands: SlashCommands) -> SlashCommandCaller:
        http = HttpCaller(
            allowed=self._allowed_hosts(),
            timeout=slash_command_caller.TIMEOUT_SECONDS,
            user_agent=USER_AGENT,
            max_body_bytes=slash_command_caller.MAX_RESPONSE_BYTES,
        )
        caller = SlashCommandCaller(
            database=self._database,
            commands=commands,
            ledger=self._ledger,
            http=http,
            publish=self._bus.publish,
            public_url=self._settings.public_url,
        )
        self._stack.push_async_callback(caller.close)
        return caller

    def _allowed_hosts(self) -> AllowedHosts:
        try:
            return parse_allowed_hosts(self._settings.webhook_allowed_hosts)
        except ValueError as error:
            raise SettingsError(f"BLAZECHAT_WEBHOOK_ALLOWED_HOSTS: {error}") from error

    def _direct(self, **settings: str) -> DirectConnection:
        direct = DirectConnection(self._database, **settings)
        self._stack.callback(direct.close)
        return direct


async def _start_embedded(settings: Settings, stack: AsyncExitStack) -> Callable[[], str]:
    """Start the embedded PostgreSQL and a task that restarts it; return its DSN, which a restart may
    change."""
    embedded = embedded_postgres(settings)
    starting = asyncio.create_task(asyncio.to_thread(embedded.start))
    stack.push_async_callback(asyncio.to_thread, embedded.stop)
    stack.push_async_callback(asyncio.wait, [starting])  # if the start of the server is cancelled
    await asyncio.shield(starting)
    watch = asyncio.create_task(_watch(embedded), name="embedded database")
    stack.push_async_callback(_end, watch)
    return lambda: embedded.dsn


async def _watch(embedded: "EmbeddedPostgres") -> None:
    """Restart the embedded database when it was killed."""
    from blazechat.database.embedded_files import EmbeddedError

    while True:
        await asyncio.sleep(WATCH_SECONDS)
        if embedded.is_alive():
            continue
        log.warning("embedded database is not running; restarting it")
        try:
            await asyncio.to_thread(embedded.restart)
            log.info("embedded database restarted", pid=embedded.pid)
        except (EmbeddedError, OSError) as error:
            log.error("embedded database does not start", reason=str(error))


async def _end(task: asyncio.Task[None]) -> None:
    task.cancel()
    await asyncio.gather(task, return_exceptions=True)
