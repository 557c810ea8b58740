"""Uploads: in one request and resumable, their limits, and the deletion of files that are not needed."""

import asyncio
import base64
import hashlib
import io
import os
from collections.abc import AsyncIterator
from datetime import timedelta
from itertools import pairwise
from pathlib import Path
from random import Random
from typing import Any

import httpx2
import pytest
from tusclient.client import TusClient

from blazechat.database import tables
from blazechat.domain.files.piece_writer import PIECE_BYTES
from tests.conftest import NewDatabase, NewServer
from tests.files.pictures import photo, position_of
from tests.harness import Live, Person, eventually

TUS = {"tus-resumable": "1.0.0"}
BODY = {"content-type": "application/offset+octet-stream"}


async def send(person: Person, content: bytes, name: str = "a.txt") -> httpx2.Response:
    return await person.http.post("/api/media", files={"file": (name, content)})


async def uploaded(person: Person, content: bytes, name: str = "a.txt") -> dict[str, Any]:
    answer = await send(person, content, name)
    assert answer.status_code == 201, answer.text
    upload: dict[str, Any] = answer.json()
    return upload


def stored(live: Live) -> set[str]:
    """Return the names of the objects in a server's storage."""
    folder: Path = live.app.state.settings.data_dir / "media"
    return {path.name for path in folder.rglob("*") if path.is_file()}


async def begun(person: Person, size: int | None, **headers: str) -> str:
    length = {"upload-defer-length": "1"} if size is None else {"upload-length": str(size)}
    answer = await person.http.post("/api/uploads", headers={**TUS, **length, **headers})
    assert answer.status_code == 201, answer.text
    return str(answer.headers["location"])


async def patch(person: Person, where: str, offset: int, content: Any, **headers: str) -> httpx2.Response:
    sent = {**TUS, **BODY, "upload-offset": str(offset), **headers}
    return await person.http.patch(where, content=content, headers=sent)


async def offset_of(person: Person, where: str) -> int:
    answer = await person.http.head(where, headers=TUS)
    assert answer.status_code == 200
    return int(answer.headers["upload-offset"])


async def content_of(person: Person, where: str) -> bytes:
    answer = await person.get(f"/api/media/{where.rpartition('/')[2]}/content")
    assert answer.status_code == 200, answer.text
    return answer.content


async def test_a_file_is_downloaded_as_it_was_uploaded(live: Live) -> None:
    """With its name and size, and with the media type of its bytes, whatever its name."""
    alice = await live.person("alice")
    upload = await uploaded(alice, b"plain words\n", "holiday.exe")
    assert (upload["name"], upload["size"], upload["media_type"]) == ("holiday.exe", 12, "text/plain")
    assert upload["ready"]
    assert upload["expires_at"] is not None
    assert (await alice.get(upload["url"])).content == b"plain words\n"
    assert (await alice.get(f"/api/media/{upload['id']}")).json() == upload
    assert (await alice.get("/api/media")).json() == [upload]


