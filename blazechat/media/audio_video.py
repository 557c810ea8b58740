"""How long a sound or a film is, and how large: from its first and last bytes, since it may be huge."""

import io
import math
from contextlib import suppress
from typing import BinaryIO, cast

from tinytag import TinyTag

from blazechat.media.metadata import matroska, mp4
from blazechat.media.worker_protocol import Seen

LONGEST, LARGEST = 10_000_000, 100_000
"""Seconds from which on a duration is not one, and pixels from which on a side is none."""
MP4 = {"audio/mp4", "video/mp4", "video/quicktime", "video/3gpp"}
MATROSKA = {"video/webm", "video/x-matroska"}
PAGE = b"OggS"


class Ends(io.RawIOBase):
    """A file of which only the beginning and the end are here. Between them there is nothing to read."""

    def __init__(self, size: int, head: bytes, tail: bytes) -> None:
        self._size, self._head, self._tail = size, head, tail
        self._at = 0

    def readable(self) -> bool:
        return True

    def seekable(self) -> bool:
        return True

    def tell(self) -> int:
        return self._at

    def seek(self, offset: int, whence: int = io.SEEK_SET) -> int:
        base = {io.SEEK_SET: 0, io.SEEK_CUR: self._at, io.SEEK_END: self._size}[whence]
        if base + offset < 0:
            raise OSError("before the beginning")
        self._at = base + offset
        return self._at

    def readinto(self, buffer: memoryview) -> int:  # type: ignore[override] # what io calls it with
        found = self.piece(self._at, len(buffer))
        buffer[: len(found)] = found
        self._at += len(found)
        return len(found)

    def piece(self, start: int, length: int) -> bytes:
        """Up to so many bytes from `start` on, as many as are here."""
        if start < len(self._head):
            return self._head[start : start + length]
        from_tail = start - (self._size - len(self._tail))
        return self._tail[from_tail : from_tail + length] if from_tail >= 0 else b""


def look(kind: str, size: int, head: bytes, tail: bytes) -> Seen:
    """What can be told; what cannot, and whatever is strange, is None."""
    seen = Seen(kind)
    file = Ends(size, head, tail)
    with suppress(Exception):  # parsers raise whatever they like; a file that is not understood is a file
        seen.duration = _duration(kind, file, head, tail)
    with suppress(Exception):
        if kind in MP4:
            mp4.look(file, seen)
        elif kind in MATROSKA:
            matroska.look(head, seen)
    _keep_plausible(seen)
    return seen


def _duration(kind: str, file: Ends, head: bytes, tail: bytes) -> float | None:
    source = cast("BinaryIO", file)
    if kind.endswith("/ogg") and tail:
        # A page says how much has been played by then, and pages are walked from one to the next.
        source = io.BytesIO(head[: head.rfind(PAGE)] + tail[tail.find(PAGE) :])
    return TinyTag.get(file_obj=source, tags=False).duration


def _keep_plausible(seen: Seen) -> None:
    duration, sides = seen.duration, (seen.width or 0, seen.height or 0)
    if duration is None or not math.isfinite(duration) or not 0 < duration < LONGEST:
        seen.duration = None
    if not all(0 < side < LARGEST for side in sides):
        seen.width = seen.height = None
