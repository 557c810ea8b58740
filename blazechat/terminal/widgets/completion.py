"""Completes the word before the cursor: a user name, an emoji, a command, the value of a command."""

import re
from collections.abc import Callable, Iterable
from dataclasses import dataclass
from itertools import islice

from blazechat.client import User
from blazechat.terminal import emoji_names, sanitize
from blazechat.terminal.slash_commands import CommandHelp

MAX_CANDIDATES = 50
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
_VALUE = re.compile(r"^/([a-z\-]+) (\S*)$", re.IGNORECASE)


@dataclass(frozen=True)
class Sources:
    """What is completed: users who can be mentioned, commands in their order, values of a command."""

    users: FindUsers
    commands: Callable[[], Iterable[CommandHelp]]
    values: Callable[[str], Iterable[str]]


@dataclass(frozen=True)
class Candidate:
    """A completion: `text` replaces `replaced_characters` before the cursor. `label` is displayed."""

    text: str
    label: str
    replaced_characters: int


def candidates(before_cursor: str, sources: Sources, *, is_first_line: bool) -> list[Candidate]:
    """Return the completions for the part of a line before the cursor.

    Commands are completed in the first line only.
    """
    if is_first_line and (match := _COMMAND.search(before_cursor)) is not None:
        return _commands(match[1], sources.commands())
    if is_first_line and (match := _VALUE.search(before_cursor)) is not None:
        values = _values(match[2], sources.values(match[1].casefold()))
        if values:
            return values
    if (match := _NAME.search(before_cursor)) is not None:
        command = _COMMAND_OF_LINE.match(before_cursor) if is_first_line else None
        users = sources.users(match[1], command[1].casefold() if command else None)
        return list(islice(_names(match[1], users), MAX_CANDIDATES))
    if (match := _CODE.search(before_cursor)) is not None and len(match[1]) >= MIN_CODE_CHARACTERS:
        return _codes(match[1])
    return []


def completed_emoji(before_cursor: str) -> Candidate | None:
    """Return the emoji whose short code, such as `:tada:`, ends at the cursor."""
    match = _COMPLETE_CODE.search(before_cursor)
    if match is None:
        return None
    emoji = emoji_names.by_code().get(match[1].casefold())
    return Candidate(emoji, emoji, len(match[0])) if emoji else None


def _commands(typed: str, commands: Iterable[CommandHelp]) -> list[Candidate]:
    return [
        Candidate(f"/{command.name} ", f"/{command.name} {command.usage}  {command.help}", len(typed) + 1)
        for command in commands
        if command.name.startswith(typed.casefold())
    ]


def _values(typed: str, values: Iterable[str]) -> list[Candidate]:
    """Return the values that begin with what is typed, then those that contain it."""
    key = typed.casefold()
    found = [value for value in values if key in value.casefold()]
    found.sort(key=lambda value: not value.casefold().startswith(key))
    return [Candidate(value, value, len(typed)) for value in found]


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
    emoji = emoji_names.by_code()
    return [
        Candidate(f"{emoji[code]} ", f"{emoji[code]} :{code}:", len(typed) + 1)
        for code in emoji_names.codes_like(typed)[:MAX_CANDIDATES]
    ]