async def test_a_file_of_many_pieces_is_downloaded_as_it_was_uploaded(live: Live) -> None:
    """As a whole, and in a range across two pieces."""
    alice = await live.person("alice")
    content = bytes(range(256)) * (PIECE_BYTES // 256) * 2 + b"the end"
    upload = await uploaded(alice, content, "large.bin")
    assert (await alice.get(upload["url"])).content == content
    around = f"bytes={PIECE_BYTES - 3}-{PIECE_BYTES + 3}"
    assert (await alice.get(upload["url"], headers={"range": around})).content == content[
        PIECE_BYTES - 3 : PIECE_BYTES + 4
    ]


async def test_images_lose_their_position(live: Live) -> None:
    """They get upright dimensions, two thumbnails and a placeholder."""
    alice = await live.person("alice")
    content = photo(1600, 1200, orientation=6)
    assert position_of(content)
    upload = await uploaded(alice, content, "holiday.txt")
    assert (upload["media_type"], upload["width"], upload["height"]) == ("image/jpeg", 1200, 1600)
    assert 5 <= len(base64.b64decode(upload["placeholder"])) <= 25
    assert [(t["size"], t["width"], t["height"]) for t in upload["thumbnails"]] == [
        ("small", 240, 320),
        ("large", 960, 1280),
    ]
    stored = (await alice.get(upload["url"])).content
    assert not position_of(stored)
    assert b"marker-of-a-camera" not in stored
    assert len(stored) == len(content)
    for thumbnail in upload["thumbnails"]:
        small = await alice.get(thumbnail["url"])
        assert small.headers["content-type"] == "image/webp"
        assert small.content[8:12] == b"WEBP"


async def test_the_same_content_is_stored_once(live: Live) -> None:
    """Each uploader has a file of their own. The content stays until the last of these files is deleted."""
    alice, bob = await live.people("alice", "bob")
    content = photo(seed=live.server.started + 77)
    first = await uploaded(alice, content, "a.jpg")
    stored_once = await asyncio.to_thread(stored, live)
    second = await uploaded(bob, content, "b.jpg")
    while await live.app.state.sweeper.sweep():
        pass
    assert not await asyncio.to_thread(stored, live) - stored_once
    assert first["id"] != second["id"]
    etags = [
        (await person.get(upload["url"])).headers["etag"]
        for person, upload in ((alice, first), (bob, second))
    ]
    assert etags[0] != etags[1], "equal ETags reveal that another user has the same content"
    assert (await alice.delete(f"/api/media/{first['id']}")).status_code == 204
    await live.app.state.sweeper.sweep()
    assert (await alice.get(first["url"])).status_code == 404
    assert len((await bob.get(second["url"])).content) == len(content)


async def test_the_sweeper_deletes_slowly_while_chat_is_active(
    live: Live, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Deleting many megabytes at the same time would block the disk, and thereby delay messages."""
    alice = await live.person("alice")
    sweeper = live.app.state.sweeper
    uploads = [await uploaded(alice, os.urandom(PIECE_BYTES)) for _ in range(4)]
    for each in uploads:
        assert (await alice.delete(f"/api/media/{each['id']}")).status_code == 204
    counts = [len(await asyncio.to_thread(stored, live))]

    def is_chat_active() -> bool:
        counts.append(len(stored(live)))
        return True

    monkeypatch.setattr(sweeper, "_is_chat_active", is_chat_active)
    while await sweeper.sweep():
        pass
    assert counts[0] - counts[-1] >= 4
    assert max(before - after for before, after in pairwise(counts)) <= 2


async def test_concurrent_uploads_of_the_same_content(live: Live) -> None:
    """All ten files are ready, and their content is stored once."""
    alice = await live.person("alice")
    content = photo(seed=4242)
    before = await asyncio.to_thread(stored, live)
    uploads = await asyncio.gather(*(uploaded(alice, content) for _ in range(10)))
    for each in uploads:
        assert len((await alice.get(each["url"])).content) == len(content)
    while await live.app.state.sweeper.sweep():
        pass
    assert len(await asyncio.to_thread(stored, live) - before) == 3


# tus


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
    where = await begun(alice, len(content))

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
    where = await begun(alice, len(content))
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
    where = await begun(alice, 6)
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
        where, offset = await begun(alice, len(content)), 0
        while offset < len(content):
            uploading = asyncio.create_task(patch(alice, where, offset, content[offset:]))
            await asyncio.wait([uploading], timeout=0.005 + 0.02 * number)
            offset = await offset_of(alice, where)
            await uploading
        assert await content_of(alice, where) == content


async def test_a_length_declared_during_an_upload_applies(live: Live) -> None:
    """A request that sends more is stopped. A rejected request declares no length."""
    alice = await live.person("alice")
    where = await begun(alice, None)
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
    where = await begun(alice, len(content))
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
    where = await begun(alice, len(content))
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


async def test_the_sweeper_keeps_pieces_that_might_still_be_written(live: Live) -> None:
    """The row of such a piece of an unused content stays until no request can be writing it."""
    alice = await live.person("alice")
    where = await begun(alice, 10)
    media_id = int(where.rpartition("/")[2])
    database, sweeper = live.app.state.services.database, live.app.state.sweeper
    async with database.transaction() as session:
        media = await session.get_one(tables.Media, media_id)
        session.add(tables.Piece(key=f"aa/{media_id}", blob_id=media.blob_id, part="content", size=3))
    await alice.delete(where.replace("uploads", "media"))
    await sweeper.sweep()
    async with database.transaction() as session:
        piece = await session.get_one(tables.Piece, f"aa/{media_id}")
        piece.created_at -= timedelta(days=2)
    await sweeper.sweep()
    async with database.transaction() as session:
        assert await session.get(tables.Piece, f"aa/{media_id}") is None
        assert await session.get(tables.Blob, media.blob_id) is None


async def test_the_length_may_be_declared_later(live: Live) -> None:
    """Any request can declare it. Before that, the upload is not complete, whatever has arrived."""
    alice = await live.person("alice")
    where = await begun(alice, None)
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
    assert await content_of(alice, await begun(alice, 0)) == b""


async def test_a_wrong_checksum_discards_the_part(live: Live) -> None:
    """Nothing of the part counts, and the upload continues at the offset before it."""
    alice = await live.person("alice")
    where = await begun(alice, 6)
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
    where = await begun(alice, 6)
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
    where = "/api/uploads" if method == "POST" else await begun(alice, 5)
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
    where = await begun(alice, 3)
    override = {**TUS, **BODY, "upload-offset": "0", "x-http-method-override": "PATCH"}
    assert (await alice.http.post(where, content=b"abc", headers=override)).status_code == 204
    assert await content_of(alice, where) == b"abc"
    assert "creation" in options.headers["tus-extension"]
    assert int(options.headers["tus-max-size"]) > 0
    named = await begun(alice, 3, **{"upload-metadata": "filename w7w="})
    assert (await alice.http.options(named)).status_code == 204
    answer = await alice.http.head(named, headers=TUS)
    assert answer.headers["upload-metadata"] == "filename w7w="


async def test_an_upload_is_deleted(live: Live) -> None:
    """Only by its owner; after that it does not exist."""
    alice, bob = await live.people("alice", "bob")
    where = await begun(alice, 6)
    await patch(alice, where, 0, b"abc")
    assert (await bob.http.delete(where, headers=TUS)).status_code == 404
    assert (await alice.http.delete(where, headers=TUS)).status_code == 204
    assert (await alice.http.head(where, headers=TUS)).status_code == 404


# Limits


async def test_large_files_and_full_quotas_are_rejected(new_server: NewServer) -> None:
    """Before the upload if the size is known, during the upload if it is not."""
    live = await new_server(max_file_bytes=100_000, media_quota_bytes=150_000)
    alice = await live.person("alice")
    assert (
        await alice.http.post("/api/uploads", headers={**TUS, "upload-length": "100001"})
    ).status_code == 413
    rejected = await send(alice, b"x" * 100_001)
    assert (rejected.status_code, rejected.json()["code"]) == (413, "content_too_large")
    assert (await alice.get("/api/media")).json() == []
    await uploaded(alice, b"x" * 100_000)
    rejected = await send(alice, b"y" * 60_000)
    assert (rejected.status_code, rejected.json()["code"]) == (413, "quota_exceeded")
    where = await begun(alice, 50_000)
    second = await alice.http.post("/api/uploads", headers={**TUS, "upload-length": "1"})
    assert (second.status_code, second.json()["code"]) == (413, "quota_exceeded")
    await alice.http.delete(where, headers=TUS)
    await uploaded(alice, b"z" * 50_000)


async def test_concurrent_uploads_do_not_exceed_the_quota(new_server: NewServer) -> None:
    """This holds for uploads without a length and for lengths that are declared later."""
    live = await new_server(media_quota_bytes=100_000)
    alice = await live.person("alice")
    answers = await asyncio.gather(*(send(alice, bytes([n]) * 30_000) for n in range(8)))
    kept = [answer for answer in answers if answer.status_code == 201]
    assert 1 <= len(kept) <= 3
    assert {a.json()["code"] for a in answers if a not in kept} == {"quota_exceeded"}
    bob = await live.person("bob")
    wheres = [await begun(bob, None) for _ in range(8)]
    declared = await asyncio.gather(
        *(patch(bob, where, 0, b"x", **{"upload-length": "30000"}) for where in wheres)
    )
    assert sorted(answer.status_code for answer in declared) == [204] * 2 + [413] * 6


async def test_a_file_deleted_during_its_inspection(live: Live) -> None:
    """The uploader gets 404, or the file was ready before; nothing of it stays."""
    alice = await live.person("alice")
    processor = live.app.state.services.uploads._processor
    for seed in range(5):
        content = photo(2000, 1500, seed=1000 + seed)
        where = await begun(alice, len(content))
        uploading = asyncio.create_task(patch(alice, where, 0, content))
        await eventually(lambda uploading=uploading: processor._tasks or uploading.done())
        deleted = await alice.http.delete(where, headers=TUS)
        assert deleted.status_code == 204
        assert (await uploading).status_code in (204, 404)
    assert (await alice.get("/api/media")).json() == []


async def test_types_that_are_not_allowed_are_rejected(new_server: NewServer) -> None:
    """The bytes determine the type. Nothing of the file stays."""
    live = await new_server(media_types=["image/*"])
    alice = await live.person("alice")
    rejected = await send(alice, b"just words", "photo.jpg")
    assert (rejected.status_code, rejected.json()["code"]) == (415, "type_not_allowed")
    assert (await alice.get("/api/media")).json() == []
    assert (await uploaded(alice, photo(), "words.txt"))["media_type"] == "image/jpeg"


async def test_files_without_a_message_expire(new_server: NewServer) -> None:
    """Ready files and unfinished uploads leave the responses and the storage. A file of a message stays."""
    live = await new_server(media_hours=0.5 / 3600)
    alice = await live.person("alice")
    chat = await alice.group()
    kept = await uploaded(alice, b"kept")
    await alice.say(chat, "", attachments=[kept["id"]])
    gone = await uploaded(alice, b"gone")
    where = await begun(alice, 6)
    await patch(alice, where, 0, b"abc")
    await asyncio.sleep(1)
    while await live.app.state.sweeper.sweep():
        pass
    assert [each["id"] for each in (await alice.get("/api/media")).json()] == [kept["id"]]
    assert (await alice.get(gone["url"])).status_code == 404
    assert (await alice.get(kept["url"])).content == b"kept"
    folder = live.app.state.settings.data_dir / "media"
    assert len([path for path in folder.rglob("*") if path.is_file()]) == 1


@pytest.mark.parametrize("size", [0, 1, PIECE_BYTES - 1, PIECE_BYTES, PIECE_BYTES + 1, 2 * PIECE_BYTES])
async def test_whole_files_of_any_size(live: Live, size: int) -> None:
    """The end may be inside a piece, at the end of one, or before the first."""
    alice = await live.person()
    content = Random(size).randbytes(size)
    upload = await uploaded(alice, content)
    assert (upload["size"], upload["received"]) == (size, size)
    assert (await alice.get(f"/api/media/{upload['id']}/content")).content == content
