"""What names and messages may be made of."""

import re
import unicodedata
from typing import Any

from email_validator import EmailNotValidError, validate_email

from blazechat.errors import InvalidInput

MESSAGE_LIMIT = 10_000
"""Characters (code points) of a message."""
CLIENT_ID_LIMIT = 64
CHAT_NAME_LIMIT = 200
EMOJI_LIMIT = 32
"""Code points; a family with skin tones takes eleven, a flag of a region seven."""
NOTE_LIMIT = 200
DISPLAY_NAME_LIMIT = 100
ATTACHMENTS_LIMIT = 10
FILE_NAME_LIMIT = 200
ENDING_LIMIT = 20
"""Of a file's name, what is behind its last dot; a longer one is none."""
USERNAME = re.compile(r"[\w](?:[\w.\-]{0,48}[\w])?")
"""Letters and digits of any script, `_`, and within also `.` and `-`; 1 to 50 characters."""


def message(content: Any) -> str:
    """`content`, if it can be sent. Raises InvalidInput."""
    if not isinstance(content, str):
        raise InvalidInput.of("content", "A message's content is a string.")
    if len(content) > MESSAGE_LIMIT:
        raise InvalidInput.of(
            "content",
            f"A message has at most {MESSAGE_LIMIT:,} characters; this has {len(content):,}.",
        )
    if _is_blank(content):
        raise InvalidInput.of("content", "A message cannot be blank.")
    return storable(content, "content")


def caption(content: Any) -> str:
    """What a message with attachments says, if it can be sent: it may be nothing. Raises InvalidInput."""
    if content is None or content == "":
        return ""
    return message(content)


def attachments(value: Any) -> tuple[int, ...]:
    """The ids of a message's files, in order. Raises InvalidInput."""
    if value is None:
        return ()
    if not isinstance(value, list | tuple) or len(value) > ATTACHMENTS_LIMIT:
        raise InvalidInput.of("attachments", f"A message has at most {ATTACHMENTS_LIMIT} attachments.")
    if any(type(each) is not int or not 0 < each < 2**53 for each in value) or len(set(value)) < len(value):
        raise InvalidInput.of("attachments", "Attachments are ids of uploaded files, each once.")
    return tuple(value)


def file_name(value: str) -> str:
    """What of a name that came with a file can be kept: no folders, nothing that hides or controls."""
    name = value.replace("\\", "/").rpartition("/")[2]
    name = unicodedata.normalize("NFC", name.encode(errors="replace").decode())
    kept = "".join(c for c in name if unicodedata.category(c) not in ("Cc", "Cf", "Cs", "Zl", "Zp"))
    kept = kept.strip(" .")
    if len(kept) > FILE_NAME_LIMIT:
        stem, dot, ending = kept.rpartition(".")
        ending = f"{dot}{ending}" if stem and len(ending) < ENDING_LIMIT else ""
        kept = kept[: FILE_NAME_LIMIT - len(ending)] + ending
    return kept or "file"


def client_id(value: Any) -> str | None:
    """`value`, if a message can be known by it. Raises InvalidInput."""
    if value is None:
        return None
    if not isinstance(value, str) or not 1 <= len(value) <= CLIENT_ID_LIMIT:
        raise InvalidInput.of("client_id", f"A client_id is a string of 1 to {CLIENT_ID_LIMIT} characters.")
    return storable(value, "client_id")


def reply_to(value: Any) -> int | None:
    """`value`, if it can be a message's id. Raises InvalidInput."""
    if value is not None and (type(value) is not int or not 0 < value < 2**53):
        raise InvalidInput.of("reply_to", "reply_to is the id of a message of this chat.")
    return value


def emoji(value: Any) -> str:
    """`value`, if one can react with it: an emoji, or a short code of a custom one. Raises InvalidInput."""
    if not isinstance(value, str) or not 1 <= len(value) <= EMOJI_LIMIT:
        raise InvalidInput.of("emoji", f"A reaction is one emoji, of at most {EMOJI_LIMIT} characters.")
    if _is_blank(value) or any(c.isspace() or unicodedata.category(c) == "Cc" for c in value):
        raise InvalidInput.of("emoji", "A reaction has neither spaces nor control characters.")
    return storable(value, "emoji")


def chat_name(value: str | None) -> str | None:
    """The trimmed name; None for none. Raises InvalidInput."""
    return _line(value, "name", CHAT_NAME_LIMIT) or None if value is not None else None


def display_name(value: str) -> str:
    """The trimmed name. Raises InvalidInput."""
    name = _line(value, "display_name", DISPLAY_NAME_LIMIT)
    if _is_blank(name):
        raise InvalidInput.of("display_name", "A display name cannot be blank.")
    return name


def note(value: str) -> str:
    """A line that explains something, perhaps none. Raises InvalidInput."""
    return _line(value, "description", NOTE_LIMIT)


def token_name(value: str) -> str:
    """What a token or a webhook is called by its maker, trimmed. Raises InvalidInput."""
    name = _line(value, "name", DISPLAY_NAME_LIMIT)
    if _is_blank(name):
        raise InvalidInput.of("name", "A name cannot be blank.")
    return name


def username(value: str) -> str:
    """The name in composed form (NFC). Raises InvalidInput."""
    name = unicodedata.normalize("NFC", value.strip())
    if not USERNAME.fullmatch(name):
        raise InvalidInput.of(
            "username",
            "A user name has 1 to 50 letters, digits or _, and within it also . and -",
        )
    return storable(name, "username")


def email(value: str) -> str:
    """The address as it is written properly; names of intranets are fine. Raises InvalidInput."""
    try:
        found = validate_email(value.strip(), check_deliverability=False, globally_deliverable=False)
    except EmailNotValidError as error:
        raise InvalidInput.of("email", f"This is no e-mail address: {error}") from None
    return found.normalized


def key(name: str) -> str:
    """What two names have in common that people would take for the same."""
    return unicodedata.normalize("NFKC", name).casefold()


def _line(value: str, field: str, limit: int) -> str:
    line = " ".join(value.split())
    if len(line) > limit:
        raise InvalidInput.of(field, f"This has at most {limit} characters; it has {len(line)}.")
    if any(unicodedata.category(character) == "Cc" for character in line):
        raise InvalidInput.of(field, "This cannot contain control characters.")
    return storable(line, field)


def storable(text: str, field: str) -> str:
    """Refuses what PostgreSQL cannot keep: NUL, and halves of surrogate pairs."""
    if "\0" in text:
        raise InvalidInput.of(field, "The character NUL cannot be stored.")
    if text.isascii():
        return text
    try:
        text.encode()
    except UnicodeEncodeError:
        raise InvalidInput.of(field, "This is not valid Unicode: it has half a character.") from None
    return text


def _is_blank(text: str) -> bool:
    """Whether nobody would see anything: only spaces and invisible marks."""
    if text and "!" <= text[0] <= "~":
        return False
    return all(c.isspace() or unicodedata.category(c) in ("Cc", "Cf") for c in text)
