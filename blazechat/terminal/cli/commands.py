"""Chatting from the command line: the app, and commands for scripts and pipes.

Exit codes: 0 all is well, 1 the server refused, 2 wrong usage, 3 nobody is logged in (any more), 4 the
server cannot be reached, 5 there is no such chat. Only what was asked for goes to standard output.
"""

import asyncio
import io
import sys
from collections.abc import Coroutine
from pathlib import Path
from typing import Annotated, Any

import typer

EXIT_REFUSED, EXIT_LOGGED_OUT, EXIT_UNREACHABLE, EXIT_NO_CHAT = 1, 3, 4, 5
EXIT_INTERRUPTED = 130


class CommandError(Exception):
    """Something the user has to do something about; `code` is what the command ends with."""

    def __init__(self, text: str, exit_code: int = EXIT_REFUSED) -> None:
        super().__init__(text)
        self.code = exit_code


Url = Annotated[str, typer.Argument(help="The server's address, such as chat.example.com.", metavar="URL")]
As = Annotated[
    str | None,
    typer.Option(
        "--as", help="Which account, such as alice@chat.example.com; the last used otherwise.",
        envvar="BLAZECHAT_ACCOUNT", show_envvar=False,
    ),
]  # fmt: skip
Json = Annotated[bool, typer.Option("--json", help="One JSON object a line, as the API has it.")]
ChatName = Annotated[str, typer.Argument(help="Its id, its name, or @ and a user name.", metavar="CHAT")]


def printable(text: str) -> str:
    """What a server says may steer a terminal; what we say has lines."""
    from blazechat.terminal import sanitize

    return "\n".join(sanitize.lines(text))


def add_to(app: typer.Typer) -> None:
    """The commands of this part."""
    for command in (chat, login, logout, accounts, chats, send, tail):
        app.command(rich_help_panel="Chatting")(command)


def chat(
    url: Annotated[
        str | None,
        typer.Argument(help="The server's address; the last one otherwise.", metavar="[URL]"),
    ] = None,
    account: As = None,
) -> None:
    """Chat in the terminal."""
    from blazechat.terminal.app import run

    _checked(url)
    if not all(stream is not None and stream.isatty() for stream in (sys.stdin, sys.stdout, sys.stderr)):
        raise CommandError(
            "this needs a terminal; for scripts there are `blazechat send` and `blazechat tail`.", 2
        )
    run(url, account)


def login(
    url: Url,
    username: Annotated[
        str | None, typer.Option(help="Or the e-mail address; asked for otherwise.")
    ] = None,
    register: Annotated[bool, typer.Option("--register", help="Make a new account.")] = False,
    email: Annotated[str | None, typer.Option(help="Of the new account.")] = None,
    invitation: Annotated[str | None, typer.Option(help="Where registering needs one.")] = None,
    json: Json = False,
) -> None:
    """Log in, and be remembered. The password is asked for, or read from standard input."""
    from blazechat.terminal.cli import scripting

    _checked(url)
    asking = sys.stdin is not None and sys.stdin.isatty()
    username = username or (_ask("User name") if asking else None)
    if username is None:
        raise CommandError("say who you are, with --username NAME.", 2)
    if register and email is None:
        email = _ask("E-mail address") if asking else None
        if email is None:
            raise CommandError("a new account needs an e-mail address: --email ADDRESS.", 2)
    password = typer.prompt("Password", hide_input=True, err=True) if asking else _line_of_input()
    run(scripting.log_in(url, username, password, email if register else None, invitation, json))


def logout(account: As = None) -> None:
    """End the session on this machine."""
    from blazechat.terminal.cli import scripting

    run(scripting.log_out(account))


def accounts(json: Json = False) -> None:
    """List the accounts that are logged in here, the last used first."""
    from blazechat.terminal.cli import scripting

    run(scripting.list_accounts(json))


def chats(account: As = None, json: Json = False) -> None:
    """List the chats: id, unread messages, name."""
    from blazechat.terminal.cli import scripting

    run(scripting.list_chats(account, json))


