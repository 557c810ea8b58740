"""Memory per idle socket: the server's resident memory, compared with that of a bare uvloop protocol."""

import asyncio
import resource
import time

from bench import connect, seed
from bench.bare_server import run_bare_server
from bench.connect import wait_until
from bench.figures import Figure
from bench.server import Bench, serving
from bench.socket_client import Sender, Socket, send

SOCKETS = 10_000
CHATS_EACH = 3
MEMBERS = 10
IDLE_SECONDS = 5.0
"""Time between the last log-in and the reading of the memory."""
WARM_UP_SOCKETS = 100
"""Sockets that are opened and closed first, so that memory which is allocated once does not count."""
MAX_KB = 8.0


async def idle() -> list[Figure]:
    """Open all sockets, let them idle, and check that they still receive messages."""
    count = min(SOCKETS, (resource.getrlimit(resource.RLIMIT_NOFILE)[0] - 500) // MEMBERS * MEMBERS)
    if count < SOCKETS:
        print(f"  the limit of open files is too low: {count:,} sockets instead of {SOCKETS:,}")
    bare_cost = await _measure_bare_connection(count)
    async with serving() as bench:
        async with bench.database() as connection:
            tokens = await seed.people(bench, connection, count)
            chats = seed.chat_members(count, CHATS_EACH, MEMBERS)
            await seed.chats(connection, chats)
        await _warm_up(bench, tokens[:WARM_UP_SOCKETS])
        before, began = bench.resident(), time.perf_counter()
        sockets = [Socket() for _ in range(count)]
        sockets[chats[0][0] - 1] = sender = Sender(send(1, "x"))
        with bench.shares("opening"):
            await connect.open_all(bench, sockets, tokens)
        opening = time.perf_counter() - began
        with bench.shares("idling"):
            await asyncio.sleep(IDLE_SECONDS)
        cost = (bench.resident() - before) / count
        await _check_delivery(sender, [sockets[user - 1] for user in chats[0]], sockets)
    name = f"memory of {count:,} idle sockets in 3 chats each"
    return [
        Figure(name, cost / 1024, "KB", bare_cost / 1024, maximum=MAX_KB),
        Figure(f"{name}, opening", count / opening, "/s"),
    ]


async def _measure_bare_connection(count: int) -> float:
    """Return the bytes per connection of a uvloop server that does nothing."""
    async with run_bare_server() as server:
        await connect.listen(server.port, warm_up := [Socket() for _ in range(WARM_UP_SOCKETS)])
        for socket in warm_up:
            socket.drop()
        await asyncio.sleep(0.5)
        before = await server.request("memory")
        await connect.listen(server.port, sockets := [Socket() for _ in range(count)])
        await server.wait_for_connections(count)
        after = await server.request("memory")
        for socket in sockets:
            socket.drop()
    return (after - before) / count


async def _warm_up(bench: Bench, tokens: list[str]) -> None:
    sockets = [Socket() for _ in tokens]
    await connect.open_all(bench, sockets, tokens)
    for socket in sockets:
        socket.drop()
    await asyncio.sleep(1)


async def _check_delivery(sender: Sender, members: list[Socket], sockets: list[Socket]) -> None:
    """Check that the idle sockets are alive: a message reaches each member of its chat."""
    assert not any(socket.error for socket in sockets), "a socket was lost"
    sender.send()
    await wait_until(lambda: all(member.events == 1 for member in members), members)
