"""Sockets under another ASGI server: the app is served by plain uvicorn beside `blazechat serve`."""

import asyncio
import json
import socket
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager

import uvicorn
import websockets

from tests.harness import Live, eventually

MESSAGES = 20


@asynccontextmanager
async def plain_uvicorn(live: Live) -> AsyncIterator[str]:
    """Serve the running app a second time, with uvicorn's own WebSocket protocol; yield its URL."""
    with socket.create_server(("127.0.0.1", 0)) as listener:
        config = uvicorn.Config(live.app, lifespan="off", log_config=None)
        server = uvicorn.Server(config)
        serving = asyncio.create_task(server._serve([listener]))  # `serve()` would take the signals
        await eventually(lambda: server.started)
        yield f"ws://127.0.0.1:{listener.getsockname()[1]}"
        server.should_exit = True
        await serving


async def test_events_of_one_turn_arrive_as_messages_of_their_own(live: Live) -> None:
    """A channel joins their frames, which an ASGI server has to send one by one."""
    alice = await live.person()
    chat_id = await alice.group()
    async with (
        plain_uvicorn(live) as url,
        websockets.connect(
            f"{url}/ws", additional_headers={"authorization": f"Bearer {alice.token}"}, proxy=None
        ) as connection,
    ):
        assert json.loads(await connection.recv())["type"] == "ready"
        for number in range(MESSAGES):
            await connection.send(
                json.dumps({"type": "send", "ref": number, "chat_id": chat_id, "content": "x"})
            )
        received = [json.loads(await connection.recv()) for _ in range(2 * MESSAGES)]
    events = [frame["message"]["id"] for frame in received if frame["type"] == "message.created"]
    assert events == list(range(1, MESSAGES + 1))
    assert [frame["ref"] for frame in received if frame["type"] == "ack"] == list(range(MESSAGES))
