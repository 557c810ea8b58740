"""The tracks of an MP4 or QuickTime film (ISO/IEC 14496-12): whether there is a picture, and how large."""

from typing import Protocol

from blazechat.media.metadata.iso_bmff import Box, inside
from blazechat.media.worker_protocol import Seen

LARGEST = 32_000_000
"""Bytes of a `moov` that are looked at."""


class Pieces(Protocol):
    def piece(self, start: int, length: int) -> bytes: ...


def look(file: Pieces, seen: Seen) -> None:
    """Write down what is found in `seen`. Raises Unwalkable."""
    content = _description(file)
    if not content:
        return
    whole = Box(b"moov", 0, 0, len(content))
    tracks = {
        content[handler.body + 8 : handler.body + 12]: track
        for track in reversed(list(inside(content, whole, b"trak")))
        for handler in inside(content, track, b"mdia", b"hdlr")
    }
    if b"vide" in tracks:
        for header in inside(content, tracks[b"vide"], b"tkhd"):
            seen.width, seen.height = _size(content[header.body : header.end])
    elif b"soun" in tracks:
        seen.media_type = "audio/mp4"  # which its brand may not say: voice messages from browsers


def _description(file: Pieces) -> bytes:
    """What is in the `moov` box; nothing if not all of it is here."""
    at = 0
    while len(header := file.piece(at, 16)) >= 8:
        length, inner = int.from_bytes(header[:4]), 8
        if length == 1:
            length, inner = int.from_bytes(header[8:]), 16
        if header[4:8] == b"moov" and inner <= length <= LARGEST:
            content = file.piece(at + inner, length - inner)
            return content if len(content) == length - inner else b""
        if length < inner:
            break
        at += length
    return b""


def _size(header: bytes) -> tuple[int, int]:
    """Width and height of a `tkhd`, upright: its matrix may turn it by a quarter."""
    matrix = header[-44:-8]
    width, height = int.from_bytes(header[-8:-6]), int.from_bytes(header[-4:-2])
    is_lying = not any(matrix[0:4]) and any(matrix[4:8])
    return (height, width) if is_lying else (width, height)
