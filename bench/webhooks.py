"""Webhooks: events per second that one receiver gets, and the latency from a send to the receiver."""

import asyncio
import json
import sys
import time
from collections import defaultdict
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from typing import cast

from bench import http_client, seed
from bench.figures import Figure, percentile
from bench.http_client import HttpClient
from bench.server import Bench, serving
from blazechat.jobs.concurrency import MAX_LANES_PER_WEBHOOK

RESPONSE = b"HTTP/1.1 200 OK\r\nContent-Length: 0\r\n\r\n"
CONTENT = "x" * 40
CLIENTS = 8
CHATS = 2_000
EVENTS = 2_000
EVENTS_PER_SECOND, SECONDS = 50, 10
TIMEOUT_SECONDS = 120.0


class Receiver(asyncio.Protocol):
    """A protocol per connection of the receiver. It responds immediately and records each body."""

    def __init__(self, received: "Received") -> None:
        self._received = received
        self._buffer = b""

    def connection_made(self, transport: asyncio.BaseTransport) -> None:
        self._transport = cast(asyncio.Transport, transport)

    def data_received(self, data: bytes) -> None:
        self._buffer += data
        while (end := self._buffer.find(b"\r\n\r\n")) >= 0:
            head = self._buffer[:end].lower()
            size = int(head.partition(b"content-length: ")[2].partition(b"\r\n")[0])
            if len(self._buffer) < end + 4 + size:
                return
            body, self._buffer = self._buffer[end + 4 : end + 4 + size], self._buffer[end + 4 + size :]
            self._received.add(body)
            self._transport.write(RESPONSE)


class Received:
    """What the receiver got: message ids and arrival times per chat."""

    def __init__(self) -> None:
        self.url = ""
        self.count = 0
        self.size = 0
        self.arrived_at: dict[int, list[float]] = defaultdict(list)
        self.ids: dict[int, list[int]] = defaultdict(list)

    def add(self, body: bytes) -> None:
        self.count += 1
        self.size = len(body)
        if not body.startswith(b"{"):  # a request of the ceiling
            return
        event = json.loads(body)
        self.arrived_at[event["chat_id"]].append(time.perf_counter())
        self.ids[event["chat_id"]].append(event["message"]["id"])

    async def wait_for(self, count: int) -> None:
        """Wait until `count` requests have arrived."""
        async with asyncio.timeout(TIMEOUT_SECONDS):
            while self.count < count:  # noqa: ASYNC110 (bounded by the timeout, and cheap)
                await asyncio.sleep(0.002)


async def run() -> list[Figure]:
    """Measure events in many chats, events in one chat, and latencies at a steady pace."""
    async with receiving() as received, serving(BLAZECHAT_WEBHOOK_ALLOWED_HOSTS="127.0.0.0/8") as bench:
        async with bench.database() as connection:
            tokens = await seed.people(bench, connection, CLIENTS)
            await seed.chats(connection, [list(range(1, CLIENTS + 1))] * (CHATS + 1))
            await connection.execute("UPDATE users SET is_admin = true WHERE id = 1")
        clients = await http_client.open_all(bench, tokens)
        hook = json.dumps({"url": received.url, "events": ["message.created"]})
        assert (await clients[0].request("POST", "/api/webhooks", hook.encode()))[9:12] == b"201"
        spread = [1 + number % CHATS for number in range(EVENTS)]
        await _measure_rate(bench, clients, received, spread[:200], "warming up")
        many = await _measure_rate(bench, clients, received, spread, "one event in each of 2,000 chats")
        one = await _measure_rate(
            bench, clients, received, [CHATS + 1] * EVENTS, "2,000 events in one chat"
        )
        late = await _measure_latency(bench, clients[0], received)
        for client in clients:
            client.close()
        for ids in received.ids.values():
            assert ids == list(range(1, len(ids) + 1)), "an event was lost, duplicated or out of order"
        ceilings = {
            concurrent: await _measure_bare_calls(received, concurrent)
            for concurrent in (MAX_LANES_PER_WEBHOOK, 1)
        }
    return [
        Figure(
            "webhooks, events of 2,000 chats, one receiver",
            many,
            "/s",
            ceilings[MAX_LANES_PER_WEBHOOK],
            0.25,
        ),
        Figure("webhooks, events of one chat", one, "/s", ceilings[1], 0.25),
        Figure(
            f"webhooks, {EVENTS_PER_SECOND} events/s, from send to receiver, p50",
            percentile(late, 0.5),
            "ms",
        ),
        Figure(
            f"webhooks, {EVENTS_PER_SECOND} events/s, from send to receiver, p99",
            percentile(late, 0.99),
            "ms",
        ),
    ]


@asynccontextmanager
async def receiving() -> AsyncIterator[Received]:
    """Run the receiver until the end of the block."""
    received = Received()
    loop = asyncio.get_running_loop()
    server = await loop.create_server(lambda: Receiver(received), "127.0.0.1", 0)
    received.url = f"http://127.0.0.1:{server.sockets[0].getsockname()[1]}/hook"
    try:
        yield received
    finally:
        server.close()


async def _measure_rate(
    bench: Bench, clients: list[HttpClient], received: Received, chats: list[int], phase: str
) -> float:
    """Send a message to each of the chats; return the events per second until the last one has arrived."""
    due, count = iter(chats), received.count + len(chats)

    async def send(client: HttpClient) -> None:
        for chat_id in due:
            await _send(client, chat_id)

    with bench.shares(phase):
        began = time.perf_counter()
        await asyncio.gather(*map(send, clients))
        await received.wait_for(count)
        return len(chats) / (time.perf_counter() - began)


async def _measure_latency(bench: Bench, client: HttpClient, received: Received) -> list[float]:
    """Return the milliseconds from each send to its arrival, at a pace below the maximum."""
    began, sent, count = time.perf_counter(), {}, received.count + EVENTS_PER_SECOND * SECONDS
    with bench.shares(f"{EVENTS_PER_SECOND} events/s"):
        for number in range(EVENTS_PER_SECOND * SECONDS):
            await asyncio.sleep(began + number / EVENTS_PER_SECOND - time.perf_counter())
            sent[1 + number] = time.perf_counter()
            await _send(client, 1 + number)
        await received.wait_for(count)
    return [1000 * (received.arrived_at[chat_id][-1] - at) for chat_id, at in sent.items()]


async def _send(client: HttpClient, chat_id: int) -> None:
    body = json.dumps({"content": CONTENT}).encode()
    response = await client.request("POST", f"/api/chats/{chat_id}/messages", body)
    assert response[9:12] == b"201", response


async def _measure_bare_calls(received: Received, concurrent: int) -> float:
    """Return the requests per second of a process that only sends requests of the same size."""
    arguments = [received.url, *map(str, (EVENTS, concurrent, received.size))]
    process = await asyncio.create_subprocess_exec(
        sys.executable, "-m", "bench.bare_calls", *arguments, stdout=asyncio.subprocess.PIPE
    )
    output, _ = await process.communicate()
    return EVENTS / float(output)
