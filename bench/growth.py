"""Filling the database with messages: whether the last are stored as fast as the first."""

import asyncio
import os
import time

from bench import connect, seed
from bench.connect import until
from bench.figures import Figure
from bench.sends import CONTENT, PAIRS, SOCKETS
from bench.server import NO_RATE_LIMIT, Bench, serving
from bench.socket_client import Sender, send

MESSAGES = int(os.environ.get("BENCH_GROWTH", "1000000"))
LIMIT = float(os.environ.get("BENCH_GROWTH_SECONDS", "240"))
"""Seconds after which it ends, however many messages there are."""
IN_FLIGHT = 8
STEP = 5.0
"""Seconds from one look to the next."""
WINDOW = 60.0
"""Seconds of the beginning and the end that are compared; a quarter each of what takes less than four."""
LEAST = 0.9


async def fill() -> list[Figure]:
    async with serving(**NO_RATE_LIMIT) as bench:
        async with bench.database() as connection:
            tokens = await seed.people(bench, connection, SOCKETS)
            await seed.chats(connection, PAIRS)
        senders = [Sender(send(user, CONTENT)) for user in range(1, SOCKETS + 1)]
        await connect.open_all(bench, senders, tokens)
        for sender in senders:
            sender.start(IN_FLIGHT)
        await asyncio.sleep(2)  # warm up
        steps = await _steps(bench, senders)
        for sender in senders:
            sender.stop()
        await until(lambda: not any(sender.in_flight for sender in senders), senders)
    seconds = sum(spent for _, spent in steps)
    total = sum(count for count, _ in steps)
    compared = max(1, int(min(WINDOW, seconds / 4) / STEP))
    first, last = _rate(steps[:compared]), _rate(steps[-compared:])
    whole = total >= MESSAGES
    why = "" if whole else f" (the time was up; {MESSAGES:,} were wanted)"
    print(f"  {total:,} messages in {seconds:.0f} s{why}; compared: {compared * STEP:.0f} s each")
    name = f"growth to {MESSAGES if whole else total:,} messages"
    return [
        Figure(f"{name}, at first", first, "/s"),
        Figure(f"{name}, at last", last, "/s"),
        Figure(f"{name}, last over first", last / first, "×", least=LEAST),
    ]


async def _steps(bench: Bench, senders: list[Sender]) -> list[tuple[int, float]]:
    """Messages and seconds of each step, until there are enough, or the time is up."""
    steps: list[tuple[int, float]] = []
    began = time.perf_counter()
    total, then = sum(sender.acks for sender in senders), began
    enough = total + MESSAGES
    while total < enough and then - began < LIMIT:
        with bench.shares(f"{total:,} messages"):
            await asyncio.sleep(STEP)
        assert not any(sender.trouble for sender in senders), "a send was refused"
        for sender in senders:
            sender.latencies.clear()
        now, acks = time.perf_counter(), sum(sender.acks for sender in senders)
        steps.append((acks - total, now - then))
        total, then = acks, now
    return steps


def _rate(steps: list[tuple[int, float]]) -> float:
    return sum(count for count, _ in steps) / sum(spent for _, spent in steps)
