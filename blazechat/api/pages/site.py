"""The HTML of all web pages, and their assets. Each is made once and kept in memory."""

import hashlib
import re
from dataclasses import dataclass
from functools import cache
from importlib.resources import files
from typing import Any

from jinja2 import Environment, PackageLoader, StrictUndefined

from blazechat.api.pages.library import BASE_URL, Library

ASSETS_URL = "/pages"
ASSET_TYPES = {
    "style.css": "text/css; charset=utf-8",
    "page.js": "text/javascript; charset=utf-8",
    "favicon.svg": "image/svg+xml",
    "favicon.ico": "image/x-icon",
}
LOOPBACK = re.compile(r"//(localhost|127\.0\.0\.1|\[::1\])(:|$)")
CHECKOUT_PROGRAM = ".venv/bin/blazechat"
MAX_ADDRESSES = 64
"""Addresses of this server for which the page at `/` is kept."""


@dataclass(frozen=True, slots=True)
class Content:
    """What a response returns. The version is a hash of the body."""

    body: bytes
    media_type: str
    version: str

    @property
    def etag(self) -> str:
        return f'"{self.version}"'


class Site:
    """Renders templates with the pages of the library. Its methods may block: call them in a thread."""

    def __init__(self) -> None:
        self._library = Library()
        self._assets = {name: _asset(name, media_type) for name, media_type in ASSET_TYPES.items()}
        self._templates = Environment(
            loader=PackageLoader("blazechat.api.pages"),
            autoescape=True,
            undefined=StrictUndefined,
            trim_blocks=True,
            lstrip_blocks=True,
        )
        self._templates.globals |= {
            "library": self._library,
            "asset": self._asset_url,
            "index_url": f"{BASE_URL}/index",
        }
        self._documents: dict[str, Content] = {}
        self._homes: dict[tuple[str, bool, str], Content] = {}

    def home(self, address: str, *, is_new: bool, registration: str) -> Content:
        """Return the page at `/`, with commands for a server at this address.

        `is_new`: there is no account yet. `registration` is the setting.
        """
        key = (address, is_new, registration)
        found = self._homes.get(key)  # another thread might clear them at any time
        if found is None:
            found = self._page(
                "home.html",
                address=address,
                program=self._program(address),
                is_new=is_new,
                registration=registration,
            )
            if len(self._homes) >= MAX_ADDRESSES:
                self._homes.clear()
            self._homes[key] = found
        return found

    def document(self, name: str) -> Content | None:
        """Return a page or an image by its path below `/docs`; None if there is none."""
        if name == "index":
            return self._documents.setdefault(name, self._page("index.html"))
        page = self._library.page(name)
        if page is None:
            image = self._library.image(name)
            return image and _content(*image)
        if page.name not in self._documents:
            rendered = self._library.rendered(page)
            self._documents[page.name] = self._page("document.html", page=page, rendered=rendered)
        return self._documents[page.name]

    def not_found(self) -> Content:
        return self._page("not_found.html")

    def asset(self, name: str) -> Content | None:
        return self._assets.get(name)

    def _page(self, template: str, **values: Any) -> Content:
        html = self._templates.get_template(template).render(**values)
        return _content(html.encode(), "text/html; charset=utf-8")

    def _program(self, address: str) -> str:
        """Return the command for a reader at this address. `make run` installs it in the checkout."""
        is_local = LOOPBACK.search(address) is not None
        return CHECKOUT_PROGRAM if is_local and self._library.has(CHECKOUT_PROGRAM) else "blazechat"

    def _asset_url(self, name: str) -> str:
        """Return a URL that changes with the content, so that browsers may keep it for ever."""
        return f"{ASSETS_URL}/{name}?v={self._assets[name].version}"


@cache
def site() -> Site:
    return Site()


def _asset(name: str, media_type: str) -> Content:
    return _content((files("blazechat.api.pages") / "static" / name).read_bytes(), media_type)


def _content(body: bytes, media_type: str) -> Content:
    return Content(body, media_type, hashlib.sha256(body).hexdigest()[:16])
