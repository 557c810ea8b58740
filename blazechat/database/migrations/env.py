"""Alembic's environment: migrates on the given connection, or connects to the configured database."""

import asyncio
from pathlib import Path

from alembic import context
from alembic.util import CommandError
from sqlalchemy import Connection
from sqlalchemy.ext.asyncio import create_async_engine
from sqlalchemy.pool import NullPool

from blazechat.database.tables import Table


def run(connection: Connection) -> None:
    context.configure(connection=connection, target_metadata=Table.metadata)
    with context.begin_transaction():
        context.run_migrations()


async def run_on(dsn: str) -> None:
    from blazechat.database.engine import Database

    engine = create_async_engine(
        "postgresql+asyncpg://", async_creator=Database(dsn).connect, poolclass=NullPool
    )
    async with engine.begin() as connection:
        await connection.run_sync(run)
    await engine.dispose()


def run_on_configured_database() -> None:
    """Migrate the database that the settings name; `alembic` prints the sentence of a CommandError."""
    from blazechat.config import SettingsError
    from blazechat.database.embedded_files import EmbeddedError
    from blazechat.database.source import CONNECT_ERRORS, database_dsn, unreachable
    from blazechat.setting_loader import load

    try:
        settings = load(Path(context.config.config_file_name or "alembic.ini"))
    except SettingsError as error:
        raise CommandError(f"A setting is wrong. {error}") from error
    try:
        with database_dsn(settings) as dsn:
            asyncio.run(run_on(dsn))
    except EmbeddedError as error:
        raise CommandError(str(error)) from error
    except CONNECT_ERRORS as error:
        raise CommandError(unreachable(settings, error)) from error


if context.is_offline_mode():
    context.configure(dialect_name="postgresql", target_metadata=Table.metadata, literal_binds=True)
    with context.begin_transaction():
        context.run_migrations()
elif (given := context.config.attributes.get("connection")) is not None:
    run(given)
else:
    run_on_configured_database()
