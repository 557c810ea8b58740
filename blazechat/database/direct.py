"""A dedicated asyncpg connection for the few statements that run thousands of times per second.

Statements are prepared once. It bypasses SQLAlchemy and the pool. All other statements go through
`Database.transaction()`.
"""

import asyncio
from typing import Any

import asyncpg

from blazechat.database.engine import Database, ErrorTranslator, is_connection_error

INDEXES_ONLY = {
    # One plan, prepared once and right for tables of any size: it finds each row by an index.
    "plan_cache_mode": "force_generic_plan",
    "enable_seqscan": "off",
    "enable_hashjoin": "off",
    "enable_mergejoin": "off",
    "jit": "off",
}
ASYNC_COMMIT = {"synchronous_commit": "off", "lock_timeout": "500ms"}
"""Run-time parameters for repeatable writes that may be lost if PostgreSQL is killed within a second.

Such a write does not wait for the disk, and waits at most 500 ms for a lock.
"""


class DirectConnection:
    """Runs one statement at a time, each in its own transaction. Connects on first use.

    `settings` are PostgreSQL run-time parameters, in addition to INDEXES_ONLY.
    """

    def __init__(self, database: Database, **settings: str) -> None:
        self._database = database
        self._settings = {**INDEXES_ONLY, **settings}
        self._connection: asyncpg.Connection | None = None  # set after the first use
        self._lock = asyncio.Lock()

    async def fetch(self, statement: str, *arguments: Any) -> list[asyncpg.Record]:
        """Run a statement and return its rows. Run idempotent statements only.

        A connection that broke since its last use is detected only by the next statement; that statement
        is run a second time, on a new connection. Raises Unavailable if the database cannot be reached,
        Busy if a concurrent transaction conflicts.
        """
        with ErrorTranslator():
            async with self._lock:
                fresh = self._connection is None or self._connection.is_closed()
                try:
                    return await self._fetch(statement, arguments)
                except Exception as error:
                    if fresh or not is_connection_error(error):
                        raise
                    return await self._fetch(statement, arguments)

    async def _fetch(self, statement: str, arguments: tuple[Any, ...]) -> list[asyncpg.Record]:
        if self._connection is None or self._connection.is_closed():
            self._connection = await self._database.connect(**self._settings)
        try:
            rows: list[asyncpg.Record] = await self._connection.fetch(statement, *arguments)
        except BaseException as error:
            if is_connection_error(error) or isinstance(error, asyncio.CancelledError):
                self.close()
            raise
        return rows

    def close(self) -> None:
        """Terminate the connection, if there is one."""
        if self._connection is not None:
            self._connection.terminate()
            self._connection = None
