"""One snapshot of the database, shared with pg_dump: its tables, and the objects of its files."""

import asyncio
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from dataclasses import dataclass

import asyncpg

from blazechat.backup.errors import BackupError
from blazechat.backup.manifest import TableState
from blazechat.database.locks import hold_objects
from blazechat.database.migrate import known_revisions

CONNECT_SECONDS = 10.0
SESSION_SETTINGS = {
    "application_name": "blazechat backup",
    "idle_in_transaction_session_timeout": "0",
    "statement_timeout": "0",
    "timezone": "UTC",
}


@dataclass(frozen=True, slots=True)
class StoredObject:
    """An object in the file storage."""

    key: str
    size: int


@dataclass(frozen=True, slots=True)
class Snapshot:
    """A repeatable-read transaction, whose snapshot pg_dump can use while it is open."""

    id: str
    revision: str
    postgres: str
    """The version of the server, as `18.6`."""
    postgres_major: int
    _connection: asyncpg.Connection

    async def tables(self) -> dict[str, TableState]:
        return await table_states(self._connection)

    async def objects(self) -> list[StoredObject]:
        """Return the objects of all files. Those that no file uses any more are left out."""
        if await self._connection.fetchval("SELECT to_regclass('pieces')") is None:
            return []  # from before there were files
        rows = await self._connection.fetch(
            "SELECT key, size FROM pieces WHERE stored"
            " AND EXISTS (SELECT FROM media WHERE media.blob_id = pieces.blob_id) ORDER BY key"
        )
        return [StoredObject(row["key"], row["size"]) for row in rows]


@asynccontextmanager
async def snapshot(dsn: str) -> AsyncIterator[Snapshot]:
    """Open a snapshot. Until the end of the block, servers delete no object that it refers to.

    Raises BackupError if the database is not BlazeChat's, or if a connection broke before the end; OSError,
    asyncpg's errors.
    """
    keeper, reader = await connect(dsn), await connect(dsn)
    try:
        async with keeper.transaction():
            # Before the snapshot: what is deleted afterwards, the snapshot does not refer to.
            await hold_objects(keeper)
            async with reader.transaction(isolation="repeatable_read", readonly=True):
                yield Snapshot(
                    id=await reader.fetchval("SELECT pg_export_snapshot()"),
                    revision=await _revision(reader),
                    postgres=(await reader.fetchval("SHOW server_version")).split()[0],
                    postgres_major=int(await reader.fetchval("SHOW server_version_num")) // 10_000,
                    _connection=reader,
                )
            await _check_alive(keeper)
    finally:
        keeper.terminate()
        reader.terminate()


async def connect(dsn: str) -> asyncpg.Connection:
    """Open a connection whose statements may take as long as they need."""
    return await asyncpg.connect(dsn, timeout=CONNECT_SECONDS, server_settings=SESSION_SETTINGS)


async def table_states(connection: asyncpg.Connection) -> dict[str, TableState]:
    """Return the state of every table of BlazeChat's schema, by name."""
    tables = await connection.fetch(
        "SELECT c.relname, c.oid::regclass::text AS quoted, EXISTS ("
        "  SELECT FROM pg_attribute a WHERE a.attrelid = c.oid AND a.attname = 'id'"
        "  AND a.atttypid IN ('int4'::regtype, 'int8'::regtype)) AS has_id"
        " FROM pg_class c WHERE c.relkind IN ('r', 'p') AND c.relnamespace = ("
        "  SELECT relnamespace FROM pg_class WHERE oid = to_regclass('alembic_version')) ORDER BY 1"
    )
    states = {}
    for name, quoted, has_id in tables:
        last_id = "max(id)" if has_id else "NULL::int8"
        (row,) = await connection.fetch(f"SELECT count(*), {last_id} FROM {quoted}")  # noqa: S608
        states[name] = TableState(row[0], row[1])
    return states


def differences(expected: dict[str, TableState], found: dict[str, TableState]) -> list[str]:
    """Return the names of the tables whose states differ."""
    return [name for name in sorted({*expected, *found}) if expected.get(name) != found.get(name)]


async def _revision(connection: asyncpg.Connection) -> str:
    if await connection.fetchval("SELECT to_regclass('alembic_version')") is None:
        raise BackupError("This database has no tables of BlazeChat: there is nothing to back up.")
    revision = str(await connection.fetchval("SELECT version_num FROM alembic_version"))
    if revision not in await asyncio.to_thread(known_revisions):
        raise BackupError(
            f"The database is at revision {revision}, which this version of BlazeChat does not know."
            " A newer version has used it. Make the backup with that version."
        )
    return revision


async def _check_alive(connection: asyncpg.Connection) -> None:
    try:
        await connection.execute("SELECT")
    except (OSError, asyncpg.PostgresError, asyncpg.InterfaceError) as error:
        raise BackupError("The connection that protects the files broke. Make the backup again.") from error
