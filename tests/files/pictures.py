"""Files to upload: real ones, made here."""

import io
import random

from PIL import Image


def photo(
    width: int = 640, height: int = 480, *, kind: str = "JPEG", orientation: int = 1, seed: int = 1
) -> bytes:
    """A picture with a place in its EXIF, and enough noise that no two are alike."""
    noise = random.Random(seed).randbytes(64 * 48 * 3)
    image = Image.frombytes("RGB", (64, 48), noise).resize((width, height))
    exif = Image.Exif()
    exif[0x0112] = orientation
    exif[0x010F] = "marker-of-a-camera"
    exif.get_ifd(0x8825).update({1: "N", 2: (48.0, 51.0, 30.0), 3: "E", 4: (2.0, 17.0, 40.0)})
    made = io.BytesIO()
    image.save(made, kind, exif=exif)
    return made.getvalue()


def place_of(content: bytes) -> dict[int, object]:
    """What the EXIF of a picture says of where it was taken."""
    with Image.open(io.BytesIO(content)) as image:
        return dict(image.getexif().get_ifd(0x8825))
