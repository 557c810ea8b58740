"""Inspects an image: its dimensions, thumbnails, placeholder, and patches that remove its metadata."""

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
from blazechat.media.thumbhash import MAX_SIDE_PIXELS, thumbhash
from blazechat.media.worker_protocol import EncodedThumbnail, FileInfo

# Image.open() would select a decoder by the content. With this table no other decoder is ever reached,
# whatever a file claims to be, nor the one that treats a JPEG as several images.
DECODERS: dict[str, type[ImageFile]] = {
    "image/png": PngImageFile,
    "image/jpeg": JpegImageFile,
    "image/webp": WebPImageFile,
    "image/gif": GifImageFile,
    "image/avif": AvifImagePlugin.AvifImageFile,
    "image/bmp": BmpImageFile,
}
THUMBNAIL_QUALITY = 80
"""WebP quality, from 0 to 100."""
UPRIGHT_TRANSPOSES = {
    2: Transpose.FLIP_LEFT_RIGHT,
    3: Transpose.ROTATE_180,
    4: Transpose.FLIP_TOP_BOTTOM,
    5: Transpose.TRANSPOSE,
    6: Transpose.ROTATE_270,
    7: Transpose.TRANSVERSE,
    8: Transpose.ROTATE_90,
}
"""What makes an image upright, by its orientation (EXIF 2.32)."""
SIDEWAYS_ORIENTATIONS = {5, 6, 7, 8}
"""Orientations that swap width and height."""
UNREADABLE_IMAGE = "The image is damaged, or is not what it claims to be."
INCOMPLETE_IMAGE = "The image is incomplete."


class ImageRejected(Exception):
    """The image cannot be accepted. The text is a sentence for a person."""


