"""Metadata in a JPEG file (ITU T.81), and in the further images that follow it (CIPA DC-007, MPF)."""

import re

from blazechat.media.metadata.patches import MalformedContainer, blank, orientation_only
from blazechat.media.worker_protocol import Patch

EXIF = b"Exif\0\0"
KEPT_SEGMENTS = {
    0xE0: (b"JFIF\0",),
    0xE2: (b"ICC_PROFILE\0", b"MPF\0", b"urn:iso:std:iso:ts:21496:-1\0"),
    0xEE: (b"Adobe",),
}
"""Application segments that decoding needs, by marker. All others are removed: EXIF, XMP, IPTC and
proprietary ones."""
APPLICATION_MARKERS, COMMENT = range(0xE0, 0xF0), 0xFE
START_OF_IMAGE, END_OF_IMAGE, START_OF_SCAN = 0xD8, 0xD9, 0xDA
IMAGE_PREFIX = b"\xff\xd8\xff"
MARKERS_WITHOUT_LENGTH = {0x01, *range(0xD0, 0xD8)}
MARKER = re.compile(rb"(?s)\xff[^\x00\xff]")
MARKER_AFTER_SCAN = re.compile(rb"(?s)\xff[^\x00\xd0-\xd7\xff]")
FILL_BYTE = b"\xff"


def find_patches(content: bytes, orientation: int) -> list[Patch]:
    """Return patches that remove all metadata but the orientation. Raises MalformedContainer."""
    found: list[Patch] = []
    end = _strip_image(content, 0, orientation, found)
    while end < len(content):
        end = _strip_next_image(content, end, found)
    return found


def _strip_next_image(content: bytes, end: int, found: list[Patch]) -> int:
    """Add patches for the next image after `end`, such as a gain map or a preview; return where it ends.

    Anything else after an image is removed. It may be a video of the same moment, with the same position.
    """
    start = content.find(IMAGE_PREFIX, end)
    patches: list[Patch] = []
    try:
        next_end = _strip_image(content, start, None, patches) if start >= 0 else len(content)
    except MalformedContainer:
        start, next_end, patches = -1, len(content), []
    found += [blank(end, start if start >= 0 else len(content)), *patches]
    return next_end


def _strip_image(content: bytes, start: int, orientation: int | None, found: list[Patch]) -> int:
    """Add patches for the image at `start` to `found`; return where it ends.

    Without an orientation, its EXIF is removed entirely.
    """
    offset = start + 2
    while True:
        marker = MARKER.search(content, offset)
        if marker is None:
            raise MalformedContainer
        if content[offset : marker.start()].strip(FILL_BYTE):
            found.append(blank(offset, marker.start()))  # decoders skip bytes between two segments
        code, offset = marker[0][1], marker.end()
        if code == END_OF_IMAGE:
            return offset
        if code in MARKERS_WITHOUT_LENGTH:
            continue
        body, offset = offset + 2, offset + int.from_bytes(content[offset : offset + 2])
        if code == START_OF_IMAGE or offset < body or offset > len(content):
            raise MalformedContainer
        if code in APPLICATION_MARKERS or code == COMMENT:
            found += _strip_segment(content, code, body, offset, orientation)
            orientation = None if content.startswith(EXIF, body) else orientation
        if code == START_OF_SCAN:
            next_marker = MARKER_AFTER_SCAN.search(content, offset)
            if next_marker is None:  # the end of the image is missing, which decoders accept
                return len(content)
            offset = next_marker.start()


def _strip_segment(content: bytes, code: int, body: int, end: int, orientation: int | None) -> list[Patch]:
    if code == 0xE1 and orientation is not None and content.startswith(EXIF, body):
        start = body + len(EXIF)
        return [Patch(start, orientation_only(orientation, end - start))]
    return [] if content.startswith(KEPT_SEGMENTS.get(code, ()), body) else [blank(body, end)]
