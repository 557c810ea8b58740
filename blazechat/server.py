"""The composition root: builds every part, wires them, closes them in the right order."""

import asyncio
import contextlib
import socket
from collections.abc import AsyncIterator, Callable, Iterator
from contextlib import AsyncExitStack, asynccontextmanager
from datetime import timedelta
from importlib.resources import files
from typing import TYPE_CHECKING

import structlog
import uvicorn
from fastapi import FastAPI, Response
from fastapi.openapi.docs import get_swagger_ui_html
from starlette.middleware.cors import CORSMiddleware
from starlette.staticfiles import StaticFiles

from blazechat import __version__, logs
from blazechat.api import (
    auth,
    bots,
    conversations,
    health,
    incoming_webhooks,
    invitations,
    media,
    messages,
    problems,
    responses,
    slash_commands,
    sync,
    tus,
    users,
)
from blazechat.api import (
    chats as chat_routes,
)
from blazechat.api import (
    webhooks as webhook_routes,
)
from blazechat.api.dependencies import Services
from blazechat.api.middleware import FrontDoor
from blazechat.config import Settings, SettingsError, media_place, secret_key_of
from blazechat.database.direct import HASTY, DirectConnection
from blazechat.database.engine import Database, LimitedDatabase
from blazechat.database.migrate import migrate
from blazechat.database.source import embedded_for
from blazechat.domain.accounts.accounts import Accounts
from blazechat.domain.accounts.api_tokens import Credentials
from blazechat.domain.accounts.bots import Bots
from blazechat.domain.auth.access_tokens import AccessTokens
from blazechat.domain.auth.batch_access import BatchAccess
from blazechat.domain.auth.passwords import Passwords
from blazechat.domain.auth.sessions import Sessions
from blazechat.domain.chats.chats import Chats
from blazechat.domain.chats.members import Members
from blazechat.domain.files.piece_writer import UploadLimits as UploadLimits
from blazechat.domain.files.processing import FileProcessor
from blazechat.domain.files.upload_pacing import UploadPacer
from blazechat.domain.files.uploads import Uploads
from blazechat.domain.integrations.incoming_webhooks import IncomingWebhooks
from blazechat.domain.integrations.integration_users import IntegrationUsers
from blazechat.domain.integrations.slash_commands import SlashCommands
from blazechat.domain.integrations.system_messages import SystemMessages
from blazechat.domain.messaging.ledger import Ledger
from blazechat.domain.messaging.page_cache import PageCache
from blazechat.domain.messaging.read_cursors import ReadCursors
from blazechat.domain.rate_limits import Attempts, Pace
from blazechat.domain.webhooks.delivery_queue import DeliveryQueue
from blazechat.domain.webhooks.event_bodies import EventBodies
from blazechat.domain.webhooks.outbox import note
from blazechat.domain.webhooks.webhooks import Webhooks
from blazechat.jobs import slash_command_caller
from blazechat.jobs.deliverer import Deliverer
from blazechat.jobs.disabler import Disabler
from blazechat.jobs.http_caller import HttpCaller as CallsOut
from blazechat.jobs.retry_policy import RetryPolicy
from blazechat.jobs.slash_command_caller import SlashCommandCaller
from blazechat.jobs.ssrf_guard import Allowed, allowed_hosts, check_url
from blazechat.jobs.sweeper import Sweeper
from blazechat.media.storage import Storage
from blazechat.media.worker_pool import WorkerPool
from blazechat.realtime import asyncapi
from blazechat.realtime.acceptor import UPGRADED, Acceptor, HandshakeQueue, HttpProtocol
from blazechat.realtime.bus import LocalBus
from blazechat.realtime.connection import SocketLimits
from blazechat.realtime.gateway import Gateway
from blazechat.realtime.gateway import routes as socket_routes
from blazechat.realtime.presence import Presence
from blazechat.realtime.socket import SocketProtocol

if TYPE_CHECKING:
    from blazechat.database.embedded import EmbeddedPostgres

log = structlog.get_logger("blazechat.server")

USER_AGENT = f"BlazeChat/{__version__}"

TRANSACTIONS_OF_UPLOADS = 2
"""That run at a time, so that people who chat find the database free."""
WATCH_PAUSE = 0.5
"""Seconds between looks at whether the embedded database still runs."""

DESCRIPTION = """A self-hosted real-time chat server.

Log in with `POST /api/auth/login` and send the access token as `Authorization: Bearer …`. All paths
under `/api` work without that prefix too, and with or without a slash at the end. New messages come
over WebSockets: `/ws` (docs/protocol.md), and more simply `/ws/chat/{chat_id}` and
`/ws/status` (docs/api.md). Errors are RFC 9457 problems.
"""

