"""`blazechat webhooks`: commands for developers of webhook receivers."""

from typing import Annotated

import typer

from blazechat.terminal.cli.errors import EXIT_USAGE, CommandError
from blazechat.terminal.cli.help_pages import FOR_SCRIPTS, CommandApp
from blazechat.terminal.cli.parameters import As
from blazechat.terminal.cli.runner import run

webhooks = CommandApp()


def add_to(app: typer.Typer) -> None:
    """Add the commands of this module to `app`."""
    app.add_typer(webhooks, name="webhooks", rich_help_panel=FOR_SCRIPTS)


@webhooks.callback()
def _webhooks() -> None:
    """Try out receivers of webhooks on this machine."""


@webhooks.command()
def listen(
    forward: Annotated[
        str,
        typer.Option(help="The URL to send events to, such as http://localhost:3000/hook.", metavar="URL"),
    ],
    chat: Annotated[
        str | None,
        typer.Option(
            help="Only events of this chat: its id, its name, or @ and a user name. Default: all chats.",
            metavar="CHAT",
        ),
    ] = None,
    events: Annotated[
        str,
        typer.Option(
            help="Only these types, separated by commas, such as message.created,message.updated."
            " Default: all types.",
            metavar="TYPES",
        ),
    ] = "",
    secret: Annotated[
        str | None,
        typer.Option(
            help="The secret that signs the requests. Default: a new one, which is printed.",
            metavar="SECRET",
        ),
    ] = None,
    account: As = None,
) -> None:
    """Forward the events of your chats to a program, signed like a webhook.

    It runs until Ctrl-C, and prints a line per event with the program's answer. The server does not call
    the program: this command does, so that it works for a program on your own machine.

    Examples:
      blazechat webhooks listen --forward http://localhost:3000/hook
      blazechat webhooks listen --forward http://localhost:3000/hook --chat Team
    """
    from blazechat.terminal.cli import forwarding

    if not forward.startswith(("http://", "https://")):
        raise CommandError("--forward takes a URL, such as http://localhost:3000/hook", EXIT_USAGE)
    if secret is not None and not forwarding.is_secret(secret):
        raise CommandError(
            "--secret takes a webhook secret as the server creates it: whsec_ followed by base64.",
            EXIT_USAGE,
        )
    run(forwarding.forward(account, forward, chat, _event_types(events), secret))


def _event_types(events: str) -> list[str]:
    from blazechat.terminal.cli.forwarding import EVENT_TYPES

    types = [part.strip() for part in events.split(",") if part.strip()]
    unknown = [each for each in types if each not in EVENT_TYPES]
    if unknown:
        known = ", ".join(EVENT_TYPES)
        raise CommandError(f"there is no event type {unknown[0]!r}; the types are: {known}.", EXIT_USAGE)
    return types
