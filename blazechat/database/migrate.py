"""Bringing a database to the schema of this code, once, whoever else starts at the same moment."""

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

from blazechat.database.engine import MINIMUM_VERSION, Database

log = structlog.get_logger("blazechat.migrate")

LOCK = 0x626C617A65  # "blaze": the advisory lock that serialises migrations


class MigrationError(Exception):
    """The database cannot be brought to this schema. The text says why and what to do."""


def config() -> Config:
    """Alembic's configuration for our migrations, wherever the package lies."""
    settings = Config()
    settings.set_main_option("script_location", str(Path(__file__).with_name("migrations")))
    return settings


def newest() -> str:
    """The revision that this code is written for."""
    head = ScriptDirectory.from_config(config()).get_current_head()
    assert head is not None
    return head


async def migrate(database: Database) -> str:
    """Upgrade to the newest revision and return it.

    Raises MigrationError for a PostgreSQL that is too old or a database newer than the code.
    """
    engine = create_async_engine(
        "postgresql+asyncpg://", async_creator=database.connect, poolclass=NullPool
    )
    async with engine.begin() as connection:
        await connection.execute(text("SELECT pg_advisory_xact_lock(:lock)"), {"lock": LOCK})
        return await connection.run_sync(_upgrade)


def migrate_now(database: Database) -> str:
    """`migrate()` for callers without an event loop."""
    return asyncio.run(migrate(database))


def _upgrade(connection: Connection) -> str:
    refuse_old_server(connection)
    head, current = newest(), current_revision(connection)
    if current == head:
        return head
    if current is not None and current not in known_revisions():
        raise MigrationError(
            f"The database is at revision {current}, which this version of BlazeChat does not"
            " know: it was used by a newer one. Install that version, or restore a backup."
        )
    log.info("migrating the database", from_revision=current, to_revision=head)
    settings = config()
    settings.attributes["connection"] = connection
    command.upgrade(settings, "head")
    return head


def refuse_old_server(connection: Connection) -> None:
    """Raises MigrationError unless the server is PostgreSQL 14 or newer, with UTF-8."""
    version = int(connection.scalar(text("SHOW server_version_num")) or 0)
    if version < MINIMUM_VERSION:
        raise MigrationError(f"PostgreSQL 14 or newer is needed; this is {version // 10_000}.")
    encoding = connection.scalar(text("SHOW server_encoding"))
    if encoding != "UTF8":
        raise MigrationError(
            f"The database's encoding is {encoding}; create it with: createdb -T template0 -E UTF8"
        )


def current_revision(connection: Connection) -> str | None:
    return MigrationContext.configure(connection).get_current_revision()


def known_revisions() -> set[str]:
    scripts = ScriptDirectory.from_config(config())
    return {script.revision for script in scripts.walk_revisions()}
