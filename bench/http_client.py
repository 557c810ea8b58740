"""An HTTP/1.1 client too cheap to be what is measured: one connection, one request in flight."""

import asyncio
import time
from collections.abc import Callable, Sequence

from bench.server import Bench

Ask = Callable[["Client"], asyncio.Future[bytes]]
"""Sends a client's request; the future has the answer."""


class Client(asyncio.Protocol):
    def __init__(self, host: str, port: int, token: str = "") -> None:
        self._host, self._port = host, port
        self._head = f"Host: {host}\r\nContent-Type: application/json\r\n"
        if token:
            self._head += f"Authorization: Bearer {token}\r\n"
        self._buffer = b""
        self._need = -1  # bytes of the answer, once its head is there
        self._answer: asyncio.Future[bytes] | None = None

    async def open(self) -> "Client":
        loop = asyncio.get_running_loop()
        self._transport, _ = await loop.create_connection(lambda: self, self._host, self._port)
        return self

    def close(self) -> None:
        self._transport.close()

    def ask(self, method: str, path: str, body: bytes = b"") -> asyncio.Future[bytes]:
        """Send a request; the future has the whole answer, head and body."""
        self._answer = asyncio.get_running_loop().create_future()
        head = f"{method} {path} HTTP/1.1\r\n{self._head}Content-Length: {len(body)}\r\n\r\n"
        self._transport.write(head.encode() + body)
        return self._answer

    def data_received(self, data: bytes) -> None:
        self._buffer += data
        if self._need < 0:
            end = self._buffer.find(b"\r\n\r\n")
            if end < 0:
                return
            head = self._buffer[:end].lower()
            start = head.find(b"content-length:") + 15
            self._need = end + 4 + int(head[start:].split(b"\r\n", 1)[0])
        if len(self._buffer) >= self._need and self._answer is not None:
            answer, self._buffer, self._need = self._buffer, b"", -1
            self._answer.set_result(answer)

    def connection_lost(self, error: Exception | None) -> None:
        if self._answer is not None and not self._answer.done():
            self._answer.set_exception(ConnectionError("the server closed the connection"))


async def open_all(bench: Bench, tokens: Sequence[str]) -> list[Client]:
    """A client for each token."""
    return [await Client(bench.host, bench.port, token).open() for token in tokens]


async def answered(asks: Sequence[tuple[Client, Ask]], seconds: float) -> tuple[list[float], float]:
    """Have each client ask again and again; gives how long each answer took, and how long all that."""
    began = time.perf_counter()
    latencies: list[float] = []

    async def go_on(client: Client, ask: Ask) -> None:
        now = time.perf_counter()
        while now - began < seconds:
            answer = await ask(client)
            assert answer[9:10] == b"2", answer
            before, now = now, time.perf_counter()
            latencies.append(now - before)

    await asyncio.gather(*(go_on(*each) for each in asks))
    return latencies, time.perf_counter() - began
