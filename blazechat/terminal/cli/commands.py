"""The chat commands of `blazechat`: the terminal app, and commands for scripts and pipes.

cli/errors.py has the exit codes. Standard output has the requested data only; prompts, progress and errors
go to standard error. Imports are local to each command, so that `blazechat serve` does not load the client.
"""

import sys
from pathlib import Path
from typing import Annotated

import typer

from blazechat.terminal.cli.errors import EXIT_USAGE, CommandError
from blazechat.terminal.cli.runner import run

Url = Annotated[str, typer.Argument(help="The server's address, such as chat.example.com.", metavar="URL")]
As = Annotated[
    str | None,
    typer.Option(
        "--as", help="The account to use, such as alice@chat.example.com. Default: the last used one.",
        envvar="BLAZECHAT_ACCOUNT", show_envvar=False,
    ),
]  # fmt: skip
Json = Annotated[bool, typer.Option("--json", help="Print one JSON object per line, in the API's format.")]
ChatName = Annotated[
    str, typer.Argument(help="The chat's id, its name, or @ and a user name.", metavar="CHAT")
]


def add_to(app: typer.Typer) -> None:
    """Add the commands of this module to `app`."""
    for command in (chat, login, logout, accounts, chats, send, tail):
        app.command(rich_help_panel="Chatting")(command)


def chat(
    url: Annotated[
        str | None,
        typer.Argument(help="The server's address. Default: the last used one.", metavar="[URL]"),
    ] = None,
    account: As = None,
) -> None:
    """Chat in the terminal."""
    from blazechat.terminal.app import run_app

    _require_server_url(url)
    if not all(stream is not None and stream.isatty() for stream in (sys.stdin, sys.stdout, sys.stderr)):
        raise CommandError(
            "this command needs a terminal. In scripts, use `blazechat send` and `blazechat tail`.",
            EXIT_USAGE,
        )
    run_app(url, account)


def login(
    url: Url,
    username: Annotated[
        str | None, typer.Option(help="The user name or e-mail address. Default: ask for it.")
    ] = None,
    register: Annotated[bool, typer.Option("--register", help="Create a new account.")] = False,
    email: Annotated[str | None, typer.Option(help="The e-mail address of the new account.")] = None,
    invitation: Annotated[
        str | None, typer.Option(help="The invitation, if the server requires one to register.")
    ] = None,
    json: Json = False,
) -> None:
    """Log in and save the account. Asks for the password, or reads it from standard input."""
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
    """End the session on this machine."""
    from blazechat.terminal.cli import scripting

    run(scripting.log_out(account))


def accounts(json: Json = False) -> None:
    """List the accounts that are logged in on this machine, the last used first."""
    from blazechat.terminal.cli import scripting

    run(scripting.list_accounts(json))


def chats(account: As = None, json: Json = False) -> None:
    """List your chats: id, number of unread messages, name."""
    from blazechat.terminal.cli import scripting

    run(scripting.list_chats(account, json))


def send(
    chat: ChatName,
    text: Annotated[
        list[str] | None,
        typer.Argument(
            help="The text of the message. Default: standard input.", metavar="[TEXT]", show_default=False
        ),
    ] = None,
    file: Annotated[
        list[Path] | None,
        typer.Option(
            "--file",
            "-f",
            help="A file to attach. Repeat the option for up to ten files.",
            exists=True,
            dir_okay=False,
            readable=True,
        ),
    ] = None,
    reply_to: Annotated[int | None, typer.Option(help="The id of the message to reply to.", min=1)] = None,
    client_id: Annotated[
        str | None,
        typer.Option(help="An idempotency key of your choice: a message sent again is stored once."),
    ] = None,
    account: As = None,
    json: Json = False,
) -> None:
    """Send a message. Exit code 0 means that the server has stored it."""
    from blazechat.terminal.cli import scripting

    content = " ".join(text).encode(errors="surrogateescape") if text else b"" if file else _read_input()
    message = scripting.OutgoingMessage(_decode(content), file or [], reply_to, client_id)
    run(scripting.send(account, chat, message, json))


def tail(
    chat: ChatName,
    follow: Annotated[
        bool, typer.Option("--follow", "-f", help="Continue with new messages as they arrive.")
    ] = False,
    lines: Annotated[
        int, typer.Option("--lines", "-n", help="The number of messages to print first.", min=0)
    ] = 10,
    account: As = None,
    json: Json = False,
) -> None:
    """Print the last messages of a chat, oldest first."""
    from blazechat.terminal.cli import scripting

    run(scripting.tail(account, chat, lines, follow, json))


def _require_server_url(url: str | None) -> None:
    from blazechat.client import InvalidServerUrl, server_url

    try:
        server_url(url or "localhost")
    except InvalidServerUrl as error:
        raise CommandError(str(error), EXIT_USAGE) from None


def _ask(question: str) -> str:
    return str(typer.prompt(question, err=True)).strip()


def _read_input() -> bytes:
    if sys.stdin is None:
        raise CommandError("there is nothing to send: no text and no standard input.", EXIT_USAGE)
    if sys.stdin.isatty():
        print("Write your message. Ctrl-D on an empty line sends it.", file=sys.stderr)
    return sys.stdin.buffer.read().rstrip(b"\n")


def _decode(content: bytes) -> str:
    try:
        return content.decode()
    except UnicodeDecodeError as error:
        raise CommandError(
            f"the text is not valid UTF-8: byte {error.start + 1} is {content[error.start]:#x}.", EXIT_USAGE
        ) from None


def _read_password() -> str:
    password = sys.stdin.readline().rstrip("\r\n") if sys.stdin is not None else ""
    if not password:
        raise CommandError("no password on standard input; write it there as one line.", EXIT_USAGE)
    return password
