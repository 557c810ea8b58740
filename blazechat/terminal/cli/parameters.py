"""Parameters that several commands have."""

from typing import Annotated

import typer

Url = Annotated[str, typer.Argument(help="The server's address, such as chat.example.com.", metavar="URL")]
As = Annotated[
    str | None,
    typer.Option(
        "--as",
        help="The account to use, such as alice@chat.example.com or alice."
        " Default: BLAZECHAT_ACCOUNT, else the account used last.",
        metavar="ACCOUNT",
        envvar="BLAZECHAT_ACCOUNT",
        show_envvar=False,
    ),
]
Json = Annotated[bool, typer.Option("--json", help="Print one JSON object per line, in the API's format.")]
ChatName = Annotated[
    str, typer.Argument(help="The chat's id, its name, or @ and a user name.", metavar="CHAT")
]
ClientId = Annotated[
    str | None,
    typer.Option(
        help="An idempotency key of your choice: a message that is sent again is stored once.",
        metavar="KEY",
    ),
]
