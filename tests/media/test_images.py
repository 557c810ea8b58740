"""What is seen in a picture, and what is not even decoded."""

import struct
import zlib

import pytest
from PIL import ExifTags, Image, ImageCms, ImageOps
from PIL.PngImagePlugin import PngInfo

from blazechat.media import images
from blazechat.media.file_types import kind_of
from blazechat.media.thumbhash import thumbhash
from blazechat.media.worker_protocol import Seen
from tests.media.files import LYING, PLACE, chunk, exif, gif, gif_frame, opened, picture, png, saved

MOST = 10_000_000
SIZES = (32, 128)


def look(content: bytes, max_pixels: int = MOST) -> Seen:
    return images.look(content, kind_of(content), max_pixels, SIZES)


def refusal(content: bytes, max_pixels: int = MOST) -> str:
    """The sentence that a person is told of it."""
    with pytest.raises(Exception) as raised:  # noqa: PT011 -- decoders raise what they like
        look(content, max_pixels)
    assert isinstance(raised.value, Exception)
    sentence = images.sentence(raised.value)
    assert sentence is not None, repr(raised.value)
    return sentence


def colour(content: bytes, at: tuple[int, int]) -> tuple[int, ...]:
    found = opened(content).convert("RGBA").getpixel(at)
    assert isinstance(found, tuple)
    return tuple(map(int, found))


def near(one: tuple[int, ...], other: tuple[int, ...], by: int = 12) -> bool:
    return all(abs(left - right) <= by for left, right in zip(one, other, strict=True))


