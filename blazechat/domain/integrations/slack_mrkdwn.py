"""Converts Slack's mrkdwn to Markdown: bold, strikethrough, code, bullets, links, mentions and dates.

Italics and quotes are the same in both. Markdown in a text stays as it is, since many senders write it.
"""

import re
from typing import Any

from blazechat.domain.integrations.slack_markup import LINK_URL, link, string_of, time_of, unescape

# With bounded repetitions and without overlaps, so that every text is matched in linear time.
REFERENCE = re.compile(r"<(?P<inside>[^<>|]{1,2000})(?:\|(?P<label>[^<>]{0,2000}))?>")
TOKEN = re.compile(
    r"```(?P<fenced>(?:(?!```)[\s\S])+)```"
    r"|`(?P<code>[^`\n]+)`"
    rf"|{REFERENCE.pattern}"
    r"|^(?P<indent>[ \t]*)(?P<bullet>[•◦▪‣●])[ \t]+"
    r"|(?P<mark>[*~])",
    re.MULTILINE,
)
MARKS = {"*": "**", "~": "~~"}
"""Markdown's delimiter for each of Slack's that differs."""
BULLET_INDENTS = {"◦": "  ", "▪": "    "}
"""By the bullets of nested lists, if their line is not indented."""


def text_of(value: Any) -> str:
    """Return a text, which is a string of mrkdwn or an object with its type, as Markdown."""
    if isinstance(value, dict):
        text = value.get("text")
        return unescape(text) if value.get("type") == "plain_text" else to_markdown(string_of(text))
    return to_markdown(string_of(value))


def to_markdown(text: str) -> str:
    """Replace markup first and entities second, each once: escaped text cannot become markup."""
    return _Converter(text).result()


class _Converter:
    """Converts one text in one pass. Marks are replaced in pairs, within a line."""

    def __init__(self, text: str) -> None:
        self._text = text
        self._parts: list[str] = []
        self._open: dict[str, int] = {}  # marks that might begin a pair, and their places in the parts

    def result(self) -> str:
        end = 0
        for found in TOKEN.finditer(self._text):
            self._add_plain(self._text[end : found.start()])
            self._add_token(found)
            end = found.end()
        self._add_plain(self._text[end:])
        return "".join(self._parts)

    def _add_plain(self, text: str) -> None:
        if "\n" in text:
            self._open.clear()
        self._parts.append(unescape(text))

    def _add_token(self, found: re.Match[str]) -> None:
        if found["mark"]:
            self._add_mark(found)
        elif found["fenced"]:
            self._open.clear()
            self._parts.append(self._fence(found))
        elif found["code"]:
            self._parts.append(f"`{_plain(found['code'])}`")
        elif found["bullet"]:
            self._open.clear()
            indent = found["indent"] or BULLET_INDENTS.get(found["bullet"], "")
            self._parts.append(f"{indent}- ")
        else:
            self._parts.append(_reference(found))

    def _add_mark(self, found: re.Match[str]) -> None:
        mark, place = found["mark"], len(self._parts)
        self._parts.append(mark)
        before = self._text[found.start() - 1 : found.start()]
        after = self._text[found.end() : found.end() + 1]
        if mark in (before, after):
            return  # Markdown's own delimiter
        opening = self._open.get(mark)
        if opening is not None and not before.isspace() and not after.isalnum():
            self._parts[opening] = self._parts[place] = MARKS[mark]
            self._open = {each: at for each, at in self._open.items() if at < opening}
        elif after and not after.isspace() and not before.isalnum():
            self._open[mark] = place

    def _fence(self, found: re.Match[str]) -> str:
        """Return a fence on lines of its own, as Markdown needs it."""
        starts_line = found.start() == 0 or self._text[found.start() - 1] == "\n"
        ends_line = found.end() == len(self._text) or self._text[found.end()] == "\n"
        code = _plain(found["fenced"]).strip("\n")
        return f"{'' if starts_line else chr(10)}```\n{code}\n```{'' if ends_line else chr(10)}"


def _plain(code: str) -> str:
    """Return the text of code. A link in it is its label, or its URL."""
    return unescape(REFERENCE.sub(lambda found: found["label"] or found["inside"], code))


def _reference(found: re.Match[str]) -> str:
    """Return a mention, date or link (`<…>`) as Markdown."""
    inside, label = unescape(found["inside"]), to_markdown(found["label"] or "").strip()
    sign, name = inside[0], inside[1:]
    if sign in "@#":
        return sign + (label.removeprefix(sign) or name)
    if inside in ("!channel", "!here", "!everyone"):
        return f"@{name}"
    if inside.startswith("!subteam^"):
        return "@" + (label.removeprefix("@") or name.removeprefix("subteam^"))
    if inside.startswith("!date^"):
        return label or time_of(name.split("^")[1])
    if sign == "!":
        return label or unescape(found[0])
    return link(inside, label) if LINK_URL.fullmatch(inside) else unescape(found[0])
