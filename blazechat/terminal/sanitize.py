"""Text of others made harmless: what would steer the terminal, or the order of writing, is shown instead.

Unicode's control pictures stand for the control characters of ISO 6429, and names in angle brackets for the
marks of UAX #9 that change the direction of what follows.
"""

import re
import unicodedata

TAB = "    "

_MARKS = {
    0x202A: "LRE", 0x202B: "RLE", 0x202C: "PDF", 0x202D: "LRO", 0x202E: "RLO",
    0x2066: "LRI", 0x2067: "RLI", 0x2068: "FSI", 0x2069: "PDI",
    0x2028: "LS", 0x2029: "PS", 0xFEFF: "BOM",
}  # fmt: skip
_SHOWN: dict[int, str] = {
    **{code: chr(0x2400 + code) for code in range(0x20)},
    0x7F: "␡",
    **{code: f"‹{code:02X}›" for code in range(0x80, 0xA0)},
    **{code: f"‹{name}›" for code, name in _MARKS.items()},
}
_LINES = {code: shown for code, shown in _SHOWN.items() if code not in (0x09, 0x0A)} | {0x09: TAB}
_STEERS = re.compile("[\x00-\x09\x0b-\x1f\x7f-\x9f\u2028-\u202e\u2066-\u2069\ufeff]")
_UNSEEN = re.compile("[\x00-\x08\x0b-\x1f\x7f-\x9f\u2028-\u202e\u2066-\u2069\ufeff]")
_MANY_MARKS = 6
"""Combining marks on one letter that are shown; further ones would run over the lines around it."""


def lines(text: str) -> list[str]:
    """The lines of a message."""
    text = text.replace("\r\n", "\n")
    if _STEERS.search(text) is not None:
        text = text.translate(_LINES)
    if not text.isascii():
        text = _without_piles(text)
    return text.split("\n")


def line(text: str) -> str:
    """All on one line, as for a name."""
    return _without_piles(text.translate(_SHOWN)) if not text.isascii() or not text.isprintable() else text


def typed(text: str) -> str:
    """What comes into a field from elsewhere: without what steers a terminal, but with its lines."""
    return _UNSEEN.sub("", text.replace("\r\n", "\n").replace("\r", "\n"))


def _without_piles(text: str) -> str:
    kept: list[str] = []
    marks = 0
    for character in text:
        marks = marks + 1 if unicodedata.combining(character) else 0
        if marks <= _MANY_MARKS:
            kept.append(character)
    return "".join(kept)
