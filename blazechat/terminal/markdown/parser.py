"""Parses messages as Markdown: a subset of CommonMark with strikethrough, and without HTML."""

import re
from functools import cache

from markdown_it import MarkdownIt
from markdown_it.token import Token

from blazechat.terminal.markdown import rules, urls

MAX_NESTING = 20
"""Levels of quotes and lists. The parser drops text below them, so `parse` refuses it."""
BLOCK_RULES = ["fence", "blockquote", "hr", "list", "heading", "table"]
INLINE_RULES = ["linkify", "newline", "escape", "backticks", "strikethrough", "emphasis", "link", "image"]
MARKUP = re.compile(
    r"[*`\\]|(?<![^\W_])_|~~|\]\(|<[a-z]|://|^[ \t]*(?:[-+>#|]|\d{1,9}[.)])", re.IGNORECASE | re.MULTILINE
)
"""Found in every text that the parser changes. Most messages have none, and are not parsed."""


def has_markup(content: str) -> bool:
    """Return False if a message's content has no Markdown; True if it might have."""
    return MARKUP.search(content) is not None


def parse(text: str) -> list[Token] | None:
    """Return the tokens of a sanitized text; None if its nesting is too deep."""
    tokens = _parser().parse(text)
    is_too_deep = any(token.level >= MAX_NESTING - 1 for token in tokens)
    return None if is_too_deep else tokens


class _MessageParser(MarkdownIt):
    def validateLink(self, url: str) -> bool:  # noqa: N802 (the library's name)
        return urls.is_allowed(url)

    def normalizeLinkText(self, link: str) -> str:  # noqa: N802 (the library's name)
        return link  # a URL is displayed as it was written


@cache
def _parser() -> MarkdownIt:
    # Not enabled: HTML and entities (text stays text), link definitions (they would vanish), indented code
    # and underlined headings (ordinary text looks like them).
    options = {"html": False, "linkify": True, "maxNesting": MAX_NESTING}
    parser = _MessageParser("zero", options_update=options)
    parser.block.ruler.enable(BLOCK_RULES)
    parser.inline.ruler.enable([*INLINE_RULES, "autolink"])
    parser.inline.ruler2.enable(["balance_pairs", "strikethrough", "emphasis", "fragments_join"])
    parser.core.ruler.enable(["text_join"])
    inline = parser.inline.ruler
    inline.at("linkify", rules.bare_url)
    inline.at("newline", rules.line_break)
    inline.at("escape", rules.escaped_character)
    inline.at("strikethrough", rules.strikethrough_between_words)
    inline.at("emphasis", rules.emphasis_between_words)
    inline.at("link", rules.limited_link)
    inline.at("image", rules.limited_image)
    parser.block.ruler.at("table", rules.limited_table, {"alt": ["paragraph"]})
    parser.block.ruler.before(
        "paragraph", "outdent", rules.ends_outdented_text, {"alt": ["paragraph", "blockquote"]}
    )
    return parser