def inspect(content: bytes, media_type: str, max_pixels: int, thumbnail_sides: Iterable[int]) -> FileInfo:
    """Inspect the image file `content`, of a media type in DECODERS.

    `thumbnail_sides` are the longest sides of the thumbnails, in pixels. Decoding costs time and memory in
    proportion to the pixels, so they are counted before. Raises ImageRejected, and any error of a decoder;
    `rejection_reason()` explains it.
    """
    # Pillow refuses at twice its limit. It also checks the sizes that it finds later in the file.
    Image.MAX_IMAGE_PIXELS = max(1, max_pixels // 2)
    # One thread per core would reserve address space for as many stacks.
    AvifImagePlugin.DEFAULT_MAX_THREADS = 1
    with warnings.catch_warnings(action="ignore"):
        return _inspect(content, media_type, max_pixels, thumbnail_sides)


def rejection_reason(error: Exception) -> str | None:
    """Return a sentence for a person about an error of `inspect()`; None if the image is not its cause."""
    if isinstance(error, ImageRejected):
        return str(error)
    if isinstance(error, Image.DecompressionBombError):
        return "The image has more pixels than this server accepts."
    if isinstance(error, MemoryError):
        return "Decoding the image needs more memory than this server allows."
    if isinstance(error, OSError) and "truncated" in str(error):
        return INCOMPLETE_IMAGE
    if isinstance(
        error, (MalformedContainer, OSError, SyntaxError, ValueError, LookupError, EOFError, RuntimeError)
    ):
        return UNREADABLE_IMAGE
    return None


def _inspect(content: bytes, media_type: str, max_pixels: int, thumbnail_sides: Iterable[int]) -> FileInfo:
    image = DECODERS[media_type](BytesIO(content))
    _check_pixels(content, media_type, image.size, max_pixels)
    width, height = image.size
    sizes = _thumbnail_sizes(width, height, thumbnail_sides)
    # A JPEG decodes at a half, a quarter or an eighth of its size for much less. Twice the size of the
    # largest thumbnail is enough.
    image.draft(None, (sizes[-1][0] * 2, sizes[-1][1] * 2))
    image.load()
    orientation = _orientation(image)
    picture = _in_srgb(_resized(image, sizes[-1]), image.info.get("icc_profile"))
    info = FileInfo(media_type, width, height)
    for size in reversed(sizes):
        picture = _resized(picture, size)
        info.thumbnails.insert(0, _thumbnail(picture, orientation))
    info.placeholder = _placeholder(_upright(picture, orientation))
    if orientation in SIDEWAYS_ORIENTATIONS:
        info.width, info.height = height, width
    info.patches = strip.find_patches(content, image.format or "", orientation)
    return info


def _check_pixels(content: bytes, media_type: str, size: tuple[int, int], max_pixels: int) -> None:
    canvases = [size, *gif.canvases(content)] if media_type == "image/gif" else [size]
    pixels = max(width * height for width, height in canvases)
    if pixels > max_pixels:
        raise ImageRejected(
            f"The image has {pixels:,} pixels, and this server accepts up to {max_pixels:,}."
        )
    if not pixels:
        raise ImageRejected(UNREADABLE_IMAGE)


def _thumbnail_sizes(width: int, height: int, thumbnail_sides: Iterable[int]) -> list[tuple[int, int]]:
    """Return the distinct sizes of the thumbnails, the smallest first; none is larger than the image."""
    longest = max(width, height)
    scales = sorted({min(1.0, side / longest) for side in thumbnail_sides})
    return [(max(1, round(width * scale)), max(1, round(height * scale))) for scale in scales]


def _orientation(image: ImageFile) -> int:
    """Return the orientation in the EXIF, 1 to 8. Pillow's own value also follows XMP, as no browser
    does."""
    exif = Image.Exif()
    try:
        exif.load(image.info.get("exif") or b"")
        value = exif.get(ExifTags.Base.Orientation)
    except Exception:  # noqa: BLE001 -- EXIF is often broken, in every way; such an image is upright
        return 1
    return value if value in UPRIGHT_TRANSPOSES else 1


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
    # The upper eight of 16 bits: convert() alone would make every value above 255 white.
    return image.convert("I").point(lambda value: value * (1 / 256)).convert("L")


def _in_srgb(image: Image.Image, profile: bytes | None) -> Image.Image:
    """Convert to sRGB, the colour space that every screen assumes: RGBA if any pixel is transparent, else
    RGB."""
    alpha = image.getchannel("A") if "A" in image.getbands() else None
    opaque = image.convert({"RGBA": "RGB", "LA": "L"}[image.mode]) if alpha is not None else image
    converted = _converted(opaque, profile) if profile else None
    result = converted or opaque.convert("RGB")
    if alpha is not None and alpha.getextrema() != (255, 255):
        result.putalpha(alpha)
    result.info.clear()  # such as a transparent colour of the former mode
    return result


def _converted(image: Image.Image, profile: bytes) -> Image.Image | None:
    """Return the image in sRGB; None if the profile is broken, or is for images of another mode."""
    try:
        source = ImageCms.ImageCmsProfile(BytesIO(profile))
        return ImageCms.profileToProfile(image, source, ImageCms.createProfile("sRGB"), outputMode="RGB")
    except (ImageCms.PyCMSError, OSError, ValueError, TypeError):
        return None


def _upright(image: Image.Image, orientation: int) -> Image.Image:
    return image.transpose(UPRIGHT_TRANSPOSES[orientation]) if orientation in UPRIGHT_TRANSPOSES else image


def _thumbnail(picture: Image.Image, orientation: int) -> EncodedThumbnail:
    upright = _upright(picture, orientation)
    encoded = BytesIO()
    upright.save(encoded, "WEBP", quality=THUMBNAIL_QUALITY)
    return EncodedThumbnail(encoded.getvalue(), *upright.size)


def _placeholder(picture: Image.Image) -> bytes:
    small = _resized(picture, _thumbnail_sizes(*picture.size, [MAX_SIDE_PIXELS])[0])
    return thumbhash(*small.size, small.convert("RGBA").tobytes())
