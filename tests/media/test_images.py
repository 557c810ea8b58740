"""The inspection of images: what is found in them, and which are rejected before they are decoded."""

import struct
import zlib

import pytest
from PIL import ExifTags, Image, ImageCms, ImageOps
from PIL.PngImagePlugin import PngInfo

from blazechat.media import images
from blazechat.media.file_types import media_type_of
from blazechat.media.thumbhash import thumbhash
from blazechat.media.worker_protocol import FileInfo
from tests.media.files import POSITION, SIDEWAYS, chunk, exif, gif, gif_frame, opened, picture, png, saved

MAX_PIXELS = 10_000_000
THUMBNAIL_SIDES = (32, 128)


def inspect(content: bytes, max_pixels: int = MAX_PIXELS) -> FileInfo:
    return images.inspect(content, media_type_of(content), max_pixels, THUMBNAIL_SIDES)


def rejection(content: bytes, max_pixels: int = MAX_PIXELS) -> str:
    """Return the sentence for a person about this rejected image."""
    with pytest.raises(Exception) as raised:  # noqa: PT011 -- decoders raise errors of any type
        inspect(content, max_pixels)
    assert isinstance(raised.value, Exception)
    reason = images.rejection_reason(raised.value)
    assert reason is not None, repr(raised.value)
    return reason


def colour(content: bytes, at: tuple[int, int]) -> tuple[int, ...]:
    found = opened(content).convert("RGBA").getpixel(at)
    assert isinstance(found, tuple)
    return tuple(map(int, found))


def near(one: tuple[int, ...], other: tuple[int, ...], by: int = 12) -> bool:
    return all(abs(left - right) <= by for left, right in zip(one, other, strict=True))


