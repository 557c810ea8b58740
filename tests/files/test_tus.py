"""Resumable uploads by tus: clients, interruptions, lengths, checksums, and two servers."""

import asyncio
import base64
import hashlib
import io
from collections.abc import AsyncIterator
from pathlib import Path
from random import Random

import pytest
from tusclient.client import TusClient

from blazechat.domain.files.piece_writer import PIECE_BYTES
from tests.conftest import NewDatabase, NewServer
from tests.files.pictures import photo
from tests.files.upload_calls import BODY, TUS, begin_upload, content_of, offset_of, patch
from tests.harness import Live, eventually


async def test_tuspy_uploads(live: Live, tmp_path: Path) -> None:
    """tuspy, the Python client of the protocol, with chunks and checksums."""
    alice = await live.person("alice")
    path = tmp_path / "ünï.bin"
    path.write_bytes(content := bytes(range(251)) * 4000)

    def run_tuspy() -> str:
        client = TusClient(f"{live.url}/api/uploads", headers={"Authorization": f"Bearer {alice.token}"})
        with path.open("rb") as file:
            uploader = client.uploader(
                file_stream=file, chunk_size=300_000, metadata={"filename": path.name}, upload_checksum=True
            )
            uploader.upload()
        return str(uploader.url)

    where = await asyncio.to_thread(run_tuspy)
    assert await content_of(alice, where) == content
    upload = (await alice.get(f"/api/media/{where.rpartition('/')[2]}")).json()
    assert (upload["name"], upload["ready"], upload["received"]) == ("ünï.bin", True, len(content))


async def test_tuspy_continues_after_an_interruption(live: Live) -> None:
    """The upload stops after two chunks. A client that knows only the URL sends exactly the rest."""
    alice = await live.person("alice")
    content = bytes(range(253)) * 4000
    headers = {"Authorization": f"Bearer {alice.token}"}

    def begin() -> str:
        uploader = TusClient(f"{live.url}/api/uploads", headers=headers).uploader(
            file_stream=io.BytesIO(content), chunk_size=200_000
        )
        uploader.upload(stop_at=400_000)
        return str(uploader.url)

    def continue_upload(url: str) -> int:
        uploader = TusClient(f"{live.url}/api/uploads", headers=headers).uploader(
            file_stream=io.BytesIO(content), chunk_size=200_000, url=url
        )
        start = int(uploader.offset)
        uploader.upload()
        return start

    where = await asyncio.to_thread(begin)
    assert await asyncio.to_thread(continue_upload, where) == 400_000
    assert await content_of(alice, where) == content


async def test_bytes_before_a_broken_connection_count(live: Live) -> None:
    """The server keeps them, and returns the offset at which the upload continues."""
    alice = await live.person("alice")
    content = b"abcdefgh" * 100_000
    where = await begin_upload(alice, len(content))

    async def breaking() -> AsyncIterator[bytes]:
        yield content[:300_000]
        await asyncio.sleep(0.3)
        raise ConnectionError

    with pytest.raises(ConnectionError):
        await patch(alice, where, 0, breaking())
    offset = await offset_of(alice, where)
    assert 0 < offset <= 300_000
    done = await patch(alice, where, offset, content[offset:])
    assert (done.status_code, int(done.headers["upload-offset"])) == (204, len(content))
    assert await content_of(alice, where) == content


async def test_a_new_request_takes_over_an_upload(live: Live) -> None:
    """A request that hangs is ended when its client asks for the offset."""
    alice = await live.person("alice")
    content = b"x" * 50_000
    where = await begin_upload(alice, len(content))
    may_continue = asyncio.Event()

    async def hanging() -> AsyncIterator[bytes]:
        yield content[:20_000]
        await may_continue.wait()
        yield content[20_000:]

    hangs = asyncio.create_task(patch(alice, where, 0, hanging()))
    await eventually(lambda: live.app.state.services.uploads.active_ids == {int(where.rpartition("/")[2])})
    offset = await offset_of(alice, where)
    assert offset in (0, 20_000)
    assert (await patch(alice, where, offset, content[offset:])).status_code == 204
    may_continue.set()
    assert (await hangs).status_code == 409
    assert await content_of(alice, where) == content


async def test_users_cannot_stop_uploads_of_others(live: Live) -> None:
    """For another user the upload does not exist; it continues."""
    alice, bob = await live.people("alice", "bob")
    where = await begin_upload(alice, 6)
    may_continue = asyncio.Event()

    async def slowly() -> AsyncIterator[bytes]:
        yield b"abc"
        await may_continue.wait()
        yield b"def"

    uploading = asyncio.create_task(patch(alice, where, 0, slowly()))
    await eventually(lambda: live.app.state.services.uploads.active_ids)
    assert (await bob.http.head(where, headers=TUS)).status_code == 404
    assert (await bob.http.delete(where, headers=TUS)).status_code == 404
    assert (await bob.delete(where.replace("uploads", "media"))).status_code == 404
    assert (await patch(bob, where, 0, b"x")).status_code in (404, 503)
    may_continue.set()
    assert (await uploading).status_code == 204
    assert await content_of(alice, where) == b"abcdef"


