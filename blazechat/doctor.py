"""`blazechat doctor`: checks what a server needs, and says how to fix each problem."""

import asyncio
import os
import shutil
import ssl
import sys
from dataclasses import dataclass
from pathlib import Path

import asyncpg
import httpx2

from blazechat import __version__, compiled_core, python_build
from blazechat.config import Settings, SettingsError, media_location
from blazechat.data_folder import running_server
from blazechat.database.embedded_files import EmbeddedError
from blazechat.database.engine import MIN_SERVER_VERSION, Database
from blazechat.database.migrate import known_revisions, newest_revision
from blazechat.database.source import CONNECT_ERRORS, database_dsn, unreachable
from blazechat.errors import Error
from blazechat.media.storage import Storage
from blazechat.open_files import attainable_limit
from blazechat.secret_key import secret_key_of
from blazechat.setting_loader import unknown_settings

ANSWER_SECONDS = 5.0
NO_CERTIFICATES = ssl.SSLContext(ssl.PROTOCOL_TLS_CLIENT)
"""The running server is called without TLS; loading certificates takes longer than the call."""
MIN_FREE_BYTES = 1_000_000_000
MIN_OPEN_FILES = 4096
MIN_BCRYPT_ROUNDS = 10
"""The minimum cost that OWASP asks for."""


@dataclass(frozen=True)
class Finding:
    """The result of one check."""

    is_good: bool
    subject: str
    detail: str
    remedy: str = ""
    """What to do if it is not good."""

    def __str__(self) -> str:
        line = f"{'✓' if self.is_good else '✗'} {self.subject:<10} {self.detail}"
        return line if self.is_good or not self.remedy else f"{line}\n{'':13}→ {self.remedy}"


def examine(settings: Settings) -> list[Finding]:
    """Run all checks.

    They do not migrate the database. The secret key and the embedded database are created if they do not
    exist; the embedded database runs only during the checks.
    """
    findings = [_versions(), _core(), _settings(), _server(settings), _files(), _disk(settings)]
    findings += [_key(settings), _passwords(settings), _storage(settings)]
    try:
        with database_dsn(settings) as dsn:
            findings += asyncio.run(_database(Database(dsn)))
    except EmbeddedError as error:
        findings.append(Finding(False, "database", str(error)))
    except CONNECT_ERRORS as error:
        remedy = "check that PostgreSQL runs there, and that user, password and database are right"
        findings.append(Finding(False, "database", unreachable(settings, error), remedy))
    return findings


def _versions() -> Finding:
    good = sys.version_info >= (3, 11)
    detail = f"BlazeChat {__version__} on {python_build.summary()}"
    return Finding(good, "versions", detail, "use Python 3.11 or newer")


def _core() -> Finding:
    """The interpreted core is slower and does the same, so it is no problem."""
    return Finding(True, "core", str(compiled_core.install()))


def _settings() -> Finding:
    unknown = unknown_settings()
    return Finding(
        not unknown, "settings", " ".join(unknown) or "all names are known", "correct or remove the names"
    )


def _server(settings: Settings) -> Finding:
    """Connect to the server that runs on the data folder."""
    server = running_server(settings.data_dir)
    if server is None:
        return Finding(True, "server", f"not running on {settings.data_dir.absolute()}")
    try:
        answer = httpx2.get(
            f"{server.url}/readyz", timeout=ANSWER_SECONDS, trust_env=False, verify=NO_CERTIFICATES
        )
        state = "ready" if answer.is_success else f"not ready (status {answer.status_code})"
    except (httpx2.HTTPError, httpx2.InvalidURL) as error:
        state = f"does not answer ({error})"
    where = server.url or "(it is starting)"
    remedy = "see its log; if it hangs, restart it"
    return Finding(state == "ready", "server", f"{where}, process {server.pid}: {state}", remedy)


def _files() -> Finding:
    limit = attainable_limit()
    if limit is None:
        return Finding(True, "files", "this system has no limit on open files")
    return Finding(
        limit >= MIN_OPEN_FILES,
        "files",
        f"`blazechat serve` raises the limit to {limit} open files; each socket needs one",
        "raise the hard limit: ulimit -Hn 65536, or LimitNOFILE=65536 in the systemd unit",
    )


