"""Files in the SDK: uploads and downloads over lost connections, and the example in docs/media.md."""

import asyncio
import os
import re
import sys
from pathlib import Path
from random import Random

import pytest

from blazechat.client import Client, MessageCreated
from blazechat.client.errors import ContentTooLarge, NotFound, UnreadableFile
from blazechat.client.files import CHUNK_BYTES
from tests.clients.wire import TcpProxy, tcp_proxy
from tests.conftest import NewServer
from tests.files.pictures import photo
from tests.harness import PASSWORD, Live, Person, eventually

ROOT = Path(__file__).parent.parent.parent


async def logged_in(person: Person, proxy: TcpProxy | None = None) -> Client:
    """Return a client that is logged in as this person, through a proxy if there is one."""
    if proxy is not None:
        proxy.forward_to(person.live.url)
    client = Client(proxy.url if proxy is not None else person.live.url)
    await client.log_in(person.username, PASSWORD)
    return client


async def test_a_file_is_uploaded_and_downloaded(live: Live, tmp_path: Path) -> None:
    """Alice uploads it from a path with progress and sends it; bob downloads it."""
    alice, bob = await live.people("alice", "bob")
    chat = await alice.group(bob)
    path = tmp_path / "bild ü.jpg"
    path.write_bytes(content := photo())
    steps: list[tuple[int, int]] = []
    async with await logged_in(alice) as sender, await logged_in(bob) as receiver:
        events = receiver.events()
        await receiver.connect()
        upload = await sender.files.upload(path, on_progress=lambda *step: steps.append(step))
        assert (upload.name, upload.media_type, upload.ready) == (path.name, "image/jpeg", True)
        assert (steps[0], steps[-1]) == ((0, len(content)), (len(content), len(content)))
        await sender.send(chat, "", attachments=[upload.id])
        created = await anext(event async for event in events if isinstance(event, MessageCreated))
        (attachment,) = created.message.attachments
        downloaded = await receiver.files.download(attachment)
        assert len(downloaded) == len(content)
        assert await receiver.files.download(attachment, tmp_path / "copy.jpg") == b""
        assert (tmp_path / "copy.jpg").read_bytes() == downloaded
        small = await receiver.files.download(attachment.thumbnails[0].url)
        assert small[8:12] == b"WEBP"
        with pytest.raises(NotFound):
            await receiver.files.download(f"/api/chats/{chat}/media/{2**40}/content", tmp_path / "no.jpg")
    assert sorted(os.listdir(tmp_path)) == ["bild ü.jpg", "copy.jpg"]  # noqa: PTH208 (no waiting)


async def test_transfers_continue_after_lost_connections(live: Live, tmp_path: Path) -> None:
    """The connection is cut several times in both directions. The file is the same, and no transfer
    restarts."""
    alice = await live.person("alice")
    content = bytes(range(251)) * (3 * CHUNK_BYTES // 251)
    async with tcp_proxy(Random(1)) as proxy, await logged_in(alice, proxy) as client:
        cuts = 0

        def cut(transferred: int, size: int) -> None:
            nonlocal cuts
            if transferred * 4 // size > cuts:
                cuts += 1
                proxy.cut()

        upload = await client.files.upload(content, name="large.bin", on_progress=cut)
        assert upload.size == len(content)
        assert cuts >= 3
        cuts = 0
        assert await client.files.download(f"/api/media/{upload.id}/content", on_progress=cut) == content
        assert cuts >= 3


async def test_failed_uploads_leave_nothing(new_server: NewServer, tmp_path: Path) -> None:
    """A file that is too large, damaged or missing, and an upload that is cancelled."""
    live = await new_server(max_file_bytes=3 * CHUNK_BYTES)
    alice = await live.person("alice")
    async with await logged_in(alice) as client:
        with pytest.raises(ContentTooLarge):
            await client.files.upload(bytes(3 * CHUNK_BYTES + 1))
        with pytest.raises(UnreadableFile):
            await client.files.upload(photo()[:3000])
        with pytest.raises(FileNotFoundError):
            await client.files.upload(tmp_path / "nothing")
        has_begun = asyncio.Event()

        def on_progress(transferred: int, size: int) -> None:
            if transferred:
                has_begun.set()

        uploading = asyncio.create_task(
            client.files.upload(bytes(3 * CHUNK_BYTES), on_progress=on_progress)
        )
        await has_begun.wait()
        uploading.cancel()
        with pytest.raises(asyncio.CancelledError):
            await uploading
        assert (await client.files.page()).items == []


async def test_a_file_that_changes_during_its_upload(live: Live, tmp_path: Path) -> None:
    """A file that grows is uploaded in its former size. One that shrinks fails, and nothing of it stays."""
    alice = await live.person("alice")
    path = tmp_path / "log"

    def resize(size: int) -> None:
        with path.open("r+b") as file:
            file.truncate(size)

    async with await logged_in(alice) as client:
        for new_size in (3 * CHUNK_BYTES, CHUNK_BYTES):
            path.write_bytes(bytes(2 * CHUNK_BYTES))
            uploading = client.files.upload(path, on_progress=lambda *_: resize(new_size))  # noqa: B023
            if new_size > CHUNK_BYTES:
                assert (await uploading).size == 2 * CHUNK_BYTES
            else:
                with pytest.raises(OSError, match="shorter"):
                    await asyncio.wait_for(uploading, 20)
        assert len((await client.files.page()).items) == 1


async def test_a_pending_message_keeps_its_files(live: Live, tmp_path: Path) -> None:
    """A message in the outbox file is sent with its files by the next program."""
    alice = await live.person("alice")
    chat = await alice.group()
    async with await logged_in(alice) as client:
        upload = await client.files.upload(b"words", name="a.txt")
    outbox = tmp_path / "outbox"
    async with Client(live.url, outbox_path=outbox) as offline:
        await offline.log_in(alice.username, PASSWORD)
        offline.enqueue(chat, "later", attachments=[upload.id])
    async with Client(live.url, outbox_path=outbox) as later:
        await later.log_in(alice.username, PASSWORD)
        await later.connect()
        await eventually(lambda: not later.outbox.messages())
    (message,) = await alice.history(chat)
    assert [each["id"] for each in message["attachments"]] == [upload.id]


async def test_the_documented_example_runs(live: Live, tmp_path: Path) -> None:
    """Unchanged, in a process of its own."""
    (code,) = re.findall(r"```python\n(.*?)```", (ROOT / "docs" / "media.md").read_text(), re.DOTALL)
    alice = await live.person("alice")
    chat = await alice.group()
    (tmp_path / "holiday.jpg").write_bytes(photo())
    arguments = (live.url, alice.username, PASSWORD, str(chat), "holiday.jpg")
    process = await asyncio.create_subprocess_exec(
        *(sys.executable, "-c", code, *arguments), cwd=tmp_path, stdout=asyncio.subprocess.PIPE
    )
    output, _ = await process.communicate()
    assert process.returncode == 0
    assert "holiday.jpg image/jpeg" in output.decode()
    assert (await alice.history(chat))[0]["content"] == "Look!"
