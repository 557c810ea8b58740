"""Uploading: in one request and resumably; what is taken and what is not; what nobody needs any more."""

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
from blazechat.domain.files.piece_writer import PIECE
from tests.conftest import NewDatabase, NewServer
from tests.files.pictures import photo, place_of
from tests.harness import Live, Person, eventually

TUS = {"tus-resumable": "1.0.0"}
BODY = {"content-type": "application/offset+octet-stream"}


async def send(person: Person, content: bytes, name: str = "a.txt") -> httpx2.Response:
    return await person.http.post("/api/media", files={"file": (name, content)})


async def uploaded(person: Person, content: bytes, name: str = "a.txt") -> dict[str, Any]:
    answer = await send(person, content, name)
    assert answer.status_code == 201, answer.text
    made: dict[str, Any] = answer.json()
    return made


def stored(live: Live) -> set[str]:
    """The objects in a server's storage."""
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


async def test_a_file_comes_back_as_it_was(live: Live) -> None:
    """With its name, its size, and the type that its bytes say, whatever its name says."""
    alice = await live.person("alice")
    made = await uploaded(alice, b"plain words\n", "holiday.exe")
    assert (made["name"], made["size"], made["media_type"]) == ("holiday.exe", 12, "text/plain")
    assert made["ready"]
    assert made["expires_at"] is not None
    assert (await alice.get(made["url"])).content == b"plain words\n"
    assert (await alice.get(f"/api/media/{made['id']}")).json() == made
    assert (await alice.get("/api/media")).json() == [made]