@pytest.mark.parametrize("image_format", ["PNG", "JPEG", "WEBP", "GIF", "AVIF", "BMP"])
def test_every_format_is_inspected(image_format: str) -> None:
    """The result has dimensions, thumbnails that fit, and a placeholder."""
    info = inspect(saved(picture(size=(400, 300)), image_format))
    assert info.media_type == f"image/{image_format.lower()}"
    assert (info.width, info.height) == (400, 300)
    assert [(each.width, each.height) for each in info.thumbnails] == [(32, 24), (128, 96)]
    for each in info.thumbnails:
        assert media_type_of(each.content) == "image/webp"
        assert opened(each.content).size == (each.width, each.height)
        middle = (each.width // 2, each.height // 2)
        assert near(
            colour(each.content, middle), colour(saved(picture(size=(400, 300)), "PNG"), (200, 150))
        )
    assert info.placeholder is not None
    assert 20 <= len(info.placeholder) <= 25
    assert info.patches == []


@pytest.mark.parametrize(
    ("size", "thumbnails"), [((64, 48), [(32, 24), (64, 48)]), ((20, 10), [(20, 10)]), ((1, 1), [(1, 1)])]
)
def test_thumbnails_are_not_larger_than_the_image(
    size: tuple[int, int], thumbnails: list[tuple[int, int]]
) -> None:
    """No two of them have the same size."""
    assert [
        (each.width, each.height) for each in inspect(saved(picture(size=size), "PNG")).thumbnails
    ] == thumbnails


@pytest.mark.parametrize("orientation", range(1, 9))
@pytest.mark.parametrize("image_format", ["JPEG", "PNG", "WEBP", "AVIF"])
def test_rotated_images_become_upright(image_format: str, orientation: int) -> None:
    """The orientation applies to the dimensions, the thumbnails and the placeholder."""
    plain = picture(size=(120, 80))
    given = Image.Exif()
    given[ExifTags.Base.Orientation] = orientation
    upright = ImageOps.exif_transpose(opened(saved(plain, "PNG", exif=given)))
    info = inspect(saved(plain, image_format, exif=given))
    assert (info.width, info.height) == upright.size
    thumbnail = info.thumbnails[-1]
    assert (thumbnail.width, thumbnail.height) == upright.size
    for at in ((5, 5), (upright.width - 6, 5), (5, upright.height - 6)):
        assert near(colour(thumbnail.content, at), colour(saved(upright, "PNG"), at), 24)


@pytest.mark.parametrize("mode", ["1", "L", "LA", "P", "RGBA", "I;16"])
def test_every_mode_of_png_keeps_its_colours(mode: str) -> None:
    """Palettes, greys and 16-bit values look as they would on a screen."""
    if mode == "I;16":
        image = Image.frombytes("I;16", (64, 48), struct.pack("<H", 100 << 8) * 64 * 48)
        expected: tuple[int, ...] = (100, 100, 100, 255)
    else:
        image = Image.new("RGBA", (64, 48), (255, 255, 255, 255)).convert(mode)
        expected = (255, 255, 255, 255)
    info = inspect(saved(image, "PNG"))
    assert all(near(colour(each.content, (9, 9)), expected, 3) for each in info.thumbnails)


def test_transparent_pixels_stay_transparent() -> None:
    """The transparency may be a channel, or a colour of a palette."""
    half = Image.new("RGBA", (64, 48), (200, 30, 30, 255))
    half.paste((0, 0, 0, 0), (0, 0, 32, 48))
    for content in (saved(half, "PNG"), saved(half, "WEBP", lossless=True), saved(half.quantize(), "PNG")):
        info = inspect(content)
        assert colour(info.thumbnails[-1].content, (4, 9))[3] == 0
        assert info.placeholder is not None
        assert info.placeholder[2] & 0x80
    assert near(colour(inspect(saved(half, "PNG")).thumbnails[-1].content, (60, 9)), (200, 30, 30, 255))


def test_a_transparent_16_bit_grey_is_shown_as_grey() -> None:
    """Such images hardly exist, but they must not cause an error."""
    info = inspect(png(64, 48, chunk(b"tRNS", b"\0\0"), bits=16))
    assert colour(info.thumbnails[-1].content, (9, 9)) == (0, 0, 0, 255)


def test_cmyk_is_shown_in_rgb() -> None:
    """CMYK values are inverted in JPEG, and browsers disagree about their colours."""
    info = inspect(saved(Image.new("CMYK", (64, 48), (0, 255, 255, 0)), "JPEG"))
    assert near(colour(info.thumbnails[0].content, (9, 9)), (255, 0, 0, 255), 30)


def test_colour_profiles_are_applied() -> None:
    """A profile that is broken, or is for images of another mode, is ignored."""
    lab = ImageCms.ImageCmsProfile(ImageCms.createProfile("LAB")).tobytes()
    grey = Image.new("RGB", (64, 48), (128, 128, 128))
    linear = _with_gamma_one(ImageCms.ImageCmsProfile(ImageCms.createProfile("sRGB")).tobytes())
    for profile, expected in ((linear, 188), (lab, 128), (b"nonsense", 128), (b"", 128)):
        info = inspect(saved(grey, "PNG", icc_profile=profile))
        assert near(colour(info.thumbnails[0].content, (9, 9)), (expected,) * 3 + (255,), 3)


def _with_gamma_one(profile: bytes) -> bytes:
    """Return the sRGB profile with linear curves."""
    at = profile.index(b"para", 128)
    return profile[: at + 8] + b"\0\0\0\0" + (1 << 16).to_bytes(4) + profile[at + 16 :]


def test_patches_remove_the_position() -> None:
    """test_metadata.py covers all formats."""
    content = saved(picture(), "JPEG", exif=exif())
    stored = bytearray(content)
    for patch in inspect(content).patches:
        stored[patch.offset : patch.offset + len(patch.content)] = patch.content
    assert POSITION.encode() not in stored
    assert opened(bytes(stored)).getexif()[ExifTags.Base.Orientation] == SIDEWAYS


def test_an_orientation_after_the_pixels_counts() -> None:
    """A PNG file may have its EXIF there."""
    content = saved(picture(), "PNG")
    given = Image.Exif()
    given[ExifTags.Base.Orientation] = SIDEWAYS
    info = inspect(content[:-12] + chunk(b"eXIf", given.tobytes()[6:]) + content[-12:])
    assert (info.width, info.height) == (48, 64)


def test_only_the_first_frame_is_shown() -> None:
    """The thumbnails of an animation show its first frame."""
    frames = [Image.new("RGB", (64, 48), shade) for shade in ("red", "blue")]
    for image_format in ("GIF", "WEBP", "PNG", "AVIF"):
        info = inspect(saved(frames[0], image_format, save_all=True, append_images=frames[1:]))
        assert near(colour(info.thumbnails[0].content, (9, 9)), (255, 0, 0, 255), 20)


def test_a_decompression_bomb_is_not_decoded() -> None:
    """A small file may claim 50,000 × 50,000 pixels."""
    assert rejection(png(50_000, 50_000, rows=1)) == (
        "The image has 2,500,000,000 pixels, and this server accepts up to 10,000,000."
    )


@pytest.mark.parametrize("image_format", ["PNG", "JPEG", "WEBP", "GIF", "AVIF", "BMP"])
def test_pixels_are_counted_in_every_format(image_format: str) -> None:
    """An image with one pixel more than the limit is rejected."""
    content = saved(picture(), image_format)
    assert inspect(content, 64 * 48).width == 64
    assert "pixels" in rejection(content, 64 * 48 - 1)


def test_pixels_of_a_webp_are_counted_before_its_canvas_is_allocated() -> None:
    """Its decoder allocates memory for all pixels when it opens the file."""
    claim = b"VP8X\x0a\0\0\0" + bytes(4) + (15_999).to_bytes(3, "little") * 2
    body = b"WEBP" + claim + saved(picture(), "WEBP")[12:]
    bomb = b"RIFF" + len(body).to_bytes(4, "little") + body
    assert rejection(bomb) == "The image has more pixels than this server accepts."


def test_frames_larger_than_their_canvas_are_counted() -> None:
    """Any frame of a GIF file may be larger than the dimensions in the header, not only the first."""
    assert "pixels" in rejection(gif(8, 8, gif_frame(60_000, 60_000)))
    assert "pixels" in rejection(gif(8, 8, _small_frame(), gif_frame(60_000, 60_000)))
    assert inspect(gif(8, 8, _small_frame(), _small_frame())).width == 8


def _small_frame() -> bytes:
    content = saved(Image.new("L", (8, 8)), "GIF")
    start = content.index(b",\0\0\0\0\x08\0\x08")
    return content[start:-1]


def test_a_decompression_bomb_in_a_text_chunk_is_rejected() -> None:
    """The chunk expands a thousandfold, in an image of one pixel."""
    bomb = zlib.compress(bytes(80_000_000), 9)
    for part in (
        chunk(b"zTXt", b"a\0\0" + bomb),
        chunk(b"iTXt", b"a\0\1\0\0\0" + bomb),
        chunk(b"iCCP", b"a\0\0" + bomb),
    ):
        assert rejection(png(1, 1, part)) == images.UNREADABLE_IMAGE


def test_many_text_chunks_are_rejected() -> None:
    """Each of them is small enough; all together are too large."""
    info = PngInfo()
    for number in range(80):
        info.add_text(f"{number}", "a" * 1_000_000, zip=True)
    assert rejection(saved(picture(), "PNG", pnginfo=info)) == images.UNREADABLE_IMAGE


@pytest.mark.parametrize("image_format", ["PNG", "JPEG", "WEBP", "GIF", "AVIF", "BMP"])
@pytest.mark.parametrize("share", [0.3, 0.6, 0.9])
def test_incomplete_images_are_rejected(image_format: str, share: float) -> None:
    """The reason says that the image is incomplete, or damaged."""
    content = saved(picture(size=(200, 150)), image_format)
    assert rejection(content[: int(len(content) * share)]) in (
        images.INCOMPLETE_IMAGE,
        images.UNREADABLE_IMAGE,
    )


def test_broken_exif_does_not_matter() -> None:
    """Cameras write invalid EXIF in many ways; such an image counts as upright."""
    for broken in (
        b"Exif\0\0",
        b"Exif\0\0MM\0*\0\0\xff\xff",
        b"Exif\0\0II*\0\x08\0\0\0\xff\xff",
        b"Exif\0\0nonsense",
    ):
        assert inspect(saved(picture(), "JPEG", exif=broken)).width == 64


def test_no_other_decoder_is_reached() -> None:
    """Pillow supports many formats, and some of their decoders are hardly maintained."""
    assert set(images.DECODERS) == {
        f"image/{name}" for name in ("png", "jpeg", "webp", "gif", "avif", "bmp")
    }
    for image_format in ("TIFF", "PPM", "ICO", "TGA", "PCX"):
        assert media_type_of(saved(picture(), image_format)) not in images.DECODERS


def _pattern(width: int, height: int, *, has_alpha: bool) -> bytes:
    return bytes(
        value
        for y in range(height)
        for x in range(width)
        for value in (
            (x * x * 7 + y * 3) % 256,
            (y * y * 5 + x * 11) % 256,
            (x * y * 3 + 40) % 256,
            (x * x * 9 + y * 41) % 256 if has_alpha else 255,
        )
    )


@pytest.mark.parametrize(
    ("width", "height", "has_alpha", "expected"),
    [
        (1, 1, False, "c3060a570008f708888788708f7088f80888707ff8000000"),
        (16, 9, False, "5be8091c8a3066885488978467a7855f7cc0ca"),
        (9, 16, False, "1ae8091c10402695497876777799f65a0d95b9"),
        (13, 14, False, "1be809170830659a5388797569486979788969f9e3018c0c"),
        (12, 12, True, "5ae8850d06074087648995888ad67e0fa3dab8563653531550"),
        (20, 5, True, "ddf8851984176097957a97654fa7f66d488540366ca685"),
        (100, 100, True, "1f088205000723469056079138ce165f56f5466b6066872777"),
    ],
)
def test_placeholders_match_the_format(width: int, height: int, expected: str, *, has_alpha: bool) -> None:
    """The expected values are from another encoder, with rounding and transparency corrected to match the
    author's encoder."""
    assert thumbhash(width, height, _pattern(width, height, has_alpha=has_alpha)).hex() == expected


def test_a_placeholder_needs_a_small_image() -> None:
    """Encoding more than 100 pixels per side takes long and gains nothing."""
    with pytest.raises(ValueError, match="101"):
        thumbhash(101, 1, bytes(404))
