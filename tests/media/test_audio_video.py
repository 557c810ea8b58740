"""Duration and dimensions of audio and video files, from their heads and tails."""

import struct
import wave
from io import BytesIO

import pytest
from hypothesis import given
from hypothesis import strategies as st

from blazechat.media import audio_video
from blazechat.media.file_types import media_type_of
from blazechat.media.worker_protocol import FileInfo
from tests.media.files import box

MP3_FRAME = b"\xff\xfb\x90\x00" + bytes(413)
"""A frame of an MP3 file: 1152 samples at 44.1 kHz, 128 kbit/s."""


def inspect(content: bytes, head: int = 4096, tail: int = 4096) -> FileInfo:
    """Inspect as the server does: by head and tail if the file is longer than both."""
    if len(content) <= head + tail:
        return audio_video.inspect(media_type_of(content), len(content), content, b"")
    return audio_video.inspect(media_type_of(content), len(content), content[:head], content[-tail:])


def _wav(seconds: int) -> bytes:
    encoded = BytesIO()
    with wave.open(encoded, "wb") as sound:
        sound.setparams((1, 2, 8000, 0, "NONE", ""))
        sound.writeframes(bytes(16_000 * seconds))
    return encoded.getvalue()


def _page(number: int, granule: int, packet: bytes, flags: int = 0) -> bytes:
    sizes = b"\xff" * (len(packet) // 255) + bytes([len(packet) % 255])
    return b"OggS" + struct.pack("<BBqIIIB", 0, flags, granule, 7, number, 0, len(sizes)) + sizes + packet


def _opus(seconds: int) -> bytes:
    head = b"OpusHead" + struct.pack("<BBHIHB", 1, 1, 312, 48_000, 0, 0)
    pages = [_page(0, 0, head, 2), _page(1, 0, b"OpusTags" + bytes(8))]
    pages += [_page(2 + at, 48_000 * (at + 1), b"\x7f" * 1000) for at in range(seconds - 1)]
    return b"".join(pages) + _page(seconds + 1, 48_000 * seconds + 312, b"\x7f" * 1000, 4)


def _flac(seconds: int) -> bytes:
    info = struct.pack(">HH6sQ16s", 4096, 4096, b"", 44_100 << 44 | 15 << 36 | 44_100 * seconds, b"")
    return b"fLaC\x80\0\0\x22" + info + bytes(20_000)


ROTATED = struct.pack(">9i", 0, 1 << 16, 0, -(1 << 16), 0, 0, 0, 0, 1 << 30)
UPRIGHT = struct.pack(">9i", 1 << 16, 0, 0, 0, 1 << 16, 0, 0, 0, 1 << 30)


def _track(handler: bytes, matrix: bytes = UPRIGHT, size: tuple[int, int] = (0, 0)) -> bytes:
    header = box(b"tkhd", bytes(40), matrix, struct.pack(">2I", size[0] << 16, size[1] << 16))
    return box(b"trak", header, box(b"mdia", box(b"hdlr", bytes(8), handler, bytes(13))))


def _video(brand: bytes, *tracks: bytes, is_moov_first: bool = False) -> bytes:
    header = box(b"mvhd", bytes(12), struct.pack(">2I", 1000, 12_500), bytes(80))
    moov, mdat = box(b"moov", header, *tracks), box(b"mdat", bytes(20_000))
    return box(b"ftyp", brand, bytes(4), brand) + (moov + mdat if is_moov_first else mdat + moov)


def _element(element_id: int, content: bytes) -> bytes:
    return (
        element_id.to_bytes((element_id.bit_length() + 7) // 8)
        + (len(content) | 1 << 28).to_bytes(4)
        + content
    )


def _matroska(*tracks: bytes, duration: float | None = 7500.0, doc_type: bytes = b"webm") -> bytes:
    segment_info = _element(0x2AD7B1, (1_000_000).to_bytes(3))
    segment_info += _element(0x4489, struct.pack(">d", duration)) if duration is not None else b""
    inner = _element(0x1549A966, segment_info) + _element(
        0x1654AE6B, b"".join(_element(0xAE, each) for each in tracks)
    )
    segment = (
        b"\x18\x53\x80\x67\xff"  # of unknown length
        + _element(0xEC, bytes(200))
        + inner
        + b"\x1f\x43\xb6\x75\xff"
        + bytes(20_000)
    )
    return _element(0x1A45DFA3, b"\x42\x82" + bytes([0x80 | len(doc_type)]) + doc_type) + segment


AUDIO_TRACK = _element(0x83, b"\2")
VIDEO_TRACK = _element(0x83, b"\1") + _element(
    0xE0, _element(0xB0, b"\x05\0") + _element(0xBA, b"\x02\xd0")
)


@pytest.mark.parametrize(
    ("content", "media_type", "seconds"),
    [
        (_wav(3), "audio/wav", 3),
        (_opus(20), "audio/ogg", 20),
        (_opus(3), "audio/ogg", 3),
        (_flac(90), "audio/flac", 90),
        (MP3_FRAME * 500, "audio/mpeg", 500 * 1152 / 44_100),
        (MP3_FRAME * 12, "audio/mpeg", 12 * 1152 / 44_100),
        (_video(b"M4A ", _track(b"soun")), "audio/mp4", 12.5),
        (_video(b"mp42", _track(b"soun"), is_moov_first=True), "audio/mp4", 12.5),
        (_video(b"isom", _track(b"soun"), _track(b"vide")), "video/mp4", 12.5),
        (_video(b"qt  ", _track(b"vide")), "video/quicktime", 12.5),
        (_matroska(VIDEO_TRACK, AUDIO_TRACK), "video/webm", 7.5),
        (_matroska(AUDIO_TRACK), "audio/webm", 7.5),
        (_matroska(AUDIO_TRACK, duration=None), "audio/webm", None),
        (_matroska(VIDEO_TRACK, doc_type=b"matroska"), "video/x-matroska", 7.5),
    ],
)
def test_duration_is_found(content: bytes, media_type: str, seconds: float | None) -> None:
    """A video container without video, such as a voice message from a browser, is audio."""
    info = inspect(content)
    assert info.media_type == media_type
    assert info.duration == (None if seconds is None else pytest.approx(seconds, rel=0.01))


def test_dimensions_of_video_are_upright() -> None:
    """The matrix of a track, which a phone sets, may rotate the video."""
    for matrix, size in ((UPRIGHT, (1280, 720)), (ROTATED, (720, 1280))):
        info = inspect(_video(b"isom", _track(b"soun"), _track(b"vide", matrix, (1280, 720))))
        assert (info.width, info.height) == size
    info = inspect(_matroska(AUDIO_TRACK, VIDEO_TRACK))
    assert (info.width, info.height) == (1280, 720)


def test_unavailable_fields_are_none() -> None:
    """The `moov` box may lie outside the head and the tail."""
    content = _video(b"isom", _track(b"vide", UPRIGHT, (1280, 720)), box(b"free", bytes(30_000)))
    info = inspect(content)
    assert (info.media_type, info.width, info.duration) == ("video/mp4", None, None)


def test_head_tail_file_is_empty_between_head_and_tail() -> None:
    """It returns neither endless zeros nor bytes from another offset."""
    file = audio_video.HeadTailFile(100, b"head", b"tail")
    assert file.read(10) == b"head"
    for start, expected in ((50, b""), (95, b""), (98, b"il"), (200, b"")):
        file.seek(start)
        assert file.read(10) == expected
    assert file.seek(-4, 2) == 96
    assert file.read() == b"tail"
    with pytest.raises(OSError, match="beginning"):
        file.seek(-1)


@pytest.mark.parametrize("duration", [float("nan"), float("inf"), -1.0, 0.0, 1e30])
def test_implausible_duration_is_none(duration: float) -> None:
    """A file can contain any number."""
    assert inspect(_matroska(VIDEO_TRACK, duration=duration)).duration is None


SAMPLES = [
    _wav(1)[:2000],
    _opus(3),
    _flac(3)[:200],
    MP3_FRAME * 12,
    _video(b"isom", _track(b"vide"))[-400:],
]
SAMPLES += [_video(b"isom", _track(b"vide"), is_moov_first=True)[:500], _matroska(VIDEO_TRACK)[:300]]


@given(
    content=st.sampled_from(SAMPLES),
    where=st.floats(0, 1, exclude_max=True),
    wrong=st.binary(max_size=8),
    size=st.integers(0, 1 << 50),
)
def test_damage_raises_nothing(content: bytes, where: float, wrong: bytes, size: int) -> None:
    """A damaged file is still accepted, whatever size it claims."""
    at = int(where * len(content))
    head = content[:at] + wrong + content[at + len(wrong) :]
    for media_type in ("audio/mpeg", "audio/ogg", "video/mp4", "video/webm", media_type_of(content)):
        info = audio_video.inspect(media_type, len(head) + size, head, content[-100:])
        assert info.duration is None or info.duration > 0
