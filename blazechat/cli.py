"""The `blazechat` command: `serve`, `migrate` and `doctor`; `terminal/cli/` adds the client's commands.

The server's modules are imported inside the functions that need them, because the terminal client can be
installed without them.
"""

from __future__ import annotations

import asyncio
import gc
import os
import shutil
import socket
import sys
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import TYPE_CHECKING, Annotated

import typer

from blazechat import __version__
from blazechat.terminal.cli import commands, webhooks
from blazechat.terminal.cli.errors import CommandError, printable

if TYPE_CHECKING:
    from blazechat.config import Settings

GC_THRESHOLDS = (5_000, 5, 200)
"""Thresholds of Python's garbage collector: new objects, then collections of the younger generation."""
START_POLL_SECONDS = 0.01
MAX_BANNER_COLUMNS = 100

app = typer.Typer(
    name="blazechat",
    help="A self-hosted real-time chat server, and a chat client for your terminal.",
    no_args_is_help=True,
    add_completion=False,
    pretty_exceptions_enable=False,
)

Host = Annotated[str | None, typer.Option(help="Address to listen on. [BLAZECHAT_HOST; 127.0.0.1]")]
Port = Annotated[int | None, typer.Option(help="TCP port. [BLAZECHAT_PORT; 8000]")]
DataDir = Annotated[
    Path | None,
    typer.Option(
        help="Folder of the embedded database, the secret key and uploaded files."
        " [BLAZECHAT_DATA_DIR; ./blazechat-data]"
    ),
]


def main() -> None:
    """Run the command. A CommandError ends it with a sentence on standard error and an exit code."""
    try:
        app()
    except CommandError as error:
        print(f"blazechat: {printable(str(error))}", file=sys.stderr)
        sys.exit(error.exit_code)


@app.callback(invoke_without_command=True)
def _version(
    version: Annotated[bool, typer.Option("--version", help="Show the version and exit.")] = False,
) -> None:
    if version:
        print(f"BlazeChat {__version__}")
        raise typer.Exit


@app.command()
def serve(host: Host = None, port: Port = None, data_dir: DataDir = None) -> None:
    """Run the server until Ctrl-C or SIGTERM."""
    settings = _settings(host=host, port=port, data_dir=data_dir)
    from blazechat import logs

    logs.configure(settings.log_level, settings.log_format)
    with (
        _as_command_errors(),
        _exclusive_lock(settings.data_dir),
        _bound_socket(settings) as listener,
        _event_loop() as runner,
    ):
        runner.run(_serve(settings, listener))


async def _serve(settings: Settings, listener: socket.socket) -> None:
    from blazechat.serve import create_server
    from blazechat.server import lifespan
    from blazechat.web import create_app

    asgi_app = create_app(settings)
    async with lifespan(asgi_app):
        server = create_server(asgi_app, settings)
        running = asyncio.create_task(server.serve([listener]))
        while not server.started and not running.done():  # noqa: ASYNC110 (uvicorn has no event for it)
            await asyncio.sleep(START_POLL_SECONDS)
        _tune_garbage_collector()
        _print_banner(settings, listener.getsockname()[1])
        await running


@app.command()
def migrate(data_dir: DataDir = None) -> None:
    """Migrate the database to the schema of this version. `serve` does it at every start."""
    settings = _settings(data_dir=data_dir)
    with _as_command_errors():
        from blazechat.database.engine import Database
        from blazechat.database.migrate import migrate_blocking
        from blazechat.database.source import database_dsn

        with database_dsn(settings) as dsn:
            revision = migrate_blocking(Database(dsn))
    print(f"The database is at revision {revision}, the newest.")


@app.command()
def doctor(data_dir: DataDir = None) -> None:
    """Check versions, database, disk, file storage and settings, and say how to fix each problem."""
    from blazechat.doctor import examine

    settings = _settings(data_dir=data_dir)
    with _as_command_errors():
        findings = examine(settings)
    for finding in findings:
        print(finding)
    if not all(finding.is_good for finding in findings):
        sys.exit(1)


commands.add_to(app)
webhooks.add_to(app)


