"""What is put in the place of metadata: as long as what was there, and accepted by every decoder."""

from blazechat.media.worker_protocol import Patch

TIFF = b"MM\0*\0\0\0\x08\0\x01\x01\x12\0\x03\0\0\0\x01%s\0\0\0\0\0\0"
"""A header, and a directory of one entry: tag 0x0112, a short, once (TIFF 6.0)."""
XMP = b'<x:xmpmeta xmlns:x="adobe:ns:meta/"/>'


class MalformedContainer(Exception):
    """The container is not as its format has it, so that nobody knows where its metadata are."""


def orientation_only(orientation: int, room: int) -> bytes:
    """An EXIF of `room` bytes that says how to hold the image (1 to 8), and nothing else.

    What is too short for that cannot have said it, and becomes nothing.
    """
    tiff = TIFF % orientation.to_bytes(2)
    return tiff.ljust(room, b"\0") if room >= len(tiff) else bytes(room)


def empty_xmp(room: int) -> bytes:
    return (XMP if room >= len(XMP) else b"").ljust(room)


def blank(start: int, end: int) -> Patch:
    return Patch(start, bytes(end - start))
