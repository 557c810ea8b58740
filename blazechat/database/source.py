"""Selects the database: the configured one, or the embedded one, which runs only while it is in use."""

from collections.abc import Iterator
from contextlib import contextmanager
from typing import TYPE_CHECKING

from blazechat.config import Settings

if TYPE_CHECKING:
    from blazechat.database.embedded import EmbeddedPostgres


@contextmanager
def database_dsn(settings: Settings) -> Iterator[str]:
    """Yield the URL of the database, valid until the end of the block.

    Starts the embedded server if no database is configured. Raises EmbeddedError if that fails.
    """
    if settings.database_url is not None:
        yield settings.database_url
        return
    embedded = embedded_postgres(settings)
    embedded.start()
    try:
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
