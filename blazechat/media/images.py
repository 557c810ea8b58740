"""What is in a picture: its size, small copies of it, and what its metadata say that nobody should know."""

import warnings
from collections.abc import Iterable
from io import BytesIO

from PIL import AvifImagePlugin, ExifTags, Image, ImageCms
from PIL.BmpImagePlugin import BmpImageFile
from PIL.GifImagePlugin import GifImageFile
from PIL.Image import Resampling, Transpose
from PIL.ImageFile import ImageFile
from PIL.JpegImagePlugin import JpegImageFile
from PIL.PngImagePlugin import PngImageFile
from PIL.WebPImagePlugin import WebPImageFile

from blazechat.media.metadata import gif, strip
from blazechat.media.metadata.patches import MalformedContainer
from blazechat.media.thumbhash import LARGEST, thumbhash
from blazechat.media.worker_protocol import Seen, Thumbnail

# Named here, and not found by Image.open(): no other decoder is ever reached, whatever a file claims to be,
# nor the one that takes a JPEG for several.
DECODERS: dict[str, type[ImageFile]] = {
    "image/png": PngImageFile,
    "image/jpeg": JpegImageFile,
    "image/webp": WebPImageFile,
    "image/gif": GifImageFile,
    "image/avif": AvifImagePlugin.AvifImageFile,
    "image/bmp": BmpImageFile,
}
QUALITY = 80
TURNS = {
    2: Transpose.FLIP_LEFT_RIGHT,
    3: Transpose.ROTATE_180,
    4: Transpose.FLIP_TOP_BOTTOM,
    5: Transpose.TRANSPOSE,
    6: Transpose.ROTATE_270,
    7: Transpose.TRANSVERSE,
    8: Transpose.ROTATE_90,
}
"""What makes an image upright, by its orientation (EXIF 2.32)."""
LYING = {5, 6, 7, 8}
UNREADABLE = "The image is damaged, or is not what it claims to be."
INCOMPLETE = "The image is not complete."


class Damaged(Exception):
    """The image cannot be taken. The text is a sentence for a person."""


