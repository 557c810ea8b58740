"""Sends per second over HTTP of 64 keep-alive clients; the ceiling is a constant response."""

import asyncio

from bench import http_client, seed
from bench.figures import Figure, percentile
from bench.http_client import HttpClient, Request, run_requests
from bench.server import serving

CLIENTS = 64
SECONDS = 2.0
ROUNDS = 3
MIN_RATIO = 0.5
BODY = b'{"content":"' + b"x" * 40 + b'"}'


async def run() -> list[Figure]:
    async with serving() as bench:
        async with bench.database() as connection:
            tokens = await seed.people(bench, connection, CLIENTS)
            await seed.chats(connection, [[user, user % CLIENTS + 1] for user in range(1, CLIENTS + 1)])
        clients = await http_client.open_all(bench, tokens)
        constants = [(client, _constant) for client in clients]
        sends = [(client, _send_to(chat_id)) for chat_id, client in enumerate(clients, 1)]
        late: list[float] = []
        answers, answering, sending = 0, 0.0, 0.0
        for requests in (constants, sends):
            await run_requests(requests, 1.0)  # warm up
        for _ in range(ROUNDS):
            latencies, seconds = await run_requests(constants, SECONDS)
            answers, answering = answers + len(latencies), answering + seconds
            with bench.shares("sending"):
                latencies, seconds = await run_requests(sends, SECONDS)
            late, sending = late + latencies, sending + seconds
        for client in clients:
            client.close()
    name = "sends over HTTP, 64 clients"
    return [
        Figure(name, len(late) / sending, "/s", answers / answering, MIN_RATIO),
        Figure(f"{name}, p50", 1000 * percentile(late, 0.5), "ms"),
        Figure(f"{name}, p99", 1000 * percentile(late, 0.99), "ms"),
    ]


def _constant(client: HttpClient) -> asyncio.Future[bytes]:
    return client.request("POST", "/api/constant", BODY)


def _send_to(chat_id: int) -> Request:
    return lambda client: client.request("POST", f"/api/chats/{chat_id}/messages", BODY)
