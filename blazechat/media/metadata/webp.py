"""Metadata in a WebP file (RFC 9649)."""

from collections.abc import Iterator

from blazechat.media.metadata.patches import MalformedContainer, blank, empty_xmp, orientation_only
from blazechat.media.worker_protocol import Patch

HEADER = 12
KEPT = {b"VP8 ", b"VP8L", b"VP8X", b"ALPH", b"ANIM", b"ANMF", b"ICCP"}
FRAME_HEADER = 16


def patches(content: bytes, orientation: int) -> list[Patch]:
    """Raises Unwalkable."""
    found: list[Patch] = []
    end = 8 + int.from_bytes(content[4:8], "little")
    for name, start, stop in _chunks(content, HEADER, end):
        if name == b"EXIF":
            found.append(Patch(start, orientation_only(orientation, stop - start)))
        elif name == b"XMP ":
            found.append(Patch(start, empty_xmp(stop - start)))
        elif name == b"ANMF":
            parts = _chunks(content, start + FRAME_HEADER, stop)
            found += [blank(*where) for part, *where in parts if part not in KEPT]
        elif name not in KEPT:
            found.append(blank(start, stop))
    return [*found, blank(end, len(content))]


def _chunks(content: bytes, at: int, end: int) -> Iterator[tuple[bytes, int, int]]:
    """Name, start and end of each (RIFF): an odd length is filled up to the next even one."""
    if not at <= end <= len(content):
        raise MalformedContainer
    while at + 8 <= end:
        start = at + 8
        stop = start + int.from_bytes(content[at + 4 : start], "little")
        if stop > end:
            raise MalformedContainer
        yield content[at : at + 4], start, stop
        at = stop + (stop - start) % 2