def look(content: bytes, kind: str, max_pixels: int, longest_sides: Iterable[int]) -> Seen:
    """All there is to see in the image file `content`. Raises Damaged, and whatever a decoder raises.

    `kind` is one of DECODERS. What decoding takes grows with the pixels, so they are counted first.
    """
    # Pillow refuses at twice its limit, and looks at sizes that it comes across later, too.
    Image.MAX_IMAGE_PIXELS = max(1, max_pixels // 2)
    AvifImagePlugin.DEFAULT_MAX_THREADS = 1  # a thread a core would take address space for as many stacks
    with warnings.catch_warnings(action="ignore"):
        return _look(content, kind, max_pixels, longest_sides)


def _look(content: bytes, kind: str, max_pixels: int, longest_sides: Iterable[int]) -> Seen:
    image = DECODERS[kind](BytesIO(content))
    _count_pixels(content, kind, image.size, max_pixels)
    width, height = image.size
    sizes = _sizes(width, height, longest_sides)
    # Twice as large as is needed: a JPEG decodes at a half, a quarter or an eighth for much less.
    image.draft(None, (sizes[-1][0] * 2, sizes[-1][1] * 2))
    image.load()
    orientation = _orientation(image)
    picture = _in_srgb(_resized(image, sizes[-1]), image.info.get("icc_profile"))
    seen = Seen(kind, width, height)
    for size in reversed(sizes):
        picture = _resized(picture, size)
        seen.thumbnails.insert(0, _thumbnail(picture, orientation))
    seen.placeholder = _placeholder(_upright(picture, orientation))
    if orientation in LYING:
        seen.width, seen.height = height, width
    seen.patches = strip.patches(content, image.format or "", orientation)
    return seen


def _count_pixels(content: bytes, kind: str, size: tuple[int, int], max_pixels: int) -> None:
    canvases = [size, *gif.canvases(content)] if kind == "image/gif" else [size]
    pixels = max(width * height for width, height in canvases)
    if pixels > max_pixels:
        raise Damaged(f"The image has {pixels:,} pixels, and this server takes up to {max_pixels:,}.")
    if not pixels:
        raise Damaged(UNREADABLE)


def _sizes(width: int, height: int, longest_sides: Iterable[int]) -> list[tuple[int, int]]:
    """Sizes of the thumbnails, the smallest first: none twice, and none larger than the image."""
    longest = max(width, height)
    scales = sorted({min(1.0, side / longest) for side in longest_sides})
    return [(max(1, round(width * scale)), max(1, round(height * scale))) for scale in scales]


def _orientation(image: ImageFile) -> int:
    """How the EXIF says to hold it. Not Pillow's own word, which goes by XMP as no browser does."""
    exif = Image.Exif()
    try:
        exif.load(image.info.get("exif") or b"")
        value = exif.get(ExifTags.Base.Orientation)
    except Exception:  # noqa: BLE001 -- EXIF is often broken, in every way; such an image is upright
        return 1
    return value if value in TURNS else 1


def _resized(image: Image.Image, size: tuple[int, int]) -> Image.Image:
    if image.mode == "1" or image.mode.startswith("I"):
        image = _as_grey(image)
    elif image.mode not in ("RGBA", "LA") and image.has_transparency_data:
        image = image.convert("RGBA")
    elif image.mode == "P":
        image = image.convert("RGB")
    return image if image.size == size else image.resize(size, Resampling.LANCZOS, reducing_gap=2.0)


def _as_grey(image: Image.Image) -> Image.Image:
    if image.mode == "1":
        return image.convert("L")
    # Of 16 bits the upper eight: convert() would make everything white that is brighter than 255.
    return image.convert("I").point(lambda value: value * (1 / 256)).convert("L")


def _in_srgb(image: Image.Image, profile: bytes | None) -> Image.Image:
    """As RGB or, if anything shows through, RGBA, in the colours that every screen assumes."""
    alpha = image.getchannel("A") if "A" in image.getbands() else None
    opaque = image.convert({"RGBA": "RGB", "LA": "L"}[image.mode]) if alpha is not None else image
    coloured = _converted(opaque, profile) if profile else None
    result = coloured or opaque.convert("RGB")
    if alpha is not None and alpha.getextrema() != (255, 255):
        result.putalpha(alpha)
    result.info.clear()  # a colour that was transparent in another mode, for one
    return result


def _converted(image: Image.Image, profile: bytes) -> Image.Image | None:
    """None where the profile is broken, or is for images of another mode."""
    try:
        source = ImageCms.ImageCmsProfile(BytesIO(profile))
        return ImageCms.profileToProfile(image, source, ImageCms.createProfile("sRGB"), outputMode="RGB")
    except (ImageCms.PyCMSError, OSError, ValueError, TypeError):
        return None


def _upright(image: Image.Image, orientation: int) -> Image.Image:
    return image.transpose(TURNS[orientation]) if orientation in TURNS else image


def _thumbnail(picture: Image.Image, orientation: int) -> Thumbnail:
    upright = _upright(picture, orientation)
    written = BytesIO()
    upright.save(written, "WEBP", quality=QUALITY)
    return Thumbnail(written.getvalue(), *upright.size)


def _placeholder(picture: Image.Image) -> bytes:
    small = _resized(picture, _sizes(*picture.size, [LARGEST])[0])
    return thumbhash(*small.size, small.convert("RGBA").tobytes())


def sentence(error: Exception) -> str | None:
    """What to tell a person of an error of `look()`; None for one that is no image's fault."""
    if isinstance(error, Damaged):
        return str(error)
    if isinstance(error, Image.DecompressionBombError):
        return "The image has more pixels than this server takes."
    if isinstance(error, MemoryError):
        return "Looking at the image takes more memory than this server gives it."
    if isinstance(error, OSError) and "truncated" in str(error):
        return INCOMPLETE
    if isinstance(
        error, (MalformedContainer, OSError, SyntaxError, ValueError, LookupError, EOFError, RuntimeError)
    ):
        return UNREADABLE
    return None
