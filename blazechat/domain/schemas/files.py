"""What files look like to the world: the same objects over HTTP and sockets."""

from dataclasses import dataclass
from datetime import datetime
from enum import StrEnum


class Part(StrEnum):
    """What of a file one can ask for: itself, or one of an image's two thumbnails."""

    CONTENT = "content"
    SMALL = "small"
    LARGE = "large"


@dataclass(frozen=True, slots=True)
class Thumbnail:
    """A WebP image, at most 320 (`small`) or 1280 (`large`) pixels wide and high."""

    size: str
    width: int
    height: int
    url: str


@dataclass(frozen=True, slots=True)
class Attachment:
    """A file of a message. `media_type` is what its bytes say (RFC 6838), `size` in bytes.

    Images and films have `width` and `height`, upright; sounds and films a `duration` in seconds where it
    is known; images a `placeholder`, a ThumbHash in base64. The paths of `url` want the same
    authorisation as everything else.
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
    """A file of one's own. `ready` says that it has arrived and can be attached.

    Until then `received` tells how much has come; at `expires_at` it disappears unless a message has it.
    """

    received: int
    ready: bool
    created_at: datetime
    expires_at: datetime | None


@dataclass(frozen=True, slots=True)
class Progress:
    """How much of an upload has arrived; `size` is None until its client has said."""

    received: int
    size: int | None
    expires_at: datetime | None
    name: str = ""

    @property
    def complete(self) -> bool:
        return self.received == self.size
