"""The `blazechat` command: the server's commands; `terminal/cli/` adds those of the client.

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
from blazechat.terminal.cli import commands, script_commands, webhooks
from blazechat.terminal.cli.errors import EXIT_INTERRUPTED, CommandError, printable
from blazechat.terminal.cli.help_pages import CommandApp
from blazechat.terminal.cli.usage_errors import run_app

if TYPE_CHECKING:
    from blazechat.config import Settings

app = CommandApp(name="blazechat")

Host = Annotated[
    str | None,
    typer.Option(
        help="The address to listen on; 0.0.0.0 for all. Default: BLAZECHAT_HOST, else 127.0.0.1.",
        metavar="ADDRESS",
    ),
]
Port = Annotated[
    int | None,
    typer.Option(
        help="The TCP port; 0 takes a free one. Default: BLAZECHAT_PORT, else 8000.",
        metavar="N",
        min=0,
        max=65535,
    ),
]
DataDir = Annotated[
    Path | None,
    typer.Option(
        help="The folder of the embedded database, the secret key and uploaded files."
        " Default: BLAZECHAT_DATA_DIR, else ./blazechat-data.",
        metavar="FOLDER",
    ),
]


def main() -> None:
    """Run the command. A CommandError ends it with a sentence on standard error and an exit code."""
    try:
        run_app(app)
    except CommandError as error:
        print(f"blazechat: {printable(str(error))}", file=sys.stderr)
        sys.exit(error.exit_code)


@app.callback(invoke_without_command=True)
def _root(
    version: Annotated[bool, typer.Option("--version", help="Print the version.")] = False,
) -> None:
    """BlazeChat: a self-hosted chat server, and a chat client for your terminal.

    Examples:
      blazechat serve                      start a server on this machine
      blazechat login chat.example.com     log in to a server
      blazechat chat                       chat in the terminal
      blazechat send @bob 'Hello, Bob!'    send a message from a script

    Exit codes:
      0    success
      1    the server refused the request, or the command failed
      2    wrong usage
      3    no account is logged in, or the session has ended
      4    the server cannot be reached
      5    there is no such chat or user
      130  ended by Ctrl-C

    Environment:
      BLAZECHAT_ACCOUNT     the account to use, as with --as
      BLAZECHAT_CLIENT_DIR  the folder of accounts and drafts
      The settings of the server are in docs/operations.md and .env.example.
    """
    if version:
        print(f"BlazeChat {__version__}")
        raise typer.Exit


@app.command()
def serve(host: Host = None, port: Port = None, data_dir: DataDir = None) -> None:
    """Run the server until Ctrl-C or SIGTERM.

    Without a setting for another database, it starts a PostgreSQL of its own in the data folder.

    Examples:
      blazechat serve
      blazechat serve --port 8001 --data-dir /srv/chat
      BLAZECHAT_REGISTRATION=invitation blazechat serve
    """
    settings = _settings(host=host, port=port, data_dir=data_dir)
    with _as_command_errors(settings):
        from blazechat.serve_command import run
        from blazechat.setting_loader import unknown_settings

        run(settings, unknown_settings())


@app.command()
def migrate(data_dir: DataDir = None) -> None:
    """Migrate the database to the schema of this version.

    `serve` does it at every start, so that you need this command only to do it beforehand.

    Examples:
      blazechat migrate
      DATABASE_URL=postgresql://chat@db/chat blazechat migrate
    """
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
    """Check the installation, and say how to fix each problem.

    It checks versions, database, disk, file storage and settings. Exit code 0 means that all is well.

    Examples:
      blazechat doctor
      blazechat doctor --data-dir /srv/chat
    """
    from blazechat.doctor import examine

    settings = _settings(data_dir=data_dir)
    _print_warnings(show_unknown_settings=False)  # they are a finding
    with _as_command_errors(settings):
        findings = examine(settings)
    for finding in findings:
        print(finding)
    if not all(finding.is_good for finding in findings):
        sys.exit(1)


@app.command()
def backup(
    folder: Annotated[Path, typer.Argument(metavar="FOLDER", help="A new folder for the backup.")],
    data_dir: DataDir = None,
    without_media: Annotated[
        bool, typer.Option("--without-media", help="Leave the uploaded files out.")
    ] = False,
    skip_missing: Annotated[
        bool,
        typer.Option("--skip-missing", help="Go on if files are missing in the storage, and list them."),
    ] = False,
) -> None:
    """Back up database, files and secret key.

    The server can run meanwhile, or be stopped. The folder has its name once the backup is complete and
    verified. It holds secrets: keep it private.

    Examples:
      blazechat backup /srv/backups/monday
      blazechat backup --data-dir /srv/chat /srv/backups/monday
    """
    settings = _settings(data_dir=data_dir)
    _print_warnings()
    with _as_command_errors(settings), _as_interrupted("the backup was stopped; nothing of it is left."):
        from blazechat.backup.create import BackupOptions, create
        from blazechat.backup.progress import Progress
        from blazechat.backup.summary import of_backup

        options = BackupOptions(with_media=not without_media, skip_missing=skip_missing)
        print(of_backup(folder, create(settings, folder, options, Progress(_print_progress))))


@app.command()
def restore(
    folder: Annotated[Path, typer.Argument(metavar="FOLDER", help="The folder of the backup.")],
    data_dir: DataDir = None,
) -> None:
    """Restore a backup into an empty data folder and an empty database.

    The database is the embedded one, or one by URL. The backup is verified first. If it is of an older
    version of BlazeChat, its database is migrated.

    Examples:
      blazechat restore --data-dir /srv/new-chat /srv/backups/monday
      DATABASE_URL=postgresql://chat@db/new blazechat restore /srv/backups/monday
    """
    settings = _settings(data_dir=data_dir)
    _print_warnings()
    with _as_command_errors(settings), _as_interrupted("the restore was stopped; nothing of it is left."):
        from blazechat.backup.progress import Progress
        from blazechat.backup.restore import restore_backup
        from blazechat.backup.summary import of_restore

        manifest = restore_backup(settings, folder, Progress(_print_progress))
        print(of_restore(settings, folder, manifest, command=sys.argv[0]))


commands.add_to(app)
script_commands.add_to(app)
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


def _print_progress(line: str) -> None:
    print(printable(line), file=sys.stderr, flush=True)


@contextmanager
def _as_interrupted(sentence: str) -> Iterator[None]:
    """End with the exit code of Ctrl-C, and with a sentence."""
    try:
        yield
    except KeyboardInterrupt:
        raise CommandError(sentence, EXIT_INTERRUPTED) from None


@contextmanager
def _as_command_errors(settings: Settings) -> Iterator[None]:
    """Raise CommandError in place of errors whose cause is outside the program."""
    from blazechat.backup.errors import BackupError
    from blazechat.config import SettingsError
    from blazechat.data_folder import DataFolderError
    from blazechat.database.embedded_files import EmbeddedError
    from blazechat.database.migrate import MigrationError
    from blazechat.database.source import CONNECT_ERRORS, unreachable
    from blazechat.listening import ListenError

    try:
        yield
    except (
        *(BackupError, DataFolderError, EmbeddedError, ListenError, MigrationError),
        SettingsError,
    ) as error:
        raise CommandError(str(error)) from error
    except CONNECT_ERRORS as error:
        advice = (
            ""
            if settings.database_url is None
            else "\nCheck that PostgreSQL runs there, and that user, password and database are right."
        )
        raise CommandError(f"{unreachable(settings, error)}{advice}") from error
