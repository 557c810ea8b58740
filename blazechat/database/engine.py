"""Connections to PostgreSQL and `transaction()`, the one way to change anything in it."""

import asyncio
from collections.abc import AsyncIterator, Awaitable, Callable, Sequence
from contextlib import AbstractAsyncContextManager, asynccontextmanager
from typing import Any, Protocol

import asyncpg
import structlog
from sqlalchemy.exc import DBAPIError
from sqlalchemy.exc import TimeoutError as PoolTimeout
from sqlalchemy.ext.asyncio import AsyncSession, async_sessionmaker, create_async_engine
from sqlalchemy.util import greenlet_spawn

from blazechat.errors import Busy, Unavailable

log = structlog.get_logger("blazechat.database")

CONNECT_TIMEOUT = 5.0
COMMAND_TIMEOUT = 30.0
POOL_TIMEOUT = 10.0
MINIMUM_VERSION = 140_000
"""PostgreSQL 14, as `server_version_num` writes it."""

AWAY = (
    OSError,
    TimeoutError,
    asyncpg.PostgresConnectionError,
    asyncpg.InterfaceError,
    asyncpg.CannotConnectNowError,
    asyncpg.AdminShutdownError,
    asyncpg.CrashShutdownError,
    asyncpg.TooManyConnectionsError,
    asyncpg.ReadOnlySQLTransactionError,
    asyncpg.InternalClientError,  # lost between two messages, a connection does not know its own state
)
"""What asyncpg raises when the server is gone, going, coming, or no longer the primary."""

OVERTAKEN = (
    asyncpg.DeadlockDetectedError,
    asyncpg.SerializationError,
    asyncpg.LockNotAvailableError,
)
"""What PostgreSQL raises when somebody else's transaction went first; the same again will do."""

Publish = Callable[[Any], None]
Note = Callable[[AsyncSession, Sequence[Any]], Awaitable[None]]
"""Writes what else has to be written with a transaction's events."""


class Database:
    """The pool of connections of one server process.

    `publish` takes the events of a commit, `note` writes in the transaction what is to be done about them.
    """

    def __init__(
        self,
        dsn: str | Callable[[], str],
        *,
        pool: int = 8,
        publish: Publish = lambda event: None,
        note: Note | None = None,
    ) -> None:
        self._dsn = dsn
        self.publish = publish
        self._note = note
        self._engine = create_async_engine(
            "postgresql+asyncpg://",
            async_creator=self._connect_in_turn,
            pool_size=pool,
            max_overflow=0,
            pool_timeout=POOL_TIMEOUT,
            pool_use_lifo=True,
            hide_parameters=True,  # they hold password hashes and what people say
        )
        self._connecting = asyncio.Lock()
        self._sessions = async_sessionmaker(self._engine, expire_on_commit=False)
        self._farewells: set[asyncio.Task[None]] = set()  # to connections nobody waits for

    @property
    def dsn(self) -> str:
        """As it was configured; the embedded server's may change when it comes back."""
        return self._dsn() if callable(self._dsn) else self._dsn

    async def connect(self, **settings: str) -> asyncpg.Connection:
        """A connection outside of the pool, with run-time `settings` of PostgreSQL."""
        return await asyncpg.connect(
            self.dsn,
            timeout=CONNECT_TIMEOUT,
            command_timeout=COMMAND_TIMEOUT,
            server_settings={"application_name": "blazechat", "timezone": "UTC", **settings},
        )

    async def _connect_in_turn(self) -> asyncpg.Connection:
        """One after another: making a connection keeps the event loop for milliseconds."""
        async with asyncio.timeout(CONNECT_TIMEOUT), self._connecting:
            return await self.connect()

    @asynccontextmanager
    async def transaction(self) -> AsyncIterator[AsyncSession]:
        """One transaction: committed at the end of the block, rolled back if it raises.

        What `events.emit()` collected in it is published after the commit, and only then.
        Raises Unavailable while the database is away and Busy when it is overrun; whether a
        transaction whose commit was cut off took effect is then not known.
        """
        with translated():
            async with self._sessions() as session:
                try:
                    yield session
                    events: Sequence[Any] = session.info.get("events", ())
                    if events and self._note is not None:
                        await self._note(session, events)
                except BaseException:
                    await session.rollback()
                    raise
                try:
                    await session.commit()
                except BaseException:
                    # It may have taken effect: whoever cares has to look for themselves.
                    events = [event.in_doubt() for event in events if hasattr(event, "in_doubt")]
                    raise
                finally:
                    for event in events:
                        self.publish(event)

    async def forget_connections(self) -> None:
        """Connect anew from here on: the server behind the pool's connections has gone.

        Taking leave of them may last seconds each where the network is silent. Nobody waits for it.
        """
        gone = self._engine.sync_engine.pool
        await self._engine.dispose(close=False)
        farewell = asyncio.create_task(greenlet_spawn(gone.dispose), name="old connections")
        self._farewells.add(farewell)
        farewell.add_done_callback(self._farewells.discard)

    async def close(self) -> None:
        await asyncio.gather(*self._farewells, return_exceptions=True)
        await self._engine.dispose()


class Transacts(Protocol):
    """What has `Database.transaction()`."""

    def transaction(self) -> AbstractAsyncContextManager[AsyncSession]: ...


class LimitedDatabase:
    """The same database for work that gives way: at most `at_once` of its transactions run at a time.

    So they leave connections and the database's time to others. None may be begun within another.
    """

    def __init__(self, database: Database, at_once: int) -> None:
        self._database = database
        self._places = asyncio.Semaphore(at_once)

    @asynccontextmanager
    async def transaction(self) -> AsyncIterator[AsyncSession]:
        """As `Database.transaction()`, when it is its turn."""
        try:
            async with asyncio.timeout(POOL_TIMEOUT):
                await self._places.acquire()
        except TimeoutError:
            raise Busy from None
        try:
            async with self._database.transaction() as session:
                yield session
        finally:
            self._places.release()


class translated:  # noqa: N801 (reads as the sentence it is: `with translated():`)
    """Turns what drivers raise about an absent or overrun database into our own errors."""

    def __enter__(self) -> None:
        return None

    def __exit__(self, kind: object, error: BaseException | None, trace: object) -> None:
        if error is None or isinstance(error, asyncio.CancelledError):
            return
        if isinstance(error, PoolTimeout):
            raise Busy from error
        cause = driver_error(error)
        if isinstance(cause, OVERTAKEN):
            raise Busy("Somebody else was changing the same thing; try again.") from error
        if is_away(error):
            log.warning("database away", reason=str(cause) or type(cause).__name__)
            raise Unavailable from error


def driver_error(error: BaseException) -> BaseException:
    """The asyncpg error inside SQLAlchemy's wrapping."""
    if isinstance(error, DBAPIError) and error.orig is not None:
        return error.orig.__cause__ or error.orig
    return error


def is_away(error: BaseException) -> bool:
    """Whether `error` means that the database cannot be reached right now."""
    if isinstance(error, DBAPIError) and error.connection_invalidated:
        return True
    cause = driver_error(error)
    # asyncpg.DataError is an InterfaceError too, and a ValueError: an argument that cannot be sent.
    return isinstance(cause, AWAY) and not isinstance(cause, ValueError)
