"""A message as a list of blocks: paragraphs, headings, code, rules and tables inside quotes and lists.

Independent of width and colours, so that it is built once per message.
"""

from collections.abc import Iterator, Sequence
from dataclasses import dataclass, field
from functools import lru_cache
from typing import Literal

from markdown_it.token import Token

from blazechat.terminal import sanitize
from blazechat.terminal.markdown import inline, parser
from blazechat.terminal.markdown.inline import Line

CACHED_DOCUMENTS = 512
MAX_CACHED_CHARACTERS = 2_000
"""Longer messages are parsed again when they are drawn again, since their documents are large."""
BULLETS = ("•", "◦", "▪")
"""By the depth of the list; the last one also for deeper lists."""
QUOTE_BAR = "▎ "

BlockKind = Literal["text", "heading", "code", "rule", "table"]


@dataclass(slots=True)
class Block:
    """A block of whole lines. `prefix` is on its first line, `next_prefix` on the others.

    `lines` of a table are its source. `rows` are its cells, the header first. `right_columns` are those
    that are aligned at the right.
    """

    kind: BlockKind
    lines: list[Line]
    prefix: str = ""
    next_prefix: str = ""
    gap: int = 0
    """Empty lines above it."""
    gap_prefix: str = ""
    is_quoted: bool = False
    info: str = ""
    """What is written after the fence of code: its language, or its first line."""
    rows: list[list[Line]] = field(default_factory=list)
    right_columns: set[int] = field(default_factory=set)


CONTAINERS = {
    *("blockquote_open", "list_item_open", "bullet_list_open", "ordered_list_open"),
    *("bullet_list_close", "ordered_list_close"),
}
Document = Sequence[Block]


def of_content(content: str) -> Document | None:
    """Return the blocks of a message's content; None if it has no Markdown, or is nested too deep."""
    if not parser.has_markup(content):
        return None
    return _parsed(content) if len(content) > MAX_CACHED_CHARACTERS else _cached(content)


def _parsed(content: str) -> Document | None:
    text = "\n".join(sanitize.lines(content))
    tokens = parser.parse(text)
    return tuple(_Builder(text, tokens).blocks()) if tokens else None


_cached = lru_cache(CACHED_DOCUMENTS)(_parsed)


def urls_of(content: str) -> list[str]:
    """Return the URLs of the links in a message's content, each once, in order."""
    lines = [line for block in of_content(content) or () for line in _lines(block)]
    return list(dict.fromkeys(inline.urls_of(lines)))


def plain_text(content: str) -> str:
    """Return a message's content without its markup. It is sanitized if it has any."""
    document = of_content(content)
    if document is None:
        return content
    return "\n".join(line.text for block in document for line in _lines(block))


def _lines(block: Block) -> list[Line]:
    return [cell for row in block.rows for cell in row] or block.lines


@dataclass(eq=False, slots=True)
class _Container:
    """A quote, or an item of a list with its marker. The marker is on the item's first line only."""

    marker: str
    written_marker: str
    opening: Token
    is_quote: bool = False
    is_used: bool = False


