"""Which database: the configured one, or the embedded one started for as long as it is needed."""

from collections.abc import Iterator
from contextlib import contextmanager
from typing import TYPE_CHECKING

from blazechat.config import Settings

if TYPE_CHECKING:
    from blazechat.database.embedded import EmbeddedPostgres


@contextmanager
def database_dsn(settings: Settings) -> Iterator[str]:
    """The URL of the database, good until the end of the block."""
    if settings.database_url is not None:
        yield settings.database_url
        return
    embedded = embedded_for(settings)
    embedded.start()
    try:
        yield embedded.dsn
    finally:
        embedded.stop()


def embedded_for(settings: Settings) -> "EmbeddedPostgres":
    """The embedded server of the data folder, not yet started.

    Raises EmbeddedError on systems that it does not run on.
    """
    try:
        from blazechat.database.embedded import EmbeddedPostgres
    except ImportError as error:
        raise SystemExit(
            "The embedded PostgreSQL does not run on this system; set DATABASE_URL to"
            " postgresql://user:password@host:5432/database."
        ) from error
    return EmbeddedPostgres(settings.data_dir, settings.postgres_options)
