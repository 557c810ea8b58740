"""`blazechat webhooks`: commands for developers of webhook receivers."""

from typing import Annotated

import typer

from blazechat.terminal.cli.commands import As
from blazechat.terminal.cli.errors import EXIT_USAGE, CommandError
from blazechat.terminal.cli.runner import run

webhooks = typer.Typer(help="Develop receivers of webhooks.", no_args_is_help=True)


def add_to(app: typer.Typer) -> None:
    """Add the commands of this module to `app`."""
    app.add_typer(webhooks, name="webhooks", rich_help_panel="Chatting")


@webhooks.callback()
def _webhooks() -> None:
    """Develop receivers of webhooks."""


@webhooks.command()
def listen(
    forward: Annotated[
        str, typer.Option(help="The URL to POST events to, such as http://localhost:3000/hook.")
    ],
    chat: Annotated[
        str | None, typer.Option(help="Only events of this chat: its id, its name, or @ and a user name.")
    ] = None,
    events: Annotated[
        str, typer.Option(help="Only these types, separated by commas: message.created,message.updated")
    ] = "",
    secret: Annotated[
        str | None, typer.Option(help="The secret that signs the requests. Default: a new one, printed.")
    ] = None,
    account: As = None,
) -> None:
    """POST the events of your chats to a URL, signed like a webhook, until Ctrl-C."""
    from blazechat.terminal.cli import forwarding

    if not forward.startswith(("http://", "https://")):
        raise CommandError("--forward takes a URL, such as http://localhost:3000/hook", EXIT_USAGE)
    if secret is not None and not forwarding.is_secret(secret):
        raise CommandError(
            "--secret takes a webhook secret as the server creates it: whsec_ followed by base64.",
            EXIT_USAGE,
        )
    types = [part.strip() for part in events.split(",") if part.strip()]
    unknown = [each for each in types if each not in forwarding.EVENT_TYPES]
    if unknown:
        known = ", ".join(forwarding.EVENT_TYPES)
        raise CommandError(f"there is no event type {unknown[0]!r}; the types are: {known}.", EXIT_USAGE)
    run(forwarding.forward(account, forward, chat, types, secret))
