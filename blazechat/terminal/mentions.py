"""Finds mentions of a user, `@username`, in a text."""

import re


def pattern(username: str) -> str:
    """Return a regular expression for `@username` as a word, in any case."""
    return rf"(?i)(?<!\w)@{re.escape(username)}(?!\w)"


def has_mention(content: str, username: str) -> bool:
    return bool(username) and re.search(pattern(username), content) is not None
