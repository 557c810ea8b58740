"""Uploads by the npm library `tus-js-client`, as programs in JavaScript make them."""

import json
from pathlib import Path
from typing import Any

import pytest

from tests import npm
from tests.files.test_uploads import content_of
from tests.harness import Live, Person

PACKAGE = "tus-js-client@4.3.1"
SCRIPT = """
const tus = require("tus-js-client");
const fs = require("fs");
const stream = require("stream");
const { path, store, token, stopAt, options } = JSON.parse(fs.readFileSync(0, "utf8"));
let first = null;
const file = fs.createReadStream(path);
const source = options.uploadLengthDeferred ? file.pipe(new stream.PassThrough()) : file;
const upload = new tus.Upload(source, {
    headers: { Authorization: `Bearer ${token}` },
    chunkSize: 300_000,
    retryDelays: [50, 100, 200],
    metadata: { filename: "ünï.bin", filetype: "application/octet-stream" },
    urlStorage: new tus.FileUrlStorage(store),
    onProgress(sent) { first ??= sent; },
    onChunkComplete(_, accepted) { if (accepted >= stopAt) process.exit(); },
    onSuccess() { console.log(JSON.stringify({ url: upload.url, first })); },
    onError(error) { console.error(error); process.exit(1); },
    ...options,
});
upload.findPreviousUploads().then(([previous]) => {
    if (previous) upload.resumeFromPreviousUpload(previous);
    upload.start();
});
"""
CONTENT = bytes(range(241)) * 5_000


@pytest.fixture(scope="module")
def library(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return npm.installed(tmp_path_factory.mktemp("npm"), PACKAGE)


async def _upload(
    person: Person, library: Path, folder: Path, stop_at: int | None = None, **options: Any
) -> dict[str, Any] | None:
    """Upload CONTENT; None where the program ended before it was through, as it was told to."""
    path = folder / "content"
    if not path.exists():  # it is known again by its name, size and time
        path.write_bytes(CONTENT)
    told = {
        "path": str(path),
        "store": str(folder / "uploads.json"),
        "token": person.token,
        "stopAt": stop_at or len(CONTENT) + 1,
        "options": {"endpoint": f"{person.live.url}/api/uploads", **options},
    }
    status, out, error = await npm.run(library, SCRIPT, told)
    assert status == 0, error
    return json.loads(out) if out else None


async def _check(person: Person, made: dict[str, Any]) -> None:
    assert await content_of(person, made["url"]) == CONTENT
    shown = (await person.get(f"/api/media/{made['url'].rpartition('/')[2]}")).json()
    assert (shown["name"], shown["ready"], shown["received"]) == ("ünï.bin", True, len(CONTENT))


@pytest.mark.parametrize("with_creation", [False, True])
async def test_tus_js_client_goes_on_after_an_interruption(
    live: Live, library: Path, tmp_path: Path, with_creation: bool
) -> None:
    """A program that ends in the middle, and another that finds where to go on; and a third has it all."""
    alice = await live.person("alice")
    options = {"uploadDataDuringCreation": with_creation}
    assert await _upload(alice, library, tmp_path, 600_000, **options) is None
    made = await _upload(alice, library, tmp_path, **options)
    assert made is not None
    assert made["first"] == 600_000
    await _check(alice, made)
    again = await _upload(alice, library, tmp_path, **options)
    assert again is not None
    assert again["url"] == made["url"]


async def test_tus_js_client_sends_what_has_no_length_yet(
    live: Live, library: Path, tmp_path: Path
) -> None:
    """A stream, say: it tells the length when it comes to the end."""
    alice = await live.person("alice")
    made = await _upload(alice, library, tmp_path, uploadLengthDeferred=True)
    assert made is not None
    await _check(alice, made)


async def test_tus_js_client_begins_anew_where_an_upload_is_gone(
    live: Live, library: Path, tmp_path: Path
) -> None:
    """Expired, or given up elsewhere."""
    alice = await live.person("alice")
    assert await _upload(alice, library, tmp_path, 300_000) is None
    (begun,) = (await alice.get("/api/media")).json()
    assert (await alice.delete(f"/api/media/{begun['id']}")).status_code == 204
    made = await _upload(alice, library, tmp_path)
    assert made is not None
    assert not made["url"].endswith(f"/{begun['id']}")
    await _check(alice, made)
