"""Uploads by the npm library `tus-js-client`."""

import json
from pathlib import Path
from typing import Any

import pytest

from tests import npm
from tests.files.upload_calls import content_of
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
    """Upload CONTENT. Returns None if the program ended early, at `stop_at` bytes."""
    path = folder / "content"
    if not path.exists():  # the library recognises it by its name, size and modification time
        path.write_bytes(CONTENT)
    options_json = {
        "path": str(path),
        "store": str(folder / "uploads.json"),
        "token": person.token,
        "stopAt": stop_at or len(CONTENT) + 1,
        "options": {"endpoint": f"{person.live.url}/api/uploads", **options},
    }
    status, out, error = await npm.run(library, SCRIPT, options_json)
    assert status == 0, error
    return json.loads(out) if out else None


async def _check(person: Person, result: dict[str, Any]) -> None:
    assert await content_of(person, result["url"]) == CONTENT
    upload = (await person.get(f"/api/media/{result['url'].rpartition('/')[2]}")).json()
    assert (upload["name"], upload["ready"], upload["received"]) == ("ünï.bin", True, len(CONTENT))


@pytest.mark.parametrize("with_creation", [False, True])
async def test_tus_js_client_continues_after_an_interruption(
    live: Live, library: Path, tmp_path: Path, with_creation: bool
) -> None:
    """One program ends early, another continues the upload, and a third finds it complete."""
    alice = await live.person("alice")
    options = {"uploadDataDuringCreation": with_creation}
    assert await _upload(alice, library, tmp_path, 600_000, **options) is None
    result = await _upload(alice, library, tmp_path, **options)
    assert result is not None
    assert result["first"] == 600_000
    await _check(alice, result)
    again = await _upload(alice, library, tmp_path, **options)
    assert again is not None
    assert again["url"] == result["url"]


async def test_tus_js_client_uploads_a_stream_of_unknown_length(
    live: Live, library: Path, tmp_path: Path
) -> None:
    """The library declares the length at the end of the stream."""
    alice = await live.person("alice")
    result = await _upload(alice, library, tmp_path, uploadLengthDeferred=True)
    assert result is not None
    await _check(alice, result)


async def test_tus_js_client_uploads_parts_in_parallel(live: Live, library: Path, tmp_path: Path) -> None:
    """And continues them after an interruption. The parts become one file, and are no files themselves."""
    alice = await live.person("alice")
    options = {"parallelUploads": 3}
    assert await _upload(alice, library, tmp_path, 300_000, **options) is None
    assert len((await alice.get("/api/media")).json()) == 3
    result = await _upload(alice, library, tmp_path, **options)
    assert result is not None
    await _check(alice, result)
    (file,) = (await alice.get("/api/media")).json()
    assert file["url"] == f"/api/media/{result['url'].rpartition('/')[2]}/content"


async def test_tus_js_client_restarts_a_deleted_upload(live: Live, library: Path, tmp_path: Path) -> None:
    """An upload might have expired, or have been deleted by another client."""
    alice = await live.person("alice")
    assert await _upload(alice, library, tmp_path, 300_000) is None
    (begun,) = (await alice.get("/api/media")).json()
    assert (await alice.delete(f"/api/media/{begun['id']}")).status_code == 204
    result = await _upload(alice, library, tmp_path)
    assert result is not None
    assert not result["url"].endswith(f"/{begun['id']}")
    await _check(alice, result)
