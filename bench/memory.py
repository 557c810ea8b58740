"""What an idle socket costs: resident memory of the server, beside that of a bare uvloop protocol."""

import asyncio
import resource
import time

from bench import connect, seed
from bench.bare_server import bare
from bench.connect import until
from bench.figures import Figure
from bench.server import Bench, serving
from bench.socket_client import Sender, Socket, send

SOCKETS = 10_000
CHATS_EACH = 3
MEMBERS = 10
REST = 5.0
"""Seconds for which the sockets are there before the memory is read."""
FIRST = 100
"""Sockets that come and go before, so that nothing is counted that is there once for all."""
MOST = 8.0


async def idle() -> list[Figure]:
    count = min(SOCKETS, (resource.getrlimit(resource.RLIMIT_NOFILE)[0] - 500) // MEMBERS * MEMBERS)
    if count < SOCKETS:
        print(f"  this system allows too few open files: {count:,} sockets instead of {SOCKETS:,}")
    least = await _of_bare(count)
    async with serving() as bench:
        async with bench.database() as connection:
            tokens = await seed.people(bench, connection, count)
            chats = seed.circles(count, CHATS_EACH, MEMBERS)
            await seed.chats(connection, chats)
        await _come_and_go(bench, tokens[:FIRST])
        before, began = bench.resident(), time.perf_counter()
        sockets = [Socket() for _ in range(count)]
        sockets[chats[0][0] - 1] = sender = Sender(send(1, "x"))
        with bench.shares("opening"):
            await connect.open_all(bench, sockets, tokens)
        opening = time.perf_counter() - began
        with bench.shares("resting"):
            await asyncio.sleep(REST)
        cost = (bench.resident() - before) / count
        await _all_hear(sender, [sockets[user - 1] for user in chats[0]], sockets)
    name = f"memory of {count:,} idle sockets in 3 chats each"
    return [
        Figure(name, cost / 1024, "KB", least / 1024, most=MOST),
        Figure(f"{name}, opened", count / opening, "/s"),
    ]


async def _of_bare(count: int) -> float:
    """Bytes that a connection costs a uvloop server that does nothing."""
    async with bare() as server:
        await connect.listen(server.port, first := [Socket() for _ in range(FIRST)])
        for socket in first:
            socket.drop()
        await asyncio.sleep(0.5)
        before = await server.ask("memory")
        await connect.listen(server.port, sockets := [Socket() for _ in range(count)])
        await server.has(count)
        after = await server.ask("memory")
        for socket in sockets:
            socket.drop()
    return (after - before) / count


async def _come_and_go(bench: Bench, tokens: list[str]) -> None:
    sockets = [Socket() for _ in tokens]
    await connect.open_all(bench, sockets, tokens)
    for socket in sockets:
        socket.drop()
    await asyncio.sleep(1)


async def _all_hear(sender: Sender, members: list[Socket], sockets: list[Socket]) -> None:
    """They have not been idle because they were dead: a message reaches each member of its chat."""
    assert not any(socket.trouble for socket in sockets), "a socket was lost"
    sender.send()
    await until(lambda: all(member.events == 1 for member in members), members)
