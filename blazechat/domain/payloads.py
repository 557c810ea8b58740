"""What is posted to a webhook, as a message of ours: our own JSON, and what Slack and Mattermost take.

Block Kit, legacy attachments and mrkdwn as in Slack's reference are reduced to text with Markdown's links.
What is too long is cut rather than refused, what is not understood is left out: an alert has to arrive.
"""

import re
import unicodedata
from collections.abc import Iterable, Iterator
from dataclasses import dataclass
from datetime import UTC, datetime
from typing import Any
from urllib.parse import parse_qsl

import msgspec
from python_multipart.multipart import Field, File, create_form_parser

from blazechat.domain import texts
from blazechat.domain.errors import BadRequest, InvalidInput

INVALID, EMPTY = "invalid_payload", "no_text"
ELEMENTS = 2_000
"""Elements of lists that are looked at, of one payload."""
TEXT_LIMIT = 6 * texts.MESSAGE_LIMIT
"""Characters looked at of one text: escaped, one of a message takes up to five."""
URL_LIMIT = 2_000
FORM_FIELDS = 100

# Bounded and without overlap, so that no text makes them slow.
MARKED = re.compile(r"<([^<>|]{1,2000})(?:\|([^<>]{0,2000}))?>")
ESCAPED = re.compile("&(lt|gt|amp);")
WEB = re.compile(r"https?://[^\s/?#\\][^\s\\<>\x00-\x20\x7f-\x9f]*", re.IGNORECASE)
LINKED = re.compile(r"(?:https?://|mailto:|tel:)\S+", re.IGNORECASE)


@dataclass(frozen=True, slots=True)
class Posting:
    """`content` can be sent as it is; the others are None where there is nothing of use."""

    content: str
    username: str | None
    icon_url: str | None


