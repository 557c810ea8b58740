"""Makes untrusted text safe to display: control and direction characters are replaced by visible ones.

Control characters of ISO 6429 are displayed as Unicode control pictures. The characters of UAX #9 that
change the direction of text are displayed as their names in angle quotation marks.
"""

import re
import unicodedata

TAB = "    "

_FORMAT_CHARACTERS = {
    0x202A: "LRE", 0x202B: "RLE", 0x202C: "PDF", 0x202D: "LRO", 0x202E: "RLO",
    0x2066: "LRI", 0x2067: "RLI", 0x2068: "FSI", 0x2069: "PDI",
    0x2028: "LS", 0x2029: "PS", 0xFEFF: "BOM",
}  # fmt: skip
_REPLACEMENTS: dict[int, str] = {
    **{code: chr(0x2400 + code) for code in range(0x20)},
    0x7F: "␡",
    **{code: f"‹{code:02X}›" for code in range(0x80, 0xA0)},
    **{code: f"‹{name}›" for code, name in _FORMAT_CHARACTERS.items()},
}
_LINE_REPLACEMENTS = {
    code: text for code, text in _REPLACEMENTS.items() if code not in (0x09, 0x0A)
} | {0x09: TAB}  # fmt: skip
_REPLACED_IN_LINES = re.compile("[\x00-\x09\x0b-\x1f\x7f-\x9f\u2028-\u202e\u2066-\u2069\ufeff]")
_REMOVED_FROM_INPUT = re.compile("[\x00-\x08\x0b-\x1f\x7f-\x9f\u2028-\u202e\u2066-\u2069\ufeff]")
_MAX_COMBINING_MARKS = 6
"""Combining marks displayed on one letter. More of them would cover the lines above and below."""


def lines(text: str) -> list[str]:
    """Return the lines of a text, safe to display."""
    text = text.replace("\r\n", "\n")
    if _REPLACED_IN_LINES.search(text) is not None:
        text = text.translate(_LINE_REPLACEMENTS)
    if not text.isascii():
        text = _limit_combining_marks(text)
    return text.split("\n")


def line(text: str) -> str:
    """Return a text as one line, safe to display: line breaks and tabs are replaced as well."""
    if text.isascii() and text.isprintable():
        return text
    return _limit_combining_marks(text.translate(_REPLACEMENTS))


def for_input(text: str) -> str:
    """Return a text for an input field: control characters are removed, line breaks and tabs stay."""
    return _REMOVED_FROM_INPUT.sub("", text.replace("\r\n", "\n").replace("\r", "\n"))


def _limit_combining_marks(text: str) -> str:
    result: list[str] = []
    marks = 0
    for character in text:
        marks = marks + 1 if unicodedata.combining(character) else 0
        if marks <= _MAX_COMBINING_MARKS:
            result.append(character)
    return "".join(result)
