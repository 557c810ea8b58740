"""Uploads: content, deduplication, limits, types and expiry."""

import asyncio
import base64
import os
from datetime import timedelta
from itertools import pairwise
from random import Random

import pytest

from blazechat.database import tables
from blazechat.domain.files.piece_writer import PIECE_BYTES
from tests.conftest import NewServer
from tests.files.pictures import photo, position_of
from tests.files.upload_calls import TUS, begin_upload, patch, send, stored_objects, uploaded
from tests.harness import Live, eventually


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
    stored_once = await asyncio.to_thread(stored_objects, live)
    second = await uploaded(bob, content, "b.jpg")
    while await live.app.state.sweeper.sweep():
        pass
    assert not await asyncio.to_thread(stored_objects, live) - stored_once
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
    counts = [len(await asyncio.to_thread(stored_objects, live))]

    def is_chat_active() -> bool:
        counts.append(len(stored_objects(live)))
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
    before = await asyncio.to_thread(stored_objects, live)
    uploads = await asyncio.gather(*(uploaded(alice, content) for _ in range(10)))
    for each in uploads:
        assert len((await alice.get(each["url"])).content) == len(content)
    while await live.app.state.sweeper.sweep():
        pass
    assert len(await asyncio.to_thread(stored_objects, live) - before) == 3


async def test_the_sweeper_keeps_pieces_that_might_still_be_written(live: Live) -> None:
    """The row of such a piece of an unused content stays until no request can be writing it."""
    alice = await live.person("alice")
    where = await begin_upload(alice, 10)
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
    where = await begin_upload(alice, 50_000)
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
    wheres = [await begin_upload(bob, None) for _ in range(8)]
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
        where = await begin_upload(alice, len(content))
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
    where = await begin_upload(alice, 6)
    await patch(alice, where, 0, b"abc")

    async def only_the_attachment_is_left() -> bool:
        await live.app.state.sweeper.sweep()
        return [each["id"] for each in (await alice.get("/api/media")).json()] == [kept["id"]]

    await eventually(only_the_attachment_is_left)
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
