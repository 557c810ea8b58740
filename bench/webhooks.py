"""Webhooks: how many events a second one receiver is told, and how long an event takes to get there."""

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
from bench.http_client import Client
from bench.server import Bench, serving
from blazechat.jobs.concurrency import MAX_LANES_PER_WEBHOOK

ANSWER = b"HTTP/1.1 200 OK\r\nContent-Length: 0\r\n\r\n"
CONTENT = "x" * 40
CLIENTS = 8
CHATS = 2_000
EVENTS = 2_000
PACE, SECONDS = 50, 10
PATIENCE = 120.0


class Receiver(asyncio.Protocol):
    """Answers at once, and keeps what came when; one for all connections of a server."""

    def __init__(self, told: "Told") -> None:
        self._told = told
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
            self._told.take(body)
            self._transport.write(ANSWER)


class Told:
    """What a receiver was told: when the messages of each chat came."""

    def __init__(self) -> None:
        self.url = ""
        self.count = 0
        self.size = 0
        self.at: dict[int, list[float]] = defaultdict(list)
        self.ids: dict[int, list[int]] = defaultdict(list)

    def take(self, body: bytes) -> None:
        self.count += 1
        self.size = len(body)
        if not body.startswith(b"{"):  # of the ceiling
            return
        event = json.loads(body)
        self.at[event["chat_id"]].append(time.perf_counter())
        self.ids[event["chat_id"]].append(event["message"]["id"])

    async def until(self, count: int) -> None:
        async with asyncio.timeout(PATIENCE):
            while self.count < count:  # noqa: ASYNC110 (bounded, and cheap)
                await asyncio.sleep(0.002)


async def run() -> list[Figure]:
    async with receiving() as told, serving(BLAZECHAT_WEBHOOK_ALLOWED_HOSTS="127.0.0.0/8") as bench:
        async with bench.database() as connection:
            tokens = await seed.people(bench, connection, CLIENTS)
            await seed.chats(connection, [list(range(1, CLIENTS + 1))] * (CHATS + 1))
            await connection.execute("UPDATE users SET is_admin = true WHERE id = 1")
        clients = await http_client.open_all(bench, tokens)
        hook = json.dumps({"url": told.url, "events": ["message.created"]})
        assert (await clients[0].ask("POST", "/api/webhooks", hook.encode()))[9:12] == b"201"
        spread = [1 + number % CHATS for number in range(EVENTS)]
        await _deliver(bench, clients, told, spread[:200], "warming up")
        many = await _deliver(bench, clients, told, spread, "one event in each of 2,000 chats")
        one = await _deliver(bench, clients, told, [CHATS + 1] * EVENTS, "2,000 events in one chat")
        late = await _paced(bench, clients[0], told)
        for client in clients:
            client.close()
        for ids in told.ids.values():
            assert ids == list(range(1, len(ids) + 1)), "something was lost, doubled or out of order"
        ceilings = {at_once: await _calls(told, at_once) for at_once in (MAX_LANES_PER_WEBHOOK, 1)}
    return [
        Figure(
            "webhooks, events of 2,000 chats, one receiver",
            many,
            "/s",
            ceilings[MAX_LANES_PER_WEBHOOK],
            0.25,
        ),
        Figure("webhooks, events of one chat", one, "/s", ceilings[1], 0.25),
        Figure(f"webhooks, {PACE} events/s, from send to receiver, p50", percentile(late, 0.5), "ms"),
        Figure(f"webhooks, {PACE} events/s, from send to receiver, p99", percentile(late, 0.99), "ms"),
    ]


@asynccontextmanager
async def receiving() -> AsyncIterator[Told]:
    told = Told()
    loop = asyncio.get_running_loop()
    server = await loop.create_server(lambda: Receiver(told), "127.0.0.1", 0)
    told.url = f"http://127.0.0.1:{server.sockets[0].getsockname()[1]}/hook"
    try:
        yield told
    finally:
        server.close()


async def _deliver(bench: Bench, clients: list[Client], told: Told, chats: list[int], what: str) -> float:
    """Send one message to each of the chats; events a second until the last of them was told."""
    due, count = iter(chats), told.count + len(chats)

    async def send(client: Client) -> None:
        for chat_id in due:
            await _send(client, chat_id)

    with bench.shares(what):
        began = time.perf_counter()
        await asyncio.gather(*map(send, clients))
        await told.until(count)
        return len(chats) / (time.perf_counter() - began)


async def _paced(bench: Bench, client: Client, told: Told) -> list[float]:
    """Milliseconds from each send to its arrival, at a pace that leaves room."""
    began, sent, count = time.perf_counter(), {}, told.count + PACE * SECONDS
    with bench.shares(f"{PACE} events/s"):
        for number in range(PACE * SECONDS):
            await asyncio.sleep(began + number / PACE - time.perf_counter())
            sent[1 + number] = time.perf_counter()
            await _send(client, 1 + number)
        await told.until(count)
    return [1000 * (told.at[chat_id][-1] - at) for chat_id, at in sent.items()]


async def _send(client: Client, chat_id: int) -> None:
    body = json.dumps({"content": CONTENT}).encode()
    answer = await client.ask("POST", f"/api/chats/{chat_id}/messages", body)
    assert answer[9:12] == b"201", answer


async def _calls(told: Told, at_once: int) -> float:
    """As many requests of the same size, by a program that does nothing else; a second."""
    arguments = [told.url, *map(str, (EVENTS, at_once, told.size))]
    process = await asyncio.create_subprocess_exec(
        sys.executable, "-m", "bench.bare_calls", *arguments, stdout=asyncio.subprocess.PIPE
    )
    output, _ = await process.communicate()
    return EVENTS / float(output)
