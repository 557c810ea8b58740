"""Completes the word before the cursor: a user name after `@`, an emoji after `:`, a command after `/`."""

import re
from collections.abc import Callable, Iterable
from dataclasses import dataclass
from functools import cache
from itertools import islice

from blazechat.client import User
from blazechat.terminal import sanitize, slash_commands

MAX_CANDIDATES = 6
MIN_CODE_CHARACTERS = 2
"""Shorter emoji codes have no candidates."""

FindUsers = Callable[[str, str | None], Iterable[User]]
"""Returns the users for the beginning of a name, the best first, and for the slash command of the line."""

_WORD = re.compile(r"\w+")
_NAME = re.compile(r"(?:^|(?<=\s))@([\w.\-]*)$")
_CODE = re.compile(r"(?:^|(?<=\s)):([a-z0-9_+\-]+)$", re.IGNORECASE)
_COMPLETE_CODE = re.compile(r"(?:^|(?<=\s)):([a-z0-9_+\-]+):$", re.IGNORECASE)
_COMMAND = re.compile(r"^/([a-z\-]*)$", re.IGNORECASE)
_COMMAND_OF_LINE = re.compile(r"^/([a-z\-]+)\s", re.IGNORECASE)


@dataclass(frozen=True)
class Candidate:
    """A completion: `text` replaces `replaced_characters` before the cursor. `label` is displayed."""

    text: str
    label: str
    replaced_characters: int


def candidates(before_cursor: str, find_users: FindUsers, *, is_first_line: bool) -> list[Candidate]:
    """Return the completions for the part of a line before the cursor.

    Commands are completed in the first line only.
    """
    if is_first_line and (match := _COMMAND.search(before_cursor)) is not None:
        return _commands(match[1])
    if (match := _NAME.search(before_cursor)) is not None:
        command = _COMMAND_OF_LINE.match(before_cursor) if is_first_line else None
        users = find_users(match[1], command[1].casefold() if command else None)
        return list(islice(_names(match[1], users), MAX_CANDIDATES))
    if (match := _CODE.search(before_cursor)) is not None and len(match[1]) >= MIN_CODE_CHARACTERS:
        return _codes(match[1])
    return []


def completed_emoji(before_cursor: str) -> Candidate | None:
    """Return the emoji whose short code, such as `:tada:`, ends at the cursor."""
    match = _COMPLETE_CODE.search(before_cursor)
    if match is None:
        return None
    emoji = _emoji_by_code().get(match[1].casefold())
    return Candidate(emoji, emoji, len(match[0])) if emoji else None


def emoji_of(text: str) -> str:
    """Return the emoji for a short code with or without colons. Any other text is returned as it is."""
    return _emoji_by_code().get(text.strip(":").casefold(), text)


def _commands(typed: str) -> list[Candidate]:
    return [
        Candidate(f"/{command.name} ", f"/{command.name} {command.usage}  {command.help}", len(typed) + 1)
        for command in sorted(slash_commands.COMMANDS, key=lambda command: len(command.name))
        if command.name.startswith(typed.casefold())
    ][:MAX_CANDIDATES]


def matches(user: User, typed: str) -> bool:
    """Return True if the user name, or a word of the display name, begins with `typed`."""
    name = user.display_name.casefold()
    words = [user.username.casefold(), name, *name.split(), *_WORD.findall(name)]
    return any(word.startswith(typed.casefold()) for word in words)


def _names(typed: str, users: Iterable[User]) -> Iterable[Candidate]:
    for user in users:
        if matches(user, typed):
            label = f"@{user.username}  {sanitize.line(user.display_name)}{'  bot' if user.is_bot else ''}"
            yield Candidate(f"@{user.username} ", label, len(typed) + 1)


def _codes(typed: str) -> list[Candidate]:
    key, emoji = typed.casefold(), _emoji_by_code()
    starting = [code for code in emoji if code.startswith(key)]
    containing = [code for code in emoji if key in code and not code.startswith(key)]
    codes = sorted(starting, key=len) + sorted(containing, key=len)
    return [
        Candidate(f"{emoji[code]} ", f"{emoji[code]} :{code}:", len(typed) + 1)
        for code in codes[:MAX_CANDIDATES]
    ]


@cache
def _emoji_by_code() -> dict[str, str]:
    """Return the emoji by their short codes, as GitHub and Slack name them."""
    import emoji

    by_code: dict[str, str] = {}
    for character, data in emoji.EMOJI_DATA.items():
        if data["status"] <= emoji.STATUS["fully_qualified"]:
            for code in (*data.get("alias", ()), data["en"]):
                by_code.setdefault(code.strip(":").casefold(), character)
    return by_code
