"""Metadata in a PNG file (W3C, third edition), animated or not.

Texts go as well, whatever they are about; so does what lies behind the end, where a program that crops
without shortening the file leaves the part that was not to be seen.
"""

import zlib

from blazechat.media.metadata.patches import MalformedContainer, blank, orientation_only
from blazechat.media.worker_protocol import Patch

HEADER = 8
KEPT = frozenset(
    b"IHDR PLTE IDAT IEND tRNS cHRM gAMA iCCP sBIT sRGB cICP mDCV cLLI bKGD hIST pHYs sPLT tIME acTL fcTL"
    b" fdAT".split()
)
ANCILLARY = 0x20
"""The bit of a chunk's name that says that decoders may do without it."""
NOTHING = b"voId"
"""The name of a chunk that is nobody's: ancillary, private, safe to copy."""


def patches(content: bytes, orientation: int) -> list[Patch]:
    """Raises Unwalkable."""
    found, at, name = [], HEADER, b""
    while name != b"IEND":
        length, name = int.from_bytes(content[at : at + 4]), content[at + 4 : at + 8]
        end = at + 12 + length
        if len(name) < 4 or end > len(content):
            raise MalformedContainer
        if name == b"eXIf":
            found.append(_chunk(at, name, orientation_only(orientation, length)))
        elif name not in KEPT:
            if not name[0] & ANCILLARY:
                raise MalformedContainer
            found.append(_chunk(at, NOTHING, bytes(length)))
        at = end
    return [*found, blank(at, len(content))]


def _chunk(at: int, name: bytes, body: bytes) -> Patch:
    return Patch(at + 4, name + body + zlib.crc32(name + body).to_bytes(4))
