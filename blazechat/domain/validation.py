"""Validates names, messages and the other input of users. Each function returns the value to store."""

import re
import unicodedata
from typing import Any

from email_validator import EmailNotValidError, validate_email

from blazechat.errors import InvalidInput

MAX_MESSAGE_CHARACTERS = 10_000
"""Code points, as in all limits of characters here."""
MAX_CLIENT_ID_CHARACTERS = 64
MAX_CHAT_NAME_CHARACTERS = 200
MAX_EMOJI_CHARACTERS = 32
"""A family with skin tones takes eleven code points, the flag of a region seven."""
MAX_DESCRIPTION_CHARACTERS = 200
MAX_NAME_CHARACTERS = 100
MAX_ATTACHMENTS = 10
MAX_FILE_NAME_CHARACTERS = 200
MAX_EXTENSION_CHARACTERS = 20
"""Including the dot. A longer ending of a file name does not count as its extension."""
USERNAME_PATTERN = re.compile(r"[\w](?:[\w.\-]{0,48}[\w])?")
"""1 to 50 characters: letters and digits of any script, `_`, and, except at both ends, `.` and `-`."""


def message(content: Any) -> str:
    """Return `content` if it is the content of a message. Raises InvalidInput."""
    if not isinstance(content, str):
        raise InvalidInput.of("content", "The content of a message must be a string.")
    if len(content) > MAX_MESSAGE_CHARACTERS:
        raise InvalidInput.of(
            "content",
            f"A message has at most {MAX_MESSAGE_CHARACTERS:,} characters; this has {len(content):,}.",
        )
    if _is_blank(content):
        raise InvalidInput.of("content", "A message cannot be blank.")
    return storable(content, "content")


def caption(content: Any) -> str:
    """Return the content of a message with attachments, which may be empty. Raises InvalidInput."""
    if content is None or content == "":
        return ""
    return message(content)


def attachments(value: Any) -> tuple[int, ...]:
    """Return the ids of a message's files, in order. Raises InvalidInput."""
    if value is None:
        return ()
    if not isinstance(value, list | tuple) or len(value) > MAX_ATTACHMENTS:
        raise InvalidInput.of("attachments", f"A message has at most {MAX_ATTACHMENTS} attachments.")
    if any(type(each) is not int or not 0 < each < 2**53 for each in value) or len(set(value)) < len(value):
        raise InvalidInput.of(
            "attachments", "Attachments must be ids of uploaded files, without repetition."
        )
    return tuple(value)


def file_name(value: str) -> str:
    """Return a file's name without folders, control characters and invisible characters."""
    name = value.replace("\\", "/").rpartition("/")[2]
    name = unicodedata.normalize("NFC", name.encode(errors="replace").decode())
    name = "".join(c for c in name if unicodedata.category(c) not in ("Cc", "Cf", "Cs", "Zl", "Zp"))
    name = name.strip(" .")
    if len(name) > MAX_FILE_NAME_CHARACTERS:
        stem, dot, extension = name.rpartition(".")
        extension = f"{dot}{extension}" if stem and len(extension) < MAX_EXTENSION_CHARACTERS else ""
        name = name[: MAX_FILE_NAME_CHARACTERS - len(extension)] + extension
    return name or "file"


def client_id(value: Any) -> str | None:
    """Return `value` if it is an idempotency key. Raises InvalidInput."""
    if value is None:
        return None
    if not isinstance(value, str) or not 1 <= len(value) <= MAX_CLIENT_ID_CHARACTERS:
        raise InvalidInput.of(
            "client_id", f"A client_id must be a string of 1 to {MAX_CLIENT_ID_CHARACTERS} characters."
        )
    return storable(value, "client_id")


def reply_to(value: Any) -> int | None:
    """Return `value` if it is None or can be the id of a message. Raises InvalidInput."""
    if value is not None and (type(value) is not int or not 0 < value < 2**53):
        raise InvalidInput.of("reply_to", "The field reply_to must be the id of a message of this chat.")
    return value


def chat_name(value: str | None) -> str | None:
    """Return the trimmed name, or None if it is None or blank. Raises InvalidInput."""
    if value is None:
        return None
    return _single_line(value, "name", MAX_CHAT_NAME_CHARACTERS) or None


def display_name(value: str) -> str:
    """Return the trimmed name of a user. Raises InvalidInput."""
    name = _single_line(value, "display_name", MAX_NAME_CHARACTERS)
    if _is_blank(name):
        raise InvalidInput.of("display_name", "A display name cannot be blank.")
    return name


def description(value: str) -> str:
    """Return a description as one trimmed line, which may be empty. Raises InvalidInput."""
    return _single_line(value, "description", MAX_DESCRIPTION_CHARACTERS)


def label(value: str) -> str:
    """Return the trimmed name of a token or a webhook. Raises InvalidInput."""
    name = _single_line(value, "name", MAX_NAME_CHARACTERS)
    if _is_blank(name):
        raise InvalidInput.of("name", "A name cannot be blank.")
    return name


def username(value: str) -> str:
    """Return the user name in composed form (NFC). Raises InvalidInput."""
    name = unicodedata.normalize("NFC", value.strip())
    if not USERNAME_PATTERN.fullmatch(name):
        raise InvalidInput.of(
            "username",
            "A user name has 1 to 50 letters, digits, _, . and -, without . and - at either end.",
        )
    return storable(name, "username")


def email(value: str) -> str:
    """Return the normalised address. Domains of intranets are valid. Raises InvalidInput."""
    try:
        found = validate_email(value.strip(), check_deliverability=False, globally_deliverable=False)
    except EmailNotValidError:
        raise InvalidInput.of(
            "email", "This is not a valid e-mail address. It has the form name@example.com."
        ) from None
    return found.normalized


def comparison_key(name: str) -> str:
    """Return the form for comparisons: the same for names that people would read as the same."""
    return unicodedata.normalize("NFKC", name).casefold()


def storable(text: str, field: str) -> str:
    """Return `text`. Raises InvalidInput if PostgreSQL cannot store it: NUL, or a lone surrogate."""
    if "\0" in text:
        raise InvalidInput.of(field, "The character NUL cannot be stored. Remove it.")
    if text.isascii():
        return text
    try:
        text.encode()
    except UnicodeEncodeError:
        raise InvalidInput.of(field, "This is not valid Unicode: it has a lone surrogate.") from None
    return text


def _single_line(value: str, field: str, limit: int) -> str:
    line = " ".join(value.split())
    if len(line) > limit:
        raise InvalidInput.of(
            field, f"This field has at most {limit} characters; this value has {len(line)}."
        )
    if any(unicodedata.category(character) == "Cc" for character in line):
        raise InvalidInput.of(field, "This field cannot contain control characters.")
    return storable(line, field)


def _is_blank(text: str) -> bool:
    """True if nothing is visible: only spaces, control characters and invisible characters."""
    if text and "!" <= text[0] <= "~":
        return False
    return all(c.isspace() or unicodedata.category(c) in ("Cc", "Cf") for c in text)
