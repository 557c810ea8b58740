"""A connection of one's own, for the few statements that run thousands of times a second.

Without SQLAlchemy in between, and prepared once. Everything else goes through `Database.transaction()`.
"""

import asyncio
from typing import Any

import asyncpg

from blazechat.database.engine import Database, is_away, translated

INDEXES_ONLY = {
    # One plan, made once and right for tables of any size: each row is found by its index.
    "plan_cache_mode": "force_generic_plan",
    "enable_seqscan": "off",
    "enable_hashjoin": "off",
    "enable_mergejoin": "off",
    "jit": "off",
}
WITHOUT_FSYNC = {"synchronous_commit": "off", "lock_timeout": "500ms"}
"""For what may be lost if PostgreSQL is killed a second later, and can be tried again: it does not wait for
the disk, nor long for anybody."""


class DirectConnection:
    """Runs one statement at a time; each is a transaction. Connects when it is needed.

    `settings` are run-time settings of PostgreSQL.
    """

    def __init__(self, database: Database, **settings: str) -> None:
        self._database = database
        self._settings = {**INDEXES_ONLY, **settings}
        self._connection: asyncpg.Connection | None = None  # set once it was needed
        self._lock = asyncio.Lock()

    async def fetch(self, statement: str, *arguments: Any) -> list[asyncpg.Record]:
        """The statement's rows. Raises Unavailable while the database is away, Busy when overtaken.

        A connection that was lost since its last use is not noticed until then, so that one statement
        is tried a second time on a new one: only what is harmless to repeat may be run here.
        """
        with translated():
            async with self._lock:
                fresh = self._connection is None or self._connection.is_closed()
                try:
                    return await self._fetch(statement, arguments)
                except Exception as error:
                    if fresh or not is_away(error):
                        raise
                    return await self._fetch(statement, arguments)

    async def _fetch(self, statement: str, arguments: tuple[Any, ...]) -> list[asyncpg.Record]:
        if self._connection is None or self._connection.is_closed():
            self._connection = await self._database.connect(**self._settings)
        try:
            rows: list[asyncpg.Record] = await self._connection.fetch(statement, *arguments)
        except BaseException as error:
            if is_away(error) or isinstance(error, asyncio.CancelledError):
                self.close()
            raise
        return rows

    def close(self) -> None:
        """Let go of the connection, if there is one."""
        if self._connection is not None:
            self._connection.terminate()
            self._connection = None
