"""Growth: sends per second at the beginning and at the end of filling a database with messages."""

import asyncio
import os
import time

from bench import connect, seed
from bench.connect import wait_until
from bench.figures import Figure
from bench.sends import CONTENT, PAIRS, SOCKETS
from bench.server import NO_RATE_LIMIT, Bench, serving
from bench.socket_client import Sender, send

MESSAGES = int(os.environ.get("BENCH_GROWTH", "1000000"))
MAX_SECONDS = float(os.environ.get("BENCH_GROWTH_SECONDS", "240"))
"""The scenario ends after so long, even if there are fewer messages."""
IN_FLIGHT = 8
"""Messages of each socket."""
STEP_SECONDS = 5.0
"""Interval between readings."""
WINDOW_SECONDS = 60.0
"""Length of the compared beginning and end; a quarter of the whole each if that is shorter than four
windows."""
MIN_SPEED_RATIO = 0.9


async def fill() -> list[Figure]:
    """Fill the database through the server, and compare the rates."""
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
        await wait_until(lambda: not any(sender.in_flight for sender in senders), senders)
    seconds = sum(spent for _, spent in steps)
    total = sum(count for count, _ in steps)
    compared = max(1, int(min(WINDOW_SECONDS, seconds / 4) / STEP_SECONDS))
    first, last = _rate(steps[:compared]), _rate(steps[-compared:])
    is_complete = total >= MESSAGES
    note = "" if is_complete else f" (stopped at the time limit before {MESSAGES:,})"
    print(f"  {total:,} messages in {seconds:.0f} s{note}")
    print(f"  compared: the first and the last {compared * STEP_SECONDS:.0f} s")
    name = f"growth to {MESSAGES if is_complete else total:,} messages"
    return [
        Figure(f"{name}, first", first, "/s"),
        Figure(f"{name}, last", last, "/s"),
        Figure(f"{name}, last over first", last / first, "×", minimum=MIN_SPEED_RATIO),
    ]


async def _steps(bench: Bench, senders: list[Sender]) -> list[tuple[int, float]]:
    """Return messages and seconds of each step, up to MESSAGES or MAX_SECONDS."""
    steps: list[tuple[int, float]] = []
    began = time.perf_counter()
    total, last_time = sum(sender.acks for sender in senders), began
    target = total + MESSAGES
    while total < target and last_time - began < MAX_SECONDS:
        with bench.shares(f"{total:,} messages"):
            await asyncio.sleep(STEP_SECONDS)
        assert not any(sender.error for sender in senders), "a send was rejected"
        for sender in senders:
            sender.latencies.clear()
        now, acks = time.perf_counter(), sum(sender.acks for sender in senders)
        steps.append((acks - total, now - last_time))
        total, last_time = acks, now
    return steps


def _rate(steps: list[tuple[int, float]]) -> float:
    return sum(count for count, _ in steps) / sum(spent for _, spent in steps)