EXPOSED = [
    "Link",
    "Location",
    "Retry-After",
    "X-Request-ID",
    "ETag",
    "Accept-Ranges",
    "Content-Range",
    "Content-Disposition",
    "Upload-Offset",
    "Upload-Length",
    "Upload-Defer-Length",
    "Upload-Expires",
    "Tus-Resumable",
    "Tus-Version",
    "Tus-Extension",
    "Tus-Max-Size",
    "Tus-Checksum-Algorithm",
]
"""Headers of answers that web pages of other origins may read."""

TAGS = [
    {"name": name}  # no descriptions: on a phone, the page squeezes them into a column of letters
    for name in (
        "Accounts and sessions",
        "Users",
        "Chats",
        "Messages",
        "Files",
        "Sync",
        "BlazeChat's dialect",
        "Webhooks",
        "Bots and tokens",
        "Invitations",
        "Health",
    )
]


def create_app(settings: Settings) -> FastAPI:
    """The ASGI application. Its lifespan starts and stops everything it needs.

    Raises SettingsError where a setting cannot work.
    """
    logs.guard()
    if not structlog.is_configured():  # under `uvicorn app.main:app`, say
        logs.configure(settings.log_level, settings.log_format)
    app = FastAPI(
        title="BlazeChat",
        version=__version__,
        description=DESCRIPTION,
        openapi_tags=TAGS,
        lifespan=started,
        redirect_slashes=False,
        docs_url=None,
        redoc_url=None,
        license_info={"name": "MIT", "identifier": "MIT"},
        telemetry={"tracing": False, "metrics": False, "logs": False},
    )
    app.state.settings = settings
    problems.install(app)
    for router in (
        socket_routes(problems.answer),  # first, so that a storm of handshakes finds its way soon
        messages.router,
        chat_routes.router,
        auth.router,
        sync.router,
        users.router,
        media.router,
        tus.router,
        conversations.router,
        invitations.router,
        incoming_webhooks.router,
        webhook_routes.router,
        slash_commands.router,
        bots.router,
        health.router,
    ):
        # As they are: included, each app would build them all again, at its first request.
        app.router.routes += router.routes
    _add_docs(app)
    app.add_middleware(
        FrontDoor,
        max_body=settings.max_body_bytes,
        max_file=settings.max_file_bytes,
        access_log=settings.access_log,
    )
    if settings.allowed_origins:  # outermost: pages may read every refusal
        app.add_middleware(
            CORSMiddleware,
            allow_origins=settings.allowed_origins,
            allow_methods=["*"],
            allow_headers=["*"],
            expose_headers=EXPOSED,
        )
    return app


@asynccontextmanager
async def started(app: FastAPI) -> AsyncIterator[None]:
    """Everything that the app needs, started; stopped, in the other order, at the end of the block.

    It is the app's lifespan too. `blazechat serve` enters it itself, to see why a start fails: a server
    that runs a lifespan logs its errors and keeps them. Raises EmbeddedError, MigrationError,
    SettingsError, OSError, asyncpg.PostgresError.
    """
    settings: Settings = app.state.settings
    async with AsyncExitStack() as stack:
        bus = LocalBus()
        dsn = settings.database_url or await _start_embedded(settings, stack)
        database = Database(dsn, pool=settings.database_pool, publish=bus.publish, note=note)
        stack.push_async_callback(database.close)
        await migrate(database)
        parts = _build(settings, database, bus, app, stack)
        app.state.parts = parts
        app.state.drain = lambda: _drain(app)
        stack.push_async_callback(_drain, app)
        parts.ledger.start()
        app.state.gateway.start()
        app.state.sweeper.start()
        app.state.deliverer.start()
        yield


async def _start_embedded(settings: Settings, stack: AsyncExitStack) -> Callable[[], str]:
    """Start our own PostgreSQL and watch over it; where it can be reached may change when it is revived."""
    embedded = embedded_for(settings)
    await asyncio.to_thread(embedded.start)
    stack.push_async_callback(asyncio.to_thread, embedded.stop)
    watch = asyncio.create_task(_watch(embedded), name="embedded database")
    stack.push_async_callback(_end, watch)
    return lambda: embedded.dsn


