"""Messages as Markdown: what is drawn, what stays as it was, where links lead, and what it costs."""

import re
import time

import pytest
from hypothesis import given
from hypothesis import strategies as st
from rich.console import Console
from rich.style import Style
from rich.text import Text

from blazechat.terminal import mentions
from blazechat.terminal.markdown import document, drawing

COLUMNS, WIDE = 40, 200
STYLES = {
    "quiet": Style(dim=True),
    "mention": Style(color="yellow"),
    "code": Style(bgcolor="black"),
    "link": Style(underline=True),
}


def drawn(content: str, columns: int = COLUMNS) -> list[Text]:
    canvas = drawing.Canvas(Console(width=columns), columns, STYLES, mentions.pattern("alice"))
    blocks = document.of_content(content)
    if blocks is None:
        return drawing.draw_plain(content.split("\n"), canvas)
    return drawing.draw(blocks, canvas)


def lines(content: str, columns: int = COLUMNS) -> list[str]:
    return [line.plain.rstrip() for line in drawn(content, columns)]


def styled(content: str, style: str) -> list[str]:
    """The parts of the text that have this attribute (`bold`, `link` …)."""
    parts = [
        line.plain[start:end]
        for line in drawn(content)
        for start, end, found in line.spans
        if isinstance(found, Style) and getattr(found, style)
    ]
    return [part for part in parts if part]


@pytest.mark.parametrize(
    ("content", "attribute", "parts"),
    [
        ("a **bold** and __not__ word", "bold", ["bold"]),
        ("*one* and _two_", "italic", ["one", "two"]),
        ("~~gone~~ ~5 to ~6", "strike", ["gone"]),
        ("**two\nlines**", "bold", ["two", "lines"]),
        ("これは**太字**です", "bold", ["太字"]),
        ("# A heading\n#channel", "bold", []),
        ("`x = 1` and @alice", "bgcolor", ["x = 1"]),
        ("`@alice` and **@alice**", "color", ["@alice", "@alice"]),
    ],
)
def test_styles_are_drawn(content: str, attribute: str, parts: list[str]) -> None:
    """Delimiters are gone, and what they enclose has the style."""
    assert styled(content, attribute) == parts


@pytest.mark.parametrize(
    "content",
    [
        "2*3*4 = 24 and 2**3**4",
        "snake_case_names, __init__.py and _private",
        "src/**/*.py and tests/**/*.py, rm *.o *.a",
        ":emoji: @alice <b>html</b> &nbsp; a < b > c",
        "¯\\_(ツ)_/¯",
        "a line\n    its indent\n\n\nand empty lines",
        "  *args, **kwargs",
        "docker run \\\n  -p 80:80",
        "underlined\n=====",
        "[1]: a note, not a definition",
        "[x](javascript:alert(1)) [y](file:///etc/passwd)",
        *("-", "+", "*", "#", "1.", ">", "```", "**", "[x]()", "![y]()", "~~"),
        ">" * 40 + " deep",
    ],
)
def test_ordinary_text_stays_as_it_was_written(content: str) -> None:
    """Nothing of it vanishes, and no line is joined with another one."""
    assert "\n".join(lines(content, WIDE)) == content


def test_blocks_are_drawn() -> None:
    """Headings, quotes, nested and numbered lists, rules, code and tables."""
    content = """\
# Release
> said
> > twice
my answer
- one
- two words that are too long for one line
  1. nested
after the list
1. three
1. four
---
```python
if x:
    y = "a line that is too long for the frame"
```
| Host | Load |
|------|-----:|
| db\\|1 | **0.5** |
| web |"""
    assert lines(content) == [
        "Release",
        "▎ said",
        "▎ ▎ twice",
        "my answer",
        "• one",
        "• two words that are too long for one",
        "  line",
        "  1. nested",
        "after the list",
        "1. three",
        "2. four",
        "─" * COLUMNS,
        "  python",
        "  if x:",
        '      y = "a line that is too long for',
        '↳ the frame"',
        "Host  Load",
        "────  ────",
        "db|1   0.5",
        "web",
    ]
    assert {line.cell_len for line in drawn(content) if line.plain.startswith(("  if", "↳"))} == {COLUMNS}


