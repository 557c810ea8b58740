"""64 sockets send and wait for the acknowledgement; the ceiling is the bare batched INSERT."""

import asyncio
import time
from collections.abc import Sequence
from dataclasses import dataclass

from bench import connect, seed
from bench.bare_inserts import Inserts
from bench.connect import until
from bench.figures import Figure, percentile
from bench.server import NO_RATE_LIMIT, Bench, serving
from bench.socket_client import Sender, Socket, send

SOCKETS = 64
SECONDS = 2.0
ROUNDS = 3
CONTENT = "x" * 40


@dataclass(frozen=True)
class Load:
    name: str
    chats: list[list[int]]
    """The members of each; user n sends into the chat n, or into the only one."""
    in_flight: int
    batch: int
    must: float
    p99: float | None
    """Milliseconds at most."""


PAIRS = [[user, user % SOCKETS + 1] for user in range(1, SOCKETS + 1)]
EVERYBODY = [list(range(1, SOCKETS + 1))]


async def one_in_flight() -> list[Figure]:
    return await _run(Load("sends, 64 sockets, 1 in flight, own chats of 2", PAIRS, 1, 100, 0.6, 30))


async def eight_in_flight() -> list[Figure]:
    return await _run(Load("sends, 64 sockets, 8 in flight, own chats of 2", PAIRS, 8, 500, 0.75, None))


async def one_chat() -> list[Figure]:
    return await _run(Load("sends, 64 sockets in one chat of 64", EVERYBODY, 1, 100, 0.4, 40))


async def _run(load: Load) -> list[Figure]:
    async with serving(**NO_RATE_LIMIT) as bench, bench.database() as connection:
        tokens = await seed.people(bench, connection, SOCKETS)
        await seed.chats(connection, load.chats)
        only = len(load.chats) == 1
        senders = [Sender(send(1 if only else user, CONTENT)) for user in range(1, SOCKETS + 1)]
        await connect.open_all(bench, senders, tokens)
        inserts = Inserts(connection, chats=len(load.chats), batch=load.batch, content=CONTENT)
        members = len(load.chats[0])
        await measured(bench, senders, senders, load.in_flight, members, 1.0, "warming up")
        for sender in senders:
            sender.latencies.clear()
        sent, spent = 0, 0.0
        for _ in range(ROUNDS):
            await inserts.run(SECONDS)
            count, seconds = await measured(
                bench, senders, senders, load.in_flight, members, SECONDS, "sending"
            )
            sent, spent = sent + count, spent + seconds
        stored = await connection.fetchval("SELECT sum(last_message_id) FROM chats")
        assert stored == _acks(senders), "acknowledged and stored differ"
    late = [1000 * latency for sender in senders for latency in sender.latencies]
    return [
        Figure(load.name, sent / spent, "/s", inserts.rate, load.must),
        Figure(f"{load.name}, deliveries", members * sent / spent, "/s"),
        Figure(f"{load.name}, p50", percentile(late, 0.5), "ms"),
        Figure(f"{load.name}, p99", percentile(late, 0.99), "ms", most=load.p99),
    ]


async def measured(
    bench: Bench,
    senders: Sequence[Sender],
    hearing: Sequence[Socket],
    in_flight: int,
    members: int,
    seconds: float,
    during: str,
) -> tuple[int, float]:
    """Send for so long; gives how many messages were acknowledged, and in how many seconds.

    That is up to when the last of them was delivered to all `members`, whose sockets are `hearing`. Raises
    AssertionError if something was delivered twice, or not at all.
    """
    acks_before, events_before = _acks(senders), _events(hearing)
    with bench.shares(during):
        began = time.perf_counter()
        for sender in senders:
            sender.start(in_flight)
        await asyncio.sleep(seconds)
        for sender in senders:
            sender.stop()
        await until(lambda: not any(sender.in_flight for sender in senders), senders)
        acks = _acks(senders) - acks_before
        await until(lambda: _events(hearing) - events_before >= acks * members, hearing)
        spent = time.perf_counter() - began
    assert _events(hearing) - events_before == acks * members, "something was delivered twice"
    return acks, spent


def _acks(senders: Sequence[Sender]) -> int:
    return sum(sender.acks for sender in senders)


def _events(sockets: Sequence[Socket]) -> int:
    return sum(socket.events for socket in sockets)