def posting_of(content_type: str, body: bytes) -> Posting:
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
    return Posting(
        _content(content), _username(payload.get("username")), _web(payload.get("icon_url")) or None
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
    if len(text) > texts.MESSAGE_LIMIT:
        text = text[: texts.MESSAGE_LIMIT - 1] + "…"
    try:
        return texts.message(text)
    except InvalidInput:
        raise BadRequest(EMPTY) from None


def _username(value: Any) -> str | None:
    line = " ".join(_word(value)[: 10 * texts.DISPLAY_NAME_LIMIT].split())
    line = "".join(character for character in line if unicodedata.category(character) != "Cc")
    try:
        return texts.display_name(line[: texts.DISPLAY_NAME_LIMIT])
    except InvalidInput:
        return None


class _Reader:
    """Reads Slack's shapes: never deeper than they are meant to be, and not more than ELEMENTS of them."""

    def __init__(self) -> None:
        self._left = ELEMENTS

    def message(self, payload: dict[str, Any]) -> str:
        shown = self._blocks(payload.get("blocks")) or _text(payload.get("text"))
        return _joined("\n\n", [shown, *map(self._attachment, self._each(payload.get("attachments")))])

    def _each(self, value: Any, kind: type = dict) -> Iterator[Any]:
        for element in value if isinstance(value, list) else ():
            self._left -= 1
            if self._left < 0:
                return
            if isinstance(element, kind):
                yield element

    def _attachment(self, attachment: dict[str, Any]) -> str:
        get = attachment.get
        title = _plain(get("title"))
        fields = [
            (_text(field.get("title")), _text(field.get("value"))) for field in self._each(get("fields"))
        ]
        head = [
            _text(get("pretext")),
            _link(get("author_link"), _plain(get("author_name"))),
            _link(get("title_link"), title) if get("title_link") else _bold(title),
            _text(get("text")),
            *(_joined(": ", field) for field in fields),
        ]
        tail = [_web(get("image_url")), self._row(get("actions")), _plain(get("footer"))]
        body = [_joined("\n", head), self._blocks(get("blocks")), _joined("\n", tail)]
        return _joined("\n\n", body) or _text(get("fallback"))

    def _blocks(self, value: Any) -> str:
        shown = _joined("\n\n", map(self._block, self._each(value)))
        return shown if shown.strip("-\n") else ""

    def _block(self, block: dict[str, Any]) -> str:
        get = block.get
        match get("type"):
            case "section":
                fields = map(_text, self._each(get("fields")))
                return _joined("\n", [_text(get("text")), *fields, self._element(get("accessory"))])
            case "header":
                return _bold(_text(get("text")))
            case "context" | "actions":
                return self._row(get("elements"))
            case "divider":
                return "---"
            case "image":
                return _link(get("image_url"), _text(get("title")) or _plain(get("alt_text")))
            case "video":
                title = _text(get("title")) or _plain(get("alt_text"))
                url = get("title_url") or get("video_url")
                return _joined("\n", [_link(url, title), _text(get("description"))])
            case "rich_text":
                return self._rich_text(block)
            case "markdown":
                return _word(get("text"))
            case "table":
                return self._table(get("rows"))
        return _joined("\n", [_bold(_text(get("title"))), _text(get("text")), _text(get("body"))])

    def _row(self, elements: Any) -> str:
        return _joined(" · ", map(self._element, self._each(elements)))

    def _element(self, element: Any) -> str:
        """What stands in a row or beside a text; without what asks for a click that nobody would answer."""
        if not isinstance(element, dict):
            return ""
        match element.get("type"):
            case "mrkdwn" | "plain_text":
                return _text(element)
            case "image":
                return _plain(element.get("alt_text"))
            case "button" if element.get("url"):
                return _link(element["url"], _text(element.get("text")))
        return ""

    def _table(self, rows: Any) -> str:
        lines = [[self._cell(cell) for cell in self._each(row)] for row in self._each(rows, list)]
        shown = [f"| {' | '.join(line)} |" for line in lines if line]
        if shown:
            shown.insert(1, "|" + "---|" * len(next(filter(None, lines))))
        return "\n".join(shown)

    def _cell(self, cell: dict[str, Any]) -> str:
        shown = self._rich_text(cell) if cell.get("type") == "rich_text" else _word(cell.get("text"))
        return " ".join((shown or _word(cell.get("value"))).replace("|", "\\|").split())

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
                code = "".join(_word(leaf.get("text") or leaf.get("url")) for leaf in self._each(elements))
                fence = "````" if "```" in code else "```"
                return "\n".join([fence, code.strip("\n"), fence])
        return self._line(elements)

    def _list(self, part: dict[str, Any]) -> str:
        indent = "   " * _small(part.get("indent"))
        is_ordered, first = part.get("style") == "ordered", 1 + _small(part.get("offset"), 10_000)
        items = [self._line(item.get("elements")) for item in self._each(part.get("elements"))]
        marks = [f"{first + place}." if is_ordered else "-" for place in range(len(items))]
        return "\n".join(f"{indent}{mark} {item}" for mark, item in zip(marks, items, strict=True))

    def _line(self, elements: Any) -> str:
        return "".join(map(_leaf, self._each(elements))).strip("\n")


def _leaf(leaf: dict[str, Any]) -> str:
    """An element of rich text, whose texts are not escaped, and have no marks in them."""
    get = leaf.get
    match get("type"):
        case "link":
            return _link(get("url"), _word(get("text")))
        case "emoji":
            return _emoji(get("unicode")) or f":{_word(get('name'))}:"
        case "user":
            return f"@{_word(get('user_id'))}"
        case "usergroup":
            return f"@{_word(get('usergroup_id'))}"
        case "channel":
            return f"#{_word(get('channel_id'))}"
        case "broadcast":
            return f"@{_word(get('range'))}"
        case "color":
            return _word(get("value"))
        case "date":
            return _word(get("fallback")) or _time(get("timestamp"))
    return _styled(_word(get("text")), get("style"))


def _text(value: Any) -> str:
    """A text of Slack's, be it a string or an object with its type."""
    if isinstance(value, dict):
        text = value.get("text")
        return _plain(text) if value.get("type") == "plain_text" else _mrkdwn(_word(text))
    return _mrkdwn(_word(value))


def _mrkdwn(text: str) -> str:
    """Marks first and escapes afterwards, each once: what was escaped cannot become a mark."""
    return _plain(MARKED.sub(_mark, text))


def _plain(value: Any) -> str:
    return ESCAPED.sub(lambda found: {"lt": "<", "gt": ">", "amp": "&"}[found[1]], _word(value))


def _mark(found: re.Match[str]) -> str:
    inside, label = found[1], (found[2] or "").strip()
    sign, name = inside[0], inside[1:]
    if sign in "@#":
        return sign + (label.removeprefix(sign) or name)
    if inside in ("!channel", "!here", "!everyone"):
        return f"@{name}"
    if inside.startswith("!subteam^"):
        return "@" + (label.removeprefix("@") or name.removeprefix("subteam^"))
    if inside.startswith("!date^"):
        return label or _time(name.split("^")[1])
    if sign == "!":
        return label or found[0]
    return _link(inside, label) if LINKED.fullmatch(inside) else found[0]


def _link(url: Any, label: str) -> str:
    """A link of Markdown's; only its label where `url` is none that one would follow."""
    if not isinstance(url, str) or len(url) > URL_LIMIT or not LINKED.fullmatch(url):
        return label
    if not label or label in (url, url.partition(":")[2]):
        return label or url
    label = " ".join(label.split())
    if "](" in label or not _is_balanced(label):
        label = label.replace("[", "\\[").replace("]", "\\]")
    return f"[{label}]({url.replace('(', '%28').replace(')', '%29')})"


def _is_balanced(label: str) -> bool:
    depth = 0
    for character in label:
        depth += {"[": 1, "]": -1}.get(character, 0)
        if depth < 0:
            return False
    return depth == 0


def _styled(text: str, style: Any) -> str:
    """`text` in Markdown's marks, which have to touch what they mark."""
    inner = text.strip()
    if not isinstance(style, dict) or not inner:
        return text
    marked = inner
    for name, mark in (("code", "`"), ("strike", "~~"), ("italic", "_"), ("bold", "**")):
        if style.get(name) is True:
            marked = f"{mark}{marked}{mark}"
    before, _, after = text.partition(inner)
    return before + marked + after


def _bold(text: str) -> str:
    return _styled(text, {"bold": "\n" not in text})


def _emoji(code_points: Any) -> str:
    """`1f44d-1f3fd` as what it stands for."""
    try:
        characters = [chr(int(point, 16)) for point in _word(code_points)[:100].split("-")]
        "".join(characters).encode()
    except (ValueError, OverflowError):
        return ""
    return "".join(characters)


def _time(timestamp: Any) -> str:
    try:
        return datetime.fromtimestamp(int(timestamp), UTC).strftime("%Y-%m-%d %H:%M UTC")
    except (ValueError, TypeError, OverflowError, OSError):
        return ""


def _small(value: Any, most: int = 8) -> int:
    """A number that may multiply something."""
    return min(value, most) if type(value) is int and value > 0 else 0


def _web(url: Any) -> str:
    return url if isinstance(url, str) and len(url) <= URL_LIMIT and WEB.fullmatch(url) else ""


def _word(value: Any) -> str:
    if isinstance(value, str):
        return value[:TEXT_LIMIT]
    return str(value) if isinstance(value, int | float) and not isinstance(value, bool) else ""


def _joined(separator: str, parts: Iterable[str]) -> str:
    return separator.join(filter(None, map(str.strip, parts)))
