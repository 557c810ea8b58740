"""`make bench ONLY=peers`: the same work on our server and on the installed peers, in turns."""

import asyncio
from collections.abc import Awaitable, Callable
from contextlib import AbstractAsyncContextManager, AsyncExitStack
from dataclasses import dataclass
from functools import partial
from statistics import median

from bench.cpu import generator_seconds, shares
from bench.figures import Figure
from bench.peers import blazechat, ejabberd, inspircd, node_servers
from bench.peers.peer import Clients, NotInstalled, Peer, Unsupported
from bench.peers.work import ClosedLoop, Measurement, Requests, Round

SERVERS: tuple[tuple[str, Callable[[], AbstractAsyncContextManager[Peer]]], ...] = (
    ("BlazeChat", blazechat.serve),
    ("ejabberd", ejabberd.serve),
    ("InspIRCd", inspircd.serve),
    ("ws", node_servers.serve_ws),
    ("socket.io", node_servers.serve_socketio),
)
ROUNDS = 3
WARM_UP_SECONDS = 0.5
SECONDS = 2.0
SETTLE_SECONDS = 0.5
"""Pause before each round, in which the server before finishes what it still does."""


@dataclass(frozen=True)
class WorkItem:
    """One kind of load. `open_clients` connects its clients to a server."""

    name: str
    open_clients: Callable[[Peer], Awaitable[Clients]]
    measure: Callable[[Clients], Measurement]


ITEMS = (
    WorkItem("acknowledged sends, 64 clients, own chats", lambda peer: peer.open_pairs(64), Requests),
    WorkItem("sends, 64 clients in one room", lambda peer: peer.open_room(64), Requests),
    WorkItem("deliveries, closed loop to 1,000", lambda peer: peer.open_room(1001), ClosedLoop),
    WorkItem(
        "sends to 1,000, each after an acknowledgement",
        lambda peer: peer.open_room(1001),
        partial(Requests, only_first=True),
    ),
    WorkItem("newest pages of 50, 16 clients", lambda peer: peer.open_history(16), Requests),
)


async def compare() -> list[Figure]:
    """Run each work item in turns on all servers. A figure is ours, and the ceiling is the peer's.

    A star marks peers that store nothing.
    """
    print("  figure: BlazeChat; ceiling: the peer after the bar; * stores nothing")
    async with AsyncExitStack() as stack:
        servers: list[Peer] = []
        for name, serve in SERVERS:
            try:
                servers.append(await stack.enter_async_context(serve()))
            except NotInstalled as error:
                print(f"  {name} is skipped: {error}", flush=True)
        return [figure for item in ITEMS for figure in await _measure(item, servers)]


async def _measure(item: WorkItem, servers: list[Peer]) -> list[Figure]:
    print(f"  {item.name}", flush=True)
    ready: list[tuple[Peer, Clients, Measurement]] = []
    for server in servers:
        try:
            clients = await item.open_clients(server)
        except Unsupported as error:
            print(f"    {server.name} is left out: it {error}", flush=True)
            continue
        ready.append((server, clients, item.measure(clients)))
    rounds: dict[str, list[Round]] = {}
    for _, _, measurement in ready:
        await measurement.run(WARM_UP_SECONDS)
    for _ in range(ROUNDS):
        for server, _, measurement in ready:
            await asyncio.sleep(SETTLE_SECONDS)
            clocks = {name: clock.seconds for name, clock in server.clocks.items()}
            with shares(server.name, **clocks, generator=generator_seconds):
                rounds.setdefault(server.name, []).append(await measurement.run(SECONDS))
    for _, clients, _ in ready:
        clients.close()
    return _figures(item, [server for server, _, _ in ready], rounds)


def _figures(item: WorkItem, servers: list[Peer], rounds: dict[str, list[Round]]) -> list[Figure]:
    """Return our rate beside that of each peer, as medians of the rounds."""
    rates = {name: median(each.count / each.seconds for each in of_one) for name, of_one in rounds.items()}
    ours, *peers = servers
    if not peers:
        return [Figure(item.name, rates[ours.name], "/s")]
    return [
        Figure(
            f"{item.name} | {peer.name}{'' if peer.is_durable else ' *'}",
            rates[ours.name],
            "/s",
            rates[peer.name],
        )
        for peer in peers
    ]
