"""The example receiver of docs/webhooks.md runs unchanged."""

import asyncio
import re
import socket
import sys
from pathlib import Path

from tests.conftest import NewServer
from tests.harness import eventually
from tests.webhooks.receiver import LOOPBACK

ROOT = Path(__file__).parent.parent.parent


async def test_example_of_the_docs_runs(new_server: NewServer) -> None:
    """A receiver that prints events and rejects unsigned requests."""
    (code,) = re.findall(r"```python\n(.*?)```", (ROOT / "docs" / "webhooks.md").read_text(), re.DOTALL)
    live = await new_server(**LOOPBACK)
    alice = await live.person()
    chat = await alice.group()
    with socket.socket() as free:
        free.bind(("127.0.0.1", 0))
        port = free.getsockname()[1]
    webhook = (await alice.post(f"/api/chats/{chat}/webhooks", {"url": f"http://127.0.0.1:{port}/"})).json()
    receiver = await asyncio.create_subprocess_exec(
        *(sys.executable, "-c", code, str(port), webhook["secret"]),
        stdout=asyncio.subprocess.PIPE,
        stderr=asyncio.subprocess.DEVNULL,
    )
    assert receiver.stdout is not None
    try:
        path = f"/api/chats/{chat}/webhooks/{webhook['id']}/ping"

        async def answers() -> bool:
            return bool((await alice.post(path)).json()["status"] == 204)

        await eventually(answers)
        assert (await receiver.stdout.readline()).split() == [b"ping"]
        unsigned = await live.client().post(f"http://127.0.0.1:{port}/", json={"type": "ping"})
        assert unsigned.status_code == 401
        await alice.say(chat, "Hello, receiver!")
        assert await receiver.stdout.readline() == b"message.created Hello, receiver!\n"
    finally:
        receiver.kill()
        await receiver.wait()
