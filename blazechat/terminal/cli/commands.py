"""The commands for people: the terminal app, and the accounts on this machine.

cli/errors.py has the exit codes. Standard output has the requested data only; prompts, progress and errors
go to standard error. Imports are local to each command, so that `blazechat serve` does not load the client.
"""

import sys
from typing import Annotated

import typer

from blazechat.terminal.cli.errors import EXIT_USAGE, CommandError
from blazechat.terminal.cli.help_pages import FOR_PEOPLE
from blazechat.terminal.cli.parameters import As, Json, Url
from blazechat.terminal.cli.runner import run


def add_to(app: typer.Typer) -> None:
    """Add the commands of this module to `app`."""
    for command in (chat, login, logout, accounts):
        app.command(rich_help_panel=FOR_PEOPLE)(command)


def chat(
    url: Annotated[
        str | None,
        typer.Argument(help="The server's address. Default: that of the account used last.", metavar="URL"),
    ] = None,
    account: As = None,
) -> None:
    """Chat in the terminal.

    The first start asks for the server and your password, or creates an account. Later ones open the
    account that you used last. F1 shows the keys, Ctrl-Q quits.

    Examples:
      blazechat chat
      blazechat chat chat.example.com
      blazechat chat --as bob
    """
    from blazechat.terminal.accounts import SavedAccounts
    from blazechat.terminal.app import run_app

    _require_server_url(url)
    if not all(stream is not None and stream.isatty() for stream in (sys.stdin, sys.stdout, sys.stderr)):
        raise CommandError(
            "this command needs a terminal. In scripts, use `blazechat send` and `blazechat tail`.",
            EXIT_USAGE,
        )
    try:
        saved = SavedAccounts()
    except OSError as error:
        raise CommandError(f"{error.strerror}: {error.filename}") from None
    run_app(saved, url, account)


def login(
    url: Url,
    username: Annotated[
        str | None,
        typer.Option(
            help="Your user name or e-mail address. Default: the command asks for it.", metavar="NAME"
        ),
    ] = None,
    register: Annotated[bool, typer.Option("--register", help="Create the account first.")] = False,
    email: Annotated[
        str | None, typer.Option(help="The e-mail address of the new account.", metavar="ADDRESS")
    ] = None,
    invitation: Annotated[
        str | None,
        typer.Option(help="The invitation, if the server requires one for new accounts.", metavar="CODE"),
    ] = None,
    json: Json = False,
) -> None:
    """Log in, or create an account, and save it on this machine.

    Asks for the password. Without a terminal, it reads the password from standard input.

    Examples:
      blazechat login chat.example.com
      blazechat login 127.0.0.1:8000 --register
      pass chat | blazechat login chat.example.com --username alice
    """
    from blazechat.terminal.cli import scripting

    _require_server_url(url)
    can_ask = sys.stdin is not None and sys.stdin.isatty()
    username = username or (_ask("User name") if can_ask else None)
    if username is None:
        raise CommandError("give the user name with --username NAME.", EXIT_USAGE)
    if register and email is None:
        email = _ask("E-mail address") if can_ask else None
        if email is None:
            raise CommandError("a new account needs an e-mail address: --email ADDRESS.", EXIT_USAGE)
    password = typer.prompt("Password", hide_input=True, err=True) if can_ask else _read_password()
    login_input = scripting.LoginInput(username, password, email if register else None, invitation)
    run(scripting.log_in(url, login_input, json))


def logout(account: As = None) -> None:
    """End a session, and forget its account on this machine.

    Examples:
      blazechat logout
      blazechat logout --as alice@chat.example.com
    """
    from blazechat.terminal.cli import scripting

    run(scripting.log_out(account))


def accounts(json: Json = False) -> None:
    """List the accounts on this machine, the one used last first.

    Examples:
      blazechat accounts
      blazechat accounts --json | jq -r .url
    """
    from blazechat.terminal.cli import scripting

    run(scripting.list_accounts(json))


def _require_server_url(url: str | None) -> None:
    from blazechat.client import InvalidServerUrl, server_url

    try:
        server_url(url or "localhost")
    except InvalidServerUrl as error:
        raise CommandError(str(error), EXIT_USAGE) from None


def _ask(question: str) -> str:
    return str(typer.prompt(question, err=True)).strip()


def _read_password() -> str:
    password = sys.stdin.readline().rstrip("\r\n") if sys.stdin is not None else ""
    if not password:
        raise CommandError("no password on standard input; write it there as one line.", EXIT_USAGE)
    return password
