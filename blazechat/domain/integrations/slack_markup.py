"""Writes parts of Slack messages as Markdown: rich-text leaves, links, styles. Omits unknown parts."""

import re
from collections.abc import Iterable
from datetime import UTC, datetime
from typing import Any

from blazechat.domain import validation

MAX_TEXT_CHARACTERS = 6 * validation.MAX_MESSAGE_CHARACTERS
"""Characters read of one text. An escaped character of a message takes up to five (`&amp;`)."""
MAX_URL_CHARACTERS = 2_000
MAX_EMOJI_CHARACTERS = 100

BACKTICKS = re.compile("`+")
ENTITY = re.compile("&(lt|gt|amp);")
HTTP_URL = re.compile(r"https?://[^\s/?#\\][^\s\\<>\x00-\x20\x7f-\x9f]*", re.IGNORECASE)
LINK_URL = re.compile(r"(?:https?://|mailto:|tel:)\S+", re.IGNORECASE)


def leaf_of(leaf: dict[str, Any]) -> str:
    """Return a leaf of rich text as Markdown. Its texts are not escaped and contain no markup."""
    get = leaf.get
    match get("type"):
        case "link":
            return link(get("url"), string_of(get("text")))
        case "emoji":
            return _emoji(get("unicode")) or f":{string_of(get('name'))}:"
        case "user":
            return f"@{string_of(get('user_id'))}"
        case "usergroup":
            return f"@{string_of(get('usergroup_id'))}"
        case "channel":
            return f"#{string_of(get('channel_id'))}"
        case "broadcast":
            return f"@{string_of(get('range'))}"
        case "color":
            return string_of(get("value"))
        case "date":
            return string_of(get("fallback")) or time_of(get("timestamp"))
    return _styled(string_of(get("text")), get("style"))


def unescape(value: Any) -> str:
    """Replace the three entities that Slack escapes, once."""
    return ENTITY.sub(lambda found: {"lt": "<", "gt": ">", "amp": "&"}[found[1]], string_of(value))


def link(url: Any, label: str) -> str:
    """Return a Markdown link; the label alone if `url` is not a web, mail or phone link."""
    if not isinstance(url, str) or len(url) > MAX_URL_CHARACTERS or not LINK_URL.fullmatch(url):
        return label
    if not label or label in (url, url.partition(":")[2]):
        return label or url
    label = " ".join(label.split())
    if "](" in label or not _is_balanced(label):
        label = label.replace("[", "\\[").replace("]", "\\]")
    return f"[{label}]({url.replace('(', '%28').replace(')', '%29')})"


def bold(text: str) -> str:
    """Return a single line in bold; more lines unchanged."""
    return _styled(text, {"bold": "\n" not in text})


def http_url(url: Any) -> str:
    """Return the URL if it is one of the web, else an empty string."""
    return (
        url if isinstance(url, str) and len(url) <= MAX_URL_CHARACTERS and HTTP_URL.fullmatch(url) else ""
    )


def string_of(value: Any) -> str:
    """Return a string, cut, or a number as a string; an empty string for everything else."""
    if isinstance(value, str):
        return value[:MAX_TEXT_CHARACTERS]
    return str(value) if isinstance(value, int | float) and not isinstance(value, bool) else ""


def bounded_int(value: Any, limit: int = 8) -> int:
    """Return a positive number up to `limit`, else 0. It may multiply text, so it must be small."""
    return min(value, limit) if type(value) is int and value > 0 else 0


def join(separator: str, parts: Iterable[str]) -> str:
    """Join the parts that are not blank, stripped."""
    return separator.join(filter(None, map(str.strip, parts)))


def time_of(timestamp: Any) -> str:
    """Return a Unix timestamp as a readable UTC time; empty if it is not valid."""
    try:
        return datetime.fromtimestamp(int(timestamp), UTC).strftime("%Y-%m-%d %H:%M UTC")
    except (ValueError, TypeError, OverflowError, OSError):
        return ""


def _is_balanced(label: str) -> bool:
    depth = 0
    for character in label:
        depth += {"[": 1, "]": -1}.get(character, 0)
        if depth < 0:
            return False
    return depth == 0


def _styled(text: str, style: Any) -> str:
    """Return the text with Markdown's delimiters, which must touch the text that they enclose."""
    inner = text.strip()
    if not isinstance(style, dict) or not inner:
        return text
    styled = inner
    if style.get("code") is True:
        styled = _code(styled)
    for name, delimiter in (("strike", "~~"), ("italic", "_"), ("bold", "**")):
        if style.get(name) is True:
            styled = f"{delimiter}{styled}{delimiter}"
    before, _, after = text.partition(inner)
    return before + styled + after


def _code(text: str) -> str:
    """Return a code span, with more backticks around it than are in it."""
    longest = max(map(len, BACKTICKS.findall(text)), default=0)
    delimiter, space = "`" * (longest + 1), " " if longest else ""
    return f"{delimiter}{space}{text}{space}{delimiter}"


def _emoji(code_points: Any) -> str:
    """Return the emoji of hexadecimal code points such as `1f44d-1f3fd`; empty if they are not valid."""
    try:
        points = string_of(code_points)[:MAX_EMOJI_CHARACTERS].split("-")
        emoji = "".join(chr(int(point, 16)) for point in points)
        emoji.encode()  # fails for surrogates
    except (ValueError, OverflowError):
        return ""
    return emoji
