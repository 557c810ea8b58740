"""The media types that files get from their bytes."""

import gzip
import zipfile
from io import BytesIO

import pytest
from hypothesis import given
from hypothesis import strategies as st

from blazechat.media.file_types import media_type_of
from tests.media.files import gif, gif_frame, picture, saved

UNKNOWN_TYPE = "application/octet-stream"
OFFICE = "application/vnd.openxmlformats-officedocument"
MP3_FRAME = b"\xff\xfb\x90\x00" + bytes(413)
ADTS_FRAME = b"\xff\xf1\x50\x80\x02\x1f\xfc" + bytes(9)
EBML = b"\x1aE\xdf\xa3\x9fB\x86\x81\x01B\xf7\x81\x01B\xf2\x81\x04B\xf3\x81\x08B\x82"


def _archive(*names: str, first: str = "") -> bytes:
    encoded = BytesIO()
    with zipfile.ZipFile(encoded, "w") as archive:
        if first:
            archive.writestr("mimetype", first)
        for name in names:
            archive.writestr(name, "<x/>")
    return encoded.getvalue()


def _brand(major: bytes, *others: bytes) -> bytes:
    body = major + bytes(4) + b"".join(others)
    return (len(body) + 8).to_bytes(4) + b"ftyp" + body + b"\0\0\0\x08mdat"


MEDIA_TYPES = {
    "text": (b"Hello, all of you.\n", "text/plain"),
    "empty": (b"", "text/plain"),
    "csv": (b"a,b,c\n1,2,3\n", "text/plain"),
    "json": (b'{"a": 1}', "text/plain"),
    "program": (b"import os\nprint(1 < 2)\n", "text/plain"),
    "truncated inside a character": ("Grüße".encode()[:3], "text/plain"),
    "byte order mark": (b"\xef\xbb\xbfHello", "text/plain"),
    "text about bitmaps": (b"BM is a format of Microsoft's, and has been for some time.\n", "text/plain"),
    "text about programs": (b"MZ is how they begin.\n", "text/plain"),
    "text about TIFF": (b"II* is how it begins.\n", "text/plain"),
    "text about audio": (b"ID3 is a tag.\n", "text/plain"),
    "text with a less-than sign": (b"<3 you all\n", "text/plain"),
    "latin-1": ("Grüße".encode("latin-1"), UNKNOWN_TYPE),
    "utf-16": ("Grüße".encode("utf-16"), UNKNOWN_TYPE),
    "html": (b"<!doctype html><p>hi", "text/html"),
    "html without a head": (b"  \n<p>hi</p>", "text/html"),
    "html after a comment": (b"<!-- x --><SCRIPT>alert(1)</SCRIPT>", "text/html"),
    "html after text": (b"hello\n<script>alert(1)</script>", "text/html"),
    "html in latin-1": (b"<html>Gr\xfc\xdfe</html>", "text/html"),
    "html with an image signature": (b"GIF89a/*<script>alert(1)</script>*/", "text/html"),
    "html with a pdf signature": (b"%PDF-1.4\n<script>alert(1)</script>", "text/html"),
    "svg": (b'<svg xmlns="http://www.w3.org/2000/svg"/>', "image/svg+xml"),
    "svg after a prologue": (
        b'<?xml version="1.0"?>\n<!-- x -->\n<!DOCTYPE svg [<!ENTITY a "b">]>\n<svg/>',
        "image/svg+xml",
    ),
    "svg with a prefix": (
        b'<?xml version="1.0"?><s:svg xmlns:s="http://www.w3.org/2000/svg"/>',
        "image/svg+xml",
    ),
    "xml": (b'<?xml version="1.0"?><feed/>', "application/xml"),
    "truncated xml": (b'<?xml version="1.0"?><!-- ', "application/xml"),
    "png": (saved(picture(), "PNG"), "image/png"),
    "jpeg": (saved(picture(), "JPEG"), "image/jpeg"),
    "webp": (saved(picture(), "WEBP"), "image/webp"),
    "gif": (gif(8, 8, gif_frame(8, 8)), "image/gif"),
    "gif with html": (gif(8, 8, b"!\xfe\x17<script>x=1;</script> \x00", gif_frame(8, 8)), "image/gif"),
    "avif": (saved(picture(), "AVIF"), "image/avif"),
    "avif by its compatible brands": (_brand(b"mif1", b"mif1", b"avif", b"miaf"), "image/avif"),
    "bmp": (saved(picture(), "BMP"), "image/bmp"),
    "tiff": (saved(picture(), "TIFF"), "image/tiff"),
    "heic": (_brand(b"heic", b"mif1", b"heic"), "image/heic"),
    "mp4": (_brand(b"isom", b"iso2", b"mp41"), "video/mp4"),
    "mp4 by its compatible brands": (_brand(b"XYZ ", b"XYZ ", b"mp42"), "video/mp4"),
    "unknown brand": (_brand(b"crx ", b"crx "), UNKNOWN_TYPE),
    "mov": (_brand(b"qt  ", b"qt  "), "video/quicktime"),
    "m4a": (_brand(b"M4A ", b"mp42"), "audio/mp4"),
    "webm": (EBML + b"\x84webm", "video/webm"),
    "matroska": (EBML + b"\x88matroska", "video/x-matroska"),
    "avi": (b"RIFF\0\0\0\0AVI LIST", "video/x-msvideo"),
    "opus": (b"OggS\0\2" + bytes(20) + b"\1\x13OpusHead", "audio/ogg"),
    "theora": (b"OggS\0\2" + bytes(20) + b"\1\x2a\x80theora", "video/ogg"),
    "mp3 with a tag": (b"ID3\x03\0\0\0\0\0\x0a" + bytes(10) + MP3_FRAME, "audio/mpeg"),
    "mp3 without a tag": (MP3_FRAME * 2, "audio/mpeg"),
    "one frame of mp3": (MP3_FRAME, UNKNOWN_TYPE),
    "aac": (ADTS_FRAME * 2, "audio/aac"),
    "wav": (b"RIFF\x24\0\0\0WAVEfmt \x10\0\0\0", "audio/wav"),
    "flac": (b"fLaC\0\0\0\x22" + bytes(34), "audio/flac"),
    "pdf": (b"%PDF-1.7\n%\xe2\xe3\xcf\xd3\n", "application/pdf"),
    "pdf in ascii": (b"%PDF-1.4\n1 0 obj\n", "application/pdf"),
    "zip": (_archive("a.txt"), "application/zip"),
    "empty zip": (_archive(), "application/zip"),
    "docx": (_archive("[Content_Types].xml", "word/document.xml"), f"{OFFICE}.wordprocessingml.document"),
    "xlsx": (_archive("[Content_Types].xml", "xl/workbook.xml"), f"{OFFICE}.spreadsheetml.sheet"),
    "odt": (
        _archive(first="application/vnd.oasis.opendocument.text"),
        "application/vnd.oasis.opendocument.text",
    ),
    "archive that declares html": (_archive(first="text/html"), "application/zip"),
    "gz": (gzip.compress(b"a"), "application/gzip"),
    "7z": (b"7z\xbc\xaf\x27\x1c\0\4", "application/x-7z-compressed"),
    "no bitmap after its signature": (b"BM" + bytes(range(30)), UNKNOWN_TYPE),
    "elf": (b"\x7fELF\2\1\1" + bytes(9), UNKNOWN_TYPE),
    "exe": (b"MZ\x90\0\3\0\0\0", UNKNOWN_TYPE),
    "wasm": (b"\0asm\1\0\0\0", UNKNOWN_TYPE),
}


