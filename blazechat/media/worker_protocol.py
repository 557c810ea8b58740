"""What the server and a worker say to each other: one `Look`, one `Seen` or `Refused`, and so on.

Each is MessagePack behind its length, four bytes in network order. Behind a `Look` come the bytes to look
at, as they are.
"""

from msgspec import Struct


class Look(Struct):
    """What the server asks."""

    size: int
    """Bytes of the whole file."""
    head: int
    """How many of its first bytes follow; all of them if it is an image."""
    tail: int = 0
    """How many of its last bytes follow those, where they are not all."""
    max_pixels: int = 50_000_000
    thumbnails: tuple[int, ...] = (320, 1280)
    """Longest sides, in pixels."""


class Thumbnail(Struct):
    content: bytes
    """WebP."""
    width: int
    height: int


class Patch(Struct):
    """Bytes of the file that have to be replaced. Its length never changes."""

    offset: int
    content: bytes


class Seen(Struct, tag=True):
    """What the worker answers."""

    media_type: str
    width: int | None = None
    """Upright, in pixels."""
    height: int | None = None
    duration: float | None = None
    """Seconds."""
    placeholder: bytes | None = None
    """A ThumbHash."""
    thumbnails: list[Thumbnail] = []
    """The smallest first, and none larger than the image."""
    patches: list[Patch] = []


class Refused(Struct, tag=True):
    """The file cannot be taken."""

    reason: str
    """A sentence for a person."""


HELLO = b""
"""What a worker says first, before any job: that it has started."""
LENGTH = 4
"""Bytes of the length before each of them."""


def framed(message: bytes) -> bytes:
    return len(message).to_bytes(LENGTH) + message
