"""A stored image does not reveal where it was taken."""

from io import BytesIO

import pytest
from hypothesis import given
from hypothesis import strategies as st
from PIL import ExifTags, Image, ImageCms, ImageSequence
from PIL.PngImagePlugin import PngInfo

from blazechat.media.file_types import media_type_of
from blazechat.media.metadata import strip
from blazechat.media.metadata.patches import EMPTY_XMP, MalformedContainer
from tests.media.files import (
    POSITION,
    SIDEWAYS,
    box,
    chunk,
    exif,
    gif,
    gif_frame,
    opened,
    picture,
    saved,
    segment,
    xmp,
)

PROFILE = ImageCms.ImageCmsProfile(ImageCms.createProfile("sRGB")).tobytes()
MARK = POSITION.encode()


def _patched(content: bytes, image_format: str, orientation: int = SIDEWAYS) -> bytes:
    """Return the file as it is stored, and check that its length is the same."""
    stored = bytearray(content)
    for patch in strip.find_patches(content, image_format, orientation):
        stored[patch.offset : patch.offset + len(patch.content)] = patch.content
    assert len(stored) == len(content)
    return bytes(stored)


def _frames(content: bytes) -> list[bytes]:
    return [
        frame.convert("RGBA").tobytes() for frame in ImageSequence.Iterator(Image.open(BytesIO(content)))
    ]


def _assert_only_the_image_remains(content: bytes, image_format: str, orientation: int = SIDEWAYS) -> bytes:
    assert MARK in content
    stored = _patched(content, image_format, orientation)
    assert MARK not in stored
    assert _frames(stored) == _frames(content)
    after = opened(stored)
    assert after.info.get("icc_profile") == opened(content).info.get("icc_profile")
    assert dict(after.getexif()) == {ExifTags.Base.Orientation: orientation}
    assert not after.getexif().get_ifd(ExifTags.IFD.GPSInfo)
    assert after.info.get("xmp", EMPTY_XMP).strip() == EMPTY_XMP
    assert strip.find_patches(stored, image_format, orientation) == []
    return stored


def test_jpeg_loses_its_position() -> None:
    """EXIF, XMP, IPTC, comments and proprietary segments are removed; the orientation and the colour
    profile stay."""
    content = saved(picture(), "JPEG", exif=exif(), icc_profile=PROFILE, xmp=xmp(), comment=MARK)
    extra = (
        segment(0xE1, b"http://ns.adobe.com/xmp/extension/\0" + MARK),
        segment(0xED, b"Photoshop 3.0\x008BIM" + MARK),
        segment(0xE5, MARK),
        segment(0xE1, b"Exif\0\0" + MARK),
    )
    sos = content.index(b"\xff\xda")
    content = content[:sos] + b"".join(extra) + content[sos:]
    assert dict(opened(content).getexif())[ExifTags.Base.GPSInfo]
    assert _assert_only_the_image_remains(content, "JPEG").count(b"Exif\0\0") == 1


def test_progressive_jpeg_loses_metadata_between_its_scans() -> None:
    """Segments may also occur between scans, where a parser of headers does not find them."""
    content = saved(picture(), "JPEG", exif=exif(), progressive=True)
    last = content.rindex(b"\xff\xda")
    table = content.rindex(b"\xff\xc4", 0, last)
    _assert_only_the_image_remains(content[:table] + segment(0xFE, MARK) + content[table:], "JPEG")


def test_images_and_videos_after_a_jpeg_lose_their_position() -> None:
    """A second image loses its EXIF. A video is removed, because phones append one that has a position."""
    second = saved(picture("L"), "JPEG", exif=exif())
    video = box(b"ftyp", b"mp42") + box(b"moov", MARK)
    content = saved(picture(), "JPEG", exif=exif()) + second + video
    stored = _patched(content, "JPEG")
    assert MARK not in stored
    start = stored.index(b"\xff\xd8\xff", 3)
    assert opened(stored[start:]).tobytes() == picture("L").tobytes() or opened(stored[start:]).size == (
        64,
        48,
    )
    assert not opened(stored[start:]).getexif()
    assert stored.endswith(bytes(len(video)))


def test_jpeg_loses_bytes_that_decoders_skip() -> None:
    """Bytes between two segments have no meaning, and may contain anything."""
    content = saved(picture(), "JPEG", exif=exif())
    first = content.index(b"\xff\xe1")
    _assert_only_the_image_remains(content[:first] + b"\0" + MARK + content[first:], "JPEG")


def test_png_loses_its_position() -> None:
    """eXIf, text chunks of all three kinds, unknown chunks, and bytes after the end are removed."""
    info = PngInfo()
    info.add_itxt("XML:com.adobe.xmp", xmp().decode())
    info.add_text("Raw profile type exif", f"\nexif\n 20\n{MARK.hex()}\n")
    info.add_text("Comment", POSITION)
    info.add_text("Raw profile type iptc", POSITION, zip=True)
    info.add(b"maKe", MARK)
    info.add(b"tEXt", b"Late\0" + MARK, after_idat=True)
    content = saved(picture(), "PNG", exif=exif(), icc_profile=PROFILE, pnginfo=info) + MARK
    stored = _assert_only_the_image_remains(content, "PNG")
    assert opened(stored).info.keys() == {"icc_profile", "exif"}
    Image.open(BytesIO(stored)).verify()


