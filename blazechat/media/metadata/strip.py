"""Removes from an image what reveals where, when and by whom it was taken.

The bytes are stored already, so they are patched in place: the file keeps its length, and its pixels,
colour profile and animation stay byte for byte. Each format has a list of what is kept, and everything else
is removed. Otherwise a proprietary block, or a video appended to the image, might still reveal what was
removed from the EXIF.
"""

from collections.abc import Callable

from blazechat.media.metadata import gif, heif, jpeg, png, webp
from blazechat.media.metadata.patches import MalformedContainer
from blazechat.media.worker_protocol import Patch

STRIPPERS: dict[str, Callable[[bytes, int], list[Patch]]] = {
    "JPEG": jpeg.find_patches,
    "PNG": png.find_patches,
    "WEBP": webp.find_patches,
    "AVIF": heif.find_patches,
    "HEIF": heif.find_patches,
    "GIF": lambda content, _: gif.find_patches(content),
    "BMP": lambda content, _: [],
}
"""By Pillow's names of the formats. A BMP file has no metadata."""


def find_patches(content: bytes, image_format: str, orientation: int) -> list[Patch]:
    """Return the patches after which the orientation is the only metadata of the image.

    `image_format` is a key of STRIPPERS, `orientation` a number from 1 to 8 (EXIF 2.32). Raises
    MalformedContainer if the file violates its format.
    """
    try:
        found = STRIPPERS[image_format](content, orientation)
    except (KeyError, IndexError) as error:
        raise MalformedContainer from error
    return [patch for patch in found if not content.startswith(patch.content, patch.offset)]
