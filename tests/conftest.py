"""Fixtures: one PostgreSQL for the run, one migrated template database, and a copy of it per server."""

import asyncio
import fcntl
import logging
import os
import secrets
import shutil
import tempfile
from collections.abc import AsyncIterator, Awaitable, Callable, Iterator
from contextlib import AsyncExitStack
from pathlib import Path
from typing import Any

import asyncpg
import pytest

from blazechat import compiled_core, logs
from blazechat.database.embedded import EmbeddedPostgres
from blazechat.database.engine import Database
from blazechat.database.migrate import migrate
from tests.harness import Live, copy_of, running, settings_for
from tests.processes import accept_ctrl_c

FOLDER = "TEST_FOLDER_OF_BLAZECHAT"
TEMPLATE = "migrated"
# Without durability, for speed: a test that kills PostgreSQL starts another one.
OPTIONS = "fsync=off synchronous_commit=off full_page_writes=off max_connections=400 shared_buffers=64MB"

NewDatabase = Callable[[], Awaitable[str]]
NewServer = Callable[..., Awaitable[Live]]


def pytest_configure(config: pytest.Config) -> None:
    """Share one folder among all workers. It is not pytest's own, which the server's user cannot enter."""
    for name in [name for name in os.environ if name.startswith(("BLAZECHAT_", "DATABASE_"))]:
        if name != compiled_core.VARIABLE:  # servers that tests start have the same core as the tests
            del os.environ[name]
    for name in ("SECRET_KEY", "ALGORITHM", "ACCESS_TOKEN_EXPIRE_MINUTES", "PYTHONUNBUFFERED"):
        os.environ.pop(name, None)
    accept_ctrl_c()
    logs.configure("warning", "text")
    logging.getLogger("httpx2").setLevel(logging.WARNING)
    if FOLDER not in os.environ:
        folder = Path(tempfile.mkdtemp(prefix="blazechat-test-"))
        folder.chmod(0o755)
        os.environ[FOLDER] = str(folder)
        config.add_cleanup(lambda: shutil.rmtree(folder, ignore_errors=True))


def pytest_xdist_auto_num_workers() -> int:
    """One worker more than processors, because some tests wait for a timeout of the server."""
    return (os.cpu_count() or 1) + 1


@pytest.fixture(scope="session")
def shared_folder() -> Path:
    return Path(os.environ[FOLDER])


@pytest.fixture
def open_folder() -> Iterator[Path]:
    """A temporary folder that every user may enter, as the data folder of root must be."""
    folder = Path(tempfile.mkdtemp(prefix="blazechat-test-"))
    folder.chmod(0o755)
    yield folder
    shutil.rmtree(folder, ignore_errors=True)


@pytest.fixture(scope="session")
def postgres(shared_folder: Path) -> Iterator[str]:
    """The URL of a PostgreSQL that all workers share, with the migrated template in it."""
    server = EmbeddedPostgres(shared_folder, OPTIONS)
    server.start()
    with (shared_folder / "template.lock").open("w") as lock:
        fcntl.flock(lock, fcntl.LOCK_EX)
        asyncio.run(_make_template(server.dsn))
    yield server.dsn
    server.stop()


async def _make_template(dsn: str) -> None:
    connection = await asyncpg.connect(dsn)
    try:
        exists = "SELECT FROM pg_database WHERE datname = $1"
        if await connection.fetchrow(exists, TEMPLATE) is None:
            await connection.execute(f"CREATE DATABASE {TEMPLATE}_draft")
            database = Database(dsn.replace("@/blazechat?", f"@/{TEMPLATE}_draft?"))
            await migrate(database)
            await database.close()
            await connection.execute(f"ALTER DATABASE {TEMPLATE}_draft RENAME TO {TEMPLATE}")
    finally:
        await connection.close()


@pytest.fixture(scope="session")
def new_database(postgres: str) -> NewDatabase:
    """A function that creates an empty, migrated database and returns its URL."""

    async def create() -> str:
        return await copy_of(postgres, TEMPLATE, f"t_{secrets.token_hex(6)}")

    return create


@pytest.fixture(scope="session")
async def live(new_database: NewDatabase) -> AsyncIterator[Live]:
    """The server of this worker. Tests share it and create their own users."""
    async with running(settings_for(await new_database(), login_attempts_per_user=1000)) as server:
        await server.person("first")  # the first user becomes the administrator
        yield server


@pytest.fixture
async def new_server(new_database: NewDatabase) -> AsyncIterator[NewServer]:
    """A function that starts a server with an empty database and the given settings."""
    async with AsyncExitStack() as stack:

        async def start(**settings: Any) -> Live:
            settings.setdefault("database_url", await new_database())
            return await stack.enter_async_context(running(settings_for("", **settings)))

        yield start
