"""The `blazechat` command: the server's part. Chatting is in `terminal/commands.py`.

What it takes is imported where it is needed: whoever chats has no server installed.
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

if TYPE_CHECKING:
    from blazechat.config import Settings

COLLECT_AFTER = (5_000, 5, 200)
"""Thresholds of Python's garbage collector: objects, then collections of the younger generation."""

app = typer.Typer(
    name="blazechat",
    help="A self-hosted real-time chat server, and a chat for your terminal.",
    no_args_is_help=True,
    add_completion=False,
    pretty_exceptions_enable=False,
)

Host = Annotated[str | None, typer.Option(help="Address to listen on. [BLAZECHAT_HOST; 127.0.0.1]")]
Port = Annotated[int | None, typer.Option(help="TCP port. [BLAZECHAT_PORT; 8000]")]
DataDir = Annotated[
    Path | None,
    typer.Option(
        help="Folder of the embedded database and the secret key. [BLAZECHAT_DATA_DIR; ./blazechat-data]"
    ),
]


def main() -> None:
    """Run the command; problems that a person can do something about end it with a sentence."""
    try:
        app()
    except commands.Trouble as trouble:
        print(f"blazechat: {commands.harmless(str(trouble))}", file=sys.stderr)
        sys.exit(trouble.code)


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
        _explained(),
        _alone_in(settings.data_dir),
        _free_port(settings) as listener,
        _loop() as runner,
    ):
        runner.run(_serve(settings, listener))


async def _serve(settings: Settings, listener: socket.socket) -> None:
    from blazechat.serve import create_server
    from blazechat.server import started
    from blazechat.web import create_app

    asgi_app = create_app(settings)
    async with started(asgi_app):
        server = create_server(asgi_app, settings)
        running = asyncio.create_task(server.serve([listener]))
        while not server.started and not running.done():  # noqa: ASYNC110 (uvicorn tells no other way)
            await asyncio.sleep(0.01)
        _spare_the_collector()
        _print_banner(settings, listener.getsockname()[1])
        await running


@app.command()
def migrate(data_dir: DataDir = None) -> None:
    """Bring the database to the schema of this version; `serve` does it by itself."""
    settings = _settings(data_dir=data_dir)
    with _explained():
        from blazechat.database.engine import Database
        from blazechat.database.migrate import migrate_now
        from blazechat.database.source import database_dsn

        with database_dsn(settings) as dsn:
            revision = migrate_now(Database(dsn))
    print(f"The database is at revision {revision}, the newest.")


@app.command()
def doctor(data_dir: DataDir = None) -> None:
    """Check database, versions, locale, disk and settings, and say what to do about each."""
    from blazechat.doctor import examine

    settings = _settings(data_dir=data_dir)
    with _explained():
        findings = examine(settings)
    for finding in findings:
        print(finding)
    if not all(finding.good for finding in findings):
        sys.exit(1)


commands.add_to(app)
webhooks.add_to(app)


def _settings(**overrides: object) -> Settings:
    from blazechat.config import SettingsError, load

    try:
        return load(**overrides)
    except SettingsError as error:
        raise commands.Trouble(f"a setting is wrong.\n{error}") from error


@contextmanager
def _explained() -> Iterator[None]:
    """Turns failures that have a cause outside of the program into a sentence."""
    from asyncpg import PostgresError

    from blazechat.config import SettingsError
    from blazechat.database.embedded import EmbeddedError
    from blazechat.database.migrate import MigrationError

    try:
        yield
    except (EmbeddedError, MigrationError, SettingsError) as error:
        raise commands.Trouble(str(error)) from error
    except (OSError, PostgresError, TimeoutError) as error:
        reason = str(error) or type(error).__name__
        raise commands.Trouble(
            f"the database cannot be reached: {reason}\n"
            "Check DATABASE_URL, and that PostgreSQL runs and lets this user in."
        ) from error


@contextmanager
def _alone_in(folder: Path) -> Iterator[None]:
    """One server a data folder; the lock goes with the process, however it ends."""
    import fcntl

    try:
        folder.mkdir(parents=True, exist_ok=True)
        lock = (folder / "serve.lock").open("a+")
    except OSError as error:
        raise commands.Trouble(f"the data folder {folder} cannot be used: {error.strerror}.") from error
    with lock:
        try:
            fcntl.flock(lock, fcntl.LOCK_EX | fcntl.LOCK_NB)
        except BlockingIOError:
            lock.seek(0)
            raise commands.Trouble(
                f"a server is running on the folder {folder.absolute()} already"
                f" (process {lock.read().strip() or 'unknown'})."
                " Stop it first, or choose another folder with --data-dir."
            ) from None
        lock.truncate(0)
        lock.write(str(os.getpid()))
        lock.flush()
        yield


@contextmanager
def _free_port(settings: Settings) -> Iterator[socket.socket]:
    """A socket bound to the address, before anything slow is started."""
    family = socket.AF_INET6 if ":" in settings.host else socket.AF_INET
    # With the protocol named, asyncio turns off Nagle's algorithm on what is accepted.
    with socket.socket(family, socket.SOCK_STREAM, socket.IPPROTO_TCP) as listener:
        listener.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
        try:
            listener.bind((settings.host, settings.port))
        except OSError as error:
            raise commands.Trouble(
                f"cannot listen on {settings.host} port {settings.port}: {error.strerror}."
                " Choose another with --port (0 takes any free one)."
            ) from error
        yield listener


def _loop() -> asyncio.Runner:
    try:
        import uvloop
    except ImportError:
        return asyncio.Runner()
    return asyncio.Runner(loop_factory=uvloop.new_event_loop)


def _spare_the_collector() -> None:
    """Leave what is there for good, all the modules and their parts, out of garbage collection.

    A fifth of the server's time went into looking through them again and again (bench/README.md).
    """
    gc.collect()
    gc.freeze()
    gc.set_threshold(*COLLECT_AFTER)


def _print_banner(settings: Settings, port: int) -> None:
    shown = "127.0.0.1" if settings.host in ("0.0.0.0", "::") else settings.host  # noqa: S104
    url = f"http://[{shown}]:{port}" if ":" in shown else f"http://{shown}:{port}"
    wide = min(shutil.get_terminal_size().columns, 100)
    database = (
        f"embedded PostgreSQL in {settings.data_dir.absolute()}"
        if settings.database_url is None
        else f"PostgreSQL at {settings.database_url.rpartition('@')[2]}"
    )
    print(
        f"\nBlazeChat {__version__}\n{'─' * wide}\n"
        f"  listening   {url}\n"
        f"  database    {database}\n"
        f"  API docs    {url}/docs\n"
        f"  chat        {sys.argv[0]} chat {url}\n"
        f"  first user  (becomes the administrator)\n\n"
        f"    curl {url}/api/auth/register -H 'content-type: application/json' \\\n"
        f'      -d \'{{"username":"alice","email":"alice@example.com","password":"wonderland"}}\'\n\n'
        f"  Ctrl-C stops it.\n{'─' * wide}",
        flush=True,
    )
