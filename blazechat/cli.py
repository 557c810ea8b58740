"""The `blazechat` command: `serve`, `migrate` and `doctor`; `terminal/cli/` adds the client's commands.

The server's modules are imported inside the functions that need them, because the terminal client can be
installed without them.
"""

from __future__ import annotations

import sys
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any

import typer

from blazechat import __version__
from blazechat.terminal.cli import commands, webhooks
from blazechat.terminal.cli.errors import CommandError, printable

if TYPE_CHECKING:
    from blazechat.config import Settings

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
    with _as_command_errors(settings):
        from blazechat.serve_command import run
        from blazechat.setting_loader import unknown_settings

        run(settings, unknown_settings())


@app.command()
def migrate(data_dir: DataDir = None) -> None:
    """Migrate the database to the schema of this version. `serve` does it at every start."""
    settings = _settings(data_dir=data_dir)
    _print_warnings()
    with _as_command_errors(settings):
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
    _print_warnings(show_unknown_settings=False)  # they are a finding
    with _as_command_errors(settings):
        findings = examine(settings)
    for finding in findings:
        print(finding)
    if not all(finding.is_good for finding in findings):
        sys.exit(1)


commands.add_to(app)
webhooks.add_to(app)


def _settings(**overrides: Any) -> Settings:
    from blazechat.config import SettingsError
    from blazechat.setting_loader import load

    try:
        return load(**overrides)
    except SettingsError as error:
        raise CommandError(f"a setting is wrong.\n{error}") from error


def _print_warnings(*, show_unknown_settings: bool = True) -> None:
    """Print warnings of settings and logs in sentences, for commands that end by themselves."""
    from blazechat import logs
    from blazechat.setting_loader import unknown_settings

    logs.configure("warning", "text")
    for sentence in unknown_settings() if show_unknown_settings else []:
        print(f"blazechat: {printable(sentence)}", file=sys.stderr)


@contextmanager
def _as_command_errors(settings: Settings) -> Iterator[None]:
    """Raise CommandError in place of errors whose cause is outside the program."""
    from blazechat.config import SettingsError
    from blazechat.data_folder import DataFolderError
    from blazechat.database.embedded_files import EmbeddedError
    from blazechat.database.migrate import MigrationError
    from blazechat.database.source import CONNECT_ERRORS, unreachable
    from blazechat.listening import ListenError

    try:
        yield
    except (DataFolderError, EmbeddedError, ListenError, MigrationError, SettingsError) as error:
        raise CommandError(str(error)) from error
    except CONNECT_ERRORS as error:
        advice = (
            ""
            if settings.database_url is None
            else "\nCheck that PostgreSQL runs there, and that user, password and database are right."
        )
        raise CommandError(f"{unreachable(settings, error)}{advice}") from error
