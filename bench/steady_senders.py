"""Two users who send at a steady pace from a separate process: the effect of a scenario on other users.

The process answers each line of its input with the number of messages that were acknowledged since the last
line, and with the 99th percentile and the maximum of their latencies in seconds. A message that still waits
counts with its waiting time.
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

MESSAGES_PER_SECOND = 20
"""Messages of each user, sent on time even if earlier ones are not acknowledged."""


async def _run(host: str, port: int, chat_id: int, tokens: list[str]) -> None:
    senders = [Sender(send(chat_id, "x" * 40)) for _ in tokens]
    for sender, token in zip(senders, tokens, strict=True):
        await connect.log_in(host, port, sender, token, connect.ADDRESSES[0])
    sending_task = asyncio.create_task(_send(senders))
    print("sending", flush=True)
    while await asyncio.to_thread(sys.stdin.readline):
        print(*_since_last(senders), flush=True)
        if sending_task.done():
            await sending_task
    sending_task.cancel()


async def _send(senders: list[Sender]) -> None:
    began, number = time.perf_counter(), 0
    while True:
        for sender in senders:
            number += 1
            await asyncio.sleep(began + number / (MESSAGES_PER_SECOND * len(senders)) - time.perf_counter())
            assert not sender.error, sender.error
            sender.send()


def _since_last(senders: list[Sender]) -> tuple[int, float, float]:
    now = time.perf_counter()
    latencies = [latency for sender in senders for latency in sender.latencies]
    for sender in senders:
        sender.latencies.clear()
        if sender.oldest_sent is not None:
            latencies.append(now - sender.oldest_sent)
    return len(latencies), percentile(latencies, 0.99) if latencies else 0.0, max(latencies, default=0.0)


class Latencies(NamedTuple):
    """The number of messages, and their latencies in seconds."""

    messages: int
    p99: float
    slowest: float


@dataclass(frozen=True)
class SteadySenders:
    """The handle of the process in the load generator."""

    process: asyncio.subprocess.Process

    async def latencies(self) -> Latencies:
        """Return the number and latencies of messages since the last call."""
        assert self.process.stdin is not None
        assert self.process.stdout is not None
        self.process.stdin.write(b"\n")
        async with asyncio.timeout(10):
            messages, p99, slowest = (await self.process.stdout.readline()).split()
        return Latencies(int(messages), float(p99), float(slowest))


@asynccontextmanager
async def sending(bench: Bench, chat_id: int, tokens: list[str]) -> AsyncIterator[SteadySenders]:
    """Run the process until the end of the block. `tokens` are those of its users, who are members of the
    chat."""
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
        yield SteadySenders(process)
    finally:
        process.terminate()
        await process.wait()


if __name__ == "__main__":
    host, port, chat_id, *tokens = sys.argv[1:]
    with asyncio.Runner(loop_factory=uvloop.new_event_loop) as runner:
        runner.run(_run(host, int(port), int(chat_id), tokens))
