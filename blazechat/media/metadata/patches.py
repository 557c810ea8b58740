"""What replaces metadata: bytes of the same length that every decoder accepts."""

from blazechat.media.worker_protocol import Patch

MINIMAL_TIFF = b"MM\0*\0\0\0\x08\0\x01\x01\x12\0\x03\0\0\0\x01%s\0\0\0\0\0\0"
"""A TIFF header and a directory of one entry: tag 0x0112 (orientation), one SHORT (TIFF 6.0)."""
EMPTY_XMP = b'<x:xmpmeta xmlns:x="adobe:ns:meta/"/>'


class MalformedContainer(Exception):
    """The container violates its format, so its metadata cannot be located."""


def orientation_only(orientation: int, size: int) -> bytes:
    """Return EXIF of `size` bytes with nothing but the orientation (1 to 8).

    If the orientation does not fit, it cannot have been in the original either, and the result is zeros.
    """
    tiff = MINIMAL_TIFF % orientation.to_bytes(2)
    return tiff.ljust(size, b"\0") if size >= len(tiff) else bytes(size)


def empty_xmp(size: int) -> bytes:
    """Return XMP of `size` bytes without properties."""
    return (EMPTY_XMP if size >= len(EMPTY_XMP) else b"").ljust(size)


def blank(start: int, end: int) -> Patch:
    """Return a patch that overwrites the bytes from `start` up to `end` (exclusive) with zeros."""
    return Patch(start, bytes(end - start))