def _settings(**overrides: object) -> Settings:
    from blazechat.config import SettingsError, load

    try:
        return load(**overrides)
    except SettingsError as error:
        raise CommandError(f"a setting is wrong.\n{error}") from error


@contextmanager
def _as_command_errors() -> Iterator[None]:
    """Raise CommandError in place of errors whose cause is outside the program."""
    from asyncpg import PostgresError

    from blazechat.config import SettingsError
    from blazechat.database.embedded_files import EmbeddedError
    from blazechat.database.migrate import MigrationError

    try:
        yield
    except (EmbeddedError, MigrationError, SettingsError) as error:
        raise CommandError(str(error)) from error
    except (OSError, PostgresError, TimeoutError) as error:
        reason = str(error) or type(error).__name__
        raise CommandError(
            f"the database cannot be reached: {reason}\n"
            "Check DATABASE_URL, and that PostgreSQL runs and accepts connections of this user."
        ) from error


@contextmanager
def _exclusive_lock(folder: Path) -> Iterator[None]:
    """Allow one server per data folder. The lock ends with the process, even if that is killed."""
    import fcntl

    try:
        folder.mkdir(parents=True, exist_ok=True)
        lock = (folder / "serve.lock").open("a+")
    except OSError as error:
        raise CommandError(f"the data folder {folder} cannot be used: {error.strerror}.") from error
    with lock:
        try:
            fcntl.flock(lock, fcntl.LOCK_EX | fcntl.LOCK_NB)
        except BlockingIOError:
            lock.seek(0)
            raise CommandError(
                f"another server is running on the folder {folder.absolute()}"
                f" (process {lock.read().strip() or 'unknown'})."
                " Stop it first, or choose another folder with --data-dir."
            ) from None
        lock.truncate(0)
        lock.write(str(os.getpid()))
        lock.flush()
        yield


@contextmanager
def _bound_socket(settings: Settings) -> Iterator[socket.socket]:
    """Yield a socket bound to the configured address, before the database is started."""
    family = socket.AF_INET6 if ":" in settings.host else socket.AF_INET
    # If the protocol is given, asyncio turns off Nagle's algorithm on accepted sockets.
    with socket.socket(family, socket.SOCK_STREAM, socket.IPPROTO_TCP) as listener:
        listener.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
        try:
            listener.bind((settings.host, settings.port))
        except OSError as error:
            raise CommandError(
                f"cannot listen on {settings.host} port {settings.port}: {error.strerror}."
                " Choose another port with --port (0 takes a free one)."
            ) from error
        yield listener


def _event_loop() -> asyncio.Runner:
    try:
        import uvloop
    except ImportError:
        return asyncio.Runner()
    return asyncio.Runner(loop_factory=uvloop.new_event_loop)


def _tune_garbage_collector() -> None:
    """Exclude all objects that exist after the start, modules for the most part, from garbage collection.

    Traversing them again and again took a fifth of the server's time (bench/README.md).
    """
    gc.collect()
    gc.freeze()
    gc.set_threshold(*GC_THRESHOLDS)


def _print_banner(settings: Settings, port: int) -> None:
    host = "127.0.0.1" if settings.host in ("0.0.0.0", "::") else settings.host  # noqa: S104
    url = f"http://[{host}]:{port}" if ":" in host else f"http://{host}:{port}"
    width = min(shutil.get_terminal_size().columns, MAX_BANNER_COLUMNS)
    database = (
        f"embedded PostgreSQL in {settings.data_dir.absolute()}"
        if settings.database_url is None
        else f"PostgreSQL at {settings.database_url.rpartition('@')[2]}"
    )
    print(
        f"\nBlazeChat {__version__}\n{'─' * width}\n"
        f"  listening   {url}\n"
        f"  database    {database}\n"
        f"  API docs    {url}/docs\n"
        f"  chat        {sys.argv[0]} chat {url}\n"
        f"  first user  (becomes the administrator)\n\n"
        f"    curl {url}/api/auth/register -H 'content-type: application/json' \\\n"
        f'      -d \'{{"username":"alice","email":"alice@example.com","password":"wonderland"}}\'\n\n'
        f"  Ctrl-C stops it.\n{'─' * width}",
        flush=True,
    )
