"""Files to look at, good and bad, made small."""

import struct
import zlib
from io import BytesIO
from typing import Any

from PIL import ExifTags, Image

PLACE = "Lat52.5Lon13.4"
"""What the metadata say, and no stored file may."""
LYING = 6
"""An orientation: to be turned by a quarter."""


def picture(mode: str = "RGB", size: tuple[int, int] = (64, 48)) -> Image.Image:
    """No two rows or columns of it are the same, so that every turn of it shows."""
    across = Image.linear_gradient("L").resize(size)
    down = Image.linear_gradient("L").rotate(90).resize(size)
    return Image.merge("RGB", (across, down, Image.new("L", size, 90))).convert(mode)


def saved(image: Image.Image, image_format: str, **options: Any) -> bytes:
    written = BytesIO()
    image.save(written, image_format, **options)
    return written.getvalue()


def opened(content: bytes) -> Image.Image:
    image = Image.open(BytesIO(content))
    image.load()
    return image


def exif() -> Image.Exif:
    """A position, the same in words, and an orientation."""
    made = Image.Exif()
    made[ExifTags.Base.Orientation] = LYING
    made[ExifTags.Base.ImageDescription] = PLACE
    made.get_ifd(ExifTags.IFD.GPSInfo).update({1: "N", 2: (52.0, 30.0, 0.0), 3: "E", 4: (13.0, 24.0, 0.0)})
    return made


def xmp() -> bytes:
    return f'<x:xmpmeta xmlns:x="adobe:ns:meta/"><place>{PLACE}</place></x:xmpmeta>'.encode()


def chunk(name: bytes, body: bytes) -> bytes:
    """Of a PNG file."""
    return struct.pack(">I", len(body)) + name + body + struct.pack(">I", zlib.crc32(name + body))


def png(width: int, height: int, *before: bytes, bits: int = 1, rows: int | None = None) -> bytes:
    """A black one, with chunks before its pixels. Fewer `rows` than it says do for what is not decoded."""
    packer = zlib.compressobj(1)
    row = bytes(1 + (width * bits + 7) // 8)
    pixels = packer.compress(row * (height if rows is None else rows)) + packer.flush()
    header = struct.pack(">2I5B", width, height, bits, 0, 0, 0, 0)
    chunks = (chunk(b"IHDR", header), *before, chunk(b"IDAT", pixels), chunk(b"IEND", b""))
    return b"\x89PNG\r\n\x1a\n" + b"".join(chunks)


def segment(code: int, body: bytes) -> bytes:
    """Of a JPEG file."""
    return struct.pack(">BBH", 0xFF, code, len(body) + 2) + body


def box(kind: bytes, *parts: bytes) -> bytes:
    """Of an ISO base media file."""
    body = b"".join(parts)
    return struct.pack(">I", len(body) + 8) + kind + body


def gif_frame(width: int, height: int) -> bytes:
    """A frame of a GIF file, without enough pixels for its size."""
    return b"," + struct.pack("<4HB", 0, 0, width, height, 0) + b"\x02\x02\x4c\x01\x00"


def gif(width: int, height: int, *blocks: bytes) -> bytes:
    return b"GIF89a" + struct.pack("<2H3B", width, height, 0, 0, 0) + b"".join(blocks) + b";"
