"""Metadata in a PNG file (W3C, third edition), animated or not.

Text chunks are removed whatever they contain. So are the bytes after the end of the image: a program that
crops an image without truncating the file leaves the cropped part there.
"""

import zlib

from blazechat.media.metadata.patches import MalformedContainer, blank, orientation_only
from blazechat.media.worker_protocol import Patch

SIGNATURE_BYTES = 8
KEPT_CHUNKS = frozenset(
    b"IHDR PLTE IDAT IEND tRNS cHRM gAMA iCCP sBIT sRGB cICP mDCV cLLI bKGD hIST pHYs sPLT tIME acTL fcTL"
    b" fdAT".split()
)
ANCILLARY_BIT = 0x20
"""Set in the name of a chunk that decoders may ignore."""
VOID_CHUNK = b"voId"
"""A name that no program uses: ancillary, private, safe to copy."""


def find_patches(content: bytes, orientation: int) -> list[Patch]:
    """Return patches that remove all metadata but the orientation. Raises MalformedContainer."""
    found, offset, name = [], SIGNATURE_BYTES, b""
    while name != b"IEND":
        length, name = int.from_bytes(content[offset : offset + 4]), content[offset + 4 : offset + 8]
        end = offset + 12 + length
        if len(name) < 4 or end > len(content):
            raise MalformedContainer
        if name == b"eXIf":
            found.append(_chunk(offset, name, orientation_only(orientation, length)))
        elif name not in KEPT_CHUNKS:
            if not name[0] & ANCILLARY_BIT:
                raise MalformedContainer
            found.append(_chunk(offset, VOID_CHUNK, bytes(length)))
        offset = end
    return [*found, blank(offset, len(content))]


def _chunk(offset: int, name: bytes, body: bytes) -> Patch:
    """Return a patch that replaces the name, body and checksum of the chunk at `offset`."""
    return Patch(offset + 4, name + body + zlib.crc32(name + body).to_bytes(4))
