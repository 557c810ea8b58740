"""Duration and dimensions of audio and video files, read from their first and last bytes only.

A file may be gigabytes large, so its middle is never read.
"""

import io
import math
from contextlib import suppress
from typing import BinaryIO, cast

from tinytag import TinyTag

from blazechat.media.metadata import matroska, mp4
from blazechat.media.worker_protocol import FileInfo

MAX_DURATION_SECONDS = 10_000_000
"""A plausible duration is shorter."""
MAX_SIDE_PIXELS = 100_000
"""A plausible side is shorter."""
MP4_TYPES = {"audio/mp4", "video/mp4", "video/quicktime", "video/3gpp"}
MATROSKA_TYPES = {"video/webm", "video/x-matroska"}
OGG_PAGE = b"OggS"


class HeadTailFile(io.RawIOBase):
    """A file of which only the head and the tail are available. Reads between them return nothing."""

    def __init__(self, size: int, head: bytes, tail: bytes) -> None:
        self._size, self._head, self._tail = size, head, tail
        self._position = 0

    def readable(self) -> bool:
        return True

    def seekable(self) -> bool:
        return True

    def tell(self) -> int:
        return self._position

    def seek(self, offset: int, whence: int = io.SEEK_SET) -> int:
        base = {io.SEEK_SET: 0, io.SEEK_CUR: self._position, io.SEEK_END: self._size}[whence]
        if base + offset < 0:
            raise OSError("before the beginning")
        self._position = base + offset
        return self._position

    def readinto(self, buffer: memoryview) -> int:  # type: ignore[override] # what io calls it with
        found = self.read_at(self._position, len(buffer))
        buffer[: len(found)] = found
        self._position += len(found)
        return len(found)

    def read_at(self, start: int, length: int) -> bytes:
        """Return up to `length` bytes from `start` on, as many as are available."""
        if start < len(self._head):
            return self._head[start : start + length]
        tail_start = start - (self._size - len(self._tail))
        return self._tail[tail_start : tail_start + length] if tail_start >= 0 else b""


def inspect(media_type: str, size: int, head: bytes, tail: bytes) -> FileInfo:
    """Return what the head and tail of a file of `size` bytes reveal.

    A field is None if it is not found, or if its value is not plausible. Never raises.
    """
    info = FileInfo(media_type)
    file = HeadTailFile(size, head, tail)
    with suppress(
        Exception
    ):  # parsers raise errors of any type; a file they cannot parse is still accepted
        info.duration = _duration(media_type, file, head, tail)
    with suppress(Exception):
        if media_type in MP4_TYPES:
            mp4.read_tracks(file, info)
        elif media_type in MATROSKA_TYPES:
            matroska.read_tracks(head, info)
    _drop_implausible(info)
    return info


def _duration(media_type: str, file: HeadTailFile, head: bytes, tail: bytes) -> float | None:
    source = cast("BinaryIO", file)
    if media_type.endswith("/ogg") and tail:
        # Each page has the playback position at its end, and the parser steps from page to page. So it gets
        # the complete pages of the head, followed by those of the tail.
        source = io.BytesIO(head[: head.rfind(OGG_PAGE)] + tail[tail.find(OGG_PAGE) :])
    return TinyTag.get(file_obj=source, tags=False).duration


def _drop_implausible(info: FileInfo) -> None:
    duration, sides = info.duration, (info.width or 0, info.height or 0)
    if duration is None or not math.isfinite(duration) or not 0 < duration < MAX_DURATION_SECONDS:
        info.duration = None
    if not all(0 < side < MAX_SIDE_PIXELS for side in sides):
        info.width = info.height = None
