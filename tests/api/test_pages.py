"""The web pages of a server: its address in a browser, the documentation, and unknown paths."""

import asyncio
import html
import os
import re
import sys
import tomllib
from pathlib import Path

import httpx2
import pytest

from blazechat.api.pages.accept import prefers_html
from blazechat.api.pages.library import Library
from blazechat.api.pages.markdown import anchor, render
from tests.conftest import NewServer
from tests.harness import Live

ROOT = Path(__file__).parent.parent.parent
BROWSER = {
    "accept": "text/html,application/xhtml+xml,application/xml;q=0.9,image/avif,image/webp,*/*;q=0.8"
}
PROGRAMS = (
    "*/*",
    "application/json",
    "application/json, text/plain, */*",
    "text/html;q=0.5, application/json",
)


@pytest.fixture
async def browser(live: Live) -> httpx2.AsyncClient:
    return live.client(headers=BROWSER)


def _commands(page: httpx2.Response) -> list[str]:
    """Return the commands to copy on a page, for this environment."""
    found = re.findall(r"<pre[^>]*data-copy><code[^>]*>(.*?)</code></pre>", page.text, re.DOTALL)
    commands = [html.unescape(re.sub(r"<[^>]+>", "", each)) for each in found]
    program = f"{Path(sys.executable).parent}/blazechat"
    return [re.sub(r"^(\.venv/bin/)?blazechat(?= )", program, command) for command in commands]


async def test_first_account_is_created_with_the_command_of_the_page(
    new_server: NewServer, tmp_path: Path
) -> None:
    """A new server shows a browser a command that works; afterwards, its page is about logging in."""
    live = await new_server()
    browser = live.client(headers=BROWSER)
    page = await browser.get("/")
    assert page.headers["content-type"] == "text/html; charset=utf-8"
    assert page.headers["vary"] == "Accept"
    assert "administrator" in page.text
    command = _commands(page)[0]
    assert live.url in command
    login = await asyncio.create_subprocess_exec(
        *command.split(),
        stdin=asyncio.subprocess.PIPE,
        stdout=asyncio.subprocess.PIPE,
        stderr=asyncio.subprocess.STDOUT,
        env=os.environ | {"BLAZECHAT_CLIENT_DIR": str(tmp_path)},
    )
    output, _ = await login.communicate(b"wonderland\n")
    assert login.returncode == 0, output
    alice = await live.log_in("alice", "wonderland")
    assert (await alice.get("/api/users/me")).json()["is_admin"] is True
    page = await browser.get("/")
    assert "administrator" not in page.text
    assert "Log in" in page.text
    assert "--register" in page.text


@pytest.mark.parametrize(
    ("registration", "sentence"),
    [("invitation", "--invitation CODE"), ("closed", "accepts no new accounts")],
)
async def test_address_says_who_may_register(
    new_server: NewServer, registration: str, sentence: str
) -> None:
    live = await new_server(registration=registration)
    await live.client().post(
        "/api/auth/register",
        json={"username": "alice", "email": "alice@example.com", "password": "wonderland"},
    )
    page = await live.client(headers=BROWSER).get("/")
    assert sentence in page.text
    assert ("--register" in page.text) == (registration == "invitation")


async def test_programs_get_a_problem_at_the_address(live: Live) -> None:
    """As for any unknown path, whatever they accept."""
    for accept in PROGRAMS:
        answer = await live.client(headers={"accept": accept}).get("/")
        assert answer.status_code == 404, accept
        assert answer.headers["content-type"] == "application/problem+json"
        assert answer.json()["detail"] == "There is nothing at this path."
    other_method = await live.client().post("/")
    assert (other_method.status_code, other_method.headers["allow"]) == (405, "GET, HEAD")


def test_accept_headers_are_compared_by_quality() -> None:
    for accept in (
        BROWSER["accept"],
        "text/html",
        "application/json;q=0.5, text/html",
        "TEXT/HTML ; q=0.3",
    ):
        assert prefers_html(accept), accept
    for accept in (*PROGRAMS, "", "text/html;q=0", "text/html;q=x", "text/*"):
        assert not prefers_html(accept), accept


async def test_address_of_another_host_is_not_reflected(live: Live) -> None:
    """The page displays the address that the browser has, if it is one."""
    chat = await live.client(headers=BROWSER | {"host": "chat.example.com"}).get("/")
    assert "http://chat.example.com" in chat.text
    for host in ("chat.example.com;reboot", "reboot." * 50 + "example.com"):
        strange = await live.client(headers=BROWSER | {"host": host}).get("/")
        assert strange.status_code == 200
        assert "reboot" not in strange.text


def _targets(page: httpx2.Response) -> set[str]:
    """Return the addresses on this server to which a page links, with fragments."""
    found = re.findall(r'(?:href|src)="([^"]+)"', page.text)
    own = [html.unescape(each) for each in found if not re.match(r"[a-z]+:", each)]
    return {each if each.startswith("/") else f"{page.url.path}{each}" for each in own}


