"""History over HTTP: pages per second, and the cost of a page in a long chat relative to a short one."""

import time

from bench import http_client, seed
from bench.figures import Figure, percentile
from bench.http_client import HttpClient, Request, run_requests
from bench.server import serving

CLIENTS = 16
CHATS = 4
"""Each is read by the same number of clients."""
MESSAGES = 1000
SECONDS = 2.0
ROUNDS = 3
MIN_RATIO = 0.5
CONTENT = "x" * 40

SHORT, LONG = 1_000, 1_000_000
REQUESTS = 400
"""Per kind of page and chat."""
MAX_DEPTH_RATIO = 1.2
MIDDLE_POSITIONS = (0.46, 0.48, 0.5, 0.52, 0.54)
"""Where the middle pages begin, as fractions of the chat."""


async def pages() -> list[Figure]:
    """Measure newest pages per second, in turns with a constant response of the same size."""
    async with serving() as bench:
        async with bench.database() as connection:
            tokens = await seed.people(bench, connection, CLIENTS)
            await seed.chats(connection, [list(range(1, CLIENTS + 1))] * CHATS)
            for chat_id in range(1, CHATS + 1):
                await seed.messages(connection, chat_id, CLIENTS, CONTENT, MESSAGES)
            await connection.execute("VACUUM ANALYZE messages")
        clients = await http_client.open_all(bench, tokens)
        pages = [(client, _get(_newest(number % CHATS + 1))) for number, client in enumerate(clients)]
        size = len(_body(await pages[0][1](clients[0])))
        constants = [(client, _get(f"/api/constant/{size}")) for client in clients]
        for requests in (constants, pages):
            await run_requests(requests, 1.0)  # warm up
        late: list[float] = []
        answers, answering, paging = 0, 0.0, 0.0
        for _ in range(ROUNDS):
            latencies, seconds = await run_requests(constants, SECONDS)
            answers, answering = answers + len(latencies), answering + seconds
            with bench.shares("newest pages"):
                latencies, seconds = await run_requests(pages, SECONDS)
            late, paging = late + latencies, paging + seconds
        for client in clients:
            client.close()
    print(f"  a page has {size:,} bytes")
    name = "history over HTTP, 16 clients, newest 50"
    return [
        Figure(name, len(late) / paging, "/s", answers / answering, MIN_RATIO),
        Figure(f"{name}, p99", 1000 * percentile(late, 0.99), "ms"),
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


def _before(chat_id: int, share: float) -> str:
    length = SHORT if chat_id == 1 else LONG
    return f"{_newest(chat_id)}&before={int(length * share) + 1}"


def _get(path: str) -> Request:
    return lambda client: client.request("GET", path)


def _body(response: bytes) -> bytes:
    return response.partition(b"\r\n\r\n")[2]