async def test_a_file_of_many_pieces_comes_back_as_it_was(live: Live) -> None:
    """Across the borders of pieces, as a whole and in ranges."""
    alice = await live.person("alice")
    content = bytes(range(256)) * (PIECE // 256) * 2 + b"the end"
    made = await uploaded(alice, content, "large.bin")
    assert (await alice.get(made["url"])).content == content
    around = f"bytes={PIECE - 3}-{PIECE + 3}"
    assert (await alice.get(made["url"], headers={"range": around})).content == content[
        PIECE - 3 : PIECE + 4
    ]


async def test_pictures_lose_where_they_were_taken(live: Live) -> None:
    """And get dimensions as they are seen, two thumbnails and a placeholder."""
    alice = await live.person("alice")
    content = photo(1600, 1200, orientation=6)
    assert place_of(content)
    made = await uploaded(alice, content, "holiday.txt")
    assert (made["media_type"], made["width"], made["height"]) == ("image/jpeg", 1200, 1600)
    assert 5 <= len(base64.b64decode(made["placeholder"])) <= 25
    assert [(t["size"], t["width"], t["height"]) for t in made["thumbnails"]] == [
        ("small", 240, 320),
        ("large", 960, 1280),
    ]
    stored = (await alice.get(made["url"])).content
    assert not place_of(stored)
    assert b"marker-of-a-camera" not in stored
    assert len(stored) == len(content)
    for thumbnail in made["thumbnails"]:
        small = await alice.get(thumbnail["url"])
        assert small.headers["content-type"] == "image/webp"
        assert small.content[8:12] == b"WEBP"


async def test_the_same_content_is_stored_once(live: Live) -> None:
    """Whoever uploads it; each has a file of their own, and it stays until the last has gone."""
    alice, bob = await live.people("alice", "bob")
    content = photo(seed=live.server.started + 77)
    first = await uploaded(alice, content, "a.jpg")
    once = await asyncio.to_thread(stored, live)
    second = await uploaded(bob, content, "b.jpg")
    while await live.app.state.sweeper.sweep():
        pass
    assert not await asyncio.to_thread(stored, live) - once
    assert first["id"] != second["id"]
    tags = [(await who.get(made["url"])).headers["etag"] for who, made in ((alice, first), (bob, second))]
    assert tags[0] != tags[1], "it would tell that somebody else has the same"
    assert (await alice.delete(f"/api/media/{first['id']}")).status_code == 204
    await live.app.state.sweeper.sweep()
    assert (await alice.get(first["url"])).status_code == 404
    assert len((await bob.get(second["url"])).content) == len(content)


async def test_sweeping_goes_little_by_little_while_people_chat(
    live: Live, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Many megabytes that are removed at once would hold up the disk for those who chat."""
    alice = await live.person("alice")
    sweeper = live.app.state.sweeper
    made = [await uploaded(alice, os.urandom(PIECE)) for _ in range(4)]
    for each in made:
        assert (await alice.delete(f"/api/media/{each['id']}")).status_code == 204
    there = [len(await asyncio.to_thread(stored, live))]

    def looked() -> bool:
        there.append(len(stored(live)))
        return True

    monkeypatch.setattr(sweeper, "_gives_way", looked)
    while await sweeper.sweep():
        pass
    assert there[0] - there[-1] >= 4
    assert max(before - after for before, after in pairwise(there)) <= 2


async def test_the_same_content_twice_at_once(live: Live) -> None:
    """Ten at the same moment: each is ready, and it is one content."""
    alice = await live.person("alice")
    content = photo(seed=4242)
    before = await asyncio.to_thread(stored, live)
    made = await asyncio.gather(*(uploaded(alice, content) for _ in range(10)))
    for each in made:
        assert len((await alice.get(each["url"])).content) == len(content)
    while await live.app.state.sweeper.sweep():
        pass
    assert len(await asyncio.to_thread(stored, live) - before) == 3


# tus


async def test_tuspy_uploads(live: Live, tmp_path: Path) -> None:
    """The protocol's Python client, with chunks and checksums."""
    alice = await live.person("alice")
    path = tmp_path / "ünï.bin"
    path.write_bytes(content := bytes(range(251)) * 4000)

    def go() -> str:
        client = TusClient(f"{live.url}/api/uploads", headers={"Authorization": f"Bearer {alice.token}"})
        with path.open("rb") as file:
            uploader = client.uploader(
                file_stream=file, chunk_size=300_000, metadata={"filename": path.name}, upload_checksum=True
            )
            uploader.upload()
        return str(uploader.url)

    where = await asyncio.to_thread(go)
    assert await content_of(alice, where) == content
    made = (await alice.get(f"/api/media/{where.rpartition('/')[2]}")).json()
    assert (made["name"], made["ready"], made["received"]) == ("ünï.bin", True, len(content))


async def test_tuspy_goes_on_after_an_interruption(live: Live) -> None:
    """Stopped after two chunks; another process, that knows the URL only, sends the rest and no more."""
    alice = await live.person("alice")
    content = bytes(range(253)) * 4000
    headers = {"Authorization": f"Bearer {alice.token}"}

    def begin() -> str:
        uploader = TusClient(f"{live.url}/api/uploads", headers=headers).uploader(
            file_stream=io.BytesIO(content), chunk_size=200_000
        )
        uploader.upload(stop_at=400_000)
        return str(uploader.url)

    def go_on(url: str) -> int:
        uploader = TusClient(f"{live.url}/api/uploads", headers=headers).uploader(
            file_stream=io.BytesIO(content), chunk_size=200_000, url=url
        )
        began_at = int(uploader.offset)
        uploader.upload()
        return began_at

    where = await asyncio.to_thread(begin)
    assert await asyncio.to_thread(go_on, where) == 400_000
    assert await content_of(alice, where) == content


async def test_what_came_before_the_connection_broke_counts(live: Live) -> None:
    """The server keeps it, and tells where to go on."""
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


async def test_whoever_comes_back_takes_over(live: Live) -> None:
    """A request that hangs is ended when its client asks where to go on."""
    alice = await live.person("alice")
    content = b"x" * 50_000
    where = await begun(alice, len(content))
    asked = asyncio.Event()

    async def hanging() -> AsyncIterator[bytes]:
        yield content[:20_000]
        await asked.wait()
        yield content[20_000:]

    hangs = asyncio.create_task(patch(alice, where, 0, hanging()))
    await eventually(lambda: live.app.state.services.uploads.writing == {int(where.rpartition("/")[2])})
    offset = await offset_of(alice, where)
    assert offset in (0, 20_000)
    assert (await patch(alice, where, offset, content[offset:])).status_code == 204
    asked.set()
    assert (await hangs).status_code == 409
    assert await content_of(alice, where) == content


async def test_nobody_is_stopped_by_others(live: Live) -> None:
    """Whoever asks for another's upload, or deletes it, is told that it is not there; it goes on."""
    alice, bob = await live.people("alice", "bob")
    where = await begun(alice, 6)
    asked = asyncio.Event()

    async def slowly() -> AsyncIterator[bytes]:
        yield b"abc"
        await asked.wait()
        yield b"def"

    going = asyncio.create_task(patch(alice, where, 0, slowly()))
    await eventually(lambda: live.app.state.services.uploads.writing)
    assert (await bob.http.head(where, headers=TUS)).status_code == 404
    assert (await bob.http.delete(where, headers=TUS)).status_code == 404
    assert (await bob.delete(where.replace("uploads", "media"))).status_code == 404
    assert (await patch(bob, where, 0, b"x")).status_code in (404, 503)
    asked.set()
    assert (await going).status_code == 204
    assert await content_of(alice, where) == b"abcdef"


async def test_stopped_anywhere_it_has_no_holes(live: Live) -> None:
    """However often a client asks in the middle of a piece where to go on, and goes on there."""
    alice = await live.person("alice")
    content = Random(5).randbytes(3 * PIECE + 12_345)
    for number in range(6):
        where, offset = await begun(alice, len(content)), 0
        while offset < len(content):
            going = asyncio.create_task(patch(alice, where, offset, content[offset:]))
            await asyncio.wait([going], timeout=0.005 + 0.02 * number)
            offset = await offset_of(alice, where)
            await going
        assert await content_of(alice, where) == content


async def test_a_length_that_is_said_meanwhile_is_kept_to(live: Live) -> None:
    """Whoever was bringing more than that is stopped; a request that is refused says nothing."""
    alice = await live.person("alice")
    where = await begun(alice, None)
    asked = asyncio.Event()

    async def slowly() -> AsyncIterator[bytes]:
        yield b"abc"
        await asked.wait()
        yield b"defghi"

    going = asyncio.create_task(patch(alice, where, 0, slowly()))
    await eventually(lambda: live.app.state.services.uploads.writing)
    said = {"upload-length": "4", "upload-checksum": "crc32 AAAA"}
    assert (await patch(alice, where, 0, b"", **said)).status_code == 400
    assert live.app.state.services.uploads.writing
    assert (await patch(alice, where, 99, b"", **{"upload-length": "4"})).status_code == 409
    asked.set()
    assert (await going).status_code == 409
    offset = await offset_of(alice, where)
    assert (await patch(alice, where, offset, b"abcd"[offset:])).status_code == 204
    assert await content_of(alice, where) == b"abcd"


async def test_two_servers_finish_the_same_file(
    new_server: NewServer, new_database: NewDatabase, tmp_path: Path
) -> None:
    """Each is asked while the other looks at it: it is stored once, and right."""
    shared = {"database_url": await new_database(), "media_store": str(tmp_path)}
    one, two = await new_server(**shared), await new_server(**shared)
    alice = await one.person("alice")
    content = photo(3000, 2000)
    where = await begun(alice, len(content))
    going = asyncio.create_task(patch(alice, where, 0, content))
    elsewhere = two.client(alice.token)
    while not going.done():
        await elsewhere.head(where, headers=TUS)
    assert (await going).status_code == 204
    made = (await alice.get(where.replace("uploads", "media"))).json()
    assert [each["size"] for each in made["thumbnails"]] == ["small", "large"]
    assert len((await alice.get(made["url"])).content) == len(content)


async def test_the_slower_of_two_servers_finds_the_file_finished(
    new_server: NewServer,
    new_database: NewDatabase,
    tmp_path: Path,
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    """The other has put pieces without a position in the place of those that it was about to read."""
    shared = {"database_url": await new_database(), "media_store": str(tmp_path)}
    one, two = await new_server(**shared), await new_server(**shared)
    alice = await one.person("alice")
    content = photo(300, 200)
    where = await begun(alice, len(content))
    storage = one.app.state.services.storage
    get, asked, finished = storage.get, asyncio.Event(), asyncio.Event()

    async def late(key: str, start: int, length: int) -> bytes:
        asked.set()
        await finished.wait()
        return bytes(await get(key, start, length))

    monkeypatch.setattr(storage, "get", late)
    going = asyncio.create_task(patch(alice, where, 0, content))
    await asked.wait()
    assert (await two.client(alice.token).head(where, headers=TUS)).status_code == 200
    finished.set()
    assert (await going).status_code == 204
    made = (await alice.get(where.replace("uploads", "media"))).json()
    assert [each["size"] for each in made["thumbnails"]] == ["small"]


async def test_a_piece_that_may_still_be_written_is_not_forgotten(live: Live) -> None:
    """Of a content that nobody needs, such a one stays noted until no request can live any more."""
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


async def test_the_length_may_be_said_later(live: Live) -> None:
    """With any request; before it is, the upload is not complete, whatever has come."""
    alice = await live.person("alice")
    where = await begun(alice, None)
    assert (await alice.http.head(where, headers=TUS)).headers["upload-defer-length"] == "1"
    assert (await patch(alice, where, 0, b"one, ")).status_code == 204
    assert not (await alice.get(f"/api/media/{where.rpartition('/')[2]}")).json()["ready"]
    assert (await patch(alice, where, 5, b"two", **{"upload-length": "8"})).status_code == 204
    assert await content_of(alice, where) == b"one, two"


async def test_the_first_bytes_come_with_the_creation(live: Live) -> None:
    """All of them, even: one request, and the file is ready. So is an empty one."""
    alice = await live.person("alice")
    headers = {**TUS, **BODY, "upload-length": "5"}
    made = await alice.http.post("/api/uploads", content=b"hello", headers=headers)
    assert (made.status_code, made.headers["upload-offset"]) == (201, "5")
    assert await content_of(alice, made.headers["location"]) == b"hello"
    assert await content_of(alice, await begun(alice, 0)) == b""


async def test_a_wrong_checksum_costs_the_part(live: Live) -> None:
    """Nothing of it counts, and the upload goes on from before it."""
    alice = await live.person("alice")
    where = await begun(alice, 6)
    wrong = "sha1 " + base64.b64encode(hashlib.sha1(b"xxx", usedforsecurity=False).digest()).decode()
    refused = await patch(alice, where, 0, b"abc", **{"upload-checksum": wrong})
    assert (refused.status_code, refused.json()["code"]) == (460, "checksum_mismatch")
    assert await offset_of(alice, where) == 0
    right = "sha256 " + base64.b64encode(hashlib.sha256(b"abc").digest()).decode()
    assert (await patch(alice, where, 0, b"abc", **{"upload-checksum": right})).status_code == 204
    assert await offset_of(alice, where) == 3


async def test_offsets_have_to_match(live: Live) -> None:
    """Too early, too late, and behind what was announced."""
    alice = await live.person("alice")
    where = await begun(alice, 6)
    assert (await patch(alice, where, 0, b"abc")).status_code == 204
    for offset in (0, 2, 4, 6):
        refused = await patch(alice, where, offset, b"def")
        assert (refused.status_code, refused.json()["code"]) == (409, "offset_conflict")
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
async def test_tus_is_spoken_properly_or_not_at_all(
    live: Live, method: str, headers: dict[str, str], status: int
) -> None:
    """Wrong headers are told by their names, and nothing is begun."""
    alice = await live.person("alice")
    where = "/api/uploads" if method == "POST" else await begun(alice, 5)
    sent = [(name.encode(), value.encode()) for name, value in headers.items()]
    content = b"hello" if method == "PATCH" else None
    answer = await alice.http.request(method, where, headers=sent, content=content)
    assert answer.status_code == status, answer.text
    assert (answer.headers["tus-resumable"], answer.headers["tus-version"]) == ("1.0.0", "1.0.0")
    if method == "POST":
        assert (await alice.get("/api/media")).json() == []


async def test_tus_tells_what_it_knows(live: Live) -> None:
    """To anybody; and where a method cannot be sent, its name in a header does."""
    told = await live.client().options("/api/uploads")
    assert told.status_code == 204
    assert told.headers["tus-version"] == "1.0.0"
    alice = await live.person("alice")
    where = await begun(alice, 3)
    override = {**TUS, **BODY, "upload-offset": "0", "x-http-method-override": "PATCH"}
    assert (await alice.http.post(where, content=b"abc", headers=override)).status_code == 204
    assert await content_of(alice, where) == b"abc"
    assert "creation" in told.headers["tus-extension"]
    assert int(told.headers["tus-max-size"]) > 0
    named = await begun(alice, 3, **{"upload-metadata": "filename w7w="})
    assert (await alice.http.options(named)).status_code == 204
    told = await alice.http.head(named, headers=TUS)
    assert told.headers["upload-metadata"] == "filename w7w="


async def test_an_upload_is_given_up(live: Live) -> None:
    """By its owner: it is not there any more, and what it took of the quota is free."""
    alice, bob = await live.people("alice", "bob")
    where = await begun(alice, 6)
    await patch(alice, where, 0, b"abc")
    assert (await bob.http.delete(where, headers=TUS)).status_code == 404
    assert (await alice.http.delete(where, headers=TUS)).status_code == 204
    assert (await alice.http.head(where, headers=TUS)).status_code == 404


# Limits


async def test_large_files_and_full_quotas_are_refused(new_server: NewServer) -> None:
    """Before they come where their size is known, and while they come where it is not."""
    live = await new_server(max_file_bytes=100_000, media_quota_bytes=150_000)
    alice = await live.person("alice")
    assert (
        await alice.http.post("/api/uploads", headers={**TUS, "upload-length": "100001"})
    ).status_code == 413
    refused = await send(alice, b"x" * 100_001)
    assert (refused.status_code, refused.json()["code"]) == (413, "content_too_large")
    assert (await alice.get("/api/media")).json() == []
    await uploaded(alice, b"x" * 100_000)
    refused = await send(alice, b"y" * 60_000)
    assert (refused.status_code, refused.json()["code"]) == (413, "quota_exceeded")
    where = await begun(alice, 50_000)
    second = await alice.http.post("/api/uploads", headers={**TUS, "upload-length": "1"})
    assert (second.status_code, second.json()["code"]) == (413, "quota_exceeded")
    await alice.http.delete(where, headers=TUS)
    await uploaded(alice, b"z" * 50_000)


async def test_a_quota_holds_however_many_come_at_once(new_server: NewServer) -> None:
    """Without a length, with one, and said later: what is kept never passes it."""
    live = await new_server(media_quota_bytes=100_000)
    alice = await live.person("alice")
    answers = await asyncio.gather(*(send(alice, bytes([n]) * 30_000) for n in range(8)))
    kept = [answer for answer in answers if answer.status_code == 201]
    assert 1 <= len(kept) <= 3
    assert {a.json()["code"] for a in answers if a not in kept} == {"quota_exceeded"}
    bob = await live.person("bob")
    wheres = [await begun(bob, None) for _ in range(8)]
    said = await asyncio.gather(
        *(patch(bob, where, 0, b"x", **{"upload-length": "30000"}) for where in wheres)
    )
    assert sorted(answer.status_code for answer in said) == [204] * 2 + [413] * 6


async def test_deleted_while_it_is_looked_at(live: Live) -> None:
    """Whoever uploads is told that it is gone, or it was there before; nothing of it stays."""
    alice = await live.person("alice")
    finisher = live.app.state.services.uploads._processor
    for seed in range(5):
        content = photo(2000, 1500, seed=1000 + seed)
        where = await begun(alice, len(content))
        uploading = asyncio.create_task(patch(alice, where, 0, content))
        await eventually(lambda uploading=uploading: finisher._under_way or uploading.done())
        deleted = await alice.http.delete(where, headers=TUS)
        assert deleted.status_code == 204
        assert (await uploading).status_code in (204, 404)
    assert (await alice.get("/api/media")).json() == []


async def test_types_that_are_not_allowed_are_refused(new_server: NewServer) -> None:
    """By what the bytes say; nothing of it stays."""
    live = await new_server(media_types=["image/*"])
    alice = await live.person("alice")
    refused = await send(alice, b"just words", "photo.jpg")
    assert (refused.status_code, refused.json()["code"]) == (415, "type_not_allowed")
    assert (await alice.get("/api/media")).json() == []
    assert (await uploaded(alice, photo(), "words.txt"))["media_type"] == "image/jpeg"


async def test_what_no_message_has_disappears(new_server: NewServer) -> None:
    """Finished or not, from the answers and from the storage; what a message has stays."""
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


@pytest.mark.parametrize("size", [0, 1, PIECE - 1, PIECE, PIECE + 1, 2 * PIECE])
async def test_whole_files_of_any_size(live: Live, size: int) -> None:
    """Wherever the end falls: into a piece, behind one, or before the first."""
    alice = await live.person()
    content = Random(size).randbytes(size)
    made = await uploaded(alice, content)
    assert (made["size"], made["received"]) == (size, size)
    assert (await alice.get(f"/api/media/{made['id']}/content")).content == content
