"""The code blocks of the documentation in reading order, each with how it is tested.

By default, a block is run as a reader would: to its end, in the terminal of the blocks before it. A comment
before the block, which no page displays, names what differs:

    <!-- test: option value; option value -->

| option | meaning |
|---|---|
| `prints "TEXT"` | the output has this text, soon after the block at the latest |
| `repeat until "TEXT"` | the block is run again until its output has this text |
| `terminal NAME` | the block runs in another terminal, until Ctrl-C ends it at the end of its page |
| `NAME prints "TEXT"`, `NAME types "TEXT"` | that terminal displays the text; its user types the line |
| `online NAME` | afterwards this account is online |
| `save FILE` | the block is saved as this file, and not run |
| `first` | the block runs only if a reader begins with this page |
| `dry run` | `make` prints what it would run |
| `elsewhere FILE` | this test file, which names the page, runs the block |
| `skip REASON` | the block cannot be run |
"""

import re
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path

ROOT = Path(__file__).parent.parent.parent
READING_ORDER = (
    "README.md",
    *(
        f"docs/{name}.md"
        for name in ("api", "protocol", "sdk", "terminal", "media", "webhooks", "operations")
    ),
    "docs/architecture.md",
    "docs/glossary.md",
)
COMMENT = re.compile(r"<!-- test: (.+) -->")
OPTION = re.compile(
    r"(?P<name>(?:\w+ )?prints|\w+ types|repeat until|dry run|terminal|online|save|first|elsewhere|skip)"
    r"(?: (?P<value>.+))?"
)


@dataclass(frozen=True)
class Block:
    """A fenced block of a page."""

    page: str
    heading: str
    number: int
    """Its position on the page, from 1."""
    line: int
    """The line of its opening fence."""
    language: str
    """Empty for a diagram."""
    code: str
    options: list[tuple[str, str]]
    """Names and values in the order of its comment, values without quotes."""

    def option(self, name: str) -> str | None:
        """The value of an option, empty if it takes none; None if the block does not have it."""
        return dict(self.options).get(name)

    def __str__(self) -> str:
        heading = f'"{self.heading}", ' if self.heading else ""
        place = f"line {self.line}, {self.language or 'no language'}"
        return f"{self.page}: {heading}block {self.number} ({place})"


def pages() -> list[str]:
    """All pages, in the order in which a reader meets them."""
    found = {"README.md", "bench/README.md", *(path.name for path in ROOT.glob("[A-Z]*.md"))}
    found |= {path.relative_to(ROOT).as_posix() for path in (ROOT / "docs").rglob("*.md")}
    return [*READING_ORDER, *sorted(found - set(READING_ORDER))]


def blocks_of(page: str) -> Iterator[Block]:
    """Yield the blocks of a page."""
    heading, comment, number = "", "", 0
    lines = enumerate((ROOT / page).read_text().splitlines(), 1)
    for line_number, line in lines:
        if line.startswith("#"):
            heading = line.lstrip("# ")
        if line.startswith("```"):
            number += 1
            code = ""
            for _, code_line in lines:
                if code_line.startswith("```"):
                    break
                code += f"{code_line}\n"
            options = _options(comment, f"{page}, line {line_number}")
            yield Block(page, heading, number, line_number, line.removeprefix("```"), code, options)
        if line.strip():
            found = COMMENT.fullmatch(line)
            comment = found[1] if found else ""


def _options(comment: str, place: str) -> list[tuple[str, str]]:
    options = []
    for part in filter(None, comment.split("; ")):
        found = OPTION.fullmatch(part)
        assert found, f"{place}: there is no option like: {part}"
        options.append((found["name"], re.sub('^"(.*)"$', r"\1", found["value"] or "")))
    return options
