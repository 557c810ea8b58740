"""Two users who talk at a steady pace, in a process of their own: what others notice of a storm.

Run as a process. It answers each line of its input with how many messages were acknowledged since the last
one, and the 99th percentile and the longest of what they took or have been waiting, in seconds.
"""

import asyncio
import sys
import time
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from dataclasses import dataclass
from typing import NamedTuple

import uvloop

from bench import connect
from bench.figures import percentile
from bench.server import Bench
from bench.socket_client import Sender, send

A_SECOND = 20
"""Messages of each of the two, sent on time whether or not those before them are acknowledged."""


async def _talk(host: str, port: int, chat_id: int, tokens: list[str]) -> None:
    senders = [Sender(send(chat_id, "x" * 40)) for _ in tokens]
    for sender, token in zip(senders, tokens, strict=True):
        await connect.log_in(host, port, sender, token, connect.ADDRESSES[0])
    talking = asyncio.create_task(_send(senders))
    print("talking", flush=True)
    while await asyncio.to_thread(sys.stdin.readline):
        print(*_since_last(senders), flush=True)
        if talking.done():
            await talking
    talking.cancel()


async def _send(senders: list[Sender]) -> None:
    began, number = time.perf_counter(), 0
    while True:
        for sender in senders:
            number += 1
            await asyncio.sleep(began + number / (A_SECOND * len(senders)) - time.perf_counter())
            assert not sender.trouble, sender.trouble
            sender.send()


def _since_last(senders: list[Sender]) -> tuple[int, float, float]:
    now = time.perf_counter()
    took = [latency for sender in senders for latency in sender.latencies]
    for sender in senders:
        sender.latencies.clear()
        if sender.waiting_since is not None:
            took.append(now - sender.waiting_since)
    return len(took), percentile(took, 0.99) if took else 0.0, max(took, default=0.0)


class Took(NamedTuple):
    messages: int
    p99: float
    worst: float


@dataclass(frozen=True)
class Pair:
    """The process, seen from the bench."""

    process: asyncio.subprocess.Process

    async def took(self) -> Took:
        """How many messages since this was asked last, and how long they took, in seconds."""
        assert self.process.stdin is not None
        assert self.process.stdout is not None
        self.process.stdin.write(b"\n")
        async with asyncio.timeout(10):
            messages, p99, worst = (await self.process.stdout.readline()).split()
        return Took(int(messages), float(p99), float(worst))


@asynccontextmanager
async def talking(bench: Bench, chat_id: int, tokens: list[str]) -> AsyncIterator[Pair]:
    """Two users, by their tokens, talk in a chat for as long as the block takes."""
    process = await asyncio.create_subprocess_exec(
        sys.executable,
        *("-m", "bench.steady_senders", bench.host, str(bench.port), str(chat_id), *tokens),
        stdin=asyncio.subprocess.PIPE,
        stdout=asyncio.subprocess.PIPE,
    )
    try:
        assert process.stdout is not None
        async with asyncio.timeout(10):
            await process.stdout.readline()
        yield Pair(process)
    finally:
        process.terminate()
        await process.wait()


if __name__ == "__main__":
    host, port, chat_id, *tokens = sys.argv[1:]
    with asyncio.Runner(loop_factory=uvloop.new_event_loop) as runner:
        runner.run(_talk(host, int(port), int(chat_id), tokens))
