"""Handshakes: a few at a time, and nothing is left of them."""

import asyncio
import gc
import logging
from collections import Counter

import pytest
import websockets

from blazechat.realtime.acceptor import HandshakeQueue
from tests.harness import Live, eventually

REQUEST = (
    "GET /ws HTTP/1.1\r\nHost: localhost\r\nUpgrade: websocket\r\nConnection: Upgrade\r\n"
    "Sec-WebSocket-Version: 13\r\nSec-WebSocket-Key: dGhlIHNhbXBsZSBub25jZQ==\r\n\r\n"
)


async def test_a_few_pass_in_each_turn_of_the_loop() -> None:
    """In order; others have the loop in between; and one that fails does not hold up those behind it."""
    loop = asyncio.get_running_loop()
    failures: list[object] = []
    loop.set_exception_handler(lambda _, context: failures.append(context["exception"]))
    turnstile, passed, seen = HandshakeQueue(3), list[int](), list[int]()

    def go(number: int) -> None:
        passed.append(number)
        if number == 4:
            raise ValueError(number)

    for number in range(10):
        turnstile.add(lambda number=number: go(number))  # type: ignore[misc]
    while len(passed) < 10:
        await asyncio.sleep(0)
        seen.append(len(passed))
    loop.set_exception_handler(None)
    assert passed == list(range(10))
    assert max(after - before for before, after in zip([0, *seen], seen, strict=False)) == 3
    assert len(failures) == 1
    turnstile.add(lambda: go(10))
    await eventually(lambda: passed[-1] == 10)


async def test_those_who_leave_while_they_wait_are_no_trouble(
    live: Live, caplog: pytest.LogCaptureFixture
) -> None:
    """A hundred ask for a socket at once and are gone before they get it; the next one gets it."""
    alice = await live.person()
    address = live.url.removeprefix("http://").split(":")
    before = set(live.server.server_state.connections)
    writers = []
    for _ in range(100):
        _, writer = await asyncio.open_connection(address[0], int(address[1]))
        writers.append(writer)
    for writer in writers:
        writer.write(REQUEST.encode())
    for writer in writers:
        writer.transport.abort()
    async with alice.online():
        pass
    await eventually(lambda: live.server.server_state.connections == before)
    assert not [record for record in caplog.records if record.levelno >= logging.ERROR]


async def test_a_handshake_leaves_nothing_to_the_collector(live: Live) -> None:
    """Circles would have to be found by the collector, thousands at once after a storm."""
    alice = await live.person()
    headers = {"authorization": f"Bearer {alice.token}"}
    async with alice.online():
        pass
    gc.collect()
    gc.disable()
    gc.set_debug(gc.DEBUG_SAVEALL)
    try:
        sockets = [
            await websockets.connect(f"{live.ws_url}/ws", additional_headers=headers, proxy=None)
            for _ in range(20)
        ]
        for socket in sockets:
            assert "ready" in str(await socket.recv())
        await asyncio.sleep(0.1)
        gc.collect()
        kinds = Counter(type(each).__name__ for each in gc.garbage)
    finally:
        gc.set_debug(0)
        gc.enable()
        gc.garbage.clear()
    for socket in sockets:
        await socket.close()
    # What else is there comes from the requests before, from the clients, and from servers that have gone.
    for name in ("SocketProtocol", "ServerProtocol", "Connection", "LiveSocket"):
        assert kinds[name] < len(sockets), kinds
    assert kinds["HttpProtocol"] + kinds["HttpRequestParser"] < len(sockets), kinds
