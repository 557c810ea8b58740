"""The pages of the documentation: their files, URLs and titles, and their HTML, rendered once."""

import posixpath
import re
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path

import blazechat
from blazechat.api.pages.markdown import Rendered, render

PACKAGE = Path(blazechat.__file__).parent
PACKED = PACKAGE / "documents"
"""Where the wheel has the files. An editable install has none there, but the checkout itself."""
BASE_URL = "/docs"
SAMPLE_SERVER = "http://127.0.0.1:8000"

GUIDES = (
    "api",
    "protocol",
    "sdk",
    "terminal",
    "media",
    "webhooks",
    "operations",
    "architecture",
    "glossary",
)
"""The pages of `docs/` in the order of the index. Others follow in the order of their names."""
PROJECT_FILES = (
    "README.md",
    "CHANGELOG.md",
    "CONTRIBUTING.md",
    "SECURITY.md",
    "LICENSE",
    "bench/README.md",
)
NAMES = {"bench/README.md": "benchmarks"}
"""Names of pages that differ from those of their files."""
TITLES = {"README.md": "README", "LICENSE": "Licence"}
"""Titles of pages that differ from their first headings."""
IMAGE_TYPES = {".png": "image/png", ".svg": "image/svg+xml"}


@dataclass(frozen=True, slots=True)
class Page:
    """A page: its file, its path below BASE_URL, and what the index displays."""

    file: str
    name: str
    title: str
    summary: str

    @property
    def url(self) -> str:
        return f"{BASE_URL}/{self.name}"


class Library:
    """All pages and images, found once. A page is rendered when it is first read."""

    def __init__(self) -> None:
        self._root = PACKED if PACKED.is_dir() else PACKAGE.parent
        files = [f"docs/{name}.md" for name in GUIDES]
        files += sorted(self._found("docs/*.md") - set(files))
        self.guides = self._pages(files)
        self.decisions = self._pages(sorted(self._found("docs/decisions/*.md")))
        self.project = self._pages(PROJECT_FILES)
        self._pages_by_name = {page.name: page for page in self.guides + self.decisions + self.project}
        self._urls = {page.file: page.url for page in self._pages_by_name.values()}
        self._images = {
            file.removeprefix("docs/"): file
            for suffix in IMAGE_TYPES
            for file in self._found(f"docs/*{suffix}")
        }
        self._urls |= {file: f"{BASE_URL}/{name}" for name, file in self._images.items()}
        self._rendered: dict[str, Rendered] = {}

    def page(self, name: str) -> Page | None:
        """Return the page with this name, or with the name of its file."""
        return self._pages_by_name.get(name.lower().removesuffix(".md"))

    def rendered(self, page: Page) -> Rendered:
        """Return the HTML of a page."""
        if page.name not in self._rendered:
            source = (self._root / page.file).read_text(encoding="utf-8")
            if not page.file.endswith(".md"):
                source = f"# {page.title}\n\n{source}"
            self._rendered[page.name] = render(source, lambda target: self.url_of(target, page.file))
        return self._rendered[page.name]

    def image(self, name: str) -> tuple[bytes, str] | None:
        """Return an image and its media type."""
        file = self._images.get(name)
        if file is None:
            return None
        return (self._root / file).read_bytes(), IMAGE_TYPES[Path(file).suffix]

    def has(self, file: str) -> bool:
        """Return whether there is such a file in the root: in a checkout, the folder of the project."""
        return (self._root / file).exists()

    def url_of(self, target: str, file: str) -> str:
        """Return the URL of a link in a file: those to other files lead to their pages."""
        if target.startswith(SAMPLE_SERVER):
            return target.removeprefix(SAMPLE_SERVER) or "/"
        path, mark, fragment = target.partition("#")
        if not path or re.match(r"[a-z]+:", path):
            return target
        linked = posixpath.normpath(posixpath.join(posixpath.dirname(file), path))
        return f"{self._urls[linked]}{mark}{fragment}" if linked in self._urls else target

    def _found(self, pattern: str) -> set[str]:
        return {path.relative_to(self._root).as_posix() for path in self._root.glob(pattern)}

    def _pages(self, files: Sequence[str]) -> list[Page]:
        return [self._page(file) for file in files if (self._root / file).is_file()]

    def _page(self, file: str) -> Page:
        name = NAMES.get(file, file.removeprefix("docs/").removesuffix(".md").lower())
        source = (self._root / file).read_text(encoding="utf-8")
        heading = re.search(r"^# (.+)$", source, re.MULTILINE)
        title = TITLES.get(file) or (_plain(heading[1]) if heading else name)
        return Page(file, name, title, _plain(_first_sentence(source)) if heading else "")


def _first_sentence(source: str) -> str:
    """Return the first sentence of the first paragraph after the title."""
    _, _, body = source.partition("\n")
    paragraph = next((part for part in body.split("\n\n") if re.match(r"\s*[\w`*\[]", part)), "")
    text = " ".join(paragraph.split())
    return re.split(r"(?<=[.:])\s", text, maxsplit=1)[0].removesuffix(":")


def _plain(markdown: str) -> str:
    """Return text without the marks of links, code and emphasis."""
    return re.sub(r"[`*]", "", re.sub(r"\[([^\]]*)\]\([^)]*\)", r"\1", markdown))
