"""Renders a page of the documentation to HTML, with the anchors that GitHub gives its headings."""

import itertools
import re
from collections.abc import Callable, Sequence
from dataclasses import dataclass

from markdown_it import MarkdownIt
from markdown_it.common.utils import escapeHtml
from markdown_it.renderer import RendererHTML
from markdown_it.token import Token
from markdown_it.utils import EnvType, OptionsDict
from pygments import highlight
from pygments.formatters import HtmlFormatter
from pygments.lexers import get_lexer_by_name
from pygments.util import ClassNotFound

CLASS_PREFIX = "h-"
"""Before the classes of highlighted code."""
ALIGNMENT = re.compile(r"text-align:(\w+)")

Resolve = Callable[[str], str]
"""Returns the URL of a link or of an image of the page."""


@dataclass(frozen=True, slots=True)
class Heading:
    id: str
    text: str


@dataclass(frozen=True, slots=True)
class Rendered:
    html: str
    sections: tuple[Heading, ...]
    """The headings of the second level."""


def render(source: str, resolve: Resolve) -> Rendered:
    """Render Markdown as GitHub does: tables, code by language, an anchor per heading.

    The HTML has no inline styles or scripts, so that a strict Content-Security-Policy permits it.
    """
    parser = MarkdownIt("commonmark", renderer_cls=_Renderer)
    parser.enable(["table", "strikethrough"])
    tokens = parser.parse(source)
    sections = _add_anchors(tokens)
    for token in _inline_tokens(tokens):
        attribute = {"link_open": "href", "image": "src"}.get(token.type)
        if attribute is not None:
            token.attrs[attribute] = resolve(str(token.attrs[attribute]))
    return Rendered(str(parser.renderer.render(tokens, parser.options, {})), sections)


def anchor(text: str, used: dict[str, int]) -> str:
    """Return GitHub's anchor of a heading. `used` counts the anchors of the page."""
    plain = re.sub(r"[^\w\- ]", "", text.strip().lower()).replace(" ", "-")
    count = used.get(plain, 0)
    used[plain] = count + 1
    return f"{plain}-{count}" if count else plain


def _add_anchors(tokens: Sequence[Token]) -> tuple[Heading, ...]:
    """Give all headings ids; return those of the second level."""
    used: dict[str, int] = {}
    sections = []
    for opening, inline in itertools.pairwise(tokens):
        if opening.type == "heading_open":
            text = "".join(part.content for part in inline.children or () if part.type != "image")
            opening.attrs["id"] = anchor(text, used)
            if opening.tag == "h2":
                sections.append(Heading(str(opening.attrs["id"]), text))
    return tuple(sections)


def _inline_tokens(tokens: Sequence[Token]) -> list[Token]:
    return [part for token in tokens if token.type == "inline" for part in token.children or ()]


def _highlighted(code: str, language: str) -> str:
    """Return code as HTML, its tokens in classes; an empty string without a known language."""
    try:
        lexer = get_lexer_by_name(language)
    except ClassNotFound:
        return ""
    formatter = HtmlFormatter(nowrap=True, classprefix=CLASS_PREFIX)
    return str(highlight(code, lexer, formatter))


class _Renderer(RendererHTML):
    """Renders what CommonMark leaves open. markdown-it calls a method per type of token."""

    def table_open(self, tokens: Sequence[Token], idx: int, options: OptionsDict, env: EnvType) -> str:
        """A wide table scrolls on its own, also by keyboard."""
        return '<div class="scrolling" role="region" aria-label="Table" tabindex="0">\n<table>\n'

    def table_close(self, tokens: Sequence[Token], idx: int, options: OptionsDict, env: EnvType) -> str:
        return "</table>\n</div>\n"

    def th_open(self, tokens: Sequence[Token], idx: int, options: OptionsDict, env: EnvType) -> str:
        return self._cell(tokens[idx])

    def td_open(self, tokens: Sequence[Token], idx: int, options: OptionsDict, env: EnvType) -> str:
        return self._cell(tokens[idx])

    def _cell(self, token: Token) -> str:
        alignment = ALIGNMENT.search(str(token.attrs.get("style", "")))
        scope = ' scope="col"' if token.tag == "th" else ""
        return f'<{token.tag}{scope} class="{alignment[1]}">' if alignment else f"<{token.tag}{scope}>"

    def heading_close(self, tokens: Sequence[Token], idx: int, options: OptionsDict, env: EnvType) -> str:
        """A link to the heading, to copy its address."""
        opening, inline, closing = tokens[idx - 2], tokens[idx - 1], tokens[idx]
        label = escapeHtml(f"Link to: {inline.content}")
        link = f'<a class="anchor" href="#{opening.attrs["id"]}" aria-label="{label}">#</a>'
        return f"{link if closing.tag != 'h1' else ''}</{closing.tag}>\n"

    def fence(self, tokens: Sequence[Token], idx: int, options: OptionsDict, env: EnvType) -> str:
        token = tokens[idx]
        language = token.info.strip()
        code = _highlighted(token.content, language) or escapeHtml(token.content)
        opening = f'<pre tabindex="0" data-copy><code class="language-{escapeHtml(language)}">'
        return f"{opening}{code}</code></pre>\n"

    def html_block(self, tokens: Sequence[Token], idx: int, options: OptionsDict, env: EnvType) -> str:
        """Comments are for programs; other HTML is text."""
        content = tokens[idx].content
        return "" if content.lstrip().startswith("<!--") else escapeHtml(content)

    def html_inline(self, tokens: Sequence[Token], idx: int, options: OptionsDict, env: EnvType) -> str:
        return self.html_block(tokens, idx, options, env)
