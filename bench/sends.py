"""Sends per second of 64 sockets that wait for acknowledgements; the ceiling is a bare batched INSERT."""

import asyncio
import time
from collections.abc import Sequence
from dataclasses import dataclass

from bench import connect, seed
from bench.bare_inserts import BareInserts
from bench.connect import wait_until
from bench.figures import Figure, percentile
from bench.server import NO_RATE_LIMIT, Bench, serving
from bench.socket_client import Sender, Socket, send

SOCKETS = 64
SECONDS = 2.0
ROUNDS = 3
CONTENT = "x" * 40


@dataclass(frozen=True, kw_only=True)
class Load:
    """What the sockets send, and what is required."""

    name: str
    chats: list[list[int]]
    """The members of each chat. User n sends to chat n, or to the only chat."""
    in_flight: int
    """Unacknowledged sends per socket."""
    batch: int
    """Rows per batch of the ceiling."""
    min_ratio: float
    max_p99: float | None
    """Milliseconds."""


PAIRS = [[user, user % SOCKETS + 1] for user in range(1, SOCKETS + 1)]
ONE_CHAT = [list(range(1, SOCKETS + 1))]


async def one_in_flight() -> list[Figure]:
    return await _run(
        Load(
            name="sends, 64 sockets, 1 in flight, own chats of 2",
            chats=PAIRS,
            in_flight=1,
            batch=100,
            min_ratio=0.6,
            max_p99=30,
        )
    )


async def eight_in_flight() -> list[Figure]:
    return await _run(
        Load(
            name="sends, 64 sockets, 8 in flight, own chats of 2",
            chats=PAIRS,
            in_flight=8,
            batch=500,
            min_ratio=0.75,
            max_p99=None,
        )
    )


async def one_chat() -> list[Figure]:
    return await _run(
        Load(
            name="sends, 64 sockets in one chat of 64",
            chats=ONE_CHAT,
            in_flight=1,
            batch=100,
            min_ratio=0.4,
            max_p99=40,
        )
    )


async def _run(load: Load) -> list[Figure]:
    async with serving(**NO_RATE_LIMIT) as bench, bench.database() as connection:
        tokens = await seed.people(bench, connection, SOCKETS)
        await seed.chats(connection, load.chats)
        is_one_chat = len(load.chats) == 1
        senders = [Sender(send(1 if is_one_chat else user, CONTENT)) for user in range(1, SOCKETS + 1)]
        await connect.open_all(bench, senders, tokens)
        inserts = BareInserts(connection, chats=len(load.chats), batch=load.batch, content=CONTENT)
        members = len(load.chats[0])
        amounts = {"in_flight": load.in_flight, "members": members}
        await measure(bench, senders, senders, **amounts, seconds=1.0, phase="warming up")
        for sender in senders:
            sender.latencies.clear()
        sent, spent = 0, 0.0
        for _ in range(ROUNDS):
            await inserts.run(SECONDS)
            count, seconds = await measure(
                bench, senders, senders, **amounts, seconds=SECONDS, phase="sending"
            )
            sent, spent = sent + count, spent + seconds
        stored = await connection.fetchval("SELECT sum(last_message_id) FROM chats")
        assert stored == _acks(senders), "the numbers of acknowledged and of stored messages differ"
    late = [1000 * latency for sender in senders for latency in sender.latencies]
    return [
        Figure(load.name, sent / spent, "/s", inserts.rate, load.min_ratio),
        Figure(f"{load.name}, deliveries", members * sent / spent, "/s"),
        Figure(f"{load.name}, p50", percentile(late, 0.5), "ms"),
        Figure(f"{load.name}, p99", percentile(late, 0.99), "ms", maximum=load.max_p99),
    ]


async def measure(
    bench: Bench,
    senders: Sequence[Sender],
    receivers: Sequence[Socket],
    *,
    in_flight: int,
    members: int,
    seconds: float,
    phase: str,
) -> tuple[int, float]:
    """Send for `seconds`; return the number of acknowledged messages and the duration in seconds.

    The duration ends when the last message is delivered to all `members` of its chat, whose sockets are
    `receivers`. Raises AssertionError if a message is delivered twice, or not at all.
    """
    acks_before, events_before = _acks(senders), _events(receivers)
    with bench.shares(phase):
        began = time.perf_counter()
        for sender in senders:
            sender.start(in_flight)
        await asyncio.sleep(seconds)
        for sender in senders:
            sender.stop()
        await wait_until(lambda: not any(sender.in_flight for sender in senders), senders)
        acks = _acks(senders) - acks_before
        await wait_until(lambda: _events(receivers) - events_before >= acks * members, receivers)
        spent = time.perf_counter() - began
    assert _events(receivers) - events_before == acks * members, "a message was delivered twice"
    return acks, spent


def _acks(senders: Sequence[Sender]) -> int:
    return sum(sender.acks for sender in senders)


def _events(sockets: Sequence[Socket]) -> int:
    return sum(socket.events for socket in sockets)