def _disk(settings: Settings) -> Finding:
    folder = _nearest_existing(settings.data_dir.absolute())
    free = shutil.disk_usage(folder).free
    is_writable = os.access(folder, os.W_OK)
    return Finding(
        is_writable and free >= MIN_FREE_BYTES,
        "disk",
        f"{free / 1e9:.1f} GB free for {settings.data_dir.absolute()}"
        + ("" if is_writable else ", which is not writable"),
        "free at least 1 GB and make the folder writable, or choose another one with BLAZECHAT_DATA_DIR",
    )


def _key(settings: Settings) -> Finding:
    try:
        secret_key_of(settings)
    except SettingsError as error:
        return Finding(False, "secret", str(error), "set SECRET_KEY")
    key_file = settings.data_dir / "secret.key"
    if settings.secret_key is not None:
        return Finding(True, "secret", "SECRET_KEY is set")
    is_private = key_file.stat().st_mode & 0o077 == 0
    return Finding(is_private, "secret", f"kept in {key_file}", f"make it private: chmod 600 {key_file}")


def _passwords(settings: Settings) -> Finding:
    return Finding(
        settings.bcrypt_rounds >= MIN_BCRYPT_ROUNDS,
        "passwords",
        f"bcrypt with cost {settings.bcrypt_rounds}",
        f"set BLAZECHAT_BCRYPT_ROUNDS to {MIN_BCRYPT_ROUNDS} or more",
    )


def _storage(settings: Settings) -> Finding:
    location = media_location(settings)
    remedy = "check BLAZECHAT_MEDIA_STORE, and the credentials of the bucket (docs/media.md)"
    try:
        storage = Storage(location)
    except ValueError as error:
        return Finding(False, "storage", str(error), remedy)
    try:
        asyncio.run(storage.check())
    except Error as error:
        return Finding(False, "storage", f"files cannot be stored in {location}: {error.detail}", remedy)
    finally:
        storage.close()
    return Finding(True, "storage", f"files are stored in {location}")


async def _database(database: Database) -> list[Finding]:
    connection = await database.connect()
    try:
        return [await check(connection) for check in (_version, _encoding, _locale, _schema, _commit)]
    finally:
        await connection.close()
        await database.close()


async def _version(connection: asyncpg.Connection) -> Finding:
    number = int(await connection.fetchval("SHOW server_version_num"))
    version = await connection.fetchval("SHOW server_version")
    return Finding(
        number >= MIN_SERVER_VERSION, "database", f"PostgreSQL {version}", "use PostgreSQL 14 or newer"
    )


async def _encoding(connection: asyncpg.Connection) -> Finding:
    encoding = await connection.fetchval("SHOW server_encoding")
    remedy = "create a new database: createdb -T template0 -E UTF8"
    return Finding(encoding == "UTF8", "encoding", str(encoding), remedy)


async def _locale(connection: asyncpg.Connection) -> Finding:
    folded = await connection.fetchval("SELECT lower('ÄЖΩ')")
    return Finding(
        folded == "äжω",
        "locale",
        "knows the letters of all scripts" if folded == "äжω" else "knows Latin letters only",
        "create a new database with LC_CTYPE C.UTF-8 or another UTF-8 locale; search needs it",
    )


async def _schema(connection: asyncpg.Connection) -> Finding:
    exists = await connection.fetchval("SELECT to_regclass('alembic_version') IS NOT NULL")
    current = await connection.fetchval("SELECT version_num FROM alembic_version") if exists else None
    if current is not None and current not in known_revisions():
        remedy = "a newer version has used the database: install that version, or restore a backup"
        return Finding(False, "schema", f"this version does not know revision {current}", remedy)
    migration = "" if current == newest_revision() else f"; the next start migrates to {newest_revision()}"
    return Finding(True, "schema", f"revision {current or 'none'}{migration}")


async def _commit(connection: asyncpg.Connection) -> Finding:
    names = ("fsync", "synchronous_commit", "full_page_writes")
    off = [name for name in names if await connection.fetchval(f"SHOW {name}") == "off"]
    return Finding(
        not off,
        "durability",
        f"{', '.join(off)} off: a crash can lose acknowledged messages" if off else "commits are durable",
        "turn on in postgresql.conf: " + ", ".join(off),
    )


def _nearest_existing(path: Path) -> Path:
    while not path.exists():
        path = path.parent
    return path
