"""Metadata in a JPEG file (ITU T.81), and in the further images behind it (CIPA DC-007, MPF)."""

import re

from blazechat.media.metadata.patches import MalformedContainer, blank, orientation_only
from blazechat.media.worker_protocol import Patch

EXIF = b"Exif\0\0"
KEPT = {
    0xE0: (b"JFIF\0",),
    0xE2: (b"ICC_PROFILE\0", b"MPF\0", b"urn:iso:std:iso:ts:21496:-1\0"),
    0xEE: (b"Adobe",),
}
"""What decoding needs of the application segments. All others go: EXIF, XMP, IPTC, and makers' own."""
APPLICATION, COMMENT = range(0xE0, 0xF0), 0xFE
END, SCAN = 0xD9, 0xDA
START = b"\xff\xd8\xff"
ALONE = {0x01, *range(0xD0, 0xD8)}
"""Markers without a length."""
MARKER = re.compile(rb"(?s)\xff[^\x00\xff]")
BEHIND_SCAN = re.compile(rb"(?s)\xff[^\x00\xd0-\xd7\xff]")
FILLING = b"\xff"


def patches(content: bytes, orientation: int) -> list[Patch]:
    """Raises Unwalkable."""
    found: list[Patch] = []
    end = _image(content, 0, orientation, found)
    while end < len(content):
        end = _behind(content, end, found)
    return found


def _behind(content: bytes, end: int, found: list[Patch]) -> int:
    """Go on behind an image, where gain maps and previews may follow; where that ends.

    What else is there goes: it may be a film of the same moment, and tell the same position.
    """
    start = content.find(START, end)
    further: list[Patch] = []
    try:
        after = _image(content, start, None, further) if start >= 0 else len(content)
    except MalformedContainer:
        start, after, further = -1, len(content), []
    found += [blank(end, start if start >= 0 else len(content)), *further]
    return after


def _image(content: bytes, start: int, orientation: int | None, found: list[Patch]) -> int:
    """Add to `found` what has to go of the image at `start`; where it ends. None: upright, as it were."""
    at = start + 2
    while True:
        marker = MARKER.search(content, at)
        if marker is None:
            raise MalformedContainer
        if content[at : marker.start()].strip(FILLING):
            found.append(blank(at, marker.start()))  # decoders skip what is between two segments
        code, at = marker[0][1], marker.end()
        if code == END:
            return at
        if code in ALONE:
            continue
        body, at = at + 2, at + int.from_bytes(content[at : at + 2])
        if code == 0xD8 or at < body or at > len(content):
            raise MalformedContainer
        if code in APPLICATION or code == COMMENT:
            found += _segment(content, code, body, at, orientation)
            orientation = None if content.startswith(EXIF, body) else orientation
        if code == SCAN:
            behind = BEHIND_SCAN.search(content, at)
            if behind is None:  # its end is missing, which decoders take
                return len(content)
            at = behind.start()


def _segment(content: bytes, code: int, body: int, end: int, orientation: int | None) -> list[Patch]:
    if code == 0xE1 and orientation is not None and content.startswith(EXIF, body):
        start = body + len(EXIF)
        return [Patch(start, orientation_only(orientation, end - start))]
    return [] if content.startswith(KEPT.get(code, ()), body) else [blank(body, end)]
