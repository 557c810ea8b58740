"""Files in a bucket, on an S3 server by a third party (moto), and invalid storage settings."""

import asyncio
import os
from collections.abc import AsyncIterator
from pathlib import Path

import boto3
import pytest
from moto.server import ThreadedMotoServer

from blazechat.config import SettingsError
from blazechat.domain.files.piece_writer import PIECE_BYTES
from blazechat.media.storage import Storage
from tests.conftest import NewServer
from tests.files.pictures import photo
from tests.files.upload_calls import (
    TUS,
    begin_upload,
    concatenate,
    content_of,
    patch,
    send,
    uploaded,
)
from tests.harness import Live

CREDENTIALS = {"AWS_ACCESS_KEY_ID": "x", "AWS_SECRET_ACCESS_KEY": "y", "AWS_REGION": "us-east-1"}


class Bucket:
    """A bucket on the S3 server at `url`."""

    def __init__(self, url: str) -> None:
        options = {"region_name": "us-east-1", "aws_access_key_id": "x", "aws_secret_access_key": "y"}
        self._s3 = boto3.client("s3", endpoint_url=url, **options)
        self._s3.create_bucket(Bucket="files")

    def delete(self, key: str) -> None:
        self._s3.delete_object(Bucket="files", Key=key)

    @property
    def keys(self) -> list[str]:
        return [each["Key"] for each in self._s3.list_objects_v2(Bucket="files").get("Contents", [])]


@pytest.fixture
async def bucket(monkeypatch: pytest.MonkeyPatch) -> AsyncIterator[Bucket]:
    server = ThreadedMotoServer(ip_address="127.0.0.1", port=0, verbose=False)
    await asyncio.to_thread(server.start)
    host, port = server.get_host_and_port()
    url = f"http://{host}:{port}"
    for name, value in {**CREDENTIALS, "AWS_ENDPOINT_URL": url}.items():
        monkeypatch.setenv(name, value)
    yield await asyncio.to_thread(Bucket, url)
    await asyncio.to_thread(server.stop)


async def test_files_in_a_bucket(new_server: NewServer, bucket: Bucket) -> None:
    """Uploads in one and in several requests, downloads of ranges, and deletion from the bucket."""
    live: Live = await new_server(media_store="s3://files/of/blazechat")
    alice = await live.person("alice")
    image = await uploaded(alice, photo())
    content = os.urandom(PIECE_BYTES + 1000)
    where = await begin_upload(alice, len(content))
    assert (await patch(alice, where, 0, content[:1000])).status_code == 204
    assert (await patch(alice, where, 1000, content[1000:])).status_code == 204
    media = f"/api/media/{where.rpartition('/')[2]}"
    assert (await alice.get(f"{media}/content")).content == content
    part = await alice.get(
        f"{media}/content", headers={"range": f"bytes={PIECE_BYTES - 5}-{PIECE_BYTES + 5}"}
    )
    assert part.content == content[PIECE_BYTES - 5 : PIECE_BYTES + 6]
    keys = await asyncio.to_thread(lambda: bucket.keys)
    assert len(keys) == 5  # the image, its two thumbnails, and two pieces
    assert all(key.startswith("of/blazechat/") for key in keys)
    for path in (f"/api/media/{image['id']}", media):
        assert (await alice.delete(path)).status_code == 204
    await live.app.state.sweeper.sweep()
    assert await asyncio.to_thread(lambda: bucket.keys) == []


async def test_concatenation_in_a_bucket_copies_nothing(new_server: NewServer, bucket: Bucket) -> None:
    """The objects of the parts are those of the file; deleting the file deletes them."""
    live: Live = await new_server(media_store="s3://files")
    alice = await live.person("alice")
    content = os.urandom(3000)
    parts = [await begin_upload(alice, 1000, **{"upload-concat": "partial"}) for _ in range(3)]
    for number, part in enumerate(parts):
        assert (
            await patch(alice, part, 0, content[1000 * number : 1000 * (number + 1)])
        ).status_code == 204
    keys = await asyncio.to_thread(lambda: bucket.keys)
    final = await concatenate(alice, parts)
    assert (await content_of(alice, final.headers["location"])) == content
    assert await asyncio.to_thread(lambda: bucket.keys) == keys
    await live.app.state.sweeper.sweep()
    assert (await content_of(alice, final.headers["location"])) == content
    assert (await alice.http.delete(final.headers["location"], headers=TUS)).status_code == 204
    await live.app.state.sweeper.sweep()
    assert await asyncio.to_thread(lambda: bucket.keys) == []


async def test_a_missing_bucket_does_not_affect_messages(new_server: NewServer, bucket: Bucket) -> None:
    """Uploads get 503, and messages are still sent."""
    live = await new_server(media_store="s3://nowhere")
    alice = await live.person("alice")
    chat = await alice.group()
    rejected = await send(alice, b"x")
    assert (rejected.status_code, rejected.json()["code"]) == (503, "storage_away")
    await alice.say(chat, "still here")


@pytest.mark.parametrize("store", ["s3://", "ftp://files", "gs://"])
async def test_invalid_locations_prevent_the_start(new_server: NewServer, store: str) -> None:
    """The error names the setting."""
    with pytest.raises(SettingsError, match="BLAZECHAT_MEDIA_STORE"):
        await new_server(media_store=store)


async def test_a_folder_that_cannot_be_created_is_an_error(tmp_path: Path) -> None:
    """Here a file is in the way."""
    (tmp_path / "file").write_text("in the way")
    with pytest.raises(ValueError, match="cannot be stored"):
        Storage(tmp_path / "file" / "media")
