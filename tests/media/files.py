"""Small test files, valid and malformed, for the media workers."""

import struct
import zlib
from io import BytesIO
from typing import Any

from PIL import ExifTags, Image

POSITION = "Lat52.5Lon13.4"
"""The position in the metadata, which no stored file may contain."""
SIDEWAYS = 6
"""An EXIF orientation: rotated by a quarter."""


def picture(mode: str = "RGB", size: tuple[int, int] = (64, 48)) -> Image.Image:
    """An image in which no two rows or columns are equal, so that every rotation is visible."""
    across = Image.linear_gradient("L").resize(size)
    down = Image.linear_gradient("L").rotate(90).resize(size)
    return Image.merge("RGB", (across, down, Image.new("L", size, 90))).convert(mode)


def saved(image: Image.Image, image_format: str, **options: Any) -> bytes:
    encoded = BytesIO()
    image.save(encoded, image_format, **options)
    return encoded.getvalue()


def opened(content: bytes) -> Image.Image:
    image = Image.open(BytesIO(content))
    image.load()
    return image


def exif() -> Image.Exif:
    """EXIF with a position, a description with the same position, and an orientation."""
    made = Image.Exif()
    made[ExifTags.Base.Orientation] = SIDEWAYS
    made[ExifTags.Base.ImageDescription] = POSITION
    made.get_ifd(ExifTags.IFD.GPSInfo).update({1: "N", 2: (52.0, 30.0, 0.0), 3: "E", 4: (13.0, 24.0, 0.0)})
    return made


def xmp() -> bytes:
    return f'<x:xmpmeta xmlns:x="adobe:ns:meta/"><place>{POSITION}</place></x:xmpmeta>'.encode()


def chunk(name: bytes, body: bytes) -> bytes:
    """A chunk of a PNG file."""
    return struct.pack(">I", len(body)) + name + body + struct.pack(">I", zlib.crc32(name + body))


def png(width: int, height: int, *before: bytes, bits: int = 1, rows: int | None = None) -> bytes:
    """A black PNG file, with chunks before its pixels. `rows` below `height` do if it is not decoded."""
    packer = zlib.compressobj(1)
    row = bytes(1 + (width * bits + 7) // 8)
    pixels = packer.compress(row * (height if rows is None else rows)) + packer.flush()
    header = struct.pack(">2I5B", width, height, bits, 0, 0, 0, 0)
    chunks = (chunk(b"IHDR", header), *before, chunk(b"IDAT", pixels), chunk(b"IEND", b""))
    return b"\x89PNG\r\n\x1a\n" + b"".join(chunks)


def segment(code: int, body: bytes) -> bytes:
    """A segment of a JPEG file."""
    return struct.pack(">BBH", 0xFF, code, len(body) + 2) + body


def box(kind: bytes, *parts: bytes) -> bytes:
    """A box of an ISO base media file."""
    body = b"".join(parts)
    return struct.pack(">I", len(body) + 8) + kind + body


def gif_frame(width: int, height: int) -> bytes:
    """A frame of a GIF file, with fewer pixels than its size needs."""
    return b"," + struct.pack("<4HB", 0, 0, width, height, 0) + b"\x02\x02\x4c\x01\x00"


def gif(width: int, height: int, *blocks: bytes) -> bytes:
    return b"GIF89a" + struct.pack("<2H3B", width, height, 0, 0, 0) + b"".join(blocks) + b";"
