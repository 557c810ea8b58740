"""Detects the media type of a file from its first bytes alone. File names and declared types are ignored.

The detection is our own, because puremagic takes a text that begins with "BM", "MZ" or "GIF89a<script>" for
an image or a program, and knows neither WebAssembly nor HTML without a `head` element. Here, anything that
might be markup is reported as markup (WHATWG MIME Sniffing), anything that reads as text is text, and only
then signatures count.
"""

import codecs
import re

UNKNOWN_TYPE = "application/octet-stream"
TEXT_TYPE = "text/plain"
HEAD_BYTES = 65_536
"""How many of a file's first bytes the detection reads."""
AUDIO_VIDEO_PREFIXES = ("audio/", "video/")
SNIFFED_BYTES = 1024
"""How many of a file's first bytes a browser might search for HTML, whatever precedes it."""

BINARY_BYTE = re.compile(rb"[\x00-\x08\x0b\x0e-\x1a\x1c-\x1f]")
"""A byte that does not occur in text (MIME Sniffing, "binary data byte")."""
ROOT_ELEMENT = re.compile(
    rb"(?s)(?>\s+|<\?.*?\?>|<!--.*?-->|<!doctype[^>\[]*(?:\[.*?\]\s*)?>)*+<([a-z_][\w.-]*:)?([a-z_][\w.-]*)",
    re.IGNORECASE,
)
"""The first element of a document, after whatever may precede it; its name is group 2."""
HTML_TAG = re.compile(rb"(?i)<(?:!doctype\s+html|html|head|body|script|iframe|svg)[\s/>]")

SIGNATURES = (
    (b"\x89PNG\r\n\x1a\n", "image/png"),
    (b"\xff\xd8\xff", "image/jpeg"),
    (b"GIF87a", "image/gif"),
    (b"GIF89a", "image/gif"),
    (b"II*\0", "image/tiff"),
    (b"MM\0*", "image/tiff"),
    (b"ID3", "audio/mpeg"),
    (b"fLaC", "audio/flac"),
    (b"%PDF-", "application/pdf"),
    (b"PK\5\6", "application/zip"),
    (b"\x1f\x8b\x08", "application/gzip"),
    (b"7z\xbc\xaf\x27\x1c", "application/x-7z-compressed"),
    (b"Rar!\x1a\x07", "application/vnd.rar"),
    (b"\xfd7zXZ\0", "application/x-xz"),
    (b"\x28\xb5\x2f\xfd", "application/zstd"),
)
RIFF_TYPES = {b"WEBP": "image/webp", b"WAVE": "audio/wav", b"AVI ": "video/x-msvideo"}
BRAND_TYPES = {
    b"avif": "image/avif",
    b"avis": "image/avif",
    b"heic": "image/heic",
    b"heix": "image/heic",
    b"hevc": "image/heic",
    b"hevx": "image/heic",
    b"M4A ": "audio/mp4",
    b"M4B ": "audio/mp4",
    b"qt  ": "video/quicktime",
    b"3gp4": "video/3gpp",
    b"3gp5": "video/3gpp",
    b"3gp6": "video/3gpp",
    b"mif1": "image/heif",
    b"msf1": "image/heif",
    **dict.fromkeys((b"isom", b"mp41", b"mp42", b"avc1", b"M4V ", b"dash", b"MSNV"), "video/mp4"),
    **dict.fromkeys((b"iso%d" % number for number in range(2, 10)), "video/mp4"),
}
"""Media types of ISO base media files, by brand (ISO/IEC 14496-12)."""
BITMAP_HEADER_BYTES = {12, 40, 52, 56, 64, 108, 124}
"""Sizes that the information header of a BMP file can have."""
OFFICE = "application/vnd.openxmlformats-officedocument"
OFFICE_TYPES = {
    b"word": f"{OFFICE}.wordprocessingml.document",
    b"xl": f"{OFFICE}.spreadsheetml.sheet",
    b"ppt": f"{OFFICE}.presentationml.presentation",
}
"""Media types of Office Open XML archives, by the folder of their content."""
OFFICE_ENTRY = re.compile(rb"(?s)PK\x03\x04.{26}(word|xl|ppt)/")
DECLARED_TYPE = re.compile(rb"application/(?:vnd\.oasis\.opendocument\.[a-z-]+|epub\+zip)")
"""Media types that a ZIP archive may declare in its `mimetype` entry."""
LAYER_3_KBITS = (
    (0, 8, 16, 24, 32, 40, 48, 56, 64, 80, 96, 112, 128, 144, 160, 0),
    (0, 32, 40, 48, 56, 64, 80, 96, 112, 128, 160, 192, 224, 256, 320, 0),
)
"""Bit rates of MPEG audio Layer III in kbit/s: of MPEG 2 and 2.5, then of MPEG 1."""
SAMPLE_RATES = (44_100, 48_000, 32_000)
"""Sample rates of MPEG 1 audio in Hz. Those of MPEG 2 are half as high, those of MPEG 2.5 a quarter."""