def send(
    chat: ChatName,
    text: Annotated[
        list[str] | None,
        typer.Argument(help="What to say; standard input otherwise.", metavar="[TEXT]", show_default=False),
    ] = None,
    file: Annotated[
        list[Path] | None,
        typer.Option(
            "--file",
            "-f",
            help="A file to send; up to ten times.",
            exists=True,
            dir_okay=False,
            readable=True,
        ),
    ] = None,
    reply_to: Annotated[int | None, typer.Option(help="The id of a message.", min=1)] = None,
    client_id: Annotated[
        str | None, typer.Option(help="A name of yours for the message: sent again, it is stored once.")
    ] = None,
    account: As = None,
    json: Json = False,
) -> None:
    """Send a message. It is stored for good when this ends with 0."""
    from blazechat.terminal.cli import scripting

    said = " ".join(text).encode(errors="surrogateescape") if text else b"" if file else _all_input()
    content, files = _unicode(said), file or []
    run(scripting.send(account, chat, content, files, reply_to, client_id, json))


def tail(
    chat: ChatName,
    follow: Annotated[bool, typer.Option("--follow", "-f", help="Go on with what comes.")] = False,
    lines: Annotated[
        int, typer.Option("--lines", "-n", help="How many messages to begin with.", min=0)
    ] = 10,
    account: As = None,
    json: Json = False,
) -> None:
    """Show the last messages of a chat, oldest first."""
    from blazechat.terminal.cli import scripting

    run(scripting.tail(account, chat, lines, follow, json))


def _checked(url: str | None) -> None:
    from blazechat.client import InvalidServerUrl, server_url

    try:
        server_url(url or "localhost")
    except InvalidServerUrl as error:
        raise CommandError(str(error), 2) from None


def _ask(what: str) -> str:
    return str(typer.prompt(what, err=True)).strip()


def _all_input() -> bytes:
    if sys.stdin is None:
        raise CommandError("there is nothing to send: no text, and no standard input.", 2)
    if sys.stdin.isatty():
        print("Write your message; Ctrl-D on a line of its own sends it.", file=sys.stderr)
    return sys.stdin.buffer.read().rstrip(b"\n")


def _unicode(content: bytes) -> str:
    try:
        return content.decode()
    except UnicodeDecodeError as error:
        raise CommandError(
            f"this is no text in UTF-8: byte {error.start + 1} is {content[error.start]:#x}.", 2
        ) from None


def _line_of_input() -> str:
    password = sys.stdin.readline().rstrip("\r\n") if sys.stdin is not None else ""
    if not password:
        raise CommandError("the password is expected on standard input, and there was none.", 2)
    return password


def run(doing: Coroutine[Any, Any, None]) -> None:
    """Do it, and explain what went wrong."""
    from blazechat.client import errors

    if isinstance(sys.stdout, io.TextIOWrapper):  # what its encoding does not have is shown by its number
        sys.stdout.reconfigure(errors="backslashreplace")
    try:
        asyncio.run(doing)
    except errors.LoggedOut as error:
        raise CommandError(f"{error}\nLog in with: blazechat login URL", EXIT_LOGGED_OUT) from None
    except (errors.WrongCredentials, errors.Unauthenticated) as error:
        raise CommandError(str(error), EXIT_LOGGED_OUT) from None
    except (errors.Unreachable, errors.NotBlazeChat, errors.Unavailable) as error:
        raise CommandError(str(error), EXIT_UNREACHABLE) from None
    except errors.NotFound as error:
        raise CommandError(str(error), EXIT_NO_CHAT) from None
    except errors.ApiError as error:
        details = "".join(f"\n  {each.field}: {each.detail}" for each in error.fields)
        raise CommandError(f"{error}{details}") from None
    except BrokenPipeError:
        sys.stderr.close()  # whoever read has gone, as `head` does; that is no error
        raise SystemExit(0) from None
    except OSError as error:
        raise CommandError(f"{error.strerror or error}: {error.filename or 'standard output'}") from None
    except KeyboardInterrupt:
        raise SystemExit(EXIT_INTERRUPTED) from None