def test_animated_png_stays_animated() -> None:
    """Its frames are chunks as well."""
    content = saved(picture(), "PNG", save_all=True, append_images=[picture().rotate(90)], exif=exif())
    assert len(_frames(content)) == 2
    _assert_only_the_image_remains(content, "PNG")


def test_webp_loses_its_position() -> None:
    """EXIF, XMP and an unknown chunk are removed."""
    content = saved(picture(), "WEBP", exif=exif(), icc_profile=PROFILE, xmp=xmp())
    content += b"maKe" + (len(MARK) + 1).to_bytes(4, "little") + MARK + b"\0"
    content += bytes(len(content) % 2)
    content = content[:4] + (len(content) - 8).to_bytes(4, "little") + content[8:] + MARK
    _assert_only_the_image_remains(content, "WEBP")


def test_animated_webp_stays_animated() -> None:
    """Its frames are chunks inside chunks."""
    frames = [picture(), picture().rotate(90), picture("L").convert("RGB")]
    content = saved(frames[0], "WEBP", save_all=True, append_images=frames[1:], exif=exif(), xmp=xmp())
    assert len(_frames(content)) == 3
    _assert_only_the_image_remains(content, "WEBP")


def test_avif_loses_its_position() -> None:
    """Its items can be anywhere in the file, where the `iloc` box says."""
    content = saved(picture(), "AVIF", exif=exif(), xmp=xmp(), icc_profile=PROFILE)
    content += box(b"uuid", bytes(16), MARK) + box(b"free", MARK) + b"\0\0" + MARK
    _assert_only_the_image_remains(content, "AVIF")


def test_animated_avif_stays_animated() -> None:
    """Its track repeats the items."""
    upright = exif()
    upright[ExifTags.Base.Orientation] = 1  # with any other orientation the encoder crashes (Pillow 13.0.0)
    frames = [picture(), picture().rotate(90)]
    content = saved(frames[0], "AVIF", save_all=True, append_images=frames[1:], exif=upright, xmp=xmp())
    assert len(_frames(content)) == 2
    _assert_only_the_image_remains(content, "AVIF", 1)


def test_items_in_several_extents_and_in_idat_are_found() -> None:
    """The extents of an item may count from the `idat` box instead of the beginning of the file."""
    entries = [
        box(b"infe", b"\2\0\0\0", bytes([0, item, 0, 0]), kind, b"\0")
        for item, kind in ((1, b"Exif"), (2, b"mime"))
    ]
    iinf = box(b"iinf", bytes(4), b"\0\2", *entries)
    in_idat = b"\0\1\0\0"  # construction method 1, this file
    iloc = b"\1\0\0\0\x44\0\0\2"
    iloc += b"\0\1" + in_idat + b"\0\2" + b"".join(number.to_bytes(4) for number in (0, 8, 14, 32))
    iloc += b"\0\2" + in_idat + b"\0\1" + b"".join(number.to_bytes(4) for number in (46, 14))
    idat = MARK[:8] + b"pixels" + (MARK * 3)[:32] + MARK + b"pixels"
    content = box(b"ftyp", b"avif") + box(b"meta", bytes(4), iinf, box(b"iloc", iloc), box(b"idat", idat))
    stored = _patched(content, "AVIF")[-len(idat) :]
    assert MARK[:8] not in stored
    assert stored[8:14] == stored[-6:] == b"pixels"
    read = Image.Exif()
    read.load(stored[4:8] + stored[14:46])
    assert dict(read) == {ExifTags.Base.Orientation: SIDEWAYS}


def test_movie_metadata_is_removed() -> None:
    """The `moov` box of an animation can contain a position where that of a phone's video does."""
    moov = box(b"moov", box(b"udta", MARK), box(b"mvhd"), box(b"trak", box(b"tkhd"), box(b"udta", MARK)))
    stored = _patched(box(b"ftyp", b"avis") + moov + box(b"mdat", b"pixels"), "AVIF")
    assert MARK not in stored
    assert stored.count(b"free") == 2
    assert b"pixels" in stored


def test_heif_loses_its_position_without_being_decoded() -> None:
    """Phones send HEIF, and browsers do not show it. It has the same boxes as AVIF."""
    content = saved(picture(), "AVIF", exif=exif(), xmp=xmp()).replace(b"ftypavif", b"ftypheic")
    assert media_type_of(content) == "image/heic"
    stored = _patched(content, "HEIF", 1)
    assert MARK in content
    assert MARK not in stored


