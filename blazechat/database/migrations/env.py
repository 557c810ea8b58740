"""Alembic's environment: migrates on the given connection, or connects to the configured database."""

import asyncio

from alembic import context
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


if context.is_offline_mode():
    context.configure(dialect_name="postgresql", target_metadata=Table.metadata, literal_binds=True)
    with context.begin_transaction():
        context.run_migrations()
elif (given := context.config.attributes.get("connection")) is not None:
    run(given)
else:
    from blazechat.config import load
    from blazechat.database.source import database_dsn

    with database_dsn(load()) as dsn:
        asyncio.run(run_on(dsn))
