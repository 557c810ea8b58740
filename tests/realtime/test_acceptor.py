"""Accepting sockets: few handshakes start at a time, and they leave no garbage for the collector."""

import asyncio
import gc
import logging
from collections import Counter

import pytest
import websockets
from websockets.server import ServerProtocol

from blazechat.realtime.acceptor import HandshakeQueue
from tests.harness import Live, eventually
from tests.realtime.raw_client import handshake


async def test_few_handshakes_start_per_turn_of_the_event_loop() -> None:
    """They start in order, other tasks run in between, and one that fails does not delay later ones."""
    loop = asyncio.get_running_loop()
    failures: list[object] = []
    loop.set_exception_handler(lambda _, context: failures.append(context["exception"]))
    queue, started, counts = HandshakeQueue(3), list[int](), list[int]()

    def start(number: int) -> None:
        started.append(number)
        if number == 4:
            raise ValueError(number)

    for number in range(10):
        queue.add(lambda number=number: start(number))  # type: ignore[misc]
    while len(started) < 10:
        await asyncio.sleep(0)
        counts.append(len(started))
    loop.set_exception_handler(None)
    assert started == list(range(10))
    assert max(after - before for before, after in zip([0, *counts], counts, strict=False)) == 3
    assert len(failures) == 1
    queue.add(lambda: start(10))
    await eventually(lambda: started[-1] == 10)


async def test_clients_that_leave_before_their_handshake_starts_are_no_error(
    live: Live, caplog: pytest.LogCaptureFixture
) -> None:
    """A hundred clients send a handshake and disconnect immediately. The next client gets its socket."""
    alice = await live.person()
    host_and_port = live.url.removeprefix("http://").split(":")
    before = set(live.server.server_state.connections)
    writers = []
    for _ in range(100):
        _, writer = await asyncio.open_connection(host_and_port[0], int(host_and_port[1]))
        writers.append(writer)
    for writer in writers:
        writer.write(handshake(None))
    for writer in writers:
        writer.transport.abort()
    async with alice.online():
        pass
    await eventually(lambda: live.server.server_state.connections == before)
    assert not [record for record in caplog.records if record.levelno >= logging.ERROR]


async def test_handshake_leaves_no_reference_cycles(live: Live) -> None:
    """After a connection storm the garbage collector would find thousands of cycles in one run."""
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
        of_sockets = ("blazechat.", "websockets.", "uvicorn.", "httptools.")
        types = Counter(
            type(each).__name__ for each in gc.garbage if type(each).__module__.startswith(of_sockets)
        )
    finally:
        gc.set_debug(0)
        gc.enable()
        gc.garbage.clear()
    for socket in sockets:
        await socket.close()
    # Other garbage comes from earlier requests, from the clients, and from servers that have stopped.
    for name in ("SocketProtocol", "ServerProtocol", "Connection", "LiveSocket"):
        assert types[name] < len(sockets), types
    assert types["HttpProtocol"] + types["HttpRequestParser"] < len(sockets), types


async def test_handshake_leaves_no_parser(live: Live) -> None:
    """The parser of `websockets` is a generator that refers to its protocol, and the protocol to it."""
    alice = await live.person()
    headers = {"authorization": f"Bearer {alice.token}"}

    def protocols() -> int:
        return sum(type(each) is ServerProtocol for each in gc.get_objects())

    gc.collect()
    gc.disable()
    try:
        before = protocols()
        sockets = [
            await websockets.connect(f"{live.ws_url}/ws", additional_headers=headers, proxy=None)
            for _ in range(20)
        ]
        for each in sockets:
            assert "ready" in str(await each.recv())
        await eventually(lambda: not live.server.server_state.tasks)
        assert protocols() <= before
    finally:
        gc.enable()
    for each in sockets:
        await each.close()
