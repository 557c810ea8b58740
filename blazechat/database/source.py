"""Selects the database: the configured one, or the embedded one, which runs only while it is in use."""

import os
import socket
from collections.abc import Iterator
from contextlib import contextmanager
from typing import TYPE_CHECKING

import asyncpg
from sqlalchemy.exc import DBAPIError

from blazechat.config import Settings
from blazechat.database.engine import driver_error
from blazechat.database_url import DatabaseAddress

if TYPE_CHECKING:
    from blazechat.database.embedded import EmbeddedPostgres

CONNECT_ERRORS = (OSError, TimeoutError, asyncpg.PostgresError, asyncpg.InterfaceError, DBAPIError)
"""What connecting raises, and the first statements after it."""


@contextmanager
def database_dsn(settings: Settings) -> Iterator[str]:
    """Yield the URL of the database, valid until the end of the block.

    Starts the embedded server if no database is configured. Raises EmbeddedError if that fails.
    """
    if settings.database_url is not None:
        yield settings.database_url
        return
    embedded = embedded_postgres(settings)
    try:
        embedded.start()
        yield embedded.dsn
    finally:
        embedded.stop()


def embedded_postgres(settings: Settings) -> "EmbeddedPostgres":
    """Return the embedded server of the data folder, not started yet.

    Raises SystemExit on systems without `fcntl` or `pwd`: the embedded server needs both.
    """
    try:
        from blazechat.database.embedded import EmbeddedPostgres
    except ImportError as error:
        raise SystemExit(
            "The embedded PostgreSQL does not run on this system. Set DATABASE_URL to"
            " postgresql://user:password@host:5432/database."
        ) from error
    return EmbeddedPostgres(settings.data_dir, settings.postgres_options)


def database_name(settings: Settings) -> str:
    """Return the database in words: host, port, database and user, and never the password."""
    if settings.database_url is None:
        return f"embedded PostgreSQL in {settings.data_dir.absolute()}"
    return f"PostgreSQL at {DatabaseAddress.parse(settings.database_url)}"


def unreachable(settings: Settings, error: BaseException) -> str:
    """Return a sentence about one of CONNECT_ERRORS, without the password."""
    return f"{database_name(settings)} cannot be used: {_reason(driver_error(error))}."


def _reason(error: BaseException) -> str:
    if isinstance(error, socket.gaierror):
        return "the name of the host is not known"
    if isinstance(error, OSError) and error.errno and error.errno > 0:
        return os.strerror(error.errno)  # asyncio repeats the address
    if isinstance(error, TimeoutError):
        return "no answer in time"
    return str(error).splitlines()[0].rstrip(".") if str(error) else type(error).__name__
