"""An HTTP/1.1 client that costs little CPU: one connection, one request in flight."""

import asyncio
import time
from collections.abc import Callable, Sequence

from bench.server import Bench

Request = Callable[["HttpClient"], asyncio.Future[bytes]]
"""Sends a request on a client; the future returns the response."""


class HttpClient(asyncio.Protocol):
    """One keep-alive connection."""

    def __init__(self, host: str, port: int, token: str = "") -> None:
        self._host, self._port = host, port
        self._head = f"Host: {host}\r\nContent-Type: application/json\r\n"
        if token:
            self._head += f"Authorization: Bearer {token}\r\n"
        self._buffer = b""
        self._response_bytes = -1  # size of the response with its head; -1 until the head has arrived
        self._response: asyncio.Future[bytes] | None = None

    async def open(self) -> "HttpClient":
        loop = asyncio.get_running_loop()
        self._transport, _ = await loop.create_connection(lambda: self, self._host, self._port)
        return self

    def close(self) -> None:
        self._transport.close()

    def request(self, method: str, path: str, body: bytes = b"") -> asyncio.Future[bytes]:
        """Send a request; the future returns the whole response, head and body."""
        self._response = asyncio.get_running_loop().create_future()
        head = f"{method} {path} HTTP/1.1\r\n{self._head}Content-Length: {len(body)}\r\n\r\n"
        self._transport.write(head.encode() + body)
        return self._response

    def data_received(self, data: bytes) -> None:
        self._buffer += data
        if self._response_bytes < 0:
            end = self._buffer.find(b"\r\n\r\n")
            if end < 0:
                return
            head = self._buffer[:end].lower()
            start = head.find(b"content-length:") + 15
            self._response_bytes = end + 4 + int(head[start:].split(b"\r\n", 1)[0])
        if len(self._buffer) >= self._response_bytes and self._response is not None:
            response, self._buffer, self._response_bytes = self._buffer, b"", -1
            self._response.set_result(response)

    def connection_lost(self, error: Exception | None) -> None:
        if self._response is not None and not self._response.done():
            self._response.set_exception(ConnectionError("the server closed the connection"))


async def open_all(bench: Bench, tokens: Sequence[str]) -> list[HttpClient]:
    """Open a client per token."""
    return [await HttpClient(bench.host, bench.port, token).open() for token in tokens]


async def run_requests(
    requests: Sequence[tuple[HttpClient, Request]], seconds: float
) -> tuple[list[float], float]:
    """Repeat each client's request for `seconds`; return all latencies and the whole duration, in
    seconds."""
    began = time.perf_counter()
    latencies: list[float] = []

    async def repeat(client: HttpClient, request: Request) -> None:
        now = time.perf_counter()
        while now - began < seconds:
            response = await request(client)
            assert response[9:10] == b"2", response
            before, now = now, time.perf_counter()
            latencies.append(now - before)

    await asyncio.gather(*(repeat(*each) for each in requests))
    return latencies, time.perf_counter() - began
