"""Concatenation of tus uploads: partial uploads become one file, without copying a byte."""

import asyncio
import base64

import pytest
from sqlalchemy import text

from tests.conftest import NewServer
from tests.files.pictures import photo
from tests.files.upload_calls import (
    TUS,
    begin_upload,
    concatenate,
    content_of,
    offset_of,
    patch,
    stored_objects,
)
from tests.harness import Live, Person

PARTIAL = {"upload-concat": "partial"}
NAME = {"upload-metadata": f"filename {base64.b64encode(b'whole.bin').decode()}"}


async def _partial(person: Person, content: bytes) -> str:
    where = await begin_upload(person, len(content), **PARTIAL)
    if content:
        assert (await patch(person, where, 0, content)).status_code == 204
    return where


async def test_partial_uploads_become_one_file(live: Live) -> None:
    """In the order of the request, which is not that of their creation; by URL with and without host."""
    alice = await live.person("alice")
    options = (await alice.http.options("/api/uploads")).headers
    assert "concatenation" in options["tus-extension"].split(",")
    second, first, empty = [await _partial(alice, part) for part in (b"second", b"first, ", b"")]
    created = await concatenate(alice, [f"{live.url}{first}", second, empty], **NAME)
    assert created.status_code == 201, created.text
    where = created.headers["location"]
    assert await content_of(alice, where) == b"first, second"
    (file,) = (await alice.get("/api/media")).json()
    assert (file["name"], file["size"], file["ready"]) == ("whole.bin", 13, True)
    head = (await alice.http.head(where, headers=TUS)).headers
    assert head["upload-concat"] == f"final;{first} {second} {empty}"
    assert (head["upload-length"], head["upload-offset"]) == ("13", "13")
    chat_id = await alice.group()
    sent = await alice.say(chat_id, "", attachments=[file["id"]])
    assert sent["attachments"][0]["name"] == "whole.bin"


async def test_final_upload_is_processed_as_every_file(live: Live) -> None:
    """The type comes from the whole content; an image gets thumbnails, and equal content is stored once."""
    alice = await live.person("alice")
    image = photo()
    half = len(image) // 2
    parts = [await _partial(alice, content) for content in (image[:half], image[half:])]
    created = await concatenate(alice, parts)
    file = (await alice.get(f"/api/media/{created.headers['location'].rpartition('/')[2]}")).json()
    assert file["media_type"] == "image/jpeg"
    assert len(file["thumbnails"]) == 2
    damaged = [await _partial(alice, content) for content in (image[:half], image[: half - 1])]
    refused = await concatenate(alice, damaged)
    assert (refused.status_code, refused.json()["code"]) == (422, "unreadable_file")
    assert len((await alice.get("/api/media")).json()) == 1


async def test_concatenation_stores_no_byte_twice(new_server: NewServer) -> None:
    """The objects of the parts become those of the file, stay after a sweep, and go with the file."""
    live = await new_server()
    alice = await live.person("alice")
    parts = [await _partial(alice, content * 1000) for content in (b"a", b"b")]
    before = stored_objects(live)
    created = await concatenate(alice, parts)
    assert stored_objects(live) == before
    await live.app.state.sweeper.sweep()
    assert await content_of(alice, created.headers["location"]) == b"a" * 1000 + b"b" * 1000
    assert stored_objects(live) == before
    assert (await alice.http.delete(created.headers["location"], headers=TUS)).status_code == 204
    await live.app.state.sweeper.sweep()
    assert stored_objects(live) == set()


async def test_repeated_requests_get_the_same_answers(live: Live) -> None:
    """A client that did not get the response repeats them: one file, and the parts' offsets."""
    alice = await live.person("alice")
    parts = [await _partial(alice, content) for content in (b"one", b"three")]
    responses = await asyncio.gather(*(concatenate(alice, parts) for _ in range(4)))
    assert {response.status_code for response in responses} == {201}
    assert len({response.headers["location"] for response in responses}) == 1
    assert [await offset_of(alice, part) for part in parts] == [3, 5]
    head = (await alice.http.head(parts[1], headers=TUS)).headers
    assert (head["upload-concat"], head["upload-length"]) == ("partial", "5")
    for others in (parts[::-1], parts[:1]):
        assert (await concatenate(alice, others)).status_code == 404
    assert len((await alice.get("/api/media")).json()) == 1


