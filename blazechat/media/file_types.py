"""What a file is, told from its first bytes alone: nobody's word for it is taken.

A table of our own rather than puremagic, which takes "BM…", "MZ…" or "GIF89a<script>" in a text for a
picture or a program and does not know wasm, or HTML without a head. Here whatever reads as text is text,
what may be markup is said to be markup (WHATWG MIME Sniffing), and a signature counts only after that.
"""

import codecs
import re

UNKNOWN = "application/octet-stream"
TEXT = "text/plain"
LOOKED_AT = 65_536
"""Bytes of the head that are looked at."""
MOVING = ("audio/", "video/")
SNIFFED = 1024
"""Bytes in which a browser might find HTML, whatever comes before it."""

BINARY = re.compile(rb"[\x00-\x08\x0b\x0e-\x1a\x1c-\x1f]")
"""Bytes that no text has (MIME Sniffing, "binary data byte")."""
ROOT = re.compile(
    rb"(?s)(?>\s+|<\?.*?\?>|<!--.*?-->|<!doctype[^>\[]*(?:\[.*?\]\s*)?>)*+<([a-z_][\w.-]*:)?([a-z_][\w.-]*)",
    re.IGNORECASE,
)
"""The first element behind what may stand before it."""
TAGS = re.compile(rb"(?i)<(?:!doctype\s+html|html|head|body|script|iframe|svg)[\s/>]")

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
RIFF = {b"WEBP": "image/webp", b"WAVE": "audio/wav", b"AVI ": "video/x-msvideo"}
BRANDS = {
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
"""ISO base media files, by their brands (ISO/IEC 14496-12)."""
BITMAP_HEADERS = {12, 40, 52, 56, 64, 108, 124}
OFFICE = "application/vnd.openxmlformats-officedocument"
OFFICE_FOLDERS = {
    b"word": f"{OFFICE}.wordprocessingml.document",
    b"xl": f"{OFFICE}.spreadsheetml.sheet",
    b"ppt": f"{OFFICE}.presentationml.presentation",
}
OFFICE_ENTRY = re.compile(rb"(?s)PK\x03\x04.{26}(word|xl|ppt)/")
DECLARED = re.compile(rb"application/(?:vnd\.oasis\.opendocument\.[a-z-]+|epub\+zip)")
"""Media types that an archive may say of itself."""


def kind_of(head: bytes) -> str:
    """The media type of a file that begins like this; `application/octet-stream` for what is not known.

    What may be HTML, XML or SVG is never told to be anything else, unless a binary format's decoder would
    take it. An empty file is a text.
    """
    head = head[:LOOKED_AT]
    markup = _markup(head)
    if markup is not None:
        return markup
    if _is_text(head):
        if TAGS.search(head[:SNIFFED]):
            return "text/html"
        return "application/pdf" if head.startswith(b"%PDF-") else TEXT
    for signature, kind in SIGNATURES:
        if head.startswith(signature):
            return kind
    return _container(head) or _sound(head) or UNKNOWN


def _is_text(head: bytes) -> bool:
    if BINARY.search(head):
        return False
    try:
        codecs.getincrementaldecoder("utf-8")().decode(head)  # the last character may be cut off
    except UnicodeDecodeError:
        return False
    return True


def _markup(head: bytes) -> str | None:
    """The kind of markup that it is, where it begins with some."""
    text = head.removeprefix(codecs.BOM_UTF8).lstrip()
    if re.match(rb"<[a-z_!?/]", text, re.IGNORECASE) is None:
        return None
    is_xml = text[:5].lower() == b"<?xml"
    root = ROOT.match(text)
    name = root[2].lower() if root else b""
    if name == b"svg":
        return "image/svg+xml"
    return "application/xml" if is_xml and name != b"html" else "text/html"


def _container(head: bytes) -> str | None:
    if head.startswith(b"PK\3\4"):
        return _archive(head)
    if head.startswith(b"RIFF"):
        return RIFF.get(head[8:12])
    if head[4:8] == b"ftyp":
        return _branded(head)
    if head.startswith(b"OggS"):
        is_film = b"\x80theora" in head[:SNIFFED]
        return "video/ogg" if is_film else "audio/ogg"
    if head.startswith(b"\x1aE\xdf\xa3"):
        return "video/webm" if b"\x42\x82\x84webm" in head[:SNIFFED] else "video/x-matroska"
    is_bitmap = head.startswith(b"BM") and int.from_bytes(head[14:18], "little") in BITMAP_HEADERS
    return "image/bmp" if is_bitmap else None


def _archive(head: bytes) -> str:
    declared = head[30:38] == b"mimetype" and DECLARED.match(
        head, 38 + int.from_bytes(head[28:30], "little")
    )
    if declared:
        return declared[0].decode()
    entry = OFFICE_ENTRY.search(head) if b"[Content_Types].xml" in head else None
    return OFFICE_FOLDERS[entry[1]] if entry else "application/zip"


def _branded(head: bytes) -> str | None:
    length = min(int.from_bytes(head[:4]), len(head))
    brands = [head[8:12], *(head[at : at + 4] for at in range(16, length, 4))]
    if brands[0] in (b"mif1", b"msf1"):  # says only that it is a picture; the others say of which codec
        brands.reverse()
    return next((BRANDS[brand] for brand in brands if brand in BRANDS), None)


def _sound(head: bytes) -> str | None:
    """MPEG audio without a header of its own: two frames, one behind the other."""
    if len(head) < 6 or head[0] != 0xFF:
        return None
    if head[1] & 0xF6 == 0xF0:  # ADTS (ISO/IEC 13818-7)
        length = int.from_bytes(head[3:6]) >> 5 & 0x1FFF
        return "audio/aac" if length > 6 and head[length : length + 2] == head[:2] else None
    if head[1] & 0xE6 == 0xE2:
        length = _frame_length(head)
        return "audio/mpeg" if length and head[length : length + 2] == head[:2] else None
    return None


BITRATES = (
    (0, 8, 16, 24, 32, 40, 48, 56, 64, 80, 96, 112, 128, 144, 160, 0),
    (0, 32, 40, 48, 56, 64, 80, 96, 112, 128, 160, 192, 224, 256, 320, 0),
)
"""Of Layer III in kbit/s: MPEG 2 and 2.5, MPEG 1."""
SAMPLE_RATES = (44_100, 48_000, 32_000)


def _frame_length(head: bytes) -> int:
    """Bytes of the MPEG Layer III frame that this begins with, 0 if there cannot be one."""
    version, rate = head[1] >> 3 & 3, head[2] >> 2 & 3
    if version == 1 or rate == 3:
        return 0
    is_first = version == 3
    divisor = 1 if is_first else 2 if version == 2 else 4
    bitrate = BITRATES[is_first][head[2] >> 4] * 1000
    padding = head[2] >> 1 & 1
    return (
        (144 if is_first else 72) * bitrate // (SAMPLE_RATES[rate] // divisor) + padding if bitrate else 0
    )
