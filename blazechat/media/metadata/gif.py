"""A GIF file's blocks (CompuServe, 89a): their metadata, and the canvas that their frames ask for."""

from collections.abc import Iterator
from typing import NamedTuple

from blazechat.media.metadata.patches import MalformedContainer, blank
from blazechat.media.worker_protocol import Patch

SCREEN, FRAME = 13, 10
"""Bytes of the two descriptors."""
IMAGE, EXTENSION, TRAILER = b",", b"!", b";"
COMMENT, APPLICATION = b"!\xfe", b"!\xff"
KEPT = (b"NETSCAPE2.0", b"ANIMEXTS1.0", b"ICCRGBG1012")
"""Applications' blocks that are about how the picture looks. XMP is another such."""
LONGEST = 256
"""Bytes of a sub-block, its length among them."""


class Block(NamedTuple):
    kind: bytes
    start: int
    parts: int
    """Where its sub-blocks begin."""
    end: int


def patches(content: bytes) -> list[Patch]:
    """Raises Unwalkable."""
    found, end = [], SCREEN
    for block in _blocks(content):
        end = block.end
        if block.kind == COMMENT:
            found.append(_emptied(block.parts, end))
        elif block.kind == APPLICATION:
            behind_name = block.parts + 1 + content[block.parts]
            if not content.startswith(KEPT, block.parts + 1) and behind_name < end:
                found.append(_emptied(behind_name, end))
    return [*found, blank(end, len(content))]


def canvases(content: bytes) -> Iterator[tuple[int, int]]:
    """Width and height that each frame needs, which may be more than the file says at first."""
    for block in _blocks(content):
        if block.kind == IMAGE:
            left, top, width, height = (
                int.from_bytes(content[at : at + 2], "little")
                for at in range(block.start + 1, block.start + 9, 2)
            )
            yield left + width, top + height


def _blocks(content: bytes) -> Iterator[Block]:
    """All up to the trailer, which some files do without."""
    if len(content) < SCREEN:
        raise MalformedContainer
    at = SCREEN + _palette(content[10:11])
    while at < len(content):
        kind = content[at : at + 1]
        if kind == b"\0":  # some writers fill up with zeros
            at += 1
            continue
        if kind == TRAILER:
            yield Block(kind, at, at + 1, at + 1)
            return
        if kind == IMAGE:
            parts = at + FRAME + _palette(content[at + 9 : at + 10]) + 1
        elif kind == EXTENSION:
            kind, parts = content[at : at + 2], at + 2
        else:
            raise MalformedContainer
        end = _end_of_parts(content, parts)
        yield Block(kind, at, parts, end)
        at = end


def _palette(flags: bytes) -> int:
    if not flags:
        raise MalformedContainer
    return 3 << (flags[0] & 7) + 1 if flags[0] & 0x80 else 0


def _end_of_parts(content: bytes, at: int) -> int:
    while at < len(content) and content[at]:
        at += 1 + content[at]
    if at >= len(content):
        raise MalformedContainer
    return at + 1


def _emptied(start: int, end: int) -> Patch:
    """Sub-blocks of zeros, their lengths set anew: XMP has its text where those would be."""
    made, left = b"", end - start - 1
    while left:
        size = min(left, LONGEST)
        if left - size == 1:  # which would be a length without anything behind it
            size -= 1
        made += bytes([size - 1]).ljust(size, b"\0")
        left -= size
    return Patch(start, made + b"\0")
