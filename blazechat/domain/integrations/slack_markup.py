"""Slack's texts as Markdown: mrkdwn, leaves of rich text, links, styles. What is unknown is left out."""

import re
from collections.abc import Iterable
from datetime import UTC, datetime
from typing import Any

from blazechat.domain import validation

TEXT_LIMIT = 6 * validation.MESSAGE_LIMIT
"""Characters looked at of one text: escaped, one of a message takes up to five."""
URL_LIMIT = 2_000

# Bounded and without overlap, so that no text makes them slow.
MARKED = re.compile(r"<([^<>|]{1,2000})(?:\|([^<>]{0,2000}))?>")
ESCAPED = re.compile("&(lt|gt|amp);")
WEB = re.compile(r"https?://[^\s/?#\\][^\s\\<>\x00-\x20\x7f-\x9f]*", re.IGNORECASE)
LINKED = re.compile(r"(?:https?://|mailto:|tel:)\S+", re.IGNORECASE)


def leaf(leaf: dict[str, Any]) -> str:
    """An element of rich text, whose texts are not escaped, and have no marks in them."""
    get = leaf.get
    match get("type"):
        case "link":
            return link(get("url"), word(get("text")))
        case "emoji":
            return emoji(get("unicode")) or f":{word(get('name'))}:"
        case "user":
            return f"@{word(get('user_id'))}"
        case "usergroup":
            return f"@{word(get('usergroup_id'))}"
        case "channel":
            return f"#{word(get('channel_id'))}"
        case "broadcast":
            return f"@{word(get('range'))}"
        case "color":
            return word(get("value"))
        case "date":
            return word(get("fallback")) or time(get("timestamp"))
    return styled(word(get("text")), get("style"))


def text(value: Any) -> str:
    """A text of Slack's, be it a string or an object with its type."""
    if isinstance(value, dict):
        text = value.get("text")
        return plain(text) if value.get("type") == "plain_text" else mrkdwn(word(text))
    return mrkdwn(word(value))


def mrkdwn(text: str) -> str:
    """Marks first and escapes afterwards, each once: what was escaped cannot become a mark."""
    return plain(MARKED.sub(mark, text))


def plain(value: Any) -> str:
    return ESCAPED.sub(lambda found: {"lt": "<", "gt": ">", "amp": "&"}[found[1]], word(value))


def mark(found: re.Match[str]) -> str:
    inside, label = found[1], (found[2] or "").strip()
    sign, name = inside[0], inside[1:]
    if sign in "@#":
        return sign + (label.removeprefix(sign) or name)
    if inside in ("!channel", "!here", "!everyone"):
        return f"@{name}"
    if inside.startswith("!subteam^"):
        return "@" + (label.removeprefix("@") or name.removeprefix("subteam^"))
    if inside.startswith("!date^"):
        return label or time(name.split("^")[1])
    if sign == "!":
        return label or found[0]
    return link(inside, label) if LINKED.fullmatch(inside) else found[0]


def link(url: Any, label: str) -> str:
    """A link of Markdown's; only its label where `url` is none that one would follow."""
    if not isinstance(url, str) or len(url) > URL_LIMIT or not LINKED.fullmatch(url):
        return label
    if not label or label in (url, url.partition(":")[2]):
        return label or url
    label = " ".join(label.split())
    if "](" in label or not is_balanced(label):
        label = label.replace("[", "\\[").replace("]", "\\]")
    return f"[{label}]({url.replace('(', '%28').replace(')', '%29')})"


def is_balanced(label: str) -> bool:
    depth = 0
    for character in label:
        depth += {"[": 1, "]": -1}.get(character, 0)
        if depth < 0:
            return False
    return depth == 0


def styled(text: str, style: Any) -> str:
    """`text` in Markdown's marks, which have to touch what they mark."""
    inner = text.strip()
    if not isinstance(style, dict) or not inner:
        return text
    marked = inner
    for name, mark in (("code", "`"), ("strike", "~~"), ("italic", "_"), ("bold", "**")):
        if style.get(name) is True:
            marked = f"{mark}{marked}{mark}"
    before, _, after = text.partition(inner)
    return before + marked + after


def bold(text: str) -> str:
    return styled(text, {"bold": "\n" not in text})


def emoji(code_points: Any) -> str:
    """`1f44d-1f3fd` as what it stands for."""
    try:
        characters = [chr(int(point, 16)) for point in word(code_points)[:100].split("-")]
        "".join(characters).encode()
    except (ValueError, OverflowError):
        return ""
    return "".join(characters)


def time(timestamp: Any) -> str:
    try:
        return datetime.fromtimestamp(int(timestamp), UTC).strftime("%Y-%m-%d %H:%M UTC")
    except (ValueError, TypeError, OverflowError, OSError):
        return ""


def small(value: Any, most: int = 8) -> int:
    """A number that may multiply something."""
    return min(value, most) if type(value) is int and value > 0 else 0


def web(url: Any) -> str:
    return url if isinstance(url, str) and len(url) <= URL_LIMIT and WEB.fullmatch(url) else ""


def word(value: Any) -> str:
    if isinstance(value, str):
        return value[:TEXT_LIMIT]
    return str(value) if isinstance(value, int | float) and not isinstance(value, bool) else ""


def joined(separator: str, parts: Iterable[str]) -> str:
    return separator.join(filter(None, map(str.strip, parts)))
