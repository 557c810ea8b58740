"""The connection pool to PostgreSQL, and `transaction()` for requests, socket commands and jobs."""

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

CONNECT_TIMEOUT_SECONDS = 5.0
COMMAND_TIMEOUT_SECONDS = 30.0
POOL_TIMEOUT_SECONDS = 10.0
MIN_SERVER_VERSION = 140_000
"""PostgreSQL 14, in the form of `server_version_num`."""

CONNECTION_ERRORS = (
    OSError,
    TimeoutError,
    asyncpg.PostgresConnectionError,
    asyncpg.InterfaceError,
    asyncpg.CannotConnectNowError,
    asyncpg.AdminShutdownError,
    asyncpg.CrashShutdownError,
    asyncpg.TooManyConnectionsError,
    asyncpg.ReadOnlySQLTransactionError,
    asyncpg.InternalClientError,  # raised when the connection is lost between two protocol messages
)
"""Raised by asyncpg when the server is stopped, is starting or stopping, or is no longer the primary."""

RETRYABLE_ERRORS = (
    asyncpg.DeadlockDetectedError,
    asyncpg.SerializationError,
    asyncpg.LockNotAvailableError,
)
"""Raised by PostgreSQL when a concurrent transaction was first; the same transaction can be retried."""

Publish = Callable[[Any], None]
OutboxWriter = Callable[[AsyncSession, Sequence[Any]], Awaitable[None]]
"""Writes the outbox rows of a transaction's events, in that transaction."""


class Database:
    """The connection pool of one server process.

    `publish` is called with each event of a transaction after the commit. `before_commit` writes the outbox
    rows of these events within the transaction.
    """

    def __init__(
        self,
        dsn: str | Callable[[], str],
        *,
        pool_size: int = 8,
        publish: Publish = lambda event: None,
        before_commit: OutboxWriter | None = None,
    ) -> None:
        self._dsn = dsn
        self.publish = publish
        self._before_commit = before_commit
        self._engine = create_async_engine(
            "postgresql+asyncpg://",
            async_creator=self._connect_serially,
            pool_size=pool_size,
            max_overflow=0,
            pool_timeout=POOL_TIMEOUT_SECONDS,
            pool_use_lifo=True,
            hide_parameters=True,  # they contain password hashes and message contents
        )
        self._connect_lock = asyncio.Lock()
        self._sessions = async_sessionmaker(self._engine, expire_on_commit=False)
        self._closing_pools: set[asyncio.Task[None]] = set()

    @property
    def dsn(self) -> str:
        """The configured URL; that of the embedded server may change when it restarts."""
        return self._dsn() if callable(self._dsn) else self._dsn

    async def connect(self, **settings: str) -> asyncpg.Connection:
        """Open a connection outside the pool, with `settings` as PostgreSQL run-time parameters.

        Raises what asyncpg raises (see CONNECTION_ERRORS).
        """
        return await asyncpg.connect(
            self.dsn,
            timeout=CONNECT_TIMEOUT_SECONDS,
            command_timeout=COMMAND_TIMEOUT_SECONDS,
            server_settings={"application_name": "blazechat", "timezone": "UTC", **settings},
        )

    async def _connect_serially(self) -> asyncpg.Connection:
        """Open the pool's connections one after another: each blocks the event loop for milliseconds."""
        async with asyncio.timeout(CONNECT_TIMEOUT_SECONDS), self._connect_lock:
            return await self.connect()

    @asynccontextmanager
    async def transaction(self) -> AsyncIterator[AsyncSession]:
        """Run the block in one transaction: commit at its end, roll back if it raises.

        Events collected by `events.emit()` are published after the commit. Raises Unavailable if the
        database cannot be reached. Raises Busy if the pool has no free connection within
        POOL_TIMEOUT_SECONDS, or if a concurrent transaction conflicts. If the connection breaks during the
        commit, the transaction may have taken effect or not; then the `in_doubt()` form of the events is
        published.
        """
        with ErrorTranslator():
            async with self._sessions() as session:
                try:
                    yield session
                    events: Sequence[Any] = session.info.get("events", ())
                    if events and self._before_commit is not None:
                        await self._before_commit(session, events)
                except BaseException:
                    await session.rollback()
                    raise
                try:
                    await session.commit()
                except BaseException:
                    # The commit may have taken effect. Receivers of these events read the current state.
                    events = [event.in_doubt() for event in events if hasattr(event, "in_doubt")]
                    raise
                finally:
                    for event in events:
                        self.publish(event)

    async def replace_pool(self) -> None:
        """Start an empty pool, because the server behind the pooled connections is gone.

        The old connections are closed in the background: on a silent network each close can take seconds.
        """
        old_pool = self._engine.sync_engine.pool
        await self._engine.dispose(close=False)
        closing = asyncio.create_task(greenlet_spawn(old_pool.dispose), name="old connections")
        self._closing_pools.add(closing)
        closing.add_done_callback(self._closing_pools.discard)

    async def close(self) -> None:
        await asyncio.gather(*self._closing_pools, return_exceptions=True)
        await self._engine.dispose()


class TransactionSource(Protocol):
    """Anything with `Database.transaction()`: a `Database` or a `LimitedDatabase`."""

    def transaction(self) -> AbstractAsyncContextManager[AsyncSession]: ...


class LimitedDatabase:
    """The same database for low-priority work: at most `max_transactions` transactions at a time.

    That leaves pooled connections and database time to other work. Transactions must not be nested: the
    inner one could wait for the slot of the outer one.
    """

    def __init__(self, database: Database, max_transactions: int) -> None:
        self._database = database
        self._slots = asyncio.Semaphore(max_transactions)

    @asynccontextmanager
    async def transaction(self) -> AsyncIterator[AsyncSession]:
        """Wait for a slot, then do as `Database.transaction()`.

        Raises Busy as well if no slot is free within POOL_TIMEOUT_SECONDS.
        """
        try:
            async with asyncio.timeout(POOL_TIMEOUT_SECONDS):
                await self._slots.acquire()
        except TimeoutError:
            raise Busy from None
        try:
            async with self._database.transaction() as session:
                yield session
        finally:
            self._slots.release()


class ErrorTranslator:
    """Context manager that raises Unavailable and Busy in place of the drivers' errors."""

    def __enter__(self) -> None:
        return None

    def __exit__(self, kind: object, error: BaseException | None, trace: object) -> None:
        if error is None or isinstance(error, asyncio.CancelledError):
            return
        if isinstance(error, PoolTimeout):
            raise Busy from error
        cause = driver_error(error)
        if isinstance(cause, RETRYABLE_ERRORS):
            raise Busy("Another request was changing the same data; try again.") from error
        if is_connection_error(error):
            log.warning("database unreachable", reason=str(cause) or type(cause).__name__)
            raise Unavailable from error


def driver_error(error: BaseException) -> BaseException:
    """Return the asyncpg error that SQLAlchemy has wrapped, or `error` itself."""
    if isinstance(error, DBAPIError) and error.orig is not None:
        return error.orig.__cause__ or error.orig
    return error


def is_connection_error(error: BaseException) -> bool:
    """Return True if `error` means that the database cannot be reached at the moment."""
    if isinstance(error, DBAPIError) and error.connection_invalidated:
        return True
    cause = driver_error(error)
    # asyncpg.DataError is an InterfaceError as well, and a ValueError: an argument that cannot be encoded.
    return isinstance(cause, CONNECTION_ERRORS) and not isinstance(cause, ValueError)
