"""The SDK's files: through lost connections, whole or not at all; and the example of docs/media.md."""

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
from tests.clients.wire import Wire, wire
from tests.conftest import NewServer
from tests.files.pictures import photo
from tests.harness import PASSWORD, Live, Person, eventually

ROOT = Path(__file__).parent.parent.parent


async def logged_in(person: Person, wired: Wire | None = None) -> Client:
    """A client of this person, through a wire if there is one."""
    if wired is not None:
        wired.leads_to(person.live.url)
    client = Client(wired.url if wired is not None else person.live.url)
    await client.log_in(person.username, PASSWORD)
    return client


async def test_a_file_goes_there_and_back(live: Live, tmp_path: Path) -> None:
    """By its path, with its progress; sent with a message, and downloaded by who gets it."""
    alice, bob = await live.people("alice", "bob")
    chat = await alice.group(bob)
    path = tmp_path / "bild ü.jpg"
    path.write_bytes(content := photo())
    steps: list[tuple[int, int]] = []
    async with await logged_in(alice) as sender, await logged_in(bob) as receiver:
        events = receiver.events()
        await receiver.connect()
        upload = await sender.files.upload(path, on_progress=lambda have, size: steps.append((have, size)))
        assert (upload.name, upload.media_type, upload.ready) == (path.name, "image/jpeg", True)
        assert (steps[0], steps[-1]) == ((0, len(content)), (len(content), len(content)))
        await sender.send(chat, "", attachments=[upload.id])
        created = await anext(event async for event in events if isinstance(event, MessageCreated))
        (attachment,) = created.message.attachments
        got = await receiver.files.download(attachment)
        assert len(got) == len(content)
        assert await receiver.files.download(attachment, tmp_path / "copy.jpg") == b""
        assert (tmp_path / "copy.jpg").read_bytes() == got
        small = await receiver.files.download(attachment.thumbnails[0].url)
        assert small[8:12] == b"WEBP"
        with pytest.raises(NotFound):
            await receiver.files.download(f"/api/chats/{chat}/media/{2**40}/content", tmp_path / "no.jpg")
    assert sorted(os.listdir(tmp_path)) == ["bild ü.jpg", "copy.jpg"]  # noqa: PTH208 (no waiting)


async def test_lost_connections_cost_little(live: Live, tmp_path: Path) -> None:
    """Cut several times on the way there and back, the file is the same, and is not begun anew."""
    alice = await live.person("alice")
    content = bytes(range(251)) * (3 * CHUNK_BYTES // 251)
    async with wire(Random(1)) as wired, await logged_in(alice, wired) as client:
        cuts = 0

        def cut(have: int, size: int) -> None:
            nonlocal cuts
            if have * 4 // size > cuts:
                cuts += 1
                wired.cut()

        upload = await client.files.upload(content, name="large.bin", on_progress=cut)
        assert upload.size == len(content)
        assert cuts >= 3
        cuts = 0
        assert await client.files.download(f"/api/media/{upload.id}/content", on_progress=cut) == content
        assert cuts >= 3


async def test_what_is_refused_leaves_nothing(new_server: NewServer, tmp_path: Path) -> None:
    """Too large, damaged, cancelled in the middle, or not there at all."""
    live = await new_server(max_file_bytes=3 * CHUNK_BYTES)
    alice = await live.person("alice")
    async with await logged_in(alice) as client:
        with pytest.raises(ContentTooLarge):
            await client.files.upload(bytes(3 * CHUNK_BYTES + 1))
        with pytest.raises(UnreadableFile):
            await client.files.upload(photo()[:3000])
        with pytest.raises(FileNotFoundError):
            await client.files.upload(tmp_path / "nothing")
        begun = asyncio.Event()

        def tell(have: int, size: int) -> None:
            if have:
                begun.set()

        going = asyncio.create_task(client.files.upload(bytes(3 * CHUNK_BYTES), on_progress=tell))
        await begun.wait()
        going.cancel()
        with pytest.raises(asyncio.CancelledError):
            await going
        assert (await client.files.page()).items == []


async def test_a_file_that_changes_while_it_is_sent(live: Live, tmp_path: Path) -> None:
    """One that grows is sent as it was; one that shrinks is given up, and nothing of it stays."""
    alice = await live.person("alice")
    path = tmp_path / "log"

    def resize(size: int) -> None:
        with path.open("r+b") as file:
            file.truncate(size)

    async with await logged_in(alice) as client:
        for later in (3 * CHUNK_BYTES, CHUNK_BYTES):
            path.write_bytes(bytes(2 * CHUNK_BYTES))
            uploading = client.files.upload(path, on_progress=lambda have, size: resize(later))  # noqa: B023
            if later > CHUNK_BYTES:
                assert (await uploading).size == 2 * CHUNK_BYTES
            else:
                with pytest.raises(OSError, match="shorter"):
                    await asyncio.wait_for(uploading, 20)
        assert len((await client.files.page()).items) == 1


async def test_a_draft_keeps_its_files(live: Live, tmp_path: Path) -> None:
    """What waits in an outbox of a file is sent with them by the next program."""
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
    (said,) = await alice.history(chat)
    assert [each["id"] for each in said["attachments"]] == [upload.id]


async def test_the_example_of_the_page_runs(live: Live, tmp_path: Path) -> None:
    """As it stands, in a process of its own."""
    (code,) = re.findall(r"```python\n(.*?)```", (ROOT / "docs" / "media.md").read_text(), re.DOTALL)
    alice = await live.person("alice")
    chat = await alice.group()
    (tmp_path / "holiday.jpg").write_bytes(photo())
    arguments = (live.url, alice.username, PASSWORD, str(chat), "holiday.jpg")
    done = await asyncio.create_subprocess_exec(
        *(sys.executable, "-c", code, *arguments), cwd=tmp_path, stdout=asyncio.subprocess.PIPE
    )
    told, _ = await done.communicate()
    assert done.returncode == 0
    assert "holiday.jpg image/jpeg" in told.decode()
    assert (await alice.history(chat))[0]["content"] == "Look!"