class _Builder:
    """Turns the tokens of one message into blocks."""

    def __init__(self, text: str, tokens: list[Token]) -> None:
        self._source = text.split("\n")
        self._tokens = tokens
        self._containers: list[_Container] = []
        self._numbers: list[tuple[int, int]] = []  # of each open list's last item: as written, as shown
        self._end_line = 0  # of the last block
        self._last_containers: list[_Container] = []

    def blocks(self) -> Iterator[Block]:
        tokens = iter(self._tokens)
        for token in tokens:
            if token.type in ("list_item_close", "blockquote_close"):
                yield from self._close_container()
            elif token.type in CONTAINERS:
                self._open_container(token)
            else:
                block = self._block(token, tokens)
                if block is not None:
                    yield block

    def _block(self, token: Token, tokens: Iterator[Token]) -> Block | None:
        """Return the block that a token begins. `tokens` are those after it."""
        match token.type:
            case "paragraph_open":
                return self._text_block("text", token, next(tokens))
            case "heading_open":
                return self._text_block("heading", token, next(tokens))
            case "fence":
                return self._code(token)
            case "hr":
                return self._place(Block("rule", []), token)
            case "table_open":
                return self._table(token, tokens)
        return None

    def _open_container(self, token: Token) -> None:
        match token.type:
            case "blockquote_open":
                self._containers.append(_Container(QUOTE_BAR, token.markup, token, is_quote=True))
            case "list_item_open":
                self._open_item(token)
            case "bullet_list_open" | "ordered_list_open":
                self._numbers.append((0, 0))
            case _:
                self._numbers.pop()

    def _text_block(self, kind: BlockKind, opening: Token, content: Token) -> Block:
        lines = inline.lines_of(content.children or [])
        if not content.content:  # an empty heading
            lines = [Line(opening.markup)]
        if kind == "text" and not self._containers and opening.map is not None:
            _restore_indent(lines[0], self._source[opening.map[0]])
        return self._place(Block(kind, lines), opening)

    def _code(self, token: Token) -> Block:
        info = token.info.strip()
        if not info and not token.content:
            return self._place(Block("text", [Line(token.markup)]), token)
        code = token.content.removesuffix("\n").split("\n") if token.content else []
        return self._place(Block("code", [Line(line) for line in code], info=info), token)

    def _table(self, opening: Token, tokens: Iterator[Token]) -> Block:
        rows: list[list[Line]] = []
        right_columns = set()
        for token in tokens:
            if token.type == "table_close":
                break
            if token.type == "tr_open":
                rows.append([])
            elif token.type == "th_open" and token.attrs.get("style") == "text-align:right":
                right_columns.add(len(rows[-1]))
            elif token.type == "inline":
                rows[-1].append(inline.lines_of(token.children or [])[0])
        first, end = opening.map or (0, 0)
        source = [Line(line.strip()) for line in self._source[first:end]]
        return self._place(Block("table", source, rows=rows, right_columns=right_columns), opening)

    def _open_item(self, token: Token) -> None:
        written = f"{token.info}{token.markup}"
        if token.info:
            marker = f"{self._next_number(int(token.info))}{token.markup} "
        else:
            depth = sum(not each.is_quote for each in self._containers)
            marker = f"{BULLETS[min(depth, len(BULLETS) - 1)]} "
        self._containers.append(_Container(marker, written, token))

    def _next_number(self, written: int) -> int:
        """Return the number as it was written. If all items have the same one, they are counted."""
        last_written, last_shown = self._numbers[-1]
        shown = last_shown + 1 if written == last_written else written
        self._numbers[-1] = written, shown
        return shown

    def _close_container(self) -> Iterator[Block]:
        """Close a quote or an item. If it is empty, its marker stays as it was written."""
        container = self._containers[-1]
        if not container.is_used:
            container.marker, container.is_quote = "", False
            yield self._place(Block("text", [Line(container.written_marker)]), container.opening)
        self._containers.pop()

    def _place(self, block: Block, token: Token) -> Block:
        """Set what depends on the quotes and lists around a block and on the block above it."""
        first, end = token.map or (self._end_line, self._end_line)
        block.gap = max(0, first - self._end_line)
        block.gap_prefix = "".join(
            QUOTE_BAR if each.is_quote else " " * len(each.marker)
            for each in self._containers
            if each in self._last_containers
        ).rstrip()
        for each in self._containers:
            shown = each.marker if each.is_quote or not each.is_used else " " * len(each.marker)
            block.prefix += shown
            block.next_prefix += each.marker if each.is_quote else " " * len(each.marker)
            block.is_quoted = block.is_quoted or each.is_quote
            each.is_used = True
        self._end_line = max(end, self._end_line)
        self._last_containers = list(self._containers)
        return block


def _restore_indent(line: Line, source: str) -> None:
    """Put back the spaces at the start of a line, which the parser removes from a paragraph's first one."""
    columns = len(source) - len(source.lstrip(" "))
    if columns:
        line.text = " " * columns + line.text
        line.marks = [
            inline.Mark(each.start + columns, each.end + columns, each.kind, each.url)
            for each in line.marks
        ]
