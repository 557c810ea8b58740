"""Draws the blocks of a message as lines of a width: wrapped text, framed code, aligned tables."""

from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass

from rich.cells import cell_len, chop_cells, set_cell_size
from rich.console import Console
from rich.style import Style
from rich.text import Text

from blazechat.terminal.markdown.document import Block, Document
from blazechat.terminal.markdown.inline import Line, MarkKind

MIN_COLUMNS = 8
CODE_INDENT, CODE_CONTINUATION = "  ", "↳ "
"""At the left of each line of code; of a line that continues the one above it."""
COLUMN_GAP = "  "
FIXED_STYLES = {
    MarkKind.BOLD: Style(bold=True),
    MarkKind.ITALIC: Style(italic=True),
    MarkKind.STRIKE: Style(strike=True),
}
HEADING = Style(bold=True)
NO_STYLE = Style.null()


@dataclass(frozen=True, slots=True)
class Canvas:
    """Where blocks are drawn. `styles` are those of the message list; `mention` is a regular expression.

    `base` is the style of text.
    """

    console: Console
    columns: int
    styles: Mapping[str, Style]
    mention: str | None = None
    base: Style = NO_STYLE


def draw(document: Document, canvas: Canvas, suffix: str = "") -> list[Text]:
    """Return the lines, at most as wide as the canvas. `suffix` is put after the last word."""
    lines: list[Text] = []
    last = len(document) - 1
    for index, block in enumerate(document):
        lines += [Text(block.gap_prefix, canvas.styles["quiet"]) for _ in range(block.gap)]
        lines += _draw_block(block, canvas, suffix if index == last else "")
    return lines


def draw_plain(lines: Sequence[str], canvas: Canvas, suffix: str = "") -> list[Text]:
    """Return lines without markup, wrapped like those with it."""
    return _wrapped([Line(line) for line in lines], canvas, canvas.columns, canvas.base, suffix)


def _draw_block(block: Block, canvas: Canvas, suffix: str) -> list[Text]:
    columns = max(MIN_COLUMNS, canvas.columns - cell_len(block.prefix))
    match block.kind:
        case "code":
            content = list(_code(block, canvas, columns))
        case "rule":
            content = [Text("─" * columns, canvas.styles["quiet"])]
        case "table":
            content = _table(block, canvas, columns)
        case _:
            content = _text(block, canvas, columns, suffix)
    if suffix and block.kind in ("code", "rule", "table"):
        content.append(Text(suffix.strip(), canvas.styles["quiet"]))
    return _with_prefix(block, canvas, content)


def _with_prefix(block: Block, canvas: Canvas, content: list[Text]) -> list[Text]:
    """Put quotes and list markers before the lines. In a narrow terminal, deep ones are cut."""
    if not block.prefix:
        return content
    room = max(0, canvas.columns - MIN_COLUMNS)
    prefixes = [block.prefix[:room], block.next_prefix[:room]]
    style = canvas.styles["quiet"]
    return [Text.assemble((prefixes[min(index, 1)], style), line) for index, line in enumerate(content)]


def _text(block: Block, canvas: Canvas, columns: int, suffix: str) -> list[Text]:
    base = canvas.base
    if block.kind == "heading":
        base += HEADING
    if block.is_quoted:
        base += canvas.styles["quiet"]
    return _wrapped(block.lines, canvas, columns, base, suffix)


def _wrapped(lines: Sequence[Line], canvas: Canvas, columns: int, base: Style, suffix: str) -> list[Text]:
    wrapped: list[Text] = []
    for index, line in enumerate(lines):
        text = _styled(line, canvas, base)
        if suffix and index == len(lines) - 1:
            text.append(suffix, canvas.styles["quiet"])
        wrapped += text.wrap(canvas.console, columns) or [text]
    return wrapped


def _styled(line: Line, canvas: Canvas, base: Style) -> Text:
    text = Text(line.text, base)
    if canvas.mention is not None and "@" in line.text:
        text.highlight_regex(canvas.mention, canvas.styles["mention"])
    for mark in line.marks:
        style = FIXED_STYLES.get(mark.kind) or canvas.styles[mark.kind]
        if mark.url:
            style += Style(link=mark.url)  # OSC 8: terminals that know it make it a hyperlink
        text.stylize(style, mark.start, mark.end)
    return text


def _code(block: Block, canvas: Canvas, columns: int) -> Iterator[Text]:
    """Yield the lines on a background of the full width. Long lines are continued, not cut."""
    style = canvas.styles["code"]
    quiet = style + canvas.styles["quiet"]
    if block.info:
        yield Text.assemble((set_cell_size(CODE_INDENT + block.info, columns), quiet))
    room = max(1, columns - len(CODE_INDENT) - 1)
    for line in block.lines:
        for index, part in enumerate(chop_cells(line.text, room) or [""]):
            indent = (CODE_CONTINUATION, quiet) if index else (CODE_INDENT, style)
            yield Text.assemble(indent, (set_cell_size(part, columns - len(CODE_INDENT)), style))


def _table(block: Block, canvas: Canvas, columns: int) -> list[Text]:
    """Return the rows with aligned columns; as they were written if they do not fit."""
    rows = [[_styled(cell, canvas, canvas.base) for cell in row] for row in block.rows]
    widths = [max(cell.cell_len for cell in column) for column in zip(*rows, strict=True)]
    if sum(widths) + len(COLUMN_GAP) * (len(widths) - 1) > columns:
        return _text(block, canvas, columns, "")
    for cell in rows[0]:
        cell.stylize(HEADING)
    lines = []
    for row in rows:
        for number, (cell, width) in enumerate(zip(row, widths, strict=True)):
            pad = cell.pad_left if number in block.right_columns else cell.pad_right
            pad(width - cell.cell_len)
        lines.append(Text(COLUMN_GAP).join(row))
    separator = COLUMN_GAP.join("─" * width for width in widths)
    return [lines[0], Text(separator, canvas.styles["quiet"]), *lines[1:]]
