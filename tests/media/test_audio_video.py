"""How long sounds and films are, from their ends."""

import struct
import wave
from io import BytesIO

import pytest
from hypothesis import given
from hypothesis import strategies as st

from blazechat.media import audio_video
from blazechat.media.file_types import kind_of
from blazechat.media.worker_protocol import Seen
from tests.media.files import box

FRAME = b"\xff\xfb\x90\x00" + bytes(413)
"""Of an MP3 file: 1152 samples at 44.1 kHz, 128 kbit/s."""


def look(content: bytes, head: int = 4096, tail: int = 4096) -> Seen:
    """As the server asks: with both ends of what is longer than they are."""
    if len(content) <= head + tail:
        return audio_video.look(kind_of(content), len(content), content, b"")
    return audio_video.look(kind_of(content), len(content), content[:head], content[-tail:])


def _wav(seconds: int) -> bytes:
    written = BytesIO()
    with wave.open(written, "wb") as sound:
        sound.setparams((1, 2, 8000, 0, "NONE", ""))
        sound.writeframes(bytes(16_000 * seconds))
    return written.getvalue()


def _page(number: int, granule: int, packet: bytes, kind: int = 0) -> bytes:
    sizes = b"\xff" * (len(packet) // 255) + bytes([len(packet) % 255])
    return b"OggS" + struct.pack("<BBqIIIB", 0, kind, granule, 7, number, 0, len(sizes)) + sizes + packet


def _opus(seconds: int) -> bytes:
    head = b"OpusHead" + struct.pack("<BBHIHB", 1, 1, 312, 48_000, 0, 0)
    pages = [_page(0, 0, head, 2), _page(1, 0, b"OpusTags" + bytes(8))]
    pages += [_page(2 + at, 48_000 * (at + 1), b"\x7f" * 1000) for at in range(seconds - 1)]
    return b"".join(pages) + _page(seconds + 1, 48_000 * seconds + 312, b"\x7f" * 1000, 4)


def _flac(seconds: int) -> bytes:
    info = struct.pack(">HH6sQ16s", 4096, 4096, b"", 44_100 << 44 | 15 << 36 | 44_100 * seconds, b"")
    return b"fLaC\x80\0\0\x22" + info + bytes(20_000)


TURNED = struct.pack(">9i", 0, 1 << 16, 0, -(1 << 16), 0, 0, 0, 0, 1 << 30)
STRAIGHT = struct.pack(">9i", 1 << 16, 0, 0, 0, 1 << 16, 0, 0, 0, 1 << 30)


def _track(kind: bytes, matrix: bytes = STRAIGHT, size: tuple[int, int] = (0, 0)) -> bytes:
    header = box(b"tkhd", bytes(40), matrix, struct.pack(">2I", size[0] << 16, size[1] << 16))
    return box(b"trak", header, box(b"mdia", box(b"hdlr", bytes(8), kind, bytes(13))))


def _film(brand: bytes, *tracks: bytes, is_first: bool = False) -> bytes:
    header = box(b"mvhd", bytes(12), struct.pack(">2I", 1000, 12_500), bytes(80))
    described, held = box(b"moov", header, *tracks), box(b"mdat", bytes(20_000))
    return box(b"ftyp", brand, bytes(4), brand) + (described + held if is_first else held + described)


def _element(kind: int, content: bytes) -> bytes:
    return kind.to_bytes((kind.bit_length() + 7) // 8) + (len(content) | 1 << 28).to_bytes(4) + content


def _matroska(*tracks: bytes, duration: float | None = 7500.0, kind: bytes = b"webm") -> bytes:
    info = _element(0x2AD7B1, (1_000_000).to_bytes(3))
    info += _element(0x4489, struct.pack(">d", duration)) if duration is not None else b""
    inner = _element(0x1549A966, info) + _element(
        0x1654AE6B, b"".join(_element(0xAE, each) for each in tracks)
    )
    segment = (
        b"\x18\x53\x80\x67\xff"  # as long as it may be
        + _element(0xEC, bytes(200))
        + inner
        + b"\x1f\x43\xb6\x75\xff"
        + bytes(20_000)
    )
    return _element(0x1A45DFA3, b"\x42\x82" + bytes([0x80 | len(kind)]) + kind) + segment


SOUND_TRACK = _element(0x83, b"\2")
PICTURE_TRACK = _element(0x83, b"\1") + _element(
    0xE0, _element(0xB0, b"\x05\0") + _element(0xBA, b"\x02\xd0")
)


@pytest.mark.parametrize(
    ("content", "kind", "seconds"),
    [
        (_wav(3), "audio/wav", 3),
        (_opus(20), "audio/ogg", 20),
        (_opus(3), "audio/ogg", 3),
        (_flac(90), "audio/flac", 90),
        (FRAME * 500, "audio/mpeg", 500 * 1152 / 44_100),
        (FRAME * 12, "audio/mpeg", 12 * 1152 / 44_100),
        (_film(b"M4A ", _track(b"soun")), "audio/mp4", 12.5),
        (_film(b"mp42", _track(b"soun"), is_first=True), "audio/mp4", 12.5),
        (_film(b"isom", _track(b"soun"), _track(b"vide")), "video/mp4", 12.5),
        (_film(b"qt  ", _track(b"vide")), "video/quicktime", 12.5),
        (_matroska(PICTURE_TRACK, SOUND_TRACK), "video/webm", 7.5),
        (_matroska(SOUND_TRACK), "audio/webm", 7.5),
        (_matroska(SOUND_TRACK, duration=None), "audio/webm", None),
        (_matroska(PICTURE_TRACK, kind=b"matroska"), "video/x-matroska", 7.5),
    ],
)
def test_how_long_it_is(content: bytes, kind: str, seconds: float | None) -> None:
    """And that a film without a picture is a sound, such as a voice message from a browser."""
    seen = look(content)
    assert seen.media_type == kind
    assert seen.duration == (None if seconds is None else pytest.approx(seconds, rel=0.01))


def test_how_large_a_film_is() -> None:
    """Upright, where a phone was held upright."""
    for matrix, size in ((STRAIGHT, (1280, 720)), (TURNED, (720, 1280))):
        seen = look(_film(b"isom", _track(b"soun"), _track(b"vide", matrix, (1280, 720))))
        assert (seen.width, seen.height) == size
    seen = look(_matroska(SOUND_TRACK, PICTURE_TRACK))
    assert (seen.width, seen.height) == (1280, 720)


def test_what_is_not_here_is_not_guessed() -> None:
    """The description of a film may be longer than the end that is looked at."""
    content = _film(b"isom", _track(b"vide", STRAIGHT, (1280, 720)), box(b"free", bytes(30_000)))
    seen = look(content)
    assert (seen.media_type, seen.width, seen.duration) == ("video/mp4", None, None)


def test_between_its_ends_a_file_has_nothing_to_read() -> None:
    """Rather than zeros without end, or bytes of somewhere else."""
    file = audio_video.Ends(100, b"head", b"tail")
    assert file.read(10) == b"head"
    for start, expected in ((50, b""), (95, b""), (98, b"il"), (200, b"")):
        file.seek(start)
        assert file.read(10) == expected
    assert file.seek(-4, 2) == 96
    assert file.read() == b"tail"
    with pytest.raises(OSError, match="beginning"):
        file.seek(-1)


@pytest.mark.parametrize("duration", [float("nan"), float("inf"), -1.0, 0.0, 1e30])
def test_nonsense_is_nothing(duration: float) -> None:
    """A file says what it likes."""
    assert look(_matroska(PICTURE_TRACK, duration=duration)).duration is None


WHOLE = [_wav(1)[:2000], _opus(3), _flac(3)[:200], FRAME * 12, _film(b"isom", _track(b"vide"))[-400:]]
WHOLE += [_film(b"isom", _track(b"vide"), is_first=True)[:500], _matroska(PICTURE_TRACK)[:300]]


@given(
    content=st.sampled_from(WHOLE),
    where=st.floats(0, 1, exclude_max=True),
    wrong=st.binary(max_size=8),
    size=st.integers(0, 1 << 50),
)
def test_damage_raises_nothing(content: bytes, where: float, wrong: bytes, size: int) -> None:
    """A sound that is not understood is a file like any other, however large it says it is."""
    at = int(where * len(content))
    head = content[:at] + wrong + content[at + len(wrong) :]
    for kind in ("audio/mpeg", "audio/ogg", "video/mp4", "video/webm", kind_of(content)):
        seen = audio_video.look(kind, len(head) + size, head, content[-100:])
        assert seen.duration is None or seen.duration > 0
