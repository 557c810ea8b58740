"""What a Matroska or WebM film says of itself before its first cluster (RFC 9559)."""

import struct
from collections.abc import Iterator

from blazechat.media.worker_protocol import Seen

SEGMENT, CLUSTER, INFO, TRACKS = 0x18538067, 0x1F43B675, 0x1549A966, 0x1654AE6B
SCALE, DURATION = 0x2AD7B1, 0x4489
ENTRY, KIND, VIDEO, WIDTH, HEIGHT = 0xAE, 0x83, 0xE0, 0xB0, 0xBA
PICTURE, SOUND = 1, 2
"""Kinds of tracks."""
NANOSECONDS = 1_000_000_000
USUAL_SCALE = 1_000_000

Element = tuple[int, bytes]


def look(head: bytes, seen: Seen) -> None:
    """Write down what is found in `seen`."""
    for kind, segment in _elements(head):
        if kind != SEGMENT:
            continue
        for part, content in _elements(segment):
            if part == CLUSTER:
                return
            if part == INFO:
                seen.duration = _duration(dict(_elements(content)))
            elif part == TRACKS:
                _look_at_tracks(
                    [dict(_elements(entry)) for part, entry in _elements(content) if part == ENTRY], seen
                )


def _duration(info: dict[int, bytes]) -> float | None:
    if DURATION not in info:
        return None
    scale = int.from_bytes(info[SCALE]) if SCALE in info else USUAL_SCALE
    (ticks,) = struct.unpack(">f" if len(info[DURATION]) == 4 else ">d", info[DURATION])
    return float(ticks) * scale / NANOSECONDS


def _look_at_tracks(tracks: list[dict[int, bytes]], seen: Seen) -> None:
    by_kind = {int.from_bytes(track.get(KIND, b"")): track for track in reversed(tracks)}
    if PICTURE in by_kind:
        video = dict(_elements(by_kind[PICTURE].get(VIDEO, b"")))
        if WIDTH in video and HEIGHT in video:
            seen.width, seen.height = int.from_bytes(video[WIDTH]), int.from_bytes(video[HEIGHT])
    elif SOUND in by_kind:
        seen.media_type = seen.media_type.replace("video/", "audio/")  # a voice message from a browser


def _elements(content: bytes) -> Iterator[Element]:
    """Id and content of each (EBML, RFC 8794). One whose length is not known goes on to the end."""
    at = 0
    while at < len(content):
        kind, at = _number(content, at, with_marker=True)
        length, start = _number(content, at, with_marker=False)
        is_unknown = length == (1 << 7 * (start - at)) - 1
        at = len(content) if is_unknown else start + length
        yield kind, content[start:at]


def _number(content: bytes, at: int, *, with_marker: bool) -> tuple[int, int]:
    """A number, whose first byte says how long it is, and where it ends."""
    size = 9 - content[at].bit_length()
    value = int.from_bytes(content[at : at + size])
    return (value if with_marker else value & (1 << 7 * size) - 1), at + size
