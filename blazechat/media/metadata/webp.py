"""Metadata in a WebP file (RFC 9649)."""

from collections.abc import Iterator

from blazechat.media.metadata.patches import MalformedContainer, blank, empty_xmp, orientation_only
from blazechat.media.worker_protocol import Patch

HEADER_BYTES = 12
KEPT_CHUNKS = {b"VP8 ", b"VP8L", b"VP8X", b"ALPH", b"ANIM", b"ANMF", b"ICCP"}
FRAME_HEADER_BYTES = 16


def find_patches(content: bytes, orientation: int) -> list[Patch]:
    """Return patches that remove all metadata but the orientation. Raises MalformedContainer."""
    found: list[Patch] = []
    end = 8 + int.from_bytes(content[4:8], "little")
    for name, start, stop in _chunks(content, HEADER_BYTES, end):
        if name == b"EXIF":
            found.append(Patch(start, orientation_only(orientation, stop - start)))
        elif name == b"XMP ":
            found.append(Patch(start, empty_xmp(stop - start)))
        elif name == b"ANMF":
            inner = _chunks(content, start + FRAME_HEADER_BYTES, stop)
            found += [blank(*span) for inner_name, *span in inner if inner_name not in KEPT_CHUNKS]
        elif name not in KEPT_CHUNKS:
            found.append(blank(start, stop))
    return [*found, blank(end, len(content))]


def _chunks(content: bytes, offset: int, end: int) -> Iterator[tuple[bytes, int, int]]:
    """Yield the name, start and end of each RIFF chunk. A chunk of odd length is padded to an even one."""
    if not offset <= end <= len(content):
        raise MalformedContainer
    while offset + 8 <= end:
        start = offset + 8
        stop = start + int.from_bytes(content[offset + 4 : start], "little")
        if stop > end:
            raise MalformedContainer
        yield content[offset : offset + 4], start, stop
        offset = stop + (stop - start) % 2
