"""The boxes of ISO base media files (ISO/IEC 14496-12): films, and pictures in AVIF and HEIF."""

from collections.abc import Iterator
from typing import NamedTuple

from blazechat.media.metadata.patches import MalformedContainer


class Box(NamedTuple):
    kind: bytes
    start: int
    body: int
    end: int


def boxes(content: bytes, at: int, end: int) -> Iterator[Box]:
    """Those between two offsets. Raises Unwalkable."""
    while at < end:
        length, kind, body = int.from_bytes(content[at : at + 4]), content[at + 4 : at + 8], at + 8
        if length == 1:
            length, body = int.from_bytes(content[body : body + 8]), at + 16
        stop = at + length if length else end
        if len(kind) < 4 or not any(kind) or not body <= stop <= end:
            raise MalformedContainer
        yield Box(kind, at, body, stop)
        at = stop


def inside(content: bytes, box: Box, *path: bytes) -> Iterator[Box]:
    """The boxes that one reaches from `box` over these kinds, one within the other."""
    kind, *further = path
    for each in boxes(content, box.body, box.end):
        if each.kind == kind and further:
            yield from inside(content, each, *further)
        elif each.kind == kind:
            yield each
