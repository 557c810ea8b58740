"""The embedded PostgreSQL: shared, killed, in odd places, as root and as a user."""

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

QUICK = "fsync=off"


async def _ask(dsn: str, question: str) -> object:
    connection = await asyncpg.connect(dsn)
    try:
        return await connection.fetchval(question)
    finally:
        await connection.close()


def ask(server: EmbeddedPostgres, question: str) -> object:
    return asyncio.run(_ask(server.dsn, question))


@pytest.fixture
def place(open_folder: Path) -> Iterator[Path]:
    """A data folder whose server does not outlive the test."""
    folder = open_folder / "a folder with 'spaces', and ünïcode"
    yield folder
    found = Postmaster.of((folder / "postgres").resolve() / "cluster")
    if found is not None:
        found.process.kill()
        psutil.wait_procs([found.process], 10)


def test_data_survives_stop_and_start(place: Path) -> None:
    """In a path with spaces, commas and quotes; nothing listens on TCP; all scripts are known."""
    server = EmbeddedPostgres(place, QUICK)
    server.start()
    ask(server, "CREATE TABLE kept AS SELECT 42 AS answer")
    assert ask(server, "SHOW listen_addresses") == ""
    assert ask(server, "SELECT lower('ÄЖΩ')") == "äжω"
    assert ask(server, "SELECT datlocprovider FROM pg_database WHERE datname = current_database()") == b"b"
    pid = server.pid
    server.stop()
    assert not psutil.pid_exists(pid)
    server.start()
    assert ask(server, "SELECT answer FROM kept") == 42
    server.stop()


def test_nobody_else_can_enter(place: Path) -> None:
    """Socket and data lie behind a folder of mode 0700."""
    server = EmbeddedPostgres(place, QUICK)
    server.start()
    home = (place / "postgres").resolve()
    assert home.stat().st_mode & 0o077 == 0
    server.stop()


def test_several_users_share_one_server(place: Path) -> None:
    """The last to leave stops it, whoever started it."""
    first, second = EmbeddedPostgres(place, QUICK), EmbeddedPostgres(place, QUICK)
    first.start()
    second.start()
    assert first.pid == second.pid
    first.stop()
    assert ask(second, "SELECT 1") == 1
    pid = second.pid
    second.stop()
    second.stop()
    assert Postmaster.of((place / "postgres").resolve() / "cluster") is None
    assert not psutil.pid_exists(pid) or psutil.Process(pid).status() == psutil.STATUS_ZOMBIE


def test_killed_server_comes_back(place: Path) -> None:
    """`kill -9` of PostgreSQL: noticed, started again, and what was committed is there."""
    server = EmbeddedPostgres(place)
    server.start()
    ask(server, "CREATE TABLE kept AS SELECT 42 AS answer")
    os.kill(server.pid, signal.SIGKILL)
    psutil.wait_procs([psutil.Process(server.pid)], 5)
    assert not server.is_alive()
    server.restart()
    assert server.is_alive()
    assert ask(server, "SELECT answer FROM kept") == 42
    server.stop()


def test_killed_user_leaves_a_server_that_the_next_one_takes_over(place: Path) -> None:
    """`kill -9` of the process that started it, as a program of its own."""
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
    with subprocess.Popen(
        [sys.executable, "-c", program, str(place)], stdout=subprocess.PIPE, text=True
    ) as process:
        assert process.stdout is not None
        pid = int(process.stdout.readline())
        process.kill()
    server = EmbeddedPostgres(place, QUICK)
    server.start()
    assert server.pid == pid
    server.stop()
    assert Postmaster.of((place / "postgres").resolve() / "cluster") is None


def test_a_pid_that_is_somebody_elses_by_now_is_not_believed(place: Path) -> None:
    """A stale pid file that names a living stranger: neither joined nor killed."""
    server = EmbeddedPostgres(place, QUICK)
    server.start()
    cluster = (place / "postgres").resolve() / "cluster"
    text = (cluster / "postmaster.pid").read_text()
    server.stop()
    with subprocess.Popen(["sleep", "60"]) as stranger:
        lines = [str(stranger.pid), *text.splitlines()[1:]]
        (cluster / "postmaster.pid").write_text("\n".join(lines) + "\n")
        server.start()
        assert server.pid != stranger.pid
        assert ask(server, "SELECT 1") == 1
        server.stop()
        assert stranger.poll() is None
        stranger.kill()


def test_an_interrupted_creation_is_begun_anew(place: Path) -> None:
    """A cluster is there or not, never half."""
    home = place / "postgres"
    (home / "cluster.dead" / "base").mkdir(parents=True)
    server = EmbeddedPostgres(place, QUICK)
    server.start()
    assert ask(server, "SELECT 1") == 1
    assert not (home.resolve() / "cluster.dead").exists()
    server.stop()


def test_a_failure_says_why(place: Path) -> None:
    """The server's last words, not a traceback; and it can be tried again."""
    server = EmbeddedPostgres(place, "shared_buffers=nonsense")
    with pytest.raises(EmbeddedError, match="shared_buffers"):
        server.start()
    server = EmbeddedPostgres(place, QUICK)
    server.start()
    server.stop()


def test_a_cluster_of_another_version_is_left_alone(place: Path) -> None:
    """With a sentence on what to do."""
    server = EmbeddedPostgres(place, QUICK)
    server.start()
    server.stop()
    version = (place / "postgres").resolve() / "cluster" / "PG_VERSION"
    version.write_text("13\n")
    with pytest.raises(EmbeddedError, match="PostgreSQL 13"):
        server.start()
    version.write_text("18\n")


@pytest.mark.skipif(os.geteuid() != 0, reason="only root has another user run the server")
def test_root_drops_its_rights_even_behind_closed_folders() -> None:
    """The server's user cannot enter root's folders, and they are not opened up for it."""
    closed = Path(tempfile.mkdtemp(prefix="blazechat-test-"))  # 0700
    server = EmbeddedPostgres(closed, QUICK)
    try:
        server.start()
        assert psutil.Process(server.pid).uids().effective != 0
        assert closed.stat().st_mode & 0o077 == 0
        server.stop()
        server.start()
        assert ask(server, "SELECT 1") == 1
    finally:
        server.stop()
        shutil.rmtree((closed / "postgres").resolve())
        shutil.rmtree(closed)


@pytest.mark.skipif(os.geteuid() != 0, reason="only root can become somebody else")
def test_an_ordinary_user_runs_it_as_themselves() -> None:
    """In a folder of their own; a folder of root's is refused with a sentence."""
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