async def test_interrupted_uploads_have_no_gaps(live: Live) -> None:
    """A client asks for the offset in the middle of a piece, again and again, and continues there."""
    alice = await live.person("alice")
    content = Random(5).randbytes(3 * PIECE_BYTES + 12_345)
    for number in range(6):
        where, offset = await begin_upload(alice, len(content)), 0
        while offset < len(content):
            uploading = asyncio.create_task(patch(alice, where, offset, content[offset:]))
            await asyncio.wait([uploading], timeout=0.005 + 0.02 * number)
            offset = await offset_of(alice, where)
            await uploading
        assert await content_of(alice, where) == content


async def test_a_length_declared_during_an_upload_applies(live: Live) -> None:
    """A request that sends more is stopped. A rejected request declares no length."""
    alice = await live.person("alice")
    where = await begin_upload(alice, None)
    may_continue = asyncio.Event()

    async def slowly() -> AsyncIterator[bytes]:
        yield b"abc"
        await may_continue.wait()
        yield b"defghi"

    uploading = asyncio.create_task(patch(alice, where, 0, slowly()))
    await eventually(lambda: live.app.state.services.uploads.active_ids)
    declared = {"upload-length": "4", "upload-checksum": "crc32 AAAA"}
    assert (await patch(alice, where, 0, b"", **declared)).status_code == 400
    assert live.app.state.services.uploads.active_ids
    assert (await patch(alice, where, 99, b"", **{"upload-length": "4"})).status_code == 409
    may_continue.set()
    assert (await uploading).status_code == 409
    offset = await offset_of(alice, where)
    assert (await patch(alice, where, offset, b"abcd"[offset:])).status_code == 204
    assert await content_of(alice, where) == b"abcd"


async def test_two_servers_process_the_same_file(
    new_server: NewServer, new_database: NewDatabase, tmp_path: Path
) -> None:
    """Each is asked while the other inspects it. The file is stored once, and correctly."""
    shared = {"database_url": await new_database(), "media_store": str(tmp_path)}
    one, two = await new_server(**shared), await new_server(**shared)
    alice = await one.person("alice")
    content = photo(3000, 2000)
    where = await begin_upload(alice, len(content))
    uploading = asyncio.create_task(patch(alice, where, 0, content))
    elsewhere = two.client(alice.token)
    while not uploading.done():
        await elsewhere.head(where, headers=TUS)
    assert (await uploading).status_code == 204
    upload = (await alice.get(where.replace("uploads", "media"))).json()
    assert [each["size"] for each in upload["thumbnails"]] == ["small", "large"]
    assert len((await alice.get(upload["url"])).content) == len(content)