async def test_partial_upload_is_no_file(live: Live) -> None:
    """It cannot be attached or downloaded, but it can be cancelled."""
    alice = await live.person("alice")
    part = await _partial(alice, b"only a part")
    media_id = int(part.rpartition("/")[2])
    head = (await alice.http.head(part, headers=TUS)).headers
    assert (head["upload-concat"], head["upload-offset"]) == ("partial", "11")
    chat_id = await alice.group()
    attached = await alice.post(f"/api/chats/{chat_id}/messages", {"attachments": [media_id]})
    assert attached.status_code == 422
    download = await alice.get(f"/api/media/{media_id}/content")
    assert (download.status_code, download.json()["code"]) == (409, "upload_unfinished")
    assert (await alice.http.delete(part, headers=TUS)).status_code == 204
    assert (await concatenate(alice, [part])).status_code == 404


async def test_final_upload_takes_no_bytes(live: Live) -> None:
    """Neither in its creation nor later (403, as tus demands)."""
    alice = await live.person("alice")
    part = await _partial(alice, b"x")
    for headers in (
        {"upload-length": "1"},
        {"upload-defer-length": "1"},
        {"content-type": "application/offset+octet-stream"},
    ):
        assert (await concatenate(alice, [part], **headers)).status_code == 422
    where = (await concatenate(alice, [part])).headers["location"]
    refused = await patch(alice, where, 1, b"y")
    assert (refused.status_code, refused.json()["code"]) == (403, "forbidden")
    assert await content_of(alice, where) == b"x"


async def test_only_complete_partial_uploads_of_the_caller_are_taken(live: Live) -> None:
    """Others' uploads look as if they did not exist. Nothing changes after a rejected request."""
    alice, eve = await live.people("alice", "eve")
    mine, unfinished = await _partial(alice, b"mine"), await begin_upload(alice, 10, **PARTIAL)
    whole, others = await begin_upload(alice, 5), await _partial(eve, b"hers")
    for parts, status in (
        ([mine, others], 404),
        ([mine, "/api/uploads/999999999"], 404),
        ([mine, whole], 404),
        ([mine, unfinished], 409),
        ([mine, mine], 422),
        ([], 422),
        ([mine, "/api/media/1"], 422),
        ([mine] * 101, 422),
    ):
        refused = await concatenate(alice, parts)
        assert refused.status_code == status, (parts, refused.text)
    assert (await concatenate(eve, [mine])).status_code == 404
    assert (await eve.http.head(mine, headers=TUS)).status_code == 404
    assert await offset_of(alice, mine) == 4
    created = await concatenate(alice, [mine])
    assert await content_of(alice, created.headers["location"]) == b"mine"
    assert (await eve.http.head(mine, headers=TUS)).status_code == 404
    assert (await concatenate(eve, [mine])).status_code == 404


@pytest.mark.parametrize("value", ["whole", "final", "Partial", "final;"])
async def test_invalid_upload_concat_is_rejected(live: Live, value: str) -> None:
    alice = await live.person("alice")
    response = await alice.http.post("/api/uploads", headers=TUS | {"upload-concat": value})
    assert (response.status_code, response.json()["code"]) == (422, "invalid_input")


async def test_limits_hold_for_the_sum_of_the_parts(new_server: NewServer) -> None:
    """The size of a file, and the quota, in which the parts count once."""
    live = await new_server(max_file_bytes=10_000, media_quota_bytes=20_000)
    alice = await live.person("alice")
    parts = [await _partial(alice, b"x" * 6000) for _ in range(3)]
    over_quota = await alice.http.post("/api/uploads", headers=TUS | PARTIAL | {"upload-length": "6000"})
    assert (over_quota.status_code, over_quota.json()["code"]) == (413, "quota_exceeded")
    too_large = await concatenate(alice, parts[:2])
    assert (too_large.status_code, too_large.json()["code"]) == (413, "content_too_large")
    created = await concatenate(alice, parts[:1])
    assert created.status_code == 201
    assert await offset_of(alice, created.headers["location"]) == 6000


async def test_expired_partial_uploads_are_deleted(new_server: NewServer) -> None:
    """As other uploads, also complete ones; a final upload of them is not found."""
    live = await new_server()
    alice = await live.person("alice")
    part = await _partial(alice, b"x")
    assert "upload-expires" in (await alice.http.head(part, headers=TUS)).headers
    async with live.app.state.services.database.transaction() as session:
        await session.execute(text("UPDATE media SET expires_at = now() - interval '1 second'"))
    await live.app.state.sweeper.sweep()
    assert (await concatenate(alice, [part])).status_code == 404
    assert stored_objects(live) == set()
