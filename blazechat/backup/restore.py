"""Restores a backup into an empty data folder, and into the embedded database or an empty one of your own.

Everything is built in a folder `restore.incomplete` in the data folder, and moved in place at the end.
"""

import shutil
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

import asyncpg

from blazechat.backup import manifest as manifests
from blazechat.backup.errors import BackupError
from blazechat.backup.manifest import Manifest
from blazechat.backup.media_copy import MediaCopy, opened_storage
from blazechat.backup.postgres_tools import PostgresTools
from blazechat.backup.progress import Progress, in_words
from blazechat.backup.snapshot import connect, differences, table_states
from blazechat.backup.tasks import run_until_signal
from blazechat.config import Settings, media_location
from blazechat.data_folder import LOCK_FILE, UNFINISHED_RESTORE, exclusive_lock, refuse_unfinished_restore
from blazechat.database.embedded_files import server_folder
from blazechat.database.engine import Database
from blazechat.database.migrate import known_revisions, migrate, newest_revision
from blazechat.database.source import database_dsn, database_name


def restore_backup(settings: Settings, folder: Path, progress: Progress) -> Manifest:
    """Restore the backup in `folder`, and return its manifest.

    Nothing is left after an error. A killed process leaves `restore.incomplete`, with which no server
    starts. Raises BackupError, DataFolderError, EmbeddedError, MigrationError, and what connecting raises.
    """
    folder = folder.absolute()
    manifest = manifests.read(folder)
    _require_known(manifest, folder)
    progress.step(f"Verifying {folder}, made {manifest.created_at} by BlazeChat {manifest.blazechat}.")
    paths = manifests.verify(folder, manifest.checksums, progress)
    with _new_data_folder(settings) as draft:
        key = folder / manifests.SECRET_KEY
        manifests.write_private(draft / manifests.SECRET_KEY, key.read_bytes())
        built = settings.model_copy(update={"data_dir": draft})
        with database_dsn(built) as dsn:
            run_until_signal(_Restore(built, folder, manifest, progress).run(dsn, paths))
    return manifest


class _Restore:
    """One restore in the making."""

    def __init__(self, settings: Settings, folder: Path, manifest: Manifest, progress: Progress) -> None:
        self._settings = settings
        self._folder = folder
        self._manifest = manifest
        self._progress = progress
        self._tools = PostgresTools.of(settings)

    async def run(self, dsn: str, paths: list[str]) -> None:
        """Restore the files with these verified paths, and the database."""
        await self._tools.list(self._folder / manifests.DATABASE)
        await self._require_empty_database(dsn)
        media = self._manifest.media
        if not media.is_included:
            await self._restore_database(dsn)
            return
        self._progress.step(f"Copying the files: {media.objects:,} objects, {in_words(media.bytes)}.")
        with opened_storage(media_location(self._settings)) as storage:
            copy = MediaCopy(storage, self._folder, self._progress)
            keys = await copy.copy_in(paths)
            try:
                await self._restore_database(dsn)
            except BaseException:
                await copy.undo(keys)
                raise

    async def _restore_database(self, dsn: str) -> None:
        self._progress.step("Restoring the database.")
        try:
            await self._tools.restore(dsn, self._folder / manifests.DATABASE, self._progress)
        except BackupError as error:
            raise BackupError(f"{error}\nNothing was restored.") from error
        try:
            await self._check_tables(dsn)
            await self._migrate(dsn)
        except BaseException as error:
            if self._settings.database_url is None:
                raise  # its folder is removed
            raise BackupError(
                f"{error}\n{database_name(self._settings)} holds the restored tables."
                " Drop it before you try again."
            ) from error

    async def _check_tables(self, dsn: str) -> None:
        self._progress.step("Checking the tables.")
        connection = await connect(dsn)
        try:
            found = await table_states(connection)
            await connection.execute("ANALYZE")
        finally:
            connection.terminate()
        if wrong := differences(self._manifest.tables, found):
            raise BackupError(f"The restored tables {', '.join(wrong)} differ from the backup's.")

    async def _migrate(self, dsn: str) -> None:
        if self._manifest.revision != newest_revision():
            self._progress.step(
                f"Migrating from revision {self._manifest.revision} to {newest_revision()}."
            )
        database = Database(dsn)
        try:
            await migrate(database)
        finally:
            await database.close()

    async def _require_empty_database(self, dsn: str) -> None:
        connection = await connect(dsn)
        try:
            relations = await _relations(connection)
        finally:
            connection.terminate()
        if relations:
            raise BackupError(
                f"{database_name(self._settings)} is not empty: it has {', '.join(relations)}."
                " Restore into a new one (createdb -T template0 -E UTF8 …), and set DATABASE_URL to it."
            )


async def _relations(connection: asyncpg.Connection) -> list[str]:
    """Return the names of some tables, views and sequences that are not the system's or an extension's."""
    rows = await connection.fetch(
        "SELECT c.relname FROM pg_class c JOIN pg_namespace n ON n.oid = c.relnamespace"
        " WHERE c.relkind IN ('r', 'p', 'v', 'm', 'S', 'f') AND n.nspname <> 'information_schema'"
        " AND n.nspname NOT LIKE 'pg\\_%' AND NOT EXISTS ("
        "  SELECT FROM pg_depend d WHERE d.objid = c.oid AND d.deptype = 'e') ORDER BY 1 LIMIT 3"
    )
    return [row["relname"] for row in rows]


def _require_known(manifest: Manifest, folder: Path) -> None:
    if manifest.revision not in known_revisions():
        raise BackupError(
            f"{folder} was made by a newer version of BlazeChat ({manifest.blazechat}, revision"
            f" {manifest.revision}). Install that version to restore it."
        )


@contextmanager
def _new_data_folder(settings: Settings) -> Iterator[Path]:
    """Yield a folder to build in; move what is in it into the data folder at the end, or remove it.

    Raises DataFolderError if a server or another restore uses the data folder; BackupError if the data
    folder, or a media folder elsewhere, is not empty.
    """
    data, is_new = settings.data_dir.absolute(), not settings.data_dir.exists()
    with exclusive_lock(data):
        refuse_unfinished_restore(data)
        _require_empty(data, "--data-dir")
        media = media_location(settings)
        if settings.media_store and isinstance(media, Path):
            _require_empty(media, "BLAZECHAT_MEDIA_STORE")
        draft = data / UNFINISHED_RESTORE
        draft.mkdir(mode=0o755)  # the account that runs PostgreSQL enters it
        try:
            yield draft
            for part in sorted(draft.iterdir()):
                part.rename(data / part.name)
            draft.rmdir()
            manifests.flush_folder(data)
        except BaseException:
            _remove(draft)
            if is_new:
                (data / LOCK_FILE).unlink()
                data.rmdir()
            raise


def _require_empty(folder: Path, option: str) -> None:
    if folder.exists() and (others := [each.name for each in folder.iterdir() if each.name != LOCK_FILE]):
        raise BackupError(
            f"{folder} is not empty: it has {', '.join(sorted(others)[:3])}. A backup is restored into an"
            f" empty folder: choose another one with {option}, or move this one away."
        )


def _remove(draft: Path) -> None:
    """Remove an unfinished restore, and its database if that lies elsewhere."""
    shutil.rmtree(server_folder(draft), ignore_errors=True)
    shutil.rmtree(draft, ignore_errors=True)