@pytest.mark.parametrize("image_format", ["PNG", "JPEG", "WEBP", "GIF", "AVIF", "BMP"])
def test_every_format_is_seen(image_format: str) -> None:
    """Its size, copies that fit, and a placeholder."""
    seen = look(saved(picture(size=(400, 300)), image_format))
    assert seen.media_type == f"image/{image_format.lower()}"
    assert (seen.width, seen.height) == (400, 300)
    assert [(each.width, each.height) for each in seen.thumbnails] == [(32, 24), (128, 96)]
    for each in seen.thumbnails:
        assert kind_of(each.content) == "image/webp"
        assert opened(each.content).size == (each.width, each.height)
        middle = (each.width // 2, each.height // 2)
        assert near(
            colour(each.content, middle), colour(saved(picture(size=(400, 300)), "PNG"), (200, 150))
        )
    assert seen.placeholder is not None
    assert 20 <= len(seen.placeholder) <= 25
    assert seen.patches == []


@pytest.mark.parametrize(
    ("size", "copies"), [((64, 48), [(32, 24), (64, 48)]), ((20, 10), [(20, 10)]), ((1, 1), [(1, 1)])]
)
def test_no_copy_is_larger_than_the_picture(size: tuple[int, int], copies: list[tuple[int, int]]) -> None:
    """Nor are there two of one size."""
    assert [
        (each.width, each.height) for each in look(saved(picture(size=size), "PNG")).thumbnails
    ] == copies


@pytest.mark.parametrize("orientation", range(1, 9))
@pytest.mark.parametrize("image_format", ["JPEG", "PNG", "WEBP", "AVIF"])
def test_lying_pictures_are_put_upright(image_format: str, orientation: int) -> None:
    """The orientation counts for the size, the copies and the placeholder."""
    plain = picture(size=(120, 80))
    given = Image.Exif()
    given[ExifTags.Base.Orientation] = orientation
    upright = ImageOps.exif_transpose(opened(saved(plain, "PNG", exif=given)))
    seen = look(saved(plain, image_format, exif=given))
    assert (seen.width, seen.height) == upright.size
    copy = seen.thumbnails[-1]
    assert (copy.width, copy.height) == upright.size
    for at in ((5, 5), (upright.width - 6, 5), (5, upright.height - 6)):
        assert near(colour(copy.content, at), colour(saved(upright, "PNG"), at), 24)


@pytest.mark.parametrize("mode", ["1", "L", "LA", "P", "RGBA", "I;16"])
def test_every_mode_of_png_keeps_its_colours(mode: str) -> None:
    """Palettes, greys and sixteen bits come out as they would on a screen."""
    if mode == "I;16":
        image = Image.frombytes("I;16", (64, 48), struct.pack("<H", 100 << 8) * 64 * 48)
        expected: tuple[int, ...] = (100, 100, 100, 255)
    else:
        image = Image.new("RGBA", (64, 48), (255, 255, 255, 255)).convert(mode)
        expected = (255, 255, 255, 255)
    seen = look(saved(image, "PNG"))
    assert all(near(colour(each.content, (9, 9)), expected, 3) for each in seen.thumbnails)


def test_what_is_transparent_stays_so() -> None:
    """As a channel, and as a colour of a palette."""
    half = Image.new("RGBA", (64, 48), (200, 30, 30, 255))
    half.paste((0, 0, 0, 0), (0, 0, 32, 48))
    for content in (saved(half, "PNG"), saved(half, "WEBP", lossless=True), saved(half.quantize(), "PNG")):
        seen = look(content)
        assert colour(seen.thumbnails[-1].content, (4, 9))[3] == 0
        assert seen.placeholder is not None
        assert seen.placeholder[2] & 0x80
    assert near(colour(look(saved(half, "PNG")).thumbnails[-1].content, (60, 9)), (200, 30, 30, 255))


def test_a_transparent_grey_of_sixteen_bits_is_shown_as_grey() -> None:
    """Nobody has one, and it must not be an error."""
    seen = look(png(64, 48, chunk(b"tRNS", b"\0\0"), bits=16))
    assert colour(seen.thumbnails[-1].content, (9, 9)) == (0, 0, 0, 255)


def test_cmyk_is_shown_in_rgb() -> None:
    """Printers' pictures are inverted in JPEG, and no browser agrees with another about them."""
    seen = look(saved(Image.new("CMYK", (64, 48), (0, 255, 255, 0)), "JPEG"))
    assert near(colour(seen.thumbnails[0].content, (9, 9)), (255, 0, 0, 255), 30)


def test_colour_profiles_are_applied() -> None:
    """And one that is broken, or is for pictures of another kind, is not."""
    lab = ImageCms.ImageCmsProfile(ImageCms.createProfile("LAB")).tobytes()
    grey = Image.new("RGB", (64, 48), (128, 128, 128))
    linear = _with_gamma_one(ImageCms.ImageCmsProfile(ImageCms.createProfile("sRGB")).tobytes())
    for profile, expected in ((linear, 188), (lab, 128), (b"nonsense", 128), (b"", 128)):
        seen = look(saved(grey, "PNG", icc_profile=profile))
        assert near(colour(seen.thumbnails[0].content, (9, 9)), (expected,) * 3 + (255,), 3)


def _with_gamma_one(profile: bytes) -> bytes:
    """The sRGB profile, with curves that are straight lines."""
    at = profile.index(b"para", 128)
    return profile[: at + 8] + b"\0\0\0\0" + (1 << 16).to_bytes(4) + profile[at + 16 :]


def test_position_is_among_what_is_replaced() -> None:
    """Which is a matter of its own (test_metadata.py)."""
    content = saved(picture(), "JPEG", exif=exif())
    made = bytearray(content)
    for patch in look(content).patches:
        made[patch.offset : patch.offset + len(patch.content)] = patch.content
    assert PLACE.encode() not in made
    assert opened(bytes(made)).getexif()[ExifTags.Base.Orientation] == LYING


def test_an_orientation_behind_the_pixels_counts() -> None:
    """A PNG file may have its EXIF there."""
    content = saved(picture(), "PNG")
    given = Image.Exif()
    given[ExifTags.Base.Orientation] = LYING
    seen = look(content[:-12] + chunk(b"eXIf", given.tobytes()[6:]) + content[-12:])
    assert (seen.width, seen.height) == (48, 64)


def test_only_the_first_frame_is_shown() -> None:
    """An animation is a picture like any other."""
    frames = [Image.new("RGB", (64, 48), shade) for shade in ("red", "blue")]
    for image_format in ("GIF", "WEBP", "PNG", "AVIF"):
        seen = look(saved(frames[0], image_format, save_all=True, append_images=frames[1:]))
        assert near(colour(seen.thumbnails[0].content, (9, 9)), (255, 0, 0, 255), 20)


def test_a_flood_of_pixels_is_not_decoded() -> None:
    """A few bytes may say that they are 50,000 by 50,000."""
    assert refusal(png(50_000, 50_000, rows=1)) == (
        "The image has 2,500,000,000 pixels, and this server takes up to 10,000,000."
    )


@pytest.mark.parametrize("image_format", ["PNG", "JPEG", "WEBP", "GIF", "AVIF", "BMP"])
def test_pixels_are_counted_in_every_format(image_format: str) -> None:
    """One less than it has is too few."""
    content = saved(picture(), image_format)
    assert look(content, 64 * 48).width == 64
    assert "pixels" in refusal(content, 64 * 48 - 1)


def test_a_webp_is_counted_before_its_canvas_is_made() -> None:
    """Its decoder takes the memory for all pixels when it is opened."""
    claim = b"VP8X\x0a\0\0\0" + bytes(4) + (15_999).to_bytes(3, "little") * 2
    body = b"WEBP" + claim + saved(picture(), "WEBP")[12:]
    flood = b"RIFF" + len(body).to_bytes(4, "little") + body
    assert refusal(flood) == "The image has more pixels than this server takes."


def test_frames_larger_than_their_canvas_are_counted() -> None:
    """A GIF's frame may ask for more than the file says at first, and any frame may, not only the first."""
    assert "pixels" in refusal(gif(8, 8, gif_frame(60_000, 60_000)))
    assert "pixels" in refusal(gif(8, 8, _small_frame(), gif_frame(60_000, 60_000)))
    assert look(gif(8, 8, _small_frame(), _small_frame())).width == 8


def _small_frame() -> bytes:
    content = saved(Image.new("L", (8, 8)), "GIF")
    start = content.index(b",\0\0\0\0\x08\0\x08")
    return content[start:-1]


def test_a_bomb_in_a_text_is_refused() -> None:
    """Zeros that fill a thousand times the room that they take, in a picture of one pixel."""
    bomb = zlib.compress(bytes(80_000_000), 9)
    for part in (
        chunk(b"zTXt", b"a\0\0" + bomb),
        chunk(b"iTXt", b"a\0\1\0\0\0" + bomb),
        chunk(b"iCCP", b"a\0\0" + bomb),
    ):
        assert refusal(png(1, 1, part)) == images.UNREADABLE


def test_many_texts_are_refused() -> None:
    """Each of them small enough."""
    info = PngInfo()
    for number in range(80):
        info.add_text(f"{number}", "a" * 1_000_000, zip=True)
    assert refusal(saved(picture(), "PNG", pnginfo=info)) == images.UNREADABLE


@pytest.mark.parametrize("image_format", ["PNG", "JPEG", "WEBP", "GIF", "AVIF", "BMP"])
@pytest.mark.parametrize("share", [0.3, 0.6, 0.9])
def test_what_is_not_complete_is_refused(image_format: str, share: float) -> None:
    """With a sentence that says so, or at least that it is broken."""
    content = saved(picture(size=(200, 150)), image_format)
    assert refusal(content[: int(len(content) * share)]) in (images.INCOMPLETE, images.UNREADABLE)


def test_broken_exif_does_not_matter() -> None:
    """Cameras write it in every way; such a picture is upright."""
    for broken in (
        b"Exif\0\0",
        b"Exif\0\0MM\0*\0\0\xff\xff",
        b"Exif\0\0II*\0\x08\0\0\0\xff\xff",
        b"Exif\0\0nonsense",
    ):
        assert look(saved(picture(), "JPEG", exif=broken)).width == 64


def test_no_other_decoder_is_reached() -> None:
    """Pillow knows many formats, and nobody has looked into some of them for a long time."""
    assert set(images.DECODERS) == {
        f"image/{name}" for name in ("png", "jpeg", "webp", "gif", "avif", "bmp")
    }
    for image_format in ("TIFF", "PPM", "ICO", "TGA", "PCX"):
        assert kind_of(saved(picture(), image_format)) not in images.DECODERS


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
def test_placeholders_are_those_of_the_format(
    width: int, height: int, expected: str, *, has_alpha: bool
) -> None:
    """Made by another encoder, with its rounding and its transparency put right after the author's."""
    assert thumbhash(width, height, _pattern(width, height, has_alpha=has_alpha)).hex() == expected


def test_a_placeholder_is_of_a_small_picture() -> None:
    """Beyond a hundred pixels it takes long and gains nothing."""
    with pytest.raises(ValueError, match="101"):
        thumbhash(101, 1, bytes(404))
