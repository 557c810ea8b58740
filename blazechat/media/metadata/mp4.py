"""The tracks of an MP4 or QuickTime file (ISO/IEC 14496-12): whether it has video, and its dimensions."""

from typing import Protocol

from blazechat.media.metadata.iso_bmff import Box, descendants
from blazechat.media.worker_protocol import FileInfo

MAX_MOOV_BYTES = 32_000_000
"""A larger `moov` box is not read."""


class PartialFile(Protocol):
    """A file of which some bytes are available."""

    def read_at(self, start: int, length: int) -> bytes: ...


def read_tracks(file: PartialFile, info: FileInfo) -> None:
    """Set the dimensions in `info`; a file without video becomes audio. Raises MalformedContainer."""
    content = _moov(file)
    if not content:
        return
    moov = Box(b"moov", 0, 0, len(content))
    tracks = {
        content[handler.body + 8 : handler.body + 12]: track
        for track in reversed(list(descendants(content, moov, b"trak")))
        for handler in descendants(content, track, b"mdia", b"hdlr")
    }
    if b"vide" in tracks:
        for header in descendants(content, tracks[b"vide"], b"tkhd"):
            info.width, info.height = _dimensions(content[header.body : header.end])
    elif b"soun" in tracks:
        info.media_type = "audio/mp4"  # the brand may not reveal it, as in voice messages from browsers


def _moov(file: PartialFile) -> bytes:
    """Return the content of the `moov` box; nothing if part of it is not available."""
    offset = 0
    while len(header := file.read_at(offset, 16)) >= 8:
        length, header_bytes = int.from_bytes(header[:4]), 8
        if length == 1:
            length, header_bytes = int.from_bytes(header[8:]), 16
        if header[4:8] == b"moov" and header_bytes <= length <= MAX_MOOV_BYTES:
            content = file.read_at(offset + header_bytes, length - header_bytes)
            return content if len(content) == length - header_bytes else b""
        if length < header_bytes:
            break
        offset += length
    return b""


def _dimensions(header: bytes) -> tuple[int, int]:
    """Return the upright width and height of a `tkhd` box, whose matrix may rotate by a quarter."""
    matrix = header[-44:-8]
    width, height = int.from_bytes(header[-8:-6]), int.from_bytes(header[-4:-2])
    is_sideways = not any(matrix[0:4]) and any(matrix[4:8])
    return (height, width) if is_sideways else (width, height)
