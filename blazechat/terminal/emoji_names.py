"""Emoji and their names: short codes as GitHub and Slack have them, and a search by words of a name."""

from dataclasses import dataclass
from functools import cache

COMMON = ("👍", "❤️", "😂", "🎉", "🙏", "👀", "✅", "😮", "😢", "🔥", "💯", "👎")
"""The emoji that are offered before any was used."""


@dataclass(frozen=True)
class NamedEmoji:
    """An emoji, its English name, and its shortest code or the one that was found, without colons."""

    emoji: str
    name: str
    code: str


@cache
def by_code() -> dict[str, str]:
    """Return the emoji by their short codes."""
    import emoji

    codes: dict[str, str] = {}
    for character, data in emoji.EMOJI_DATA.items():
        if data["status"] <= emoji.STATUS["fully_qualified"]:
            for code in (*data.get("alias", ()), data["en"]):
                codes.setdefault(code.strip(":").casefold(), character)
    return codes


def is_emoji(text: str) -> bool:
    return text in _codes_of()


def named(emoji: str, code: str = "") -> NamedEmoji:
    """Return an emoji with its name. `code` is one of its codes; the shortest one if it is empty."""
    codes = _codes_of().get(emoji, [""])
    return NamedEmoji(emoji, codes[-1].replace("_", " "), code or min(codes, key=len))


@cache
def _codes_of() -> dict[str, list[str]]:
    """Return the codes of each emoji; the last one is its English name."""
    codes: dict[str, list[str]] = {}
    for code, emoji in by_code().items():
        codes.setdefault(emoji, []).append(code)
    return codes


def emoji_of(text: str) -> str:
    """Return the emoji for a short code with or without colons. Any other text is returned as it is."""
    return by_code().get(text.strip(":").casefold(), text)


def codes_like(typed: str) -> list[str]:
    """Return the codes that contain a text: those that begin with it first, then the shorter ones."""
    key = typed.casefold()
    found = [code for code in by_code() if key in code]
    return sorted(found, key=lambda code: (not code.startswith(key), len(code)))


def search(words: str, limit: int) -> list[NamedEmoji]:
    """Return at most `limit` emoji of which a code has all the words. An emoji finds itself."""
    parts = words.casefold().replace(":", " ").replace("-", "_").split()
    if not parts:
        return []
    if is_emoji(parts[0]):
        return [named(parts[0])]
    found: dict[str, NamedEmoji] = {}
    for code in codes_like(parts[0]):
        if all(part in code for part in parts):
            found.setdefault(by_code()[code], named(by_code()[code], code))
            if len(found) == limit:
                break
    return list(found.values())
