"""The embedded PostgreSQL: shared, killed, in unusual folders, as root and as an ordinary user."""

import asyncio
import os
import shutil
import signal
import subprocess
import sys
import tempfile
import textwrap
from collections.abc import Iterator
from pathlib import Path

import asyncpg
import psutil
import pytest

from blazechat.database.embedded import EmbeddedPostgres
from blazechat.database.embedded_files import EmbeddedError
from blazechat.database.postmaster import Postmaster
from tests.processes import child

NO_FSYNC = "fsync=off"


async def _query(dsn: str, statement: str) -> object:
    connection = await asyncpg.connect(dsn)
    try:
        return await connection.fetchval(statement)
    finally:
        await connection.close()


def query(server: EmbeddedPostgres, statement: str) -> object:
    return asyncio.run(_query(server.dsn, statement))


@pytest.fixture
def folder(open_folder: Path) -> Iterator[Path]:
    """A data folder with unusual characters, whose server is killed after the test."""
    folder = open_folder / "a folder with 'spaces', and ünïcode"
    yield folder
    found = Postmaster.of((folder / "postgres").resolve() / "cluster")
    if found is not None:
        found.process.kill()
        psutil.wait_procs([found.process], 10)


def test_data_survives_stop_and_start(folder: Path) -> None:
    """In a path with spaces, commas and quotes. The server does not listen on TCP, and knows all
    scripts."""
    server = EmbeddedPostgres(folder, NO_FSYNC)
    server.start()
    query(server, "CREATE TABLE kept AS SELECT 42 AS answer")
    assert query(server, "SHOW listen_addresses") == ""
    assert query(server, "SELECT lower('ÄЖΩ')") == "äжω"
    assert (
        query(server, "SELECT datlocprovider FROM pg_database WHERE datname = current_database()") == b"b"
    )
    pid = server.pid
    server.stop()
    assert not psutil.pid_exists(pid)
    server.start()
    assert query(server, "SELECT answer FROM kept") == 42
    server.stop()


def test_other_users_cannot_enter(folder: Path) -> None:
    """Socket and data are inside a folder of mode 0700."""
    server = EmbeddedPostgres(folder, NO_FSYNC)
    server.start()
    home = (folder / "postgres").resolve()
    assert home.stat().st_mode & 0o077 == 0
    server.stop()


def test_several_users_share_one_server(folder: Path) -> None:
    """The last user stops it, even if another one started it."""
    first, second = EmbeddedPostgres(folder, NO_FSYNC), EmbeddedPostgres(folder, NO_FSYNC)
    first.start()
    second.start()
    assert first.pid == second.pid
    first.stop()
    assert query(second, "SELECT 1") == 1
    pid = second.pid
    second.stop()
    second.stop()
    assert Postmaster.of((folder / "postgres").resolve() / "cluster") is None
    assert not psutil.pid_exists(pid) or psutil.Process(pid).status() == psutil.STATUS_ZOMBIE


def test_killed_server_is_restarted(folder: Path) -> None:
    """After `kill -9` of PostgreSQL, it is found dead, is restarted, and has all committed data."""
    server = EmbeddedPostgres(folder)
    server.start()
    query(server, "CREATE TABLE kept AS SELECT 42 AS answer")
    os.kill(server.pid, signal.SIGKILL)
    psutil.wait_procs([psutil.Process(server.pid)], 5)
    assert not server.is_alive()
    server.restart()
    assert server.is_alive()
    assert query(server, "SELECT answer FROM kept") == 42
    server.stop()


def test_next_process_takes_over_the_server_of_a_killed_one(folder: Path) -> None:
    """`kill -9` of the process that started the server."""
    program = textwrap.dedent(
        """
        import sys, time
        from pathlib import Path
        from blazechat.database.embedded import EmbeddedPostgres
        server = EmbeddedPostgres(Path(sys.argv[1]), "fsync=off")
        server.start()
        print(server.pid, flush=True)
        time.sleep(60)
        """
    )
    with child(sys.executable, "-c", program, str(folder), stdout=subprocess.PIPE) as process:
        assert process.stdout is not None
        pid = int(process.stdout.readline())
        process.kill()
    server = EmbeddedPostgres(folder, NO_FSYNC)
    server.start()
    assert server.pid == pid
    server.stop()
    assert Postmaster.of((folder / "postgres").resolve() / "cluster") is None


