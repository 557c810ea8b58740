"""Migrations: as the tables say, once under a lock, and never of a newer database."""

import asyncio
import subprocess
import sys
from collections.abc import Callable
from pathlib import Path

import asyncpg
import pytest
from alembic import command
from alembic.config import Config
from sqlalchemy.ext.asyncio import create_async_engine

from blazechat.database.engine import Database
from blazechat.database.migrate import (
    MigrationError,
    alembic_config,
    known_revisions,
    migrate,
    newest_revision,
)
from blazechat.database.tables import Table
from tests.conftest import NewDatabase

ROOT = Path(__file__).parent.parent.parent


async def with_alembic(dsn: str, *steps: Callable[[Config], object]) -> None:
    """Run Alembic's commands, one after the other, on one connection to a database."""
    database = Database(dsn)
    engine = create_async_engine("postgresql+asyncpg://", async_creator=database.connect)

    def run(connection: object) -> None:
        settings = alembic_config()
        settings.attributes["connection"] = connection
        for step in steps:
            step(settings)

    async with engine.begin() as connection:
        await connection.run_sync(run)
    await engine.dispose()
    await database.close()


async def test_migrations_and_tables_agree(new_database: NewDatabase) -> None:
    """`alembic check` finds nothing to do."""
    await with_alembic(await new_database(), command.check)


async def test_many_starts_at_once_migrate_once(postgres: str, new_database: NewDatabase) -> None:
    """Each waits for the lock and finds the work done."""
    dsn = await new_database()
    connection = await asyncpg.connect(dsn)
    await connection.execute("DROP SCHEMA public CASCADE; CREATE SCHEMA public")
    revisions = await asyncio.gather(*(migrate(Database(dsn)) for _ in range(5)))
    assert revisions == [newest_revision()] * 5
    assert await connection.fetchval("SELECT count(*) FROM alembic_version") == 1
    await connection.close()


async def test_a_newer_database_is_refused(new_database: NewDatabase) -> None:
    """With a sentence, and untouched."""
    dsn = await new_database()
    connection = await asyncpg.connect(dsn)
    await connection.execute("UPDATE alembic_version SET version_num = '9999'")
    with pytest.raises(MigrationError, match="newer"):
        await migrate(Database(dsn))
    assert await connection.fetchval("SELECT version_num FROM alembic_version") == "9999"
    await connection.close()


async def test_down_and_up_again(new_database: NewDatabase) -> None:
    """Every migration can be taken back."""
    await with_alembic(
        await new_database(),
        lambda settings: command.downgrade(settings, "base"),
        lambda settings: command.upgrade(settings, "head"),
    )
    assert len(known_revisions()) >= 1


def test_chats_can_be_sharded() -> None:
    """Every table that belongs to a chat has `chat_id` first in its primary key and in its unique keys."""
    for table in Table.metadata.tables.values():
        if "chat_id" not in table.columns or table.name == "webhooks":  # few, and known to every shard
            continue
        assert next(iter(table.primary_key.columns)).name == "chat_id", table.name
        for index in table.indexes:
            assert not index.unique or "chat_id" in index.columns, index.name


def test_alembic_command_of_the_seeds(open_folder: Path) -> None:
    """`alembic upgrade head` in a checkout, on the embedded database."""
    import os

    environment = os.environ | {"BLAZECHAT_DATA_DIR": str(open_folder / "data")}
    for arguments in (["upgrade", "head"], ["check"]):
        done = subprocess.run(
            [sys.executable, "-m", "alembic", *arguments],
            cwd=ROOT,
            env=environment,
            capture_output=True,
            text=True,
            check=False,
        )
        assert done.returncode == 0, done.stderr
