"""64 keep-alive clients send over HTTP, each waiting for its answer; the ceiling is a constant answer."""

import asyncio
import time
from collections.abc import Callable

import psutil

from bench.figures import Figure
from bench.http import Client
from bench.server import Bench, serving

CLIENTS = 64
SECONDS = 6.0
MUST = 0.5
BODY = b'{"content":"' + b"x" * 40 + b'"}'


async def run() -> list[Figure]:
    async with serving() as bench:
        senders = await _people(bench)
        for path in (_constant, _send):  # warm up
            await _rate(senders, path, 1.0)
        ceilings, rates, late = [], [], []
        for _ in range(2):
            ceilings.append((await _rate(senders, _constant, SECONDS / 2))[0])
            before = (bench.server_seconds(), bench.postgres_seconds(), psutil.Process().cpu_times().user)
            began = time.perf_counter()
            rate, latencies = await _rate(senders, _send, SECONDS / 2)
            spent = time.perf_counter() - began
            rates.append(rate)
            late += latencies
        late.sort()
        after = (bench.server_seconds(), bench.postgres_seconds(), psutil.Process().cpu_times().user)
        cpu = [(b - a) / spent for a, b in zip(before, after, strict=True)]
        print(
            f"CPU while sending: server {cpu[0]:.2f}, PostgreSQL {cpu[1]:.2f}, load generator {cpu[2]:.2f}"
        )
        for client, _ in senders:
            client.close()
    rate, ceiling = sum(rates) / len(rates), sum(ceilings) / len(ceilings)
    return [
        Figure("sends over HTTP, 64 clients", rate, "/s", ceiling, MUST),
        Figure("sends over HTTP, p50", 1000 * late[len(late) // 2], "ms"),
        Figure("sends over HTTP, p99", 1000 * late[len(late) * 99 // 100], "ms"),
    ]


async def _people(bench: Bench) -> list[tuple[Client, int]]:
    """A client for each of 64 users, and the id of a chat of each with the next."""
    anonymous = await Client(bench.host, bench.port).open()
    senders = []
    for number in range(CLIENTS):
        name = f"user{number}"
        account = {"username": name, "email": f"{name}@example.com", "password": "password"}
        await anonymous.json("POST", "/api/auth/register", account)
    for number in range(CLIENTS):
        tokens = await _log_in(bench, f"user{number}")
        client = await Client(bench.host, bench.port, tokens).open()
        other = (number + 1) % CLIENTS + 1
        chat = await client.json("POST", "/api/chats", {"user_ids": [other], "is_group_chat": True})
        senders.append((client, chat["id"]))
    anonymous.close()
    return senders


async def _log_in(bench: Bench, name: str) -> str:
    client = Client(bench.host, bench.port)
    client._head = client._head.replace("application/json", "application/x-www-form-urlencoded")
    await client.open()
    answer = await client.ask("POST", "/api/auth/login", f"username={name}&password=password".encode())
    client.close()
    return answer.partition(b'"access_token":"')[2].partition(b'"')[0].decode()


def _constant(client: Client, chat_id: int) -> asyncio.Future[bytes]:
    return client.ask("POST", "/api/constant", BODY)


def _send(client: Client, chat_id: int) -> asyncio.Future[bytes]:
    return client.ask("POST", f"/api/chats/{chat_id}/messages", BODY)


async def _rate(
    senders: list[tuple[Client, int]],
    ask: Callable[[Client, int], asyncio.Future[bytes]],
    seconds: float,
) -> tuple[float, list[float]]:
    """Answers a second over all clients, and how long each took."""
    began = time.perf_counter()
    latencies: list[float] = []

    async def client(client: Client, chat_id: int) -> None:
        now = time.perf_counter()
        while now - began < seconds:
            answer = await ask(client, chat_id)
            assert answer[9:12] == b"201", answer
            before, now = now, time.perf_counter()
            latencies.append(now - before)

    await asyncio.gather(*(client(*sender) for sender in senders))
    return len(latencies) / (time.perf_counter() - began), latencies
