"""Generates real image files to upload."""

import io
import random

from PIL import Image


def photo(
    width: int = 640, height: int = 480, *, image_format: str = "JPEG", orientation: int = 1, seed: int = 1
) -> bytes:
    """A photo with a position in its EXIF. Photos with different seeds have different pixels."""
    noise = random.Random(seed).randbytes(64 * 48 * 3)
    image = Image.frombytes("RGB", (64, 48), noise).resize((width, height))
    exif = Image.Exif()
    exif[0x0112] = orientation
    exif[0x010F] = "marker-of-a-camera"
    exif.get_ifd(0x8825).update({1: "N", 2: (48.0, 51.0, 30.0), 3: "E", 4: (2.0, 17.0, 40.0)})
    encoded = io.BytesIO()
    image.save(encoded, image_format, exif=exif)
    return encoded.getvalue()


def position_of(content: bytes) -> dict[int, object]:
    """Return the position in the EXIF of an image."""
    with Image.open(io.BytesIO(content)) as image:
        return dict(image.getexif().get_ifd(0x8825))
