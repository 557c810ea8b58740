"""History over HTTP: pages per second, and the cost of a page in a long chat relative to a short one."""

import asyncio
import time
from collections.abc import Callable
from dataclasses import dataclass, field
from itertools import count

from bench import http_client, seed
from bench.figures import Figure, percentile
from bench.http_client import HttpClient, Request, run_requests
from bench.server import Bench, serving

CLIENTS = 16
CHATS = 4
"""Each is read by the same number of clients."""
MESSAGES = 20_000
SECONDS = 2.0
ROUNDS = 3
MIN_RATIO_NEWEST = 0.8
MIN_RATIO_OLDER = 0.5
CONTENT = "x" * 40

SHORT, LONG = 1_000, 1_000_000
REQUESTS = 400
"""Per kind of page and chat."""
MAX_DEPTH_RATIO = 1.2
MIDDLE_POSITIONS = (0.46, 0.48, 0.5, 0.52, 0.54)
"""Where the middle pages begin, as fractions of the chat."""


@dataclass
class Run:
    """The same requests by all clients, measured in several rounds."""

    bench: Bench
    requests: list[tuple[HttpClient, Request]]
    latencies: list[float] = field(default_factory=list)
    seconds: float = 0.0
    server_seconds: float = 0.0
    """CPU time of the server process."""

    async def measure(self, name: str) -> None:
        """Run one round, and print who used the CPU."""
        before = self.bench.server_clock.seconds()
        with self.bench.shares(name):
            latencies, seconds = await run_requests(self.requests, SECONDS)
        self.server_seconds += self.bench.server_clock.seconds() - before
        self.latencies += latencies
        self.seconds += seconds

    def figures(
        self, name: str, ceiling: "Run | None" = None, min_ratio: float | None = None
    ) -> list[Figure]:
        done = len(self.latencies)
        return [
            Figure(name, self.rate, "/s", ceiling.rate if ceiling else None, min_ratio),
            Figure(f"{name}, p99", 1000 * percentile(self.latencies, 0.99), "ms"),
            Figure(f"{name}, CPU of the server", 1e6 * self.server_seconds / done, "µs"),
        ]

    @property
    def rate(self) -> float:
        return len(self.latencies) / self.seconds


async def pages() -> list[Figure]:
    """Measure pages per second, in turns with a constant response of the same size.

    The newest page is cached. Pages at changing positions are not. For information: the changes of 50
    messages, and the overview of all chats.
    """
    async with serving() as bench:
        async with bench.database() as connection:
            tokens = await seed.people(bench, connection, CLIENTS)
            await seed.chats(connection, [list(range(1, CLIENTS + 1))] * CHATS)
            for chat_id in range(1, CHATS + 1):
                await seed.messages(connection, chat_id, CLIENTS, CONTENT, MESSAGES)
            await connection.execute("VACUUM ANALYZE messages")
        clients = await http_client.open_all(bench, tokens)
        size = len(_body(await _get(_newest(1))(clients[0])))

        def by_each(request_of: Callable[[int], Request]) -> Run:
            return Run(bench, [(client, request_of(number)) for number, client in enumerate(clients)])

        constant = by_each(lambda _: _get(f"/api/constant/{size}"))
        newest = by_each(lambda number: _get(_newest(1 + number % CHATS)))
        older = by_each(_get_older)
        changes = by_each(lambda number: _get(_changes(1 + number % CHATS)))
        overview = by_each(lambda _: _get("/api/sync"))
        runs = {
            "constant": constant,
            "newest": newest,
            "older": older,
            "changes": changes,
            "sync": overview,
        }
        for run in runs.values():
            await run_requests(run.requests, 1.0)  # warm up
        for _ in range(ROUNDS):
            for name, run in runs.items():
                await run.measure(name)
        for client in clients:
            client.close()
    print(f"  a page has {size:,} bytes")
    prefix = "history over HTTP, 16 clients"
    return [
        *newest.figures(f"{prefix}, newest 50", constant, MIN_RATIO_NEWEST),
        *older.figures(f"{prefix}, 50 past the cache", constant, MIN_RATIO_OLDER),
        *changes.figures("changes over HTTP, 16 clients, 50 messages"),
        *overview.figures(f"overview over HTTP, 16 clients, {CHATS} chats"),
    ]


async def depth() -> list[Figure]:
    """Compare median latencies of pages in chats of 10^3 and 10^6 messages."""
    async with serving() as bench:
        async with bench.database() as connection:
            (token,) = await seed.people(bench, connection, 1)
            await seed.chats(connection, [[1], [1]])
            for chat_id, length in enumerate((SHORT, LONG), 1):
                print(f"  filling a chat with {length:,} messages …", flush=True)
                await seed.messages(connection, chat_id, 1, CONTENT, length)
            await connection.execute("VACUUM ANALYZE messages")
        client = await HttpClient(bench.host, bench.port, token).open()
        with bench.shares("pages"):
            figures = [
                *await _compare(client, "newest 50", _newest(1), _newest(2)),
                *await _compare(client, "newest 50, without the cache", _before(1, 1.0), _before(2, 1.0)),
                *await _compare(
                    client,
                    "a middle page",
                    *(
                        path
                        for place in MIDDLE_POSITIONS
                        for path in (_before(1, place), _before(2, place))
                    ),
                ),
            ]
        client.close()
    return figures


async def _compare(client: HttpClient, name: str, *paths: str) -> list[Figure]:
    """Request the paths in turn. They alternate between the short chat and the long one."""
    took: tuple[list[float], list[float]] = ([], [])
    for number in range(2 * REQUESTS + 20):
        began = time.perf_counter()
        response = await client.request("GET", paths[number % len(paths)])
        seconds = time.perf_counter() - began
        assert response[9:12] == b"200", response
        assert response.count(b'"client_id"') == 50, "a page has 50 messages"
        if number >= 20:  # the first ones warm up
            took[number % 2].append(1000 * seconds)
    short, long = (percentile(times, 0.5) for times in took)
    name = f"history, {name}, 10^6 messages"
    return [
        Figure(f"{name}, p50", long, "ms"),
        Figure(f"{name} over 10^3", long / short, "×", maximum=MAX_DEPTH_RATIO),
    ]


def _newest(chat_id: int) -> str:
    return f"/api/chats/{chat_id}/messages?limit=50"


def _get_older(number: int) -> Request:
    """Return requests of pages at positions all over a chat: each client begins elsewhere."""
    chat_id, positions = 1 + number % CHATS, count(number * 1009, 97)
    span = MESSAGES - 100

    def request(client: HttpClient) -> asyncio.Future[bytes]:
        before = 51 + next(positions) % span
        return client.request("GET", f"{_newest(chat_id)}&before={before}")

    return request


def _changes(chat_id: int) -> str:
    return f"/api/chats/{chat_id}/changes?after={MESSAGES + 1 - 50}"


def _before(chat_id: int, share: float) -> str:
    length = SHORT if chat_id == 1 else LONG
    return f"{_newest(chat_id)}&before={int(length * share) + 1}"


def _get(path: str) -> Request:
    return lambda client: client.request("GET", path)


def _body(response: bytes) -> bytes:
    return response.partition(b"\r\n\r\n")[2]
