"""Public types of files, as HTTP and sockets return them."""

from dataclasses import dataclass
from datetime import datetime
from enum import StrEnum


class Part(StrEnum):
    """A downloadable part of a file: its content, or one of an image's two thumbnails."""

    CONTENT = "content"
    SMALL = "small"
    LARGE = "large"


@dataclass(frozen=True, slots=True)
class Thumbnail:
    """A WebP image of at most 320 (`small`) or 1280 (`large`) pixels in width and height."""

    size: str
    width: int
    height: int
    url: str


@dataclass(frozen=True, slots=True)
class Attachment:
    """A file of a message. `media_type` is detected from its bytes (RFC 6838). `size` is in bytes.

    Images and videos have `width` and `height`, after rotation. Audio and videos have a `duration` in
    seconds if it is known. Images have a `placeholder`, a ThumbHash in base64. Requests to `url` need the
    same authorisation as all others.
    """

    id: int
    name: str
    media_type: str
    size: int
    width: int | None
    height: int | None
    duration: float | None
    placeholder: str | None
    url: str
    thumbnails: list[Thumbnail]


@dataclass(frozen=True, slots=True)
class Upload(Attachment):
    """A file of the caller. If `ready` is true, it is complete and can be attached to messages.

    `received` is the number of bytes that have arrived. The file is deleted at `expires_at` unless a
    message contains it.
    """

    received: int
    ready: bool
    created_at: datetime
    expires_at: datetime | None


@dataclass(frozen=True, slots=True)
class Progress:
    """How many bytes of an upload have arrived. `size` is None until the client has declared it.

    `part_ids` are the partial uploads of which it was put together.
    """

    received: int
    size: int | None
    expires_at: datetime | None
    name: str = ""
    is_partial: bool = False
    part_ids: tuple[int, ...] = ()

    @property
    def is_complete(self) -> bool:
        return self.received == self.size