def _build(
    settings: Settings, database: Database, bus: LocalBus, app: FastAPI, stack: AsyncExitStack
) -> Services:
    tokens = AccessTokens(
        secret_key_of(settings), settings.algorithm, settings.access_token_expire_minutes * 60
    )
    logins = Sessions(tokens, timedelta(days=settings.session_days))
    passwords = Passwords(
        rounds=settings.bcrypt_rounds,
        threads=settings.hashing_threads,
        min_length=settings.password_min_length,
    )
    stack.callback(passwords.close)
    presence = Presence(settings.presence_grace_seconds)
    chats = Chats(presence.status_of, settings.max_chat_members)
    members = Members(chats)
    their_bots = Bots(members, presence.status_of)
    credentials = Credentials(database, tokens)
    ledger = Ledger(
        database,
        bus.publish,
        max_queued=settings.max_queued_sends,
        timeout=settings.send_timeout,
    )
    bus.listen(ledger.handle)
    door = BatchAccess(_direct(database, stack))
    stack.push_async_callback(door.close)
    cursors = ReadCursors(_direct(database, stack), bus.publish)
    stack.push_async_callback(cursors.close)
    history = PageCache(database, door, lambda found: responses.encode(found[::-1]))
    bus.listen(history.handle)
    gateway = Gateway(
        database=database,
        credentials=credentials,
        door=door,
        ledger=ledger,
        cursors=cursors,
        chats=chats,
        presence=presence,
        publish=bus.publish,
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
    bus.listen(gateway.handle)
    app.state.gateway = gateway
    accounts = Accounts(
        database,
        passwords,
        logins,
        members,
        their_bots,
        presence.status_of,
        registration=settings.registration,
        per_user=Attempts(settings.login_attempts_per_user),
        per_address=Attempts(settings.login_attempts_per_address),
    )
    storage = _storage(settings)
    stack.callback(storage.close)
    line = UploadPacer(settings.media_rate_beside_chat, lambda: ledger.last_send)
    uploads = _uploads(settings, database, storage, line, stack)
    app.state.sweeper = Sweeper(
        database,
        storage,
        keep_log=timedelta(days=settings.webhook_log_days),
        gives_way=lambda: line.is_paced,
    )
    stack.push_async_callback(app.state.sweeper.close)
    speakers = IntegrationUsers(members, their_bots)
    slash_commands = SlashCommands(speakers, check_url)
    deliverer = _deliverer(settings, database, SystemMessages(database, chats, ledger), stack)
    bus.listen(deliverer.handle)
    app.state.deliverer = deliverer
    return Services(
        settings,
        database,
        credentials,
        logins,
        accounts,
        their_bots,
        IncomingWebhooks(credentials, speakers, ledger, Pace(settings.hook_messages_per_minute)),
        slash_commands,
        _invoker(settings, database, slash_commands, ledger, bus, stack),
        Webhooks(check_url),
        deliverer,
        chats,
        members,
        ledger,
        cursors,
        history,
        uploads,
        storage,
        presence,
    )


def _invoker(
    settings: Settings,
    database: Database,
    commands: SlashCommands,
    ledger: Ledger,
    bus: LocalBus,
    stack: AsyncExitStack,
) -> SlashCommandCaller:
    calls = CallsOut(
        allowed=_allowed(settings),
        timeout=slash_command_caller.TIMEOUT,
        user_agent=USER_AGENT,
        answer_bytes=slash_command_caller.ANSWER_BYTES,
    )
    made = SlashCommandCaller(database, commands, ledger, calls, bus.publish, settings.public_url)
    stack.push_async_callback(made.close)
    return made


def _allowed(settings: Settings) -> Allowed:
    try:
        return allowed_hosts(settings.webhook_allowed_hosts)
    except ValueError as error:
        raise SettingsError(f"BLAZECHAT_WEBHOOK_ALLOWED_HOSTS: {error}") from error


def _deliverer(
    settings: Settings, database: Database, notices: SystemMessages, stack: AsyncExitStack
) -> Deliverer:
    calls = CallsOut(allowed=_allowed(settings), timeout=settings.webhook_timeout, user_agent=USER_AGENT)
    patience = RetryPolicy(
        tuple(settings.webhook_retry_seconds),
        timedelta(days=settings.webhook_disable_days),
        settings.webhook_timeout,
    )
    hasty = _direct(database, stack, **HASTY)
    lanes = DeliveryQueue(_direct(database, stack), hasty)
    deliverer = Deliverer(database, lanes, EventBodies(hasty), calls, Disabler(database, notices), patience)
    stack.push_async_callback(deliverer.close)
    return deliverer


def _uploads(
    settings: Settings, database: Database, storage: Storage, line: UploadPacer, stack: AsyncExitStack
) -> Uploads:
    workshop = WorkerPool(
        processes=settings.media_processes,
        seconds=settings.media_seconds,
        memory=settings.media_memory_bytes,
        max_pixels=settings.max_image_pixels,
        gives_way=lambda: line.is_paced,
    )
    behind = LimitedDatabase(database, TRANSACTIONS_OF_UPLOADS)
    finisher = FileProcessor(behind, storage, workshop, settings.media_types, settings.media_processes + 1)
    stack.push_async_callback(finisher.close)
    stack.push_async_callback(workshop.close)  # first, so that nobody waits for a place in it
    limits = UploadLimits(
        settings.max_file_bytes, settings.media_quota_bytes, timedelta(hours=settings.media_hours)
    )
    uploads = Uploads(behind, storage, finisher, line, limits)
    stack.push_async_callback(uploads.close)
    return uploads


def _storage(settings: Settings) -> Storage:
    try:
        return Storage(media_place(settings))
    except ValueError as error:
        raise SettingsError(f"BLAZECHAT_MEDIA_STORE: {error}.") from error


def _direct(database: Database, stack: AsyncExitStack, **settings: str) -> DirectConnection:
    direct = DirectConnection(database, **settings)
    stack.callback(direct.close)
    return direct


async def _drain(app: FastAPI) -> None:
    """See the sends in flight through, then close the sockets."""
    await app.state.parts.ledger.drain()
    await app.state.gateway.close()


async def _watch(embedded: "EmbeddedPostgres") -> None:
    """Bring the embedded database back when something has killed it."""
    from blazechat.database.embedded import EmbeddedError

    while True:
        await asyncio.sleep(WATCH_PAUSE)
        if embedded.is_alive():
            continue
        log.warning("the embedded database is gone; starting it again")
        try:
            await asyncio.to_thread(embedded.revive)
            log.info("the embedded database is back", pid=embedded.pid)
        except (EmbeddedError, OSError) as error:
            log.error("the embedded database does not come back", reason=str(error))


async def _end(task: asyncio.Task[None]) -> None:
    task.cancel()
    await asyncio.gather(task, return_exceptions=True)


def _add_docs(app: FastAPI) -> None:
    """The sockets' document; and the API's page, from files installed here: it works without a network."""
    assets = str(files("fastapi_swagger").joinpath("resources"))
    app.mount("/docs/assets", StaticFiles(directory=assets), name="docs assets")

    @app.get("/docs", include_in_schema=False)
    async def docs() -> Response:
        return get_swagger_ui_html(
            openapi_url="/openapi.json",
            title="BlazeChat API",
            swagger_js_url="/docs/assets/swagger-ui-bundle.js",
            swagger_css_url="/docs/assets/swagger-ui.css",
            swagger_favicon_url="/docs/assets/favicon-32x32.png",
            swagger_ui_parameters={"persistAuthorization": True},
        )

    @app.get("/asyncapi.json", include_in_schema=False)
    async def sockets() -> Response:
        return responses.json(asyncapi.document(__version__))


class Server(uvicorn.Server):
    """uvicorn, stopping in our order: accept no more, commit what is in flight, close the sockets."""

    def __init__(self, app: FastAPI, config: uvicorn.Config) -> None:
        super().__init__(config)
        self._app = app
        self._turnstile = HandshakeQueue(UPGRADED)

    async def startup(self, sockets: list[socket.socket] | None = None) -> None:
        await super().startup(sockets=[])
        for listener in sockets or ():
            acceptor = Acceptor(listener, self._protocol)
            acceptor.start()
            self.servers.append(acceptor)  # type: ignore[arg-type]

    def _protocol(self) -> HttpProtocol:
        state = self.lifespan.state
        return HttpProtocol(self.config, self.server_state, state, turnstile=self._turnstile)

    async def shutdown(self, sockets: object = None) -> None:
        for server in self.servers:
            server.close()
        await self._app.state.drain()
        for connection in list(self.server_state.connections):
            if isinstance(connection, SocketProtocol):  # it did not come to a handshake
                connection.transport.abort()
        await super().shutdown()

    @contextlib.contextmanager
    def capture_signals(self) -> Iterator[None]:
        """As uvicorn does, without raising the signal again at the end: we exit with 0."""
        with super().capture_signals():
            yield
            self._captured_signals.clear()


def create_server(app: FastAPI, settings: Settings) -> Server:
    """A server for an app that is `started()`. `await .serve([listener])` runs it until a signal comes."""
    config = uvicorn.Config(
        app,
        host=settings.host,
        port=settings.port,
        http=HttpProtocol,
        ws=SocketProtocol,
        ws_ping_interval=None,  # ours is one clock for all sockets
        ws_max_size=settings.max_frame_bytes,
        ws_per_message_deflate=False,
        lifespan="off",
        log_config=None,
        access_log=False,
        server_header=False,
        timeout_keep_alive=75,
        timeout_graceful_shutdown=10,
    )
    return Server(app, config)
