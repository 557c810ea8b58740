"""Taking out of a picture what tells where, when and by whom it was taken.

In place, since the bytes are stored by then: the file keeps its length, and its pixels, colour profile and
animation byte for byte. What is kept is named, and all else goes, so that a maker's own block or a film
behind the picture does not tell what the EXIF no longer does.
"""

from collections.abc import Callable

from blazechat.media.metadata import gif, heif, jpeg, png, webp
from blazechat.media.metadata.patches import MalformedContainer
from blazechat.media.worker_protocol import Patch

WALKS: dict[str, Callable[[bytes, int], list[Patch]]] = {
    "JPEG": jpeg.patches,
    "PNG": png.patches,
    "WEBP": webp.patches,
    "AVIF": heif.patches,
    "HEIF": heif.patches,
    "GIF": lambda content, _: gif.patches(content),
    "BMP": lambda content, _: [],
}
"""By the formats' names as Pillow has them. A BMP file has nothing of the kind."""


def patches(content: bytes, image_format: str, orientation: int) -> list[Patch]:
    """What to replace in a picture, so that of its metadata only the orientation is left.

    That is a number from 1 to 8 (EXIF 2.32), and `image_format` a name of WALKS. Raises Unwalkable if
    its container is not as its format has it.
    """
    try:
        found = WALKS[image_format](content, orientation)
    except (KeyError, IndexError) as error:
        raise MalformedContainer from error
    return [patch for patch in found if not content.startswith(patch.content, patch.offset)]
