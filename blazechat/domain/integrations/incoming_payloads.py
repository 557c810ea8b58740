"""Parses the body of an incoming webhook post: our own JSON, or what Slack and Mattermost accept.

A message that is too long is cut and not rejected, because an alert must arrive.
"""

import unicodedata
from dataclasses import dataclass
from typing import Any
from urllib.parse import parse_qsl

import msgspec
from python_multipart.multipart import Field, File, create_form_parser

from blazechat.domain import validation
from blazechat.domain.integrations import slack_blocks
from blazechat.domain.integrations.slack_markup import http_url, string_of
from blazechat.domain.schemas.messages import AuthorOverride
from blazechat.errors import BadRequest, InvalidInput

INVALID_PAYLOAD, NO_TEXT = "invalid_payload", "no_text"
"""The words with which Slack rejects a post."""
IN_CHANNEL = "in_channel"
MAX_FORM_FIELDS = 100


@dataclass(frozen=True, slots=True)
class IncomingPost:
    """A parsed post."""

    content: str
    """Valid as the content of a message."""
    username: str | None
    """Valid as a display name; None if the post has no usable one."""
    icon_url: str | None
    """None if the post has no usable one."""
    is_in_channel: bool = False
    """In an answer to a slash command: True if it is for the chat, not for the caller alone."""

    @property
    def author_override(self) -> AuthorOverride | None:
        """How the post asks to display its author; None if it does not."""
        if self.username or self.icon_url:
            return AuthorOverride(self.username, self.icon_url)
        return None


def parse_post(content_type: str, body: bytes) -> IncomingPost:
    """Parse a request body: JSON, or a form with JSON in its field `payload`.

    Raises BadRequest with the word that Slack uses, because senders compare it: `invalid_payload` without a
    JSON object, `no_text` without anything to display.
    """
    try:
        payload = msgspec.json.decode(_json_of(content_type, body))
    except (ValueError, RecursionError):  # an invalid form, invalid UTF-8 or invalid JSON
        raise BadRequest(INVALID_PAYLOAD) from None
    if not isinstance(payload, dict):
        raise BadRequest(INVALID_PAYLOAD)
    own_content = payload.get("content")
    content = own_content if isinstance(own_content, str) else slack_blocks.render(payload)
    return IncomingPost(
        _valid_content(content),
        _valid_username(payload.get("username")),
        http_url(payload.get("icon_url")) or None,
        payload.get("response_type") == IN_CHANNEL,
    )


def _json_of(content_type: str, body: bytes) -> bytes | str:
    """Return the JSON in a request body. Raises ValueError if the form is not valid."""
    media_type = content_type.partition(";")[0].strip().lower()
    if media_type == "multipart/form-data":
        return _payload_part(content_type, body)
    # `curl -d` labels JSON as a form.
    if media_type == "application/x-www-form-urlencoded" and not body.lstrip().startswith(b"{"):
        fields = parse_qsl(body.decode(), max_num_fields=MAX_FORM_FIELDS)
        return dict(reversed(fields)).get("payload", "")
    return body.removeprefix(b"\xef\xbb\xbf")  # the byte order mark of UTF-8


def _payload_part(content_type: str, body: bytes) -> bytes:
    """Return the first part `payload` of a multipart form; empty if there is none. Raises ValueError."""
    payloads: list[bytes] = []
    parts = 0

    def on_part(part: Field | File) -> None:
        nonlocal parts
        parts += 1
        if parts > MAX_FORM_FIELDS:
            raise ValueError("too many parts")
        if part.field_name == b"payload":
            if isinstance(part, File):
                part.file_object.seek(0)
            payloads.append(part.file_object.read() if isinstance(part, File) else part.value or b"")
        part.close()

    in_memory = {"MAX_MEMORY_FILE_SIZE": len(body) + 1}
    parser = create_form_parser({"Content-Type": content_type.encode()}, on_part, on_part, in_memory)
    parser.write(body)
    parser.finalize()
    return payloads[0] if payloads else b""


def _valid_content(text: str) -> str:
    """Return the text without NUL, cut to the length of a message. Raises BadRequest if it is blank."""
    text = text.replace("\0", "")
    if len(text) > validation.MAX_MESSAGE_CHARACTERS:
        text = text[: validation.MAX_MESSAGE_CHARACTERS - 1] + "…"
    try:
        return validation.message(text)
    except InvalidInput:
        raise BadRequest(NO_TEXT) from None


def _valid_username(value: Any) -> str | None:
    """Return the name as one line without control characters, cut to the length of a display name."""
    line = " ".join(string_of(value)[: 10 * validation.MAX_NAME_CHARACTERS].split())
    line = "".join(character for character in line if unicodedata.category(character) != "Cc")
    try:
        return validation.display_name(line[: validation.MAX_NAME_CHARACTERS])
    except InvalidInput:
        return None
