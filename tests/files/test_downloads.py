"""Downloads: ranges, conditional requests, file names, and no content that runs as a page of this
server."""

import pytest

from tests.files.upload_calls import uploaded
from tests.harness import Live

CONTENT = bytes(range(200))


@pytest.mark.parametrize(
    ("value", "status", "first", "last"),
    [
        ("bytes=0-9", 206, 0, 9),
        ("bytes=190-", 206, 190, 199),
        ("bytes=-5", 206, 195, 199),
        ("bytes=-999", 206, 0, 199),
        ("bytes=100-999", 206, 100, 199),
        ("bytes=0-0", 206, 0, 0),
        ("bytes=200-", 416, 0, 0),
        ("bytes=-0", 416, 0, 0),
        ("bytes=9-3", 200, 0, 199),
        ("bytes=0-1,5-6", 200, 0, 199),
        ("lines=0-1", 200, 0, 199),
        ("bytes=-", 200, 0, 199),
        ("bytes=x-y", 200, 0, 199),
        ("bytes=" + "9" * 400 + "-", 200, 0, 199),
    ],
)
async def test_ranges(live: Live, value: str, status: int, first: int, last: int) -> None:
    """One range is served. Invalid and several ranges are ignored. A range after the end gets 416."""
    alice = await live.person("alice")
    upload = await uploaded(alice, CONTENT)
    answer = await alice.get(upload["url"], headers={"range": value})
    assert answer.status_code == status
    assert answer.headers["accept-ranges"] == "bytes"
    if status == 416:
        assert answer.headers["content-range"] == "bytes */200"
        return
    assert answer.content == CONTENT[first : last + 1]
    assert answer.headers["content-length"] == str(last - first + 1)
    assert answer.headers.get("content-range") == (f"bytes {first}-{last}/200" if status == 206 else None)


async def test_conditional_requests(live: Live) -> None:
    """A matching ETag gets 304. A range with another ETag gets the whole file. HEAD has no body."""
    alice = await live.person("alice")
    upload = await uploaded(alice, CONTENT)
    etag = (await alice.get(upload["url"])).headers["etag"]
    for condition in (etag, f'"x", W/{etag}', "*"):
        unchanged = await alice.get(upload["url"], headers={"if-none-match": condition})
        assert (unchanged.status_code, unchanged.content) == (304, b"")
    changed = await alice.get(upload["url"], headers={"if-none-match": '"another"'})
    assert changed.status_code == 200
    part = {"range": "bytes=0-4"}
    assert (await alice.get(upload["url"], headers=part | {"if-range": etag})).status_code == 206
    assert (await alice.get(upload["url"], headers=part | {"if-range": '"another"'})).content == CONTENT
    head = await alice.http.head(upload["url"])
    assert (head.status_code, head.headers["content-length"], head.content) == (200, "200", b"")


PAGE = b"<!doctype html><script>alert(1)</script>"
SVG = b'<svg xmlns="http://www.w3.org/2000/svg" onload="alert(1)"/>'


@pytest.mark.parametrize(
    ("name", "content"),
    [
        ("page.html", PAGE),
        ("page.png", PAGE),
        ("page.txt", b"  \n" + PAGE),
        ("drawing.svg", SVG),
        ("drawing.xml", b'<?xml version="1.0"?>' + SVG),
        ("late.svg", b"<!-- " + b"x" * 3000 + b" -->" + SVG),
        ("both.gif", b"GIF89a/*" + PAGE),
        ("both.pdf", b"\xef\xbb\xbf" + PAGE + b"%PDF-1.4"),
        ("wide.html", "\ufeff<html><script>alert(1)</script>".encode("utf-16")),
        ("code.js", b"alert(1)"),
    ],
)
async def test_no_file_runs_as_a_page_of_this_server(live: Live, name: str, content: bytes) -> None:
    """HTML and SVG can only be saved, whatever their name and first bytes. Every response has a sandbox."""
    alice = await live.person("alice")
    answer = await alice.http.post("/api/media", files={"file": (name, content)})
    if answer.status_code == 422:  # it looks like an image, and is none
        return
    headers = (await alice.get(answer.json()["url"])).headers
    assert headers["x-content-type-options"] == "nosniff"
    assert "sandbox" in headers["content-security-policy"]
    assert "default-src 'none'" in headers["content-security-policy"]
    media_type = headers["content-type"].partition(";")[0]
    assert media_type in ("text/plain", "application/octet-stream")
    assert headers["content-disposition"].startswith("attachment") or media_type == "text/plain"


@pytest.mark.parametrize(
    ("given", "expected"),
    [
        ("résumé 日本.pdf", "résumé 日本.pdf"),
        ("../../etc/passwd", "passwd"),
        ("C:\\\\Users\\\\alice\\\\plan.doc", "plan.doc"),
        ("a\r\nSet-Cookie: x=y.txt", "aSet-Cookie: x=y.txt"),
        ("evil\u202etxt.exe", "eviltxt.exe"),
        ("..", "file"),
        ("", "file"),
        ("a" * 4000 + ".tar.gz", "a" * 197 + ".gz"),
        ('say "hi".txt', 'say "hi".txt'),
        (".hidden", "hidden"),
        ("x\x00y.txt", "xy.txt"),
    ],
    ids=[
        "unicode",
        "folders",
        "windows",
        "line ends",
        "bidi",
        "dots",
        "none",
        "long",
        "quotes",
        "hidden",
        "nul",
    ],
)
async def test_file_names(live: Live, given: str, expected: str) -> None:
    """Folders and unsafe characters are removed. A download has the name in any script, as a valid
    header."""
    from base64 import b64encode
    from urllib.parse import unquote

    alice = await live.person("alice")
    metadata = f"filename {b64encode(given.encode()).decode()}".strip()
    headers = {
        "tus-resumable": "1.0.0",
        "upload-length": "2",
        "upload-metadata": metadata,
        "content-type": "application/offset+octet-stream",
    }
    begun = await alice.http.post("/api/uploads", content=b"ok", headers=headers)
    assert begun.status_code == 201, begun.text
    media = f"/api/media/{begun.headers['location'].rpartition('/')[2]}"
    assert (await alice.get(media)).json()["name"] == expected
    disposition = (await alice.get(f"{media}/content")).headers["content-disposition"]
    assert unquote(disposition.partition("filename*=UTF-8''")[2]) == expected
    assert disposition.isascii()
    assert (
        (await alice.get(f"{media}/content?save=true"))
        .headers["content-disposition"]
        .startswith("attachment")
    )
