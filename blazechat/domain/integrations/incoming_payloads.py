"""What is posted to a webhook, as a message of ours: our own JSON, and what Slack and Mattermost take.

Block Kit, legacy attachments and mrkdwn as in Slack's reference are reduced to text with Markdown's links.
What is too long is cut rather than refused, what is not understood is left out: an alert has to arrive.
"""

import unicodedata
from collections.abc import Iterator
from dataclasses import dataclass
from typing import Any
from urllib.parse import parse_qsl

import msgspec
from python_multipart.multipart import Field, File, create_form_parser

from blazechat.domain import validation
from blazechat.domain.integrations import slack_markup
from blazechat.domain.schemas.messages import AuthorOverride
from blazechat.errors import BadRequest, InvalidInput

INVALID, EMPTY = "invalid_payload", "no_text"
IN_CHANNEL = "in_channel"
ELEMENTS = 2_000
"""Elements of lists that are looked at, of one payload."""
FORM_FIELDS = 100


@dataclass(frozen=True, slots=True)
class IncomingPost:
    """`content` can be sent as it is; the next two are None where there is nothing of use."""

    content: str
    username: str | None
    icon_url: str | None
    is_for_all: bool = False
    """For the response to a slash command: True if it goes to the chat (`"response_type":
    "in_channel"`)."""

    @property
    def author_override(self) -> AuthorOverride | None:
        """How the message wants its author to be shown; None if it says nothing."""
        if self.username or self.icon_url:
            return AuthorOverride(self.username, self.icon_url)
        return None


def posting_of(content_type: str, body: bytes) -> IncomingPost:
    """The message in a request's body, which may be JSON, or a form with JSON in its field `payload`.

    Raises BadRequest, whose text is what Slack answers to the same, for callers that look for it:
    `invalid_payload` where there is no JSON object, `no_text` where there is nothing to show.
    """
    try:
        payload = msgspec.json.decode(_json_in(content_type, body))
    except (ValueError, RecursionError):  # of forms, of UTF-8 and of JSON
        raise BadRequest(INVALID) from None
    if not isinstance(payload, dict):
        raise BadRequest(INVALID)
    own = payload.get("content")
    content = own if isinstance(own, str) else _Reader().message(payload)
    return IncomingPost(
        _content(content),
        _username(payload.get("username")),
        slack_markup.web(payload.get("icon_url")) or None,
        payload.get("response_type") == IN_CHANNEL,
    )


def _json_in(content_type: str, body: bytes) -> bytes | str:
    """The JSON, wherever it is. Raises ValueError."""
    kind = content_type.partition(";")[0].strip().lower()
    if kind == "multipart/form-data":
        return _payload_part(content_type, body)
    # `curl -d` says that JSON is a form, too.
    if kind == "application/x-www-form-urlencoded" and not body.lstrip().startswith(b"{"):
        return dict(reversed(parse_qsl(body.decode(), max_num_fields=FORM_FIELDS))).get("payload", "")
    return body.removeprefix(b"\xef\xbb\xbf")


def _payload_part(content_type: str, body: bytes) -> bytes:
    found: list[bytes] = []
    parts = 0

    def take(part: Field | File) -> None:
        nonlocal parts
        parts += 1
        if parts > FORM_FIELDS:
            raise ValueError("too many parts")
        if part.field_name == b"payload":
            if isinstance(part, File):
                part.file_object.seek(0)
            found.append(part.file_object.read() if isinstance(part, File) else part.value or b"")
        part.close()

    in_memory = {"MAX_MEMORY_FILE_SIZE": len(body) + 1}
    parser = create_form_parser({"Content-Type": content_type.encode()}, take, take, in_memory)
    parser.write(body)
    parser.finalize()
    return found[0] if found else b""


def _content(text: str) -> str:
    text = text.replace("\0", "")
    if len(text) > validation.MESSAGE_LIMIT:
        text = text[: validation.MESSAGE_LIMIT - 1] + "…"
    try:
        return validation.message(text)
    except InvalidInput:
        raise BadRequest(EMPTY) from None


def _username(value: Any) -> str | None:
    line = " ".join(slack_markup.word(value)[: 10 * validation.DISPLAY_NAME_LIMIT].split())
    line = "".join(character for character in line if unicodedata.category(character) != "Cc")
    try:
        return validation.display_name(line[: validation.DISPLAY_NAME_LIMIT])
    except InvalidInput:
        return None


