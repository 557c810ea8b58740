"""`blazechat webhooks`: for whoever writes a receiver of webhooks."""

from typing import Annotated

import typer

from blazechat.terminal.cli.commands import As, CommandError, run

webhooks = typer.Typer(help="For developing receivers of webhooks.", no_args_is_help=True)


def add_to(app: typer.Typer) -> None:
    """The commands of this part."""
    app.add_typer(webhooks, name="webhooks", rich_help_panel="Chatting")


@webhooks.callback()
def _webhooks() -> None:
    """For developing receivers of webhooks."""


@webhooks.command()
def listen(
    forward: Annotated[str, typer.Option(help="Where to POST, such as http://localhost:3000/hook.")],
    chat: Annotated[
        str | None, typer.Option(help="Only what happens there: its id, its name, or @ and a user name.")
    ] = None,
    events: Annotated[
        str, typer.Option(help="Only these types, separated by commas: message.created,message.updated")
    ] = "",
    secret: Annotated[
        str | None, typer.Option(help="Signs what is sent; one is made and shown otherwise.")
    ] = None,
    account: As = None,
) -> None:
    """Tell a program on this machine what happens in one's chats, as a webhook would; Ctrl-C ends it."""
    from blazechat.terminal.cli import forwarding

    if not forward.startswith(("http://", "https://")):
        raise CommandError("--forward takes a URL, such as http://localhost:3000/hook", 2)
    if secret is not None and not forwarding.is_secret(secret):
        raise CommandError("a secret is whsec_ and then base64, as the server makes them.", 2)
    types = [part.strip() for part in events.split(",") if part.strip()]
    unknown = [each for each in types if each not in forwarding.EVENT_TYPES]
    if unknown:
        known = ", ".join(forwarding.EVENT_TYPES)
        raise CommandError(f"there are no events of type {unknown[0]!r}; there are: {known}.", 2)
    run(forwarding.forward(account, forward, chat, types, secret))
