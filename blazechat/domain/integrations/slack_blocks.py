"""Renders Slack messages as Markdown: Block Kit, rich text, tables and legacy attachments.

Follows Slack's reference. Unknown elements are omitted, because an alert must arrive.
"""

from collections.abc import Iterator
from typing import Any

from blazechat.domain.integrations.slack_markup import (
    bold,
    bounded_int,
    http_url,
    join,
    leaf_of,
    link,
    string_of,
    unescape,
)
from blazechat.domain.integrations.slack_mrkdwn import text_of

MAX_ELEMENTS = 2_000
"""List elements that are rendered of one payload."""
MAX_FIRST_NUMBER = 10_000
"""Maximum `offset` of an ordered list."""


def render(payload: dict[str, Any]) -> str:
    """Return the text of a Slack message; empty if it shows nothing."""
    return _Renderer().message(payload)


class _Renderer:
    """Renders one payload. It recurses only as deep as Slack's format, over MAX_ELEMENTS in total."""

    def __init__(self) -> None:
        self._remaining_elements = MAX_ELEMENTS

    def message(self, payload: dict[str, Any]) -> str:
        # With blocks, `text` is for notifications only.
        text_is_plain = payload.get("mrkdwn") is False
        text = unescape(payload.get("text")) if text_is_plain else text_of(payload.get("text"))
        content = self._blocks(payload.get("blocks")) or text
        return join("\n\n", [content, *map(self._attachment, self._each(payload.get("attachments")))])

    def _each(self, value: Any, kind: type = dict) -> Iterator[Any]:
        """Yield the elements of a list that have the type `kind`, while elements remain."""
        for element in value if isinstance(value, list) else ():
            self._remaining_elements -= 1
            if self._remaining_elements < 0:
                return
            if isinstance(element, kind):
                yield element

    def _attachment(self, attachment: dict[str, Any]) -> str:
        """Return a legacy attachment, its parts in Slack's order."""
        get = attachment.get
        title = unescape(get("title"))
        fields = [
            (text_of(field.get("title")), text_of(field.get("value")))
            for field in self._each(get("fields"))
        ]
        head = [
            text_of(get("pretext")),
            link(get("author_link"), unescape(get("author_name"))),
            link(get("title_link"), title) if get("title_link") else bold(title),
            text_of(get("text")),
            *(join(": ", field) for field in fields),
        ]
        tail = [http_url(get("image_url")), self._row(get("actions")), unescape(get("footer"))]
        parts = [join("\n", head), self._blocks(get("blocks")), join("\n", tail)]
        return join("\n\n", parts) or text_of(get("fallback"))

    def _blocks(self, value: Any) -> str:
        """Return a list of blocks; empty if it has nothing but dividers."""
        blocks = join("\n\n", map(self._block, self._each(value)))
        return blocks if blocks.strip("-\n") else ""

    def _block(self, block: dict[str, Any]) -> str:
        get = block.get
        match get("type"):
            case "section":
                fields = map(text_of, self._each(get("fields")))
                return join("\n", [text_of(get("text")), *fields, self._element(get("accessory"))])
            case "header":
                return bold(text_of(get("text")))
            case "context" | "actions":
                return self._row(get("elements"))
            case "divider":
                return "---"
            case "image":
                return link(get("image_url"), self._title(block))
            case "video":
                video = link(get("title_url") or get("video_url"), self._title(block))
                return join("\n", [video, text_of(get("description"))])
            case "rich_text":
                return self._rich_text(block)
            case "markdown":
                return string_of(get("text"))
            case "table":
                return self._table(get("rows"))
        return join("\n", [bold(text_of(get("title"))), text_of(get("text")), text_of(get("body"))])

    def _title(self, block: dict[str, Any]) -> str:
        return text_of(block.get("title")) or unescape(block.get("alt_text"))

    def _row(self, elements: Any) -> str:
        return join(" · ", map(self._element, self._each(elements)))

    def _element(self, element: Any) -> str:
        """Return an element of a row or an accessory; empty if it is interactive: it cannot work here."""
        if not isinstance(element, dict):
            return ""
        match element.get("type"):
            case "mrkdwn" | "plain_text":
                return text_of(element)
            case "image":
                return unescape(element.get("alt_text"))
            case "button" if element.get("url"):
                return link(element["url"], text_of(element.get("text")))
        return ""

    def _table(self, rows: Any) -> str:
        cells = [[self._cell(cell) for cell in self._each(row)] for row in self._each(rows, list)]
        lines = [f"| {' | '.join(row)} |" for row in cells if row]
        if lines:
            lines.insert(1, "|" + "---|" * len(next(filter(None, cells))))
        return "\n".join(lines)

    def _cell(self, cell: dict[str, Any]) -> str:
        is_rich_text = cell.get("type") == "rich_text"
        text = self._rich_text(cell) if is_rich_text else string_of(cell.get("text"))
        return " ".join((text or string_of(cell.get("value"))).replace("|", "\\|").split())

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
                leaves = self._each(elements)
                code = "".join(string_of(leaf.get("text") or leaf.get("url")) for leaf in leaves)
                fence = "````" if "```" in code else "```"
                return "\n".join([fence, code.strip("\n"), fence])
        return self._line(elements)

    def _list(self, part: dict[str, Any]) -> str:
        indent = "   " * bounded_int(part.get("indent"))
        is_ordered = part.get("style") == "ordered"
        first = 1 + bounded_int(part.get("offset"), MAX_FIRST_NUMBER)
        items = [self._line(item.get("elements")) for item in self._each(part.get("elements"))]
        markers = [f"{first + index}." if is_ordered else "-" for index in range(len(items))]
        return "\n".join(f"{indent}{marker} {item}" for marker, item in zip(markers, items, strict=True))

    def _line(self, elements: Any) -> str:
        return "".join(map(leaf_of, self._each(elements))).strip("\n")
