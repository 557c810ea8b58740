"""Migrates a database to the schema of this version, under a lock that serialises concurrent starts."""

import asyncio
from pathlib import Path

import structlog
from alembic import command
from alembic.config import Config
from alembic.migration import MigrationContext
from alembic.script import ScriptDirectory
from sqlalchemy import Connection, text
from sqlalchemy.ext.asyncio import create_async_engine
from sqlalchemy.pool import NullPool

from blazechat.database.engine import MIN_SERVER_VERSION, Database

log = structlog.get_logger("blazechat.migrate")

ADVISORY_LOCK_ID = 0x626C617A65
"""The bytes of "blaze": key of the advisory lock that serialises migrations."""


class MigrationError(Exception):
    """The database cannot be migrated. The message says why and what to do."""


def alembic_config() -> Config:
    """Return Alembic's configuration, with the path of the migrations in the installed package."""
    settings = Config()
    settings.set_main_option("script_location", str(Path(__file__).with_name("migrations")))
    return settings


def newest_revision() -> str:
    """Return the revision that this version needs."""
    head = ScriptDirectory.from_config(alembic_config()).get_current_head()
    assert head is not None
    return head


async def migrate(database: Database) -> str:
    """Upgrade to the newest revision and return it.

    Raises MigrationError if PostgreSQL is older than 14, the encoding is not UTF-8, or the database was
    migrated by a newer version of BlazeChat.
    """
    engine = create_async_engine(
        "postgresql+asyncpg://", async_creator=database.connect, poolclass=NullPool
    )
    async with engine.begin() as connection:
        await connection.execute(text("SELECT pg_advisory_xact_lock(:lock)"), {"lock": ADVISORY_LOCK_ID})
        return await connection.run_sync(_upgrade)


def migrate_blocking(database: Database) -> str:
    """Run `migrate()` for a caller without an event loop."""
    return asyncio.run(migrate(database))


def _upgrade(connection: Connection) -> str:
    check_server(connection)
    head, current = newest_revision(), current_revision(connection)
    if current == head:
        return head
    if current is not None and current not in known_revisions():
        raise MigrationError(
            f"The database is at revision {current}, which this version of BlazeChat does not know."
            " A newer version has used it. Install that version, or restore a backup."
        )
    log.info("migrating the database", from_revision=current, to_revision=head)
    settings = alembic_config()
    settings.attributes["connection"] = connection
    command.upgrade(settings, "head")
    return head


def check_server(connection: Connection) -> None:
    """Raise MigrationError unless the server is PostgreSQL 14 or newer and the encoding is UTF-8."""
    version = int(connection.scalar(text("SHOW server_version_num")) or 0)
    if version < MIN_SERVER_VERSION:
        raise MigrationError(
            f"BlazeChat needs PostgreSQL 14 or newer; this server has {version // 10_000}."
        )
    encoding = connection.scalar(text("SHOW server_encoding"))
    if encoding != "UTF8":
        raise MigrationError(
            f"The database's encoding is {encoding}. BlazeChat needs UTF-8: create the database with"
            " createdb -T template0 -E UTF8"
        )


def current_revision(connection: Connection) -> str | None:
    return MigrationContext.configure(connection).get_current_revision()


def known_revisions() -> set[str]:
    scripts = ScriptDirectory.from_config(alembic_config())
    return {script.revision for script in scripts.walk_revisions()}