async def test_all_pages_are_reached_by_links_that_have_targets(browser: httpx2.AsyncClient) -> None:
    """From the address of the server: every page of docs/, every image, every anchor."""
    pages: dict[str, httpx2.Response] = {}
    links, waiting = set[str](), {"/"}
    while waiting:
        path = waiting.pop()
        pages[path] = page = await browser.get(path)
        assert page.status_code == 200, path
        if page.headers["content-type"].startswith("text/html") and path != "/docs":
            links |= _targets(page)
        waiting |= {link.partition("#")[0] for link in links} - pages.keys()
    for link in links:
        path, _, fragment = link.partition("#")
        assert not fragment or f'id="{fragment}"' in pages[path].text, link
    for file in (ROOT / "docs").rglob("*.*"):
        name = file.relative_to(ROOT / "docs").as_posix().removesuffix(".md")
        assert f"/docs/{name}" in pages, name
    assert "/docs/readme" in pages
    assert not [link for link in links if link.endswith(".md")]


async def test_pages_have_no_inline_scripts_and_styles(browser: httpx2.AsyncClient) -> None:
    """The Content-Security-Policy forbids both."""
    library = Library()
    urls = [page.url for page in library.guides + library.project + library.decisions]
    for url in ("/", "/docs/index", "/nowhere", *urls):
        page = await browser.get(url)
        policy = page.headers["content-security-policy"]
        assert "default-src 'none'" in policy
        assert "unsafe" not in policy
        text = re.sub(r"<code.*?</code>", "", page.text, flags=re.DOTALL)
        assert not re.findall(r"<script(?![^>]* src=)|<style|\sstyle=|\son\w+=", text), url


def test_headings_have_the_anchors_of_github() -> None:
    used: dict[str, int] = {}
    headings = {
        "A first chat with curl": "a-first-chat-with-curl",
        "/ws/chat/{chat_id}": "wschatchat_id",
        "Over HTTP, without a socket": "over-http-without-a-socket",
        "What's new?": "whats-new",
        "Größe – und mehr": "größe--und-mehr",
        "Python": "python",
        "python": "python-1",
        "Python ": "python-2",
    }
    assert {text: anchor(text, used) for text in headings} == headings


def test_markdown_is_rendered_without_inline_html() -> None:
    """Comments vanish, other HTML is text; tables scroll and keep their alignment; code has classes."""
    source = (
        "# T\n\n<!-- note -->\n<b>bold</b>\n\n| a | b |\n|---|--:|\n| 1 | 2 |\n\n```python\nreturn 1\n```\n"
    )
    page = render(source, lambda target: target).html
    assert "note" not in page
    assert "<b>" not in page
    assert '<td class="right">2</td>' in page
    assert 'class="scrolling" role="region"' in page
    assert '<span class="h-k">return</span>' in page


async def test_unknown_path_leads_a_browser_to_the_documentation(
    live: Live, browser: httpx2.AsyncClient
) -> None:
    """A program gets a problem there, and so does a browser below `/api`."""
    for path in ("/nowhere", "/docs/nowhere", "/docs/../../pyproject.toml", "/pages/nowhere.css"):
        page = await browser.get(path)
        assert page.status_code == 404, path
        assert 'href="/docs/index"' in page.text
        problem = await live.client().get(path)
        assert problem.json()["code"] == "not_found", path
    for path in ("/api/nowhere", "/hooks/nowhere/nowhere"):
        assert (await browser.get(path)).headers["content-type"] == "application/problem+json"


async def test_pages_are_cached_by_their_content(browser: httpx2.AsyncClient) -> None:
    """A page is validated each time; style, script and icon are kept until their addresses change."""
    page = await browser.get("/docs/api")
    again = await browser.get("/docs/api.md", headers={"if-none-match": f"W/{page.headers['etag']}"})
    assert (again.status_code, again.content) == (304, b"")
    head = await browser.head("/docs/api")
    assert (head.status_code, head.content, head.headers["etag"]) == (200, b"", page.headers["etag"])
    assert page.headers["cache-control"] == "no-cache"
    for asset in re.findall(r'"(/pages/[^"]+)"', page.text):
        assert "immutable" in (await browser.get(asset)).headers["cache-control"]
    assert (await browser.get("/pages/style.css?v=old")).headers["cache-control"] == "no-cache"
    icon = await browser.get("/favicon.ico")
    assert icon.headers["content-type"] == "image/x-icon"
    assert icon.content.startswith(b"\0\0\1\0")


def test_wheel_contains_all_pages() -> None:
    """A server that was installed from a wheel has the same pages as one in a checkout."""
    project = tomllib.loads((ROOT / "pyproject.toml").read_text())
    targets = project["tool"]["hatch"]["build"]["targets"]
    packed: dict[str, str] = targets["wheel"]["hooks"]["custom"]["documents"]
    assert all(target == f"blazechat/documents/{source}" for source, target in packed.items())
    library = Library()
    for page in library.guides + library.project + library.decisions:
        assert page.file.startswith("docs/") or page.file in packed, page.file
    assert "docs" in packed
    sources = targets["sdist"]["include"]
    assert all(source in sources or source.split("/")[0] in sources for source in packed)
