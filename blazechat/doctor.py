"""`blazechat doctor`: looks at what a server needs, and says what to do about what it lacks."""

import asyncio
import os
import shutil
import sys
from dataclasses import dataclass
from pathlib import Path

import asyncpg

from blazechat import __version__
from blazechat.config import Settings, SettingsError, media_location
from blazechat.database.embedded_files import EmbeddedError
from blazechat.database.engine import MIN_SERVER_VERSION, Database
from blazechat.database.migrate import known_revisions, newest_revision
from blazechat.database.source import database_dsn
from blazechat.errors import Error
from blazechat.secret_key import secret_key_of
from blazechat.media.storage import Storage

ENOUGH_DISK = 1_000_000_000
ENOUGH_FILES = 4096
SAFE_ROUNDS = 10
"""OWASP's least cost for bcrypt."""


@dataclass(frozen=True)
class Finding:
    good: bool
    subject: str
    detail: str
    remedy: str = ""

    def __str__(self) -> str:
        line = f"{'✓' if self.good else '✗'} {self.subject:<10} {self.detail}"
        return line if self.good or not self.remedy else f"{line}\n{'':13}→ {self.remedy}"


def examine(settings: Settings) -> list[Finding]:
    """Everything that can be found out without changing anything but starting the embedded database."""
    findings = [_versions(), _files(), _disk(settings), _key(settings), _passwords(settings)]
    findings.append(_storage(settings))
    try:
        with database_dsn(settings) as dsn:
            findings += asyncio.run(_database(Database(dsn)))
    except (EmbeddedError, OSError, asyncpg.PostgresError) as error:
        where = "the embedded PostgreSQL" if settings.database_url is None else "DATABASE_URL"
        findings.append(
            Finding(
                False,
                "database",
                f"{where} cannot be reached: {str(error) or type(error).__name__}",
                "start PostgreSQL and check user, password, host and database of DATABASE_URL",
            )
        )
    return findings


def _versions() -> Finding:
    running = ".".join(map(str, sys.version_info[:3]))
    good = sys.version_info >= (3, 11)
    return Finding(good, "versions", f"BlazeChat {__version__} on Python {running}", "use 3.11")


def _files() -> Finding:
    try:
        import resource
    except ImportError:
        return Finding(True, "files", "this system has no limit on open files")
    soft, _ = resource.getrlimit(resource.RLIMIT_NOFILE)
    return Finding(
        soft >= ENOUGH_FILES,
        "files",
        f"{soft} open files a process, one for each socket",
        "raise it: ulimit -n 65536, or LimitNOFILE= in the systemd unit",
    )


def _disk(settings: Settings) -> Finding:
    place = _existing(settings.data_dir.absolute())
    free = shutil.disk_usage(place).free
    writable = os.access(place, os.W_OK)
    return Finding(
        writable and free >= ENOUGH_DISK,
        "disk",
        f"{free / 1e9:.1f} GB free for {settings.data_dir.absolute()}"
        + ("" if writable else ", which cannot be written to"),
        "free some space, or choose another folder with BLAZECHAT_DATA_DIR",
    )


def _key(settings: Settings) -> Finding:
    try:
        secret_key_of(settings)
    except SettingsError as error:
        return Finding(False, "secret", str(error), "set SECRET_KEY")
    kept = settings.data_dir / "secret.key"
    if settings.secret_key is not None:
        return Finding(True, "secret", "SECRET_KEY is set")
    private = kept.stat().st_mode & 0o077 == 0
    return Finding(private, "secret", f"kept in {kept}", f"chmod 600 {kept}")


def _passwords(settings: Settings) -> Finding:
    return Finding(
        settings.bcrypt_rounds >= SAFE_ROUNDS,
        "passwords",
        f"bcrypt at cost {settings.bcrypt_rounds}",
        f"set BLAZECHAT_BCRYPT_ROUNDS to {SAFE_ROUNDS} or more",
    )


def _storage(settings: Settings) -> Finding:
    place = media_location(settings)
    remedy = "check BLAZECHAT_MEDIA_STORE, and the credentials of a bucket (docs/media.md)"
    try:
        storage = Storage(place)
    except ValueError as error:
        return Finding(False, "storage", str(error), remedy)
    try:
        asyncio.run(storage.check())
    except Error as error:
        return Finding(False, "storage", f"files cannot be kept in {place}: {error.detail}", remedy)
    finally:
        storage.close()
    return Finding(True, "storage", f"files are kept in {place}")


async def _database(database: Database) -> list[Finding]:
    connection = await database.connect()
    try:
        return [await check(connection) for check in (_server, _encoding, _locale, _schema, _commit)]
    finally:
        await connection.close()
        await database.close()


async def _server(connection: asyncpg.Connection) -> Finding:
    number = int(await connection.fetchval("SHOW server_version_num"))
    version = await connection.fetchval("SHOW server_version")
    return Finding(
        number >= MIN_SERVER_VERSION, "database", f"PostgreSQL {version}", "use PostgreSQL 14 or newer"
    )


async def _encoding(connection: asyncpg.Connection) -> Finding:
    encoding = await connection.fetchval("SHOW server_encoding")
    remedy = "create the database anew: createdb -T template0 -E UTF8"
    return Finding(encoding == "UTF8", "encoding", str(encoding), remedy)


async def _locale(connection: asyncpg.Connection) -> Finding:
    folded = await connection.fetchval("SELECT lower('ÄЖΩ')")
    return Finding(
        folded == "äжω",
        "locale",
        "knows the letters of all scripts" if folded == "äжω" else "knows Latin letters only",
        "create the database with LC_CTYPE C.UTF-8 or another UTF-8 locale; search needs it",
    )


async def _schema(connection: asyncpg.Connection) -> Finding:
    there = await connection.fetchval("SELECT to_regclass('alembic_version') IS NOT NULL")
    current = await connection.fetchval("SELECT version_num FROM alembic_version") if there else None
    if current is not None and current not in known_revisions():
        remedy = "it was used by a newer BlazeChat: install that, or restore a backup"
        return Finding(False, "schema", f"revision {current} is not known here", remedy)
    behind = "" if current == newest_revision() else f", brought to {newest_revision()} by the next start"
    return Finding(True, "schema", f"revision {current or 'none'}{behind}")


async def _commit(connection: asyncpg.Connection) -> Finding:
    names = ("fsync", "synchronous_commit", "full_page_writes")
    off = [name for name in names if await connection.fetchval(f"SHOW {name}") == "off"]
    return Finding(
        not off,
        "durability",
        f"{', '.join(off)} off: a crash loses acknowledged messages" if off else "commits are durable",
        "turn it on in postgresql.conf",
    )


def _existing(path: Path) -> Path:
    while not path.exists():
        path = path.parent
    return path