def media_type_of(head: bytes) -> str:
    """Return the media type of a file with this head; `application/octet-stream` if it is not known.

    A file that might be HTML, XML or SVG never gets a harmless type, unless it is of a binary format whose
    decoder would accept it. An empty file is text.
    """
    head = head[:HEAD_BYTES]
    markup = _markup(head)
    if markup is not None:
        return markup
    if _is_text(head):
        if HTML_TAG.search(head[:SNIFFED_BYTES]):
            return "text/html"
        return "application/pdf" if head.startswith(b"%PDF-") else TEXT_TYPE
    for signature, media_type in SIGNATURES:
        if head.startswith(signature):
            return media_type
    return _container(head) or _mpeg_audio(head) or UNKNOWN_TYPE


def _is_text(head: bytes) -> bool:
    if BINARY_BYTE.search(head):
        return False
    try:
        codecs.getincrementaldecoder("utf-8")().decode(head)  # the last character may be cut off
    except UnicodeDecodeError:
        return False
    return True


def _markup(head: bytes) -> str | None:
    """Return the media type of a document that begins with markup; None for any other file."""
    text = head.removeprefix(codecs.BOM_UTF8).lstrip()
    if re.match(rb"<[a-z_!?/]", text, re.IGNORECASE) is None:
        return None
    is_xml = text[:5].lower() == b"<?xml"
    root = ROOT_ELEMENT.match(text)
    name = root[2].lower() if root else b""
    if name == b"svg":
        return "image/svg+xml"
    return "application/xml" if is_xml and name != b"html" else "text/html"


def _container(head: bytes) -> str | None:
    if head.startswith(b"PK\3\4"):
        return _zip_archive(head)
    if head.startswith(b"RIFF"):
        return RIFF_TYPES.get(head[8:12])
    if head[4:8] == b"ftyp":
        return _iso_base_media(head)
    if head.startswith(b"OggS"):
        is_video = b"\x80theora" in head[:SNIFFED_BYTES]
        return "video/ogg" if is_video else "audio/ogg"
    if head.startswith(b"\x1aE\xdf\xa3"):
        return "video/webm" if b"\x42\x82\x84webm" in head[:SNIFFED_BYTES] else "video/x-matroska"
    is_bitmap = head.startswith(b"BM") and int.from_bytes(head[14:18], "little") in BITMAP_HEADER_BYTES
    return "image/bmp" if is_bitmap else None


def _zip_archive(head: bytes) -> str:
    declared = head[30:38] == b"mimetype" and DECLARED_TYPE.match(
        head, 38 + int.from_bytes(head[28:30], "little")
    )
    if declared:
        return declared[0].decode()
    entry = OFFICE_ENTRY.search(head) if b"[Content_Types].xml" in head else None
    return OFFICE_TYPES[entry[1]] if entry else "application/zip"


def _iso_base_media(head: bytes) -> str | None:
    length = min(int.from_bytes(head[:4]), len(head))
    brands = [head[8:12], *(head[offset : offset + 4] for offset in range(16, length, 4))]
    if brands[0] in (b"mif1", b"msf1"):  # any image format; the compatible brands name the codec
        brands.reverse()
    return next((BRAND_TYPES[brand] for brand in brands if brand in BRAND_TYPES), None)


def _mpeg_audio(head: bytes) -> str | None:
    """Detect MPEG audio without a file header by two adjacent frames."""
    if len(head) < 6 or head[0] != 0xFF:
        return None
    if head[1] & 0xF6 == 0xF0:  # ADTS (ISO/IEC 13818-7)
        length = int.from_bytes(head[3:6]) >> 5 & 0x1FFF
        return "audio/aac" if length > 6 and head[length : length + 2] == head[:2] else None
    if head[1] & 0xE6 == 0xE2:
        length = _layer_3_frame_bytes(head)
        return "audio/mpeg" if length and head[length : length + 2] == head[:2] else None
    return None


def _layer_3_frame_bytes(head: bytes) -> int:
    """Return the size of the MPEG Layer III frame at the start of `head`; 0 if its header is invalid."""
    version, rate = head[1] >> 3 & 3, head[2] >> 2 & 3
    if version == 1 or rate == 3:
        return 0
    is_mpeg_1 = version == 3
    divisor = 1 if is_mpeg_1 else 2 if version == 2 else 4
    bitrate = LAYER_3_KBITS[is_mpeg_1][head[2] >> 4] * 1000
    padding = head[2] >> 1 & 1
    if not bitrate:
        return 0
    return (144 if is_mpeg_1 else 72) * bitrate // (SAMPLE_RATES[rate] // divisor) + padding