def test_tables_that_do_not_fit_stay_as_they_were_written() -> None:
    """Their lines are wrapped like text."""
    assert lines(f"| a | b |\n|---|---|\n| {'x' * 30} | {'y' * 30} |")[:2] == ["| a | b |", "|---|---|"]


@pytest.mark.parametrize(
    ("content", "text", "urls"),
    [
        ("see [the docs](https://x.example/a)", "see the docs (x.example)", ["https://x.example/a"]),
        ("(https://x.example/a_(b)_c).", "(https://x.example/a_(b)_c).", ["https://x.example/a_(b)_c"]),
        ("<https://x.example>", "https://x.example", ["https://x.example"]),
        ("<a@b.example>", "a@b.example", ["mailto:a@b.example"]),
        ("![a graph](https://x.example/g.png)", "a graph (x.example)", ["https://x.example/g.png"]),
        ("[https://x.example](https://x.example/)", "https://x.example", ["https://x.example/"]),
        ("[https://good.example](https://evil.example:81)", "https://good.example (evil.example:81)", ["https://evil.example:81"]),
        (
            "[https://good.example ![https://x.example](https://x.example)](https://x.example)",
            "https://good.example https://x.example (x.example)",
            ["https://x.example"],
        ),
        ("https://good.example@evil.example/", "https://good.example@evil.example/ (evil.example)", ["https://good.example@evil.example/"]),
        ("https://раураl.example", "https://раураl.example (xn--l-7sba6dbr.example)", ["https://xn--l-7sba6dbr.example"]),
        ("[](https://x.example)", "https://x.example", ["https://x.example"]),
        ("[\u202egnp.exe](https://x.example)", "‹RLO›gnp.exe (x.example)", ["https://x.example"]),
        ("ftp://x.example data:text/html,x", "ftp://x.example data:text/html,x", []),
        ("`https://x.example`", "https://x.example", []),
    ],
)  # fmt: skip
def test_links_show_where_they_lead(content: str, text: str, urls: list[str]) -> None:
    """The host is shown unless the text is the URL itself; other schemes are text."""
    assert lines(content, WIDE) == [text]
    assert document.urls_of(content) == urls


@given(st.text(st.sampled_from("*_~`[]()<>!#-+.|:\\ \n1ah@/日👍🏽\u202e\x1b\t")), st.integers(1, 30))
def test_any_text_is_drawn_within_its_width(content: str, columns: int) -> None:
    """No text fails, or is wider than the place for it, and its control characters are visible ones."""
    width = max(columns, drawing.MIN_COLUMNS)
    blocks = document.of_content(content)
    for line in drawn(content, width) if blocks is not None else ():
        assert line.cell_len <= width
        assert not re.search("[\x00-\x1f\u202e]", line.plain)


def test_links_beyond_two_hundred_stay_as_they_were_written() -> None:
    """Each costs a scan of the message, so their number is limited; no text is lost."""
    content = " ".join(f"[{number}](https://x.example/{number})" for number in range(300))
    assert document.urls_of(content) == [f"https://x.example/{number}" for number in range(300)]
    text = "\n".join(lines(content, WIDE))
    assert "199 (x.example)" in text
    assert "[200](https://x.example/200)" in text


HOSTILE = {
    "delimiters": "*a_ **b~~" * 1_200,
    "brackets": "[" * 10_000,
    "images": "![" * 5_000,
    "links": "[a](" * 2_500,
    "nested links": "[" * 2_000 + "a" + "](https://x.example)" * 300,
    "code": "".join("`" * length + "a" for length in range(1, 140)),
    "URLs": "://" * 3_300,
    "quotes": ">" * 10_000,
    "lists": "- " * 5_000,
    "items": "- a\n" * 2_500,
    "cells": "|a" * 30 + "\n" + "|-" * 30 + "\n" + "|\n" * 4_900,
    "fences": "```\n" * 2_500,
}


@pytest.mark.parametrize("kind", HOSTILE)
def test_hostile_messages_do_not_block_the_app(kind: str) -> None:
    """Each has the maximum length. Processor time counts, since other programs share the machine."""
    content = HOSTILE[kind][:10_000]
    started = time.process_time()
    assert drawn(content)
    assert time.process_time() - started < 1.0