class _Reader:
    """Reads Slack's shapes: never deeper than they are meant to be, and not more than ELEMENTS of them."""

    def __init__(self) -> None:
        self._left = ELEMENTS

    def message(self, payload: dict[str, Any]) -> str:
        shown = self._blocks(payload.get("blocks")) or slack_markup.text(payload.get("text"))
        return slack_markup.joined(
            "\n\n", [shown, *map(self._attachment, self._each(payload.get("attachments")))]
        )

    def _each(self, value: Any, kind: type = dict) -> Iterator[Any]:
        for element in value if isinstance(value, list) else ():
            self._left -= 1
            if self._left < 0:
                return
            if isinstance(element, kind):
                yield element

    def _attachment(self, attachment: dict[str, Any]) -> str:
        get = attachment.get
        title = slack_markup.plain(get("title"))
        fields = [
            (slack_markup.text(field.get("title")), slack_markup.text(field.get("value")))
            for field in self._each(get("fields"))
        ]
        head = [
            slack_markup.text(get("pretext")),
            slack_markup.link(get("author_link"), slack_markup.plain(get("author_name"))),
            slack_markup.link(get("title_link"), title) if get("title_link") else slack_markup.bold(title),
            slack_markup.text(get("text")),
            *(slack_markup.joined(": ", field) for field in fields),
        ]
        tail = [
            slack_markup.web(get("image_url")),
            self._row(get("actions")),
            slack_markup.plain(get("footer")),
        ]
        body = [
            slack_markup.joined("\n", head),
            self._blocks(get("blocks")),
            slack_markup.joined("\n", tail),
        ]
        return slack_markup.joined("\n\n", body) or slack_markup.text(get("fallback"))

    def _blocks(self, value: Any) -> str:
        shown = slack_markup.joined("\n\n", map(self._block, self._each(value)))
        return shown if shown.strip("-\n") else ""

    def _block(self, block: dict[str, Any]) -> str:
        get = block.get
        match get("type"):
            case "section":
                fields = map(slack_markup.text, self._each(get("fields")))
                return slack_markup.joined(
                    "\n", [slack_markup.text(get("text")), *fields, self._element(get("accessory"))]
                )
            case "header":
                return slack_markup.bold(slack_markup.text(get("text")))
            case "context" | "actions":
                return self._row(get("elements"))
            case "divider":
                return "---"
            case "image":
                return slack_markup.link(
                    get("image_url"), slack_markup.text(get("title")) or slack_markup.plain(get("alt_text"))
                )
            case "video":
                title = slack_markup.text(get("title")) or slack_markup.plain(get("alt_text"))
                url = get("title_url") or get("video_url")
                return slack_markup.joined(
                    "\n", [slack_markup.link(url, title), slack_markup.text(get("description"))]
                )
            case "rich_text":
                return self._rich_text(block)
            case "markdown":
                return slack_markup.word(get("text"))
            case "table":
                return self._table(get("rows"))
        return slack_markup.joined(
            "\n",
            [
                slack_markup.bold(slack_markup.text(get("title"))),
                slack_markup.text(get("text")),
                slack_markup.text(get("body")),
            ],
        )

    def _row(self, elements: Any) -> str:
        return slack_markup.joined(" · ", map(self._element, self._each(elements)))

    def _element(self, element: Any) -> str:
        """What stands in a row or beside a text; without what asks for a click that nobody would answer."""
        if not isinstance(element, dict):
            return ""
        match element.get("type"):
            case "mrkdwn" | "plain_text":
                return slack_markup.text(element)
            case "image":
                return slack_markup.plain(element.get("alt_text"))
            case "button" if element.get("url"):
                return slack_markup.link(element["url"], slack_markup.text(element.get("text")))
        return ""

    def _table(self, rows: Any) -> str:
        lines = [[self._cell(cell) for cell in self._each(row)] for row in self._each(rows, list)]
        shown = [f"| {' | '.join(line)} |" for line in lines if line]
        if shown:
            shown.insert(1, "|" + "---|" * len(next(filter(None, lines))))
        return "\n".join(shown)

    def _cell(self, cell: dict[str, Any]) -> str:
        shown = (
            self._rich_text(cell)
            if cell.get("type") == "rich_text"
            else slack_markup.word(cell.get("text"))
        )
        return " ".join((shown or slack_markup.word(cell.get("value"))).replace("|", "\\|").split())

    def _rich_text(self, block: dict[str, Any]) -> str:
        return "\n".join(filter(None, map(self._rich_part, self._each(block.get("elements")))))

    def _rich_part(self, part: dict[str, Any]) -> str:
        elements = part.get("elements")
        match part.get("type"):
            case "rich_text_list":
                return self._list(part)
            case "rich_text_quote":
                return "> " + self._line(elements).replace("\n", "\n> ")
            case "rich_text_preformatted":
                code = "".join(
                    slack_markup.word(leaf.get("text") or leaf.get("url")) for leaf in self._each(elements)
                )
                fence = "````" if "```" in code else "```"
                return "\n".join([fence, code.strip("\n"), fence])
        return self._line(elements)

    def _list(self, part: dict[str, Any]) -> str:
        indent = "   " * slack_markup.small(part.get("indent"))
        is_ordered, first = (
            part.get("style") == "ordered",
            1 + slack_markup.small(part.get("offset"), 10_000),
        )
        items = [self._line(item.get("elements")) for item in self._each(part.get("elements"))]
        marks = [f"{first + place}." if is_ordered else "-" for place in range(len(items))]
        return "\n".join(f"{indent}{mark} {item}" for mark, item in zip(marks, items, strict=True))

    def _line(self, elements: Any) -> str:
        return "".join(map(slack_markup.leaf, self._each(elements))).strip("\n")
