"""Duration and dimensions of a Matroska or WebM file, from what precedes its first cluster (RFC 9559)."""

import struct
from collections.abc import Iterator

from blazechat.media.worker_protocol import FileInfo

SEGMENT, CLUSTER, INFO, TRACKS = 0x18538067, 0x1F43B675, 0x1549A966, 0x1654AE6B
TIMESTAMP_SCALE, DURATION = 0x2AD7B1, 0x4489
TRACK_ENTRY, TRACK_TYPE, VIDEO, PIXEL_WIDTH, PIXEL_HEIGHT = 0xAE, 0x83, 0xE0, 0xB0, 0xBA
VIDEO_TRACK, AUDIO_TRACK = 1, 2
"""Values of TRACK_TYPE."""
NANOSECONDS_PER_SECOND = 1_000_000_000
DEFAULT_TIMESTAMP_SCALE = 1_000_000
"""Nanoseconds per tick."""

Element = tuple[int, bytes]
"""Id and content."""


def read_tracks(head: bytes, info: FileInfo) -> None:
    """Set the duration and dimensions in `info`; a file without video becomes audio.

    Raises IndexError or struct.error if the head is malformed.
    """
    for element_id, segment in _elements(head):
        if element_id != SEGMENT:
            continue
        for child_id, content in _elements(segment):
            if child_id == CLUSTER:
                return
            if child_id == INFO:
                info.duration = _duration(dict(_elements(content)))
            elif child_id == TRACKS:
                entries = [entry for entry_id, entry in _elements(content) if entry_id == TRACK_ENTRY]
                _apply_tracks([dict(_elements(entry)) for entry in entries], info)


def _duration(segment_info: dict[int, bytes]) -> float | None:
    if DURATION not in segment_info:
        return None
    scale = (
        int.from_bytes(segment_info[TIMESTAMP_SCALE])
        if TIMESTAMP_SCALE in segment_info
        else DEFAULT_TIMESTAMP_SCALE
    )
    duration = segment_info[DURATION]
    (ticks,) = struct.unpack(">f" if len(duration) == 4 else ">d", duration)
    return float(ticks) * scale / NANOSECONDS_PER_SECOND


def _apply_tracks(tracks: list[dict[int, bytes]], info: FileInfo) -> None:
    by_type = {int.from_bytes(track.get(TRACK_TYPE, b"")): track for track in reversed(tracks)}
    if VIDEO_TRACK in by_type:
        video = dict(_elements(by_type[VIDEO_TRACK].get(VIDEO, b"")))
        if PIXEL_WIDTH in video and PIXEL_HEIGHT in video:
            info.width = int.from_bytes(video[PIXEL_WIDTH])
            info.height = int.from_bytes(video[PIXEL_HEIGHT])
    elif AUDIO_TRACK in by_type:
        info.media_type = info.media_type.replace("video/", "audio/")  # a voice message from a browser


def _elements(content: bytes) -> Iterator[Element]:
    """Yield the EBML elements (RFC 8794). An element of unknown length extends to the end of `content`."""
    offset = 0
    while offset < len(content):
        element_id, offset = _number(content, offset, with_marker=True)
        length, start = _number(content, offset, with_marker=False)
        is_unknown = length == (1 << 7 * (start - offset)) - 1
        offset = len(content) if is_unknown else start + length
        yield element_id, content[start:offset]


def _number(content: bytes, offset: int, *, with_marker: bool) -> tuple[int, int]:
    """Return a number of variable length, whose first byte gives its length, and the offset where it
    ends."""
    size = 9 - content[offset].bit_length()
    value = int.from_bytes(content[offset : offset + size])
    return (value if with_marker else value & (1 << 7 * size) - 1), offset + size
