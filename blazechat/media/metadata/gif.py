"""The blocks of a GIF file (CompuServe, 89a): their metadata, and the canvas sizes of their frames."""

from collections.abc import Iterator
from typing import NamedTuple

from blazechat.media.metadata.patches import MalformedContainer, blank
from blazechat.media.worker_protocol import Patch

HEADER_BYTES = 13
"""Signature and logical screen descriptor."""
IMAGE_DESCRIPTOR_BYTES = 10
IMAGE, EXTENSION, TRAILER = b",", b"!", b";"
COMMENT, APPLICATION = b"!\xfe", b"!\xff"
KEPT_APPLICATIONS = (b"NETSCAPE2.0", b"ANIMEXTS1.0", b"ICCRGBG1012")
"""Application extensions that affect how the image looks. Others, such as XMP, are removed."""
MAX_SUB_BLOCK_BYTES = 256
"""Including the length byte."""


class GifBlock(NamedTuple):
    kind: bytes
    start: int
    data: int
    """Where its sub-blocks begin."""
    end: int


def find_patches(content: bytes) -> list[Patch]:
    """Return patches that remove the metadata. Raises MalformedContainer."""
    found, end = [], HEADER_BYTES
    for block in _blocks(content):
        end = block.end
        if block.kind == COMMENT:
            found.append(_zeroed_sub_blocks(block.data, end))
        elif block.kind == APPLICATION:
            name_end = block.data + 1 + content[block.data]
            if not content.startswith(KEPT_APPLICATIONS, block.data + 1) and name_end < end:
                found.append(_zeroed_sub_blocks(name_end, end))
    return [*found, blank(end, len(content))]


def canvases(content: bytes) -> Iterator[tuple[int, int]]:
    """Yield the width and height that each frame needs, which may exceed those in the file's header."""
    for block in _blocks(content):
        if block.kind == IMAGE:
            left, top, width, height = (
                int.from_bytes(content[offset : offset + 2], "little")
                for offset in range(block.start + 1, block.start + 9, 2)
            )
            yield left + width, top + height


def _blocks(content: bytes) -> Iterator[GifBlock]:
    """Yield the blocks up to the trailer, which some files lack."""
    if len(content) < HEADER_BYTES:
        raise MalformedContainer
    offset = HEADER_BYTES + _palette_bytes(content[10:11])
    while offset < len(content):
        kind = content[offset : offset + 1]
        if kind == b"\0":  # some encoders pad with zeros
            offset += 1
            continue
        if kind == TRAILER:
            yield GifBlock(kind, offset, offset + 1, offset + 1)
            return
        if kind == IMAGE:
            flags = content[offset + 9 : offset + 10]
            data = offset + IMAGE_DESCRIPTOR_BYTES + _palette_bytes(flags) + 1
        elif kind == EXTENSION:
            kind, data = content[offset : offset + 2], offset + 2
        else:
            raise MalformedContainer
        end = _sub_blocks_end(content, data)
        yield GifBlock(kind, offset, data, end)
        offset = end


def _palette_bytes(flags: bytes) -> int:
    """Return the size of the colour table that follows a descriptor with these flags."""
    if not flags:
        raise MalformedContainer
    return 3 << (flags[0] & 7) + 1 if flags[0] & 0x80 else 0


def _sub_blocks_end(content: bytes, offset: int) -> int:
    while offset < len(content) and content[offset]:
        offset += 1 + content[offset]
    if offset >= len(content):
        raise MalformedContainer
    return offset + 1


def _zeroed_sub_blocks(start: int, end: int) -> Patch:
    """Replace sub-blocks by sub-blocks of zeros with new lengths: XMP has text where its lengths would
    be."""
    replacement, left = b"", end - start - 1
    while left:
        size = min(left, MAX_SUB_BLOCK_BYTES)
        if left - size == 1:  # the last sub-block would be a length without data
            size -= 1
        replacement += bytes([size - 1]).ljust(size, b"\0")
        left -= size
    return Patch(start, replacement + b"\0")
