"""Parses the body of an incoming webhook post: our own JSON, what Slack and Mattermost accept, or a title
and a message as apprise sends them.

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
from blazechat.domain.integrations.slack_markup import bold, http_url, join, string_of
from blazechat.domain.schemas.messages import AuthorOverride
from blazechat.errors import BadRequest, InvalidInput

INVALID_PAYLOAD, NO_TEXT = "invalid_payload", "no_text"
"""The words with which Slack rejects a post."""
IN_CHANNEL = "in_channel"
MAX_FORM_FIELDS = 100
UTF8_BYTE_ORDER_MARK = b"\xef\xbb\xbf"


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
    payload = parse_payload(content_type, body)
    if not isinstance(payload, dict) or isinstance(payload, FormFields):
        raise BadRequest(INVALID_PAYLOAD)
    return _post_of(payload, _content_of(payload))


def parse_any_post(content_type: str, body: bytes) -> IncomingPost:
    """Parse a request body as `parse_post()` does, or else `title` and `message` or `body`, also as a form.

    Raises BadRequest.
    """
    payload = parse_payload(content_type, body)
    if not isinstance(payload, dict) or not payload:
        raise BadRequest(INVALID_PAYLOAD)
    return _post_of(payload, _content_of(payload) or _titled_text(payload))


def parse_payload(content_type: str, body: bytes) -> Any:
    """Return the JSON in a request body; the fields of a form without the field `payload`.

    Raises BadRequest for an invalid form, invalid UTF-8 or invalid JSON.
    """
    try:
        fields = _form_fields(content_type, body)
        if fields is not None and "payload" not in fields:
            return FormFields({name: value.decode() for name, value in fields.items()})
        return msgspec.json.decode(
            body.removeprefix(UTF8_BYTE_ORDER_MARK) if fields is None else fields["payload"]
        )
    except (ValueError, RecursionError):
        raise BadRequest(INVALID_PAYLOAD) from None


def valid_content(text: str) -> str:
    """Return the text without NUL, cut to the length of a message. Raises BadRequest if it is blank."""
    text = text.replace("\0", "")
    if len(text) > validation.MAX_MESSAGE_CHARACTERS:
        text = text[: validation.MAX_MESSAGE_CHARACTERS - 1] + "…"
    try:
        return validation.message(text)
    except InvalidInput:
        raise BadRequest(NO_TEXT) from None


class FormFields(dict[str, Any]):
    """The fields of a form; of equal names the first."""


def _post_of(payload: dict[str, Any], content: str) -> IncomingPost:
    return IncomingPost(
        valid_content(content),
        _valid_username(payload.get("username")),
        http_url(payload.get("icon_url")) or None,
        payload.get("response_type") == IN_CHANNEL,
    )


def _content_of(payload: dict[str, Any]) -> str:
    own_content = payload.get("content")
    return own_content if isinstance(own_content, str) else slack_blocks.render(payload)


def _titled_text(payload: dict[str, Any]) -> str:
    """Return `title`, and `message` or else `body`, as apprise's `json://` and `form://` send them."""
    text = string_of(payload.get("message")) or string_of(payload.get("body"))
    return join("\n", [bold(string_of(payload.get("title"))), text])


def _form_fields(content_type: str, body: bytes) -> dict[str, bytes] | None:
    """Return the fields of a form; None if the body is no form. Raises ValueError."""
    media_type = content_type.partition(";")[0].strip().lower()
    if media_type == "multipart/form-data":
        return _multipart_fields(content_type, body)
    # `curl -d` labels JSON as a form.
    if media_type == "application/x-www-form-urlencoded" and not body.lstrip().startswith((b"{", b"[")):
        fields = parse_qsl(body.decode(), max_num_fields=MAX_FORM_FIELDS)
        return {name: value.encode() for name, value in reversed(fields)}
    return None


def _multipart_fields(content_type: str, body: bytes) -> dict[str, bytes]:
    """Return the fields of a multipart form; of its files only `payload`. Raises ValueError."""
    fields: dict[str, bytes] = {}
    parts = 0

    def on_part(part: Field | File) -> None:
        nonlocal parts
        parts += 1
        if parts > MAX_FORM_FIELDS:
            raise ValueError("too many parts")
        name = (part.field_name or b"").decode()
        if isinstance(part, Field):
            fields.setdefault(name, part.value or b"")
        elif name == "payload":
            part.file_object.seek(0)
            fields.setdefault(name, part.file_object.read())
        part.close()

    in_memory = {"MAX_MEMORY_FILE_SIZE": len(body) + 1}
    parser = create_form_parser({"Content-Type": content_type.encode()}, on_part, on_part, in_memory)
    parser.write(body)
    parser.finalize()
    return fields


def _valid_username(value: Any) -> str | None:
    """Return the name as one line without control characters, cut to the length of a display name."""
    line = " ".join(string_of(value)[: 10 * validation.MAX_NAME_CHARACTERS].split())
    line = "".join(character for character in line if unicodedata.category(character) != "Cc")
    try:
        return validation.display_name(line[: validation.MAX_NAME_CHARACTERS])
    except InvalidInput:
        return None
