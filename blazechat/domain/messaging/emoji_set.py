"""The emoji that a reaction can be: the RGI set of Unicode (UTS #51), each in its fully-qualified form.

Keyboards send the same emoji with and without variation selectors. So two reactions are the same if they
differ in nothing else.
"""

from typing import Any

from emoji import EMOJI_DATA, STATUS

from blazechat.domain import validation
from blazechat.domain.validation import MAX_EMOJI_CHARACTERS
from blazechat.errors import InvalidInput

VARIATION_SELECTOR = "\N{VARIATION SELECTOR-16}"


def comparison_key(emoji: str) -> str:
    """Return the form for comparisons: the same for all forms of an emoji."""
    return emoji.replace(VARIATION_SELECTOR, "")


_QUALIFIED = {
    comparison_key(emoji): emoji
    for emoji, data in EMOJI_DATA.items()
    if data["status"] == STATUS["fully_qualified"]
}


def qualified(value: Any) -> str:
    """Return the fully-qualified form of an emoji. Raises InvalidInput for anything else."""
    emoji = _QUALIFIED.get(comparison_key(value)) if isinstance(value, str) else None
    if emoji is None:
        raise InvalidInput.of("emoji", "A reaction must be exactly one emoji, for example 👍.")
    return emoji


def stored_key(value: Any) -> str:
    """Return the comparison key of a stored reaction, which may be older than the rule. Raises
    InvalidInput."""
    if not isinstance(value, str) or not 1 <= len(value) <= MAX_EMOJI_CHARACTERS:
        raise InvalidInput.of("emoji", f"A reaction has 1 to {MAX_EMOJI_CHARACTERS} characters.")
    return comparison_key(validation.storable(value, "emoji"))
