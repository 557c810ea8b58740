"""Lines of text with marks: what is bold, code or a link, without colours and widths."""

from collections.abc import Iterable, Iterator
from dataclasses import dataclass, field
from enum import StrEnum

from markdown_it.common.normalize_url import normalizeLink
from markdown_it.token import Token

from blazechat.terminal.markdown import urls


class MarkKind(StrEnum):
    """What a part of a line is. Each one is a component class of the message list."""

    BOLD = "bold"
    ITALIC = "italic"
    STRIKE = "strike"
    CODE = "code"
    LINK = "link"
    HOST = "quiet"
    """Where a link leads whose text does not say it."""


@dataclass(frozen=True, slots=True)
class Mark:
    """The kind of the characters from `start` to `end`. `url` is set for a link."""

    start: int
    end: int
    kind: MarkKind
    url: str = ""


@dataclass(slots=True)
class Line:
    """One line as it was written, before it is wrapped."""

    text: str = ""
    marks: list[Mark] = field(default_factory=list)


DELIMITED = {"strong": MarkKind.BOLD, "em": MarkKind.ITALIC, "s": MarkKind.STRIKE}


def lines_of(tokens: Iterable[Token]) -> list[Line]:
    """Return the lines of a paragraph. `tokens` are the children of an inline token."""
    builder = _LineBuilder()
    for token in tokens:
        builder.add(token)
    return builder.lines


def urls_of(lines: Iterable[Line]) -> Iterator[str]:
    """Yield the URL of each link, in order."""
    for line in lines:
        for mark in line.marks:
            if mark.url:
                yield mark.url


class _LineBuilder:
    """Collects lines. An open mark is continued on each line until it is closed."""

    def __init__(self) -> None:
        self.lines = [Line()]
        self._open: list[tuple[MarkKind, str]] = []
        self._starts: list[int] = []  # of the open marks, in the last line
        self._labels = [""]  # text of each open link, and of what is outside them

    def add(self, token: Token) -> None:
        kind = token.type
        if kind == "text":
            self._append(token.content)
        elif kind == "softbreak":
            self._break_line()
        elif kind == "code_inline":
            self._append_marked(token.content, MarkKind.CODE)
        elif kind == "image":
            self._append_image(token)
        elif kind == "link_open":
            self._start_link(str(token.attrs["href"]))
        elif kind == "link_close":
            self._end_link()
        elif token.nesting == 1:
            self._start(DELIMITED[token.tag])
        elif token.nesting == -1:
            self._end()

    def _append(self, text: str) -> None:
        self.lines[-1].text += text
        self._labels[-1] += text

    def _append_marked(self, text: str, kind: MarkKind, url: str = "") -> None:
        self._start(kind, url)
        self._append(text)
        self._end()

    def _append_image(self, token: Token) -> None:
        if not token.attrs["src"]:
            self._append("!")
        self._start_link(str(token.attrs["src"]))
        self._append(" ".join(token.content.split()) or "image")
        self._end_link()

    def _start(self, kind: MarkKind, url: str = "") -> None:
        self._open.append((kind, url))
        self._starts.append(len(self.lines[-1].text))

    def _end(self) -> None:
        line = self.lines[-1]
        kind, url = self._open.pop()
        start = self._starts.pop()
        if start < len(line.text):
            line.marks.append(Mark(start, len(line.text), kind, url))

    def _start_link(self, url: str) -> None:
        """Start a link. One without a URL, such as `[x]()`, stays as it was written."""
        self._append("" if url else "[")
        self._labels.append("")
        self._start(MarkKind.LINK, url)

    def _end_link(self) -> None:
        """End a link, and add its host if its text is not the URL itself."""
        _, url = self._open[-1]
        if not url:
            self._open.pop()
            self._starts.pop()
            self._close_label()
            self._append("]()")
            return
        if not self._labels[-1].strip():
            self._append(url)
        label = self._close_label().strip()
        self._end()
        if not urls.is_visible_in(label, url, _normalized(label)):
            self._append_marked(f" ({urls.host_of(url)})", MarkKind.HOST)

    def _close_label(self) -> str:
        """Return the text of the link that ends. It is also a part of the link around it."""
        label = self._labels.pop()
        self._labels[-1] += label
        return label

    def _break_line(self) -> None:
        line = self.lines[-1]
        for start, (kind, url) in zip(self._starts, self._open, strict=True):
            if start < len(line.text):
                line.marks.append(Mark(start, len(line.text), kind, url))
        self.lines.append(Line())
        self._starts = [0] * len(self._open)
        self._labels[-1] += " "


def _normalized(label: str) -> str:
    """Return a label as the parser normalises URLs, to compare it with one."""
    return normalizeLink(label) if ":" in label and " " not in label else label