@pytest.mark.parametrize("name", MEDIA_TYPES)
def test_media_type_comes_from_the_bytes(name: str) -> None:
    """Neither the file name nor the sender has an influence."""
    content, media_type = MEDIA_TYPES[name]
    assert media_type_of(content) == media_type


HARMLESS = ("image/", "audio/", "video/", "text/plain", "application/pdf")


@given(
    before=st.sampled_from(
        [b"", b"\xef\xbb\xbf", b" \n\t", b"<!-- x -->", b"GIF89a", b"BM", b"%PDF-1.4\n", b"ID3"]
    ),
    tag=st.sampled_from([b"<html>", b"<SCRIPT>", b"<!DOCTYPE html>", b"<svg onload=x>", b"<iframe src=x>"]),
    after=st.binary(max_size=20),
)
def test_markup_never_gets_a_harmless_type(before: bytes, tag: bytes, after: bytes) -> None:
    """This holds for any prefix and suffix, unless the decoder of a binary format would accept the file."""
    media_type = media_type_of(before + tag + after)
    is_binary = before in (b"GIF89a", b"BM", b"%PDF-1.4\n", b"ID3") and media_type not in (
        "text/html",
        "text/plain",
    )
    assert is_binary or media_type == "image/svg+xml" or not media_type.startswith(HARMLESS)


@given(head=st.binary(max_size=200))
def test_any_bytes_have_a_media_type(head: bytes) -> None:
    """Truncated signatures, and signatures followed by any bytes, raise nothing."""
    assert "/" in media_type_of(head)
    for content, _ in MEDIA_TYPES.values():
        assert "/" in media_type_of(content[: len(head)] + head)
