"""The commands for scripts and pipes: chats and their members, and messages.

A script can repeat each of them after a failure: what exists or is done already is no error.
"""

import sys
from pathlib import Path
from typing import Annotated

import typer

from blazechat.terminal.cli.errors import EXIT_USAGE, CommandError
from blazechat.terminal.cli.help_pages import FOR_SCRIPTS
from blazechat.terminal.cli.parameters import As, ChatName, ClientId, Json
from blazechat.terminal.cli.runner import run
from blazechat.vocabulary import History


def add_to(app: typer.Typer) -> None:
    """Add the commands of this module to `app`."""
    for command in (send, tail, chats, dm, new, members):
        app.command(rich_help_panel=FOR_SCRIPTS)(command)


def send(
    chat: ChatName,
    text: Annotated[
        list[str] | None,
        typer.Argument(help="The text of the message. Default: standard input.", metavar="TEXT"),
    ] = None,
    file: Annotated[
        list[Path] | None,
        typer.Option(
            "--file",
            "-f",
            help="A file to attach. Repeat the option for up to ten files.",
            metavar="FILE",
            exists=True,
            dir_okay=False,
            readable=True,
        ),
    ] = None,
    reply_to: Annotated[
        int | None, typer.Option(help="The id of the message to reply to.", metavar="ID", min=1)
    ] = None,
    client_id: ClientId = None,
    account: As = None,
    json: Json = False,
) -> None:
    """Send a message, and print its id.

    Exit code 0 means that the server has stored it. `@bob` is the direct chat with Bob, which is created
    if there is none.

    Examples:
      blazechat send @bob 'Hello, Bob!'
      blazechat send Team 'The report' --file report.pdf
      make test 2>&1 | tail -n 5 | blazechat send Builds
    """
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
        int,
        typer.Option("--lines", "-n", help="How many messages to print first.", metavar="N", min=0),
    ] = 10,
    account: As = None,
    json: Json = False,
) -> None:
    """Print the last messages of a chat, oldest first.

    With --follow, each new message is printed once and in order, also after lost connections. The name is
    that of the author; of a bot or webhook, it is the name that it has in the message, with `[bot]`.

    Examples:
      blazechat tail Team
      blazechat tail @bob --follow
      blazechat tail Alerts -f --json | jq -r .content
    """
    from blazechat.terminal.cli import scripting

    run(scripting.tail(account, chat, lines, follow, json))


def chats(account: As = None, json: Json = False) -> None:
    """List your chats: id, number of unread messages and name.

    The columns are separated by tabs. The chat with the latest message is the first.

    Examples:
      blazechat chats
      blazechat chats | cut -f 1
      blazechat chats --json | jq 'select(.unread > 0) | .id'
    """
    from blazechat.terminal.cli import chats as implementation

    run(implementation.list_chats(account, json))


def dm(
    user: Annotated[str, typer.Argument(help="The user name, with or without @.", metavar="USER")],
    text: Annotated[
        list[str] | None,
        typer.Argument(help="The text of a message to send. Default: none is sent.", metavar="TEXT"),
    ] = None,
    client_id: ClientId = None,
    account: As = None,
    json: Json = False,
) -> None:
    """Find or create the direct chat with a user, and print its id.

    Two users have one direct chat, so that repeating the command prints the same id. With a text and --json
    it prints the message, which has the chat's id as `chat_id`.

    Examples:
      blazechat dm @bob
      blazechat dm @bob 'Hello, Bob!'
    """
    from blazechat.terminal.cli import chats as implementation

    content = _decode(" ".join(text).encode(errors="surrogateescape")) if text else None
    run(implementation.open_direct(account, user, content, client_id, json))


def new(
    name: Annotated[str, typer.Argument(help="The name of the group.", metavar="NAME")],
    users: Annotated[
        list[str] | None,
        typer.Argument(help="Users to add, with or without @. You are a member anyway.", metavar="USER"),
    ] = None,
    history: Annotated[
        History,
        typer.Option(
            help="What later members can read: all messages, or those from when they `joined`.",
            metavar="all|joined",
        ),
    ] = History.ALL,
    duplicate: Annotated[
        bool, typer.Option("--duplicate", help="Create it even if you own a group of this name.")
    ] = False,
    account: As = None,
    json: Json = False,
) -> None:
    """Create a group, and print its id.

    If you own a group of this name with these users already, it prints the id of that one, so that a script
    can repeat the command. If one of the users is not a member of it, the command fails.

    Examples:
      blazechat new Team @bob @carol
      chat=$(blazechat new Builds) && blazechat send "$chat" 'Build 7 is green'
    """
    from blazechat.terminal.cli import chats as implementation

    if not name.strip() or name.startswith("@"):
        raise CommandError(
            "the first argument is the name of the group: blazechat new NAME @bob.", EXIT_USAGE
        )
    draft = implementation.GroupDraft(name, users or [], history, duplicate)
    run(implementation.create_group(account, draft, json))


def members(
    chat: ChatName,
    add: Annotated[
        list[str] | None,
        typer.Option(help="A user to add. Repeat the option for more users.", metavar="USER"),
    ] = None,
    remove: Annotated[
        list[str] | None,
        typer.Option(
            help="A user to remove; yourself to leave. Repeat the option for more users.", metavar="USER"
        ),
    ] = None,
    account: As = None,
    json: Json = False,
) -> None:
    """List the members of a chat: user, role and status.

    The columns are separated by tabs. Members are added and removed first. A user who is a member already,
    or is none, is no error.

    Examples:
      blazechat members Team
      blazechat members Team --add @carol --remove @bob
      blazechat members Team | grep online
    """
    from blazechat.terminal.cli import chats as implementation

    run(implementation.change_members(account, chat, add or [], remove or [], json))


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