def test_pid_of_another_program_is_ignored(folder: Path) -> None:
    """A stale pid file with the pid of another running program: that is neither joined nor killed."""
    server = EmbeddedPostgres(folder, NO_FSYNC)
    server.start()
    cluster = (folder / "postgres").resolve() / "cluster"
    text = (cluster / "postmaster.pid").read_text()
    server.stop()
    with child("sleep", "60") as other_program:
        lines = [str(other_program.pid), *text.splitlines()[1:]]
        (cluster / "postmaster.pid").write_text("\n".join(lines) + "\n")
        server.start()
        assert server.pid != other_program.pid
        assert query(server, "SELECT 1") == 1
        server.stop()
        assert other_program.poll() is None
        other_program.kill()


def test_interrupted_creation_is_repeated(folder: Path) -> None:
    """A half-made cluster is removed, and a complete one is created."""
    home = folder / "postgres"
    (home / "cluster.dead" / "base").mkdir(parents=True)
    server = EmbeddedPostgres(folder, NO_FSYNC)
    server.start()
    assert query(server, "SELECT 1") == 1
    assert not (home.resolve() / "cluster.dead").exists()
    server.stop()


def test_failed_start_says_why(folder: Path) -> None:
    """The error has the end of the server's log, and the start can be repeated."""
    server = EmbeddedPostgres(folder, "shared_buffers=nonsense")
    with pytest.raises(EmbeddedError, match="shared_buffers"):
        server.start()
    server = EmbeddedPostgres(folder, NO_FSYNC)
    server.start()
    server.stop()


def test_cluster_of_another_version_is_refused(folder: Path) -> None:
    """The error names both versions and says what to do."""
    server = EmbeddedPostgres(folder, NO_FSYNC)
    server.start()
    server.stop()
    version = (folder / "postgres").resolve() / "cluster" / "PG_VERSION"
    version.write_text("13\n")
    with pytest.raises(EmbeddedError, match="PostgreSQL 13"):
        server.start()
    version.write_text("18\n")


@pytest.mark.skipif(os.geteuid() != 0, reason="only root runs the server under another user")
def test_server_of_root_runs_unprivileged_even_in_closed_folders() -> None:
    """The server's user cannot enter root's folders, and their permissions stay as they are."""
    closed = Path(tempfile.mkdtemp(prefix="blazechat-test-"))  # 0700
    server = EmbeddedPostgres(closed, NO_FSYNC)
    try:
        server.start()
        assert psutil.Process(server.pid).uids().effective != 0
        assert closed.stat().st_mode & 0o077 == 0
        server.stop()
        server.start()
        assert query(server, "SELECT 1") == 1
    finally:
        server.stop()
        shutil.rmtree((closed / "postgres").resolve())
        shutil.rmtree(closed)


@pytest.mark.skipif(os.geteuid() != 0, reason="only root can become another user")
def test_ordinary_user_runs_the_server_under_the_same_account() -> None:
    """In a folder of that user."""
    folder = Path(tempfile.mkdtemp(prefix="blazechat-test-"))
    os.chown(folder, 65534, 65534)
    program = textwrap.dedent(
        f"""
        import os, sys
        sys.path[:0] = {sys.path!r}
        from pathlib import Path
        from blazechat.database.embedded import EmbeddedPostgres
        os.setgroups([]); os.setgid(65534); os.setuid(65534)
        server = EmbeddedPostgres(Path({str(folder)!r}), "fsync=off")
        server.start()
        import psutil
        assert psutil.Process(server.pid).uids().effective == 65534
        server.stop()
        """
    )
    done = subprocess.run([sys.executable, "-c", program], capture_output=True, text=True, check=False)
    shutil.rmtree(folder)
    if "Permission denied" in done.stderr and "site-packages" in done.stderr:
        pytest.skip("the checkout lies where other users cannot read it")
    assert done.returncode == 0, done.stderr
