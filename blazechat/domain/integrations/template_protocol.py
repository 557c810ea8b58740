"""The messages between the server and a template worker: one `RenderJob`, one result."""

from msgspec import Struct


class RenderJob(Struct):
    """The server's request to render a template; without a payload, only to check its syntax."""

    template: str
    payload: bytes | None
    """JSON."""
    event: str | None
    """The type of the payload, where its sender names it in a header."""
    max_characters: int
    """The output is cut after about so many."""


class Rendered(Struct, tag=True):
    """The template's output; empty if there is nothing to display."""

    text: str


class RenderFailure(Struct, tag=True):
    """Why a template cannot be rendered."""

    line: int | None
    """The line of the template; None if it has none."""
    reason: str
    """Words for the author of the template."""

    def __str__(self) -> str:
        return self.reason if self.line is None else f"Line {self.line}: {self.reason}"
