"""Rules of the parser in which messages differ from CommonMark, so that ordinary text stays as it is.

- `2*3*4` and paths such as `src/**/*.py` have no emphasis, and neither has `__init__`.
- Every line break breaks the line, and the spaces at the start of a line stay.
- URLs are links without `<` and `>`.
"""

import re
import unicodedata
from collections.abc import Callable

from markdown_it.rules_block import StateBlock, table
from markdown_it.rules_inline import StateInline, emphasis, escape, image, link, linkify, strikethrough

InlineRule = Callable[[StateInline, bool], bool]
"""Returns True if it has taken a part of the text. With True as second argument, it creates no tokens."""

MAX_BRACKETS = 200
"""Brackets of one text that are examined. Each costs a scan, so that 10,000 would block the app."""
MAX_CELLS = 2_000
"""Cells of a table. The parser fills short rows, so that a short text could have 65,000."""
CASED_CATEGORIES = {"Lu", "Ll", "Lt", "Nd"}
"""Letters with case, and digits. Scripts without spaces between words, such as Han, have neither."""
PATH_SYMBOLS = frozenset("/\\=$@#%&^")
SCHEME = re.compile(r"(?:^|[^a-z0-9.+-])https?$", re.IGNORECASE)
MAX_SCHEME_CHARACTERS = 6


def only_between_words(rule: InlineRule) -> InlineRule:
    """Return a rule for delimiters that starts no emphasis after a letter, and ends none before one."""

    def tokenize(state: StateInline, silent: bool) -> bool:
        start, count = state.pos, len(state.delimiters)
        if not rule(state, silent):
            return False
        follows_word = start > 0 and _is_part_of_word(state.src[start - 1])
        precedes_word = state.pos < state.posMax and _is_part_of_word(state.src[state.pos])
        is_dunder = state.src[start] == "_" and state.pos - start > 1
        for delimiter in state.delimiters[count:]:
            delimiter.open = delimiter.open and not follows_word and not is_dunder
            delimiter.close = delimiter.close and not precedes_word and not is_dunder
        return True

    return tokenize


def at_most(limit: int, rule: InlineRule) -> InlineRule:
    """Return a rule that is tried at most `limit` times per message."""

    def limited(state: StateInline, silent: bool) -> bool:
        if state.src[state.pos] not in "[!":
            return False
        state.env["brackets"] = state.env.get("brackets", 0) + 1
        return state.env["brackets"] <= limit and rule(state, silent)

    return limited


emphasis_between_words = only_between_words(emphasis.tokenize)
strikethrough_between_words = only_between_words(strikethrough.tokenize)
limited_link = at_most(MAX_BRACKETS, link)
limited_image = at_most(MAX_BRACKETS, image)


def line_break(state: StateInline, silent: bool) -> bool:
    """Break the line, and keep the spaces at the start of the next one."""
    if state.src[state.pos] != "\n":
        return False
    if not silent:
        state.push("softbreak", "br", 0)
    state.pos += 1
    return True


def escaped_character(state: StateInline, silent: bool) -> bool:
    r"""Take a backslash before punctuation, but not one at the end of a line, or the arm of ¯\_(ツ)_/¯."""
    if state.src[state.pos] != "\\":
        return False
    is_arm = state.pos > 0 and state.src[state.pos - 1] == "¯"
    is_continuation = state.src[state.pos + 1 : state.pos + 2] == "\n"
    return not is_arm and not is_continuation and escape(state, silent)


def bare_url(state: StateInline, silent: bool) -> bool:
    """Take a URL of the web. The check of its scheme comes first, since the library's takes much longer."""
    if state.src[state.pos] != ":" or not SCHEME.search(state.pending[-MAX_SCHEME_CHARACTERS:]):
        return False
    return linkify(state, silent)


def limited_table(state: StateBlock, start: int, end: int, silent: bool) -> bool:
    """Take a table, unless it has too many cells: then it stays as it was written."""
    columns = state.src.count("|", state.bMarks[start], state.eMarks[start]) + 1
    return columns > 1 and columns * (end - start) <= MAX_CELLS and table(state, start, end, silent)


def ends_outdented_text(state: StateBlock, start: int, end: int, silent: bool) -> bool:
    """End a quote at the first line without `>`, and a list item at the first line that is not indented.

    CommonMark would add such lines ("laziness"): the answer below a quote would become a part of it.
    """
    return silent and (state.parentType == "blockquote" or state.sCount[start] < state.blkIndent)


def _is_part_of_word(character: str) -> bool:
    return unicodedata.category(character) in CASED_CATEGORIES or character in PATH_SYMBOLS
