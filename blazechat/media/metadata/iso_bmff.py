"""The boxes of ISO base media files (ISO/IEC 14496-12): MP4 and QuickTime video, AVIF and HEIF images."""

from collections.abc import Iterator
from typing import NamedTuple

from blazechat.media.metadata.patches import MalformedContainer


class Box(NamedTuple):
    kind: bytes
    start: int
    body: int
    """Where its content begins."""
    end: int


def boxes(content: bytes, start: int, end: int) -> Iterator[Box]:
    """Yield the boxes between two offsets. Raises MalformedContainer."""
    while start < end:
        length, kind, body = (
            int.from_bytes(content[start : start + 4]),
            content[start + 4 : start + 8],
            start + 8,
        )
        if length == 1:
            length, body = int.from_bytes(content[body : body + 8]), start + 16
        stop = start + length if length else end
        if len(kind) < 4 or not any(kind) or not body <= stop <= end:
            raise MalformedContainer
        yield Box(kind, start, body, stop)
        start = stop


def descendants(content: bytes, box: Box, *path: bytes) -> Iterator[Box]:
    """Yield the boxes that are reached from `box` by a path of kinds, each inside the one before."""
    kind, *deeper = path
    for child in boxes(content, box.body, box.end):
        if child.kind == kind and deeper:
            yield from descendants(content, child, *deeper)
        elif child.kind == kind:
            yield child
