"""The messages between the server and a media worker: one `InspectionJob`, one result, and so on.

Each message is MessagePack after its length, which is LENGTH_BYTES in network byte order. The bytes to
inspect follow an `InspectionJob` without a length of their own. The result is a `FileInfo` or a
`RejectedFile`.
"""

from msgspec import Struct


class InspectionJob(Struct):
    """The server's request to inspect a file."""

    file_bytes: int
    """Size of the whole file."""
    head_bytes: int
    """How many of the file's first bytes follow; all of them if it is an image."""
    tail_bytes: int = 0
    """How many of the file's last bytes follow the head, if the head is not the whole file."""
    max_pixels: int = 50_000_000
    thumbnail_sides: tuple[int, ...] = (320, 1280)
    """Longest sides of the thumbnails, in pixels."""


class EncodedThumbnail(Struct):
    """A thumbnail that the worker made."""

    content: bytes
    """WebP."""
    width: int
    height: int


class Patch(Struct):
    """Bytes that replace as many bytes of the file. The length of the file never changes."""

    offset: int
    content: bytes


class FileInfo(Struct, tag=True):
    """What the worker found out about a file."""

    media_type: str
    width: int | None = None
    """In pixels, of the upright image."""
    height: int | None = None
    duration: float | None = None
    """Seconds."""
    placeholder: bytes | None = None
    """A ThumbHash."""
    thumbnails: list[EncodedThumbnail] = []
    """The smallest first, and none larger than the image."""
    patches: list[Patch] = []
    """What removes the file's metadata."""


class RejectedFile(Struct, tag=True):
    """The worker cannot accept the file."""

    reason: str
    """A sentence for a person."""


READY = b""
"""The first message of a worker, before any job: it has started."""
LENGTH_BYTES = 4


def framed(message: bytes) -> bytes:
    """Return the message with its length before it."""
    return len(message).to_bytes(LENGTH_BYTES) + message