def test_gif_loses_comments_and_xmp() -> None:
    """XMP in a GIF file is plain text, which decoders skip as if it were sub-blocks."""
    # The end of XMP: whichever byte before it is read as a length, the next length leads to the last byte.
    trailer = b"\x01" + bytes(range(255, -1, -1)) + b"\0"
    blocks = (
        b"!\xff\x0bNETSCAPE2.0\x03\x01\x01\x00\x00",
        b"!\xfe" + bytes([len(MARK)]) + MARK + b"\0",
        b"!\xff\x0bXMP DataXMP" + xmp() * 9 + trailer,
    )
    plain = saved(picture(), "GIF", save_all=True, append_images=[picture().rotate(90)])
    first = 13 + (3 << (plain[10] & 7) + 1)
    content = plain[:first] + b"".join(blocks) + plain[first:] + MARK
    assert MARK in content
    stored = _patched(content, "GIF")
    assert b"Lat" not in stored
    assert _frames(stored) == _frames(content) == _frames(plain)
    assert opened(stored).info["loop"] == opened(content).info["loop"] == 1


def test_comments_of_any_length_are_emptied() -> None:
    """The replacement consists of sub-blocks again, none of which is a length without data."""
    plain = saved(picture(), "GIF")
    for length in (1, 2, 3, 200, 239, 254, 255, 256, 257, 258, 509, 510, 511, 512, 513, 766):
        text = (MARK * 60)[:length]
        for size in (1, 14, 255):
            parts = [text[at : at + size] for at in range(0, length, size)]
            comment = b"!\xfe" + b"".join(bytes([len(part)]) + part for part in parts) + b"\0"
            stored = _patched(plain[:-1] + comment + plain[-1:], "GIF")
            assert MARK not in stored
            assert strip.find_patches(stored, "GIF", 1) == []
            assert _frames(stored) == _frames(plain)
            at = len(plain) + 1
            while stored[at]:
                at += 1 + stored[at]
            assert stored[at + 1 :] == b";"


@pytest.mark.parametrize("orientation", range(1, 9))
def test_every_orientation_is_kept(orientation: int) -> None:
    """Otherwise an image would lie on its side."""
    given_exif = exif()
    given_exif[ExifTags.Base.Orientation] = orientation
    for image_format in ("JPEG", "PNG", "WEBP"):
        stored = _patched(saved(picture(), image_format, exif=given_exif), image_format, orientation)
        assert opened(stored).getexif()[ExifTags.Base.Orientation] == orientation


def test_a_short_exif_becomes_zeros() -> None:
    """It is overwritten even if an orientation does not fit into it."""
    head = saved(picture(), "PNG")
    content = head[:33] + chunk(b"eXIf", MARK) + head[33:]
    assert MARK not in _patched(content, "PNG")


@pytest.mark.parametrize(
    ("image_format", "content"),
    [
        ("JPEG", saved(picture(), "JPEG")[:20]),
        ("JPEG", b"\xff\xd8\xff\xe1\0\0"),
        ("PNG", saved(picture(), "PNG")[:-13]),
        ("PNG", saved(picture(), "PNG")[:33] + chunk(b"CgBI", b"") + saved(picture(), "PNG")[33:]),
        ("WEBP", saved(picture(), "WEBP")[:-1]),
        ("AVIF", box(b"ftyp", b"avif") + box(b"mdat")),
        ("AVIF", box(b"ftyp", b"avif") + box(b"meta", bytes(4), b"\0\0\0\x09iinf")),
        ("GIF", gif(8, 8, gif_frame(8, 8))[:-3]),
        ("GIF", gif(8, 8, b"?")),
        ("TIFF", saved(picture(), "TIFF")),
    ],
)
def test_malformed_containers_are_rejected(image_format: str, content: bytes) -> None:
    """Their metadata cannot be located."""
    with pytest.raises(MalformedContainer):
        strip.find_patches(content, image_format, 1)


SAMPLES = {
    "JPEG": saved(picture(), "JPEG", exif=exif(), xmp=xmp()),
    "PNG": saved(picture(), "PNG", exif=exif()),
    "WEBP": saved(picture(), "WEBP", exif=exif(), xmp=xmp()),
    "AVIF": saved(picture(), "AVIF", exif=exif(), xmp=xmp()),
    "GIF": saved(picture(), "GIF", comment=MARK),
}


@given(
    image_format=st.sampled_from(sorted(SAMPLES)),
    where=st.floats(0, 1, exclude_max=True),
    wrong=st.binary(min_size=1, max_size=8),
    is_truncated=st.booleans(),
)
def test_a_damaged_file_is_rejected_or_patched_within_its_length(
    image_format: str, where: float, wrong: bytes, *, is_truncated: bool
) -> None:
    """Any wrong bytes raise no other error, and no patch makes the file longer."""
    sample = SAMPLES[image_format]
    at = int(where * len(sample))
    content = sample[:at] if is_truncated else sample[:at] + wrong + sample[at + len(wrong) :]
    try:
        _patched(content, image_format)
    except MalformedContainer:
        return