async def test_the_slower_of_two_servers_finds_the_file_ready(
    new_server: NewServer,
    new_database: NewDatabase,
    tmp_path: Path,
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    """The other server has replaced the pieces that this one is about to read."""
    shared = {"database_url": await new_database(), "media_store": str(tmp_path)}
    one, two = await new_server(**shared), await new_server(**shared)
    alice = await one.person("alice")
    content = photo(300, 200)
    where = await begin_upload(alice, len(content))
    storage = one.app.state.services.storage
    get, is_reading, is_finished = storage.get, asyncio.Event(), asyncio.Event()

    async def late(key: str, start: int, length: int) -> bytes:
        is_reading.set()
        await is_finished.wait()
        return bytes(await get(key, start, length))

    monkeypatch.setattr(storage, "get", late)
    uploading = asyncio.create_task(patch(alice, where, 0, content))
    await is_reading.wait()
    assert (await two.client(alice.token).head(where, headers=TUS)).status_code == 200
    is_finished.set()
    assert (await uploading).status_code == 204
    upload = (await alice.get(where.replace("uploads", "media"))).json()
    assert [each["size"] for each in upload["thumbnails"]] == ["small"]


async def test_the_length_may_be_declared_later(live: Live) -> None:
    """Any request can declare it. Before that, the upload is not complete, whatever has arrived."""
    alice = await live.person("alice")
    where = await begin_upload(alice, None)
    assert (await alice.http.head(where, headers=TUS)).headers["upload-defer-length"] == "1"
    assert (await patch(alice, where, 0, b"one, ")).status_code == 204
    assert not (await alice.get(f"/api/media/{where.rpartition('/')[2]}")).json()["ready"]
    assert (await patch(alice, where, 5, b"two", **{"upload-length": "8"})).status_code == 204
    assert await content_of(alice, where) == b"one, two"


async def test_the_creation_may_contain_the_first_bytes(live: Live) -> None:
    """If it contains all of them, the file is ready after one request. So is an empty file."""
    alice = await live.person("alice")
    headers = {**TUS, **BODY, "upload-length": "5"}
    created = await alice.http.post("/api/uploads", content=b"hello", headers=headers)
    assert (created.status_code, created.headers["upload-offset"]) == (201, "5")
    assert await content_of(alice, created.headers["location"]) == b"hello"
    assert await content_of(alice, await begin_upload(alice, 0)) == b""


async def test_a_wrong_checksum_discards_the_part(live: Live) -> None:
    """Nothing of the part counts, and the upload continues at the offset before it."""
    alice = await live.person("alice")
    where = await begin_upload(alice, 6)
    wrong = "sha1 " + base64.b64encode(hashlib.sha1(b"xxx", usedforsecurity=False).digest()).decode()
    rejected = await patch(alice, where, 0, b"abc", **{"upload-checksum": wrong})
    assert (rejected.status_code, rejected.json()["code"]) == (460, "checksum_mismatch")
    assert await offset_of(alice, where) == 0
    right = "sha256 " + base64.b64encode(hashlib.sha256(b"abc").digest()).decode()
    assert (await patch(alice, where, 0, b"abc", **{"upload-checksum": right})).status_code == 204
    assert await offset_of(alice, where) == 3


async def test_offsets_have_to_match(live: Live) -> None:
    """An offset that is too small or too large, and bytes beyond the declared length, are rejected."""
    alice = await live.person("alice")
    where = await begin_upload(alice, 6)
    assert (await patch(alice, where, 0, b"abc")).status_code == 204
    for offset in (0, 2, 4, 6):
        rejected = await patch(alice, where, offset, b"def")
        assert (rejected.status_code, rejected.json()["code"]) == (409, "offset_conflict")
    assert (await patch(alice, where, 3, b"defg")).status_code == 413
    assert await offset_of(alice, where) == 3
    assert (await patch(alice, where, 3, b"def")).status_code == 204
    assert (await patch(alice, where, 6, b"")).status_code == 409


@pytest.mark.parametrize(
    ("method", "headers", "status"),
    [
        ("POST", {"upload-length": "5"}, 412),
        ("POST", {"tus-resumable": "0.2.2", "upload-length": "5"}, 412),
        ("POST", {**TUS}, 422),
        ("POST", {**TUS, "upload-length": "-5"}, 422),
        ("POST", {**TUS, "upload-length": "1e3"}, 422),
        ("POST", {**TUS, "upload-length": "9" * 40}, 422),
        ("POST", {**TUS, "upload-length": "0" * 5000}, 422),
        ("POST", {**TUS, "upload-length": str(2**50)}, 413),
        ("POST", {**TUS, "upload-length": "5", "upload-metadata": "filename §§§"}, 422),
        ("PATCH", {**TUS, "upload-offset": "0"}, 415),
        ("PATCH", {**TUS, **BODY}, 422),
        ("PATCH", {**TUS, **BODY, "upload-offset": "0", "upload-checksum": "crc32 AAAA"}, 400),
        ("PATCH", {**TUS, **BODY, "upload-offset": "0", "upload-checksum": "sha1 ???"}, 422),
        ("HEAD", {}, 412),
    ],
)
async def test_invalid_tus_requests_are_rejected(
    live: Live, method: str, headers: dict[str, str], status: int
) -> None:
    """No upload is created."""
    alice = await live.person("alice")
    where = "/api/uploads" if method == "POST" else await begin_upload(alice, 5)
    sent = [(name.encode(), value.encode()) for name, value in headers.items()]
    content = b"hello" if method == "PATCH" else None
    answer = await alice.http.request(method, where, headers=sent, content=content)
    assert answer.status_code == status, answer.text
    assert (answer.headers["tus-resumable"], answer.headers["tus-version"]) == ("1.0.0", "1.0.0")
    if method == "POST":
        assert (await alice.get("/api/media")).json() == []


async def test_tus_options_and_method_override(live: Live) -> None:
    """OPTIONS needs no log-in. A client that cannot send PATCH names the method in a header."""
    options = await live.client().options("/api/uploads")
    assert options.status_code == 204
    assert options.headers["tus-version"] == "1.0.0"
    alice = await live.person("alice")
    where = await begin_upload(alice, 3)
    override = {**TUS, **BODY, "upload-offset": "0", "x-http-method-override": "PATCH"}
    assert (await alice.http.post(where, content=b"abc", headers=override)).status_code == 204
    assert await content_of(alice, where) == b"abc"
    assert "creation" in options.headers["tus-extension"]
    assert int(options.headers["tus-max-size"]) > 0
    named = await begin_upload(alice, 3, **{"upload-metadata": "filename w7w="})
    assert (await alice.http.options(named)).status_code == 204
    answer = await alice.http.head(named, headers=TUS)
    assert answer.headers["upload-metadata"] == "filename w7w="


async def test_an_upload_is_deleted(live: Live) -> None:
    """Only by its owner; after that it does not exist."""
    alice, bob = await live.people("alice", "bob")
    where = await begin_upload(alice, 6)
    await patch(alice, where, 0, b"abc")
    assert (await bob.http.delete(where, headers=TUS)).status_code == 404
    assert (await alice.http.delete(where, headers=TUS)).status_code == 204
    assert (await alice.http.head(where, headers=TUS)).status_code == 404
