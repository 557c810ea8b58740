"""What one may be about to write: a name after `@`, an emoji after `:`, a command after `/`."""

import re
from collections.abc import Callable, Iterable
from dataclasses import dataclass
from functools import cache

from blazechat.client import User
from blazechat.terminal import sanitize, slash_commands

MAX_CANDIDATES = 6
MIN_CODE_CHARACTERS = 2

ListUsers = Callable[[], Iterable[User]]
"""Those who can be named here."""

_NAME = re.compile(r"(?:^|(?<=\s))@([\w.\-]*)$")
_CODE = re.compile(r"(?:^|(?<=\s)):([a-z0-9_+\-]+)$", re.IGNORECASE)
_WHOLE_CODE = re.compile(r"(?:^|(?<=\s)):([a-z0-9_+\-]+):$", re.IGNORECASE)
_COMMAND = re.compile(r"^/([a-z\-]*)$", re.IGNORECASE)


@dataclass(frozen=True)
class Candidate:
    """`text` takes the place of so many characters before the cursor; `label` is what is shown."""

    text: str
    label: str
    replaces: int


def candidates(before: str, people: ListUsers, *, is_start: bool) -> list[Candidate]:
    """What fits to the text before the cursor, in the line that it is in; `is_start` if it is the first."""
    if is_start and (found := _COMMAND.search(before)) is not None:
        typed = found[1].casefold()
        return [
            Candidate(
                f"/{command.name} ", f"/{command.name} {command.usage}  {command.help}", len(found[0])
            )
            for command in sorted(slash_commands.COMMANDS, key=lambda command: len(command.name))
            if command.name.startswith(typed)
        ][:MAX_CANDIDATES]
    if (found := _NAME.search(before)) is not None:
        return list(_names(found[1], people))[:MAX_CANDIDATES]
    if (found := _CODE.search(before)) is not None and len(found[1]) >= MIN_CODE_CHARACTERS:
        return _codes(found[1])
    return []


def completed_emoji(before: str) -> Candidate | None:
    """The emoji whose short code ends at the cursor."""
    found = _WHOLE_CODE.search(before)
    if found is None:
        return None
    emoji = _emoji_by_code().get(found[1].casefold())
    return Candidate(emoji, emoji, len(found[0])) if emoji else None


def emoji_of(text: str) -> str:
    """The emoji for `:thumbsup:` or `thumbsup`; what is none stays as it is."""
    return _emoji_by_code().get(text.strip(":").casefold(), text)


def _names(typed: str, people: ListUsers) -> Iterable[Candidate]:
    for user in people():
        words = [user.username, user.display_name, *user.display_name.split()]
        if any(word.casefold().startswith(typed.casefold()) for word in words):
            label = f"@{user.username}  {sanitize.line(user.display_name)}"
            yield Candidate(f"@{user.username} ", label, len(typed) + 1)


def _codes(typed: str) -> list[Candidate]:
    key = typed.casefold()
    begin = [code for code in _emoji_by_code() if code.startswith(key)]
    inside = [code for code in _emoji_by_code() if key in code and not code.startswith(key)]
    found = sorted(begin, key=len) + sorted(inside, key=len)
    return [
        Candidate(f"{_emoji_by_code()[code]} ", f"{_emoji_by_code()[code]} :{code}:", len(typed) + 1)
        for code in found[:MAX_CANDIDATES]
    ]


@cache
def _emoji_by_code() -> dict[str, str]:
    """By their short codes, as GitHub and Slack have them."""
    import emoji

    found: dict[str, str] = {}
    for character, about in emoji.EMOJI_DATA.items():
        if about["status"] <= emoji.STATUS["fully_qualified"]:
            for code in (*about.get("alias", ()), about["en"]):
                found.setdefault(code.strip(":").casefold(), character)
    return found
