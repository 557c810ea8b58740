"""A webhook receiver on a real socket: it records requests and answers as the test wants."""

import asyncio
import json
from collections.abc import AsyncIterator, Callable
from contextlib import asynccontextmanager, suppress
from dataclasses import dataclass, field
from typing import Any

from standardwebhooks.webhooks import Webhook

LOOPBACK = {"webhook_allowed_hosts": "127.0.0.0/8"}


@dataclass
class Request:
    path: str
    headers: dict[str, str]
    body: bytes

    @property
    def event(self) -> dict[str, Any]:
        event: dict[str, Any] = json.loads(self.body)
        return event

    @property
    def event_id(self) -> str:
        return self.headers["webhook-id"]

    def verify(self, secret: str) -> dict[str, Any]:
        """Verify the signature with the library for receivers. Raises WebhookVerificationError."""
        event: dict[str, Any] = Webhook(secret).verify(self.body, self.headers)
        return event


Answer = Callable[[Request], int | str]
"""Returns a status or a complete HTTP response."""


@dataclass
class Receiver:
    answer: Answer
    port: int = 0
    received: list[Request] = field(default_factory=list)  # all requests, answered or not
    requests: list[Request] = field(default_factory=list)  # answered requests
    hold: asyncio.Event | None = None  # while it exists and is not set, nothing is answered
    writers: set[asyncio.StreamWriter] = field(default_factory=set)

    @property
    def url(self) -> str:
        return f"http://127.0.0.1:{self.port}/hook"

    @property
    def accepted(self) -> list[Request]:
        return [request for request in self.requests if request.headers["answered"] == "200"]

    def events(self) -> list[tuple[str, int]]:
        """Return type and version of the accepted events."""
        return [(request.event["type"], request.event.get("version", 0)) for request in self.accepted]

    async def serve(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        self.writers.add(writer)
        try:
            with suppress(OSError, asyncio.IncompleteReadError):
                while True:
                    request = await _read_request(reader)
                    self.received.append(request)
                    if self.hold is not None:
                        await self.hold.wait()
                    answer = self.answer(request)
                    request.headers["answered"] = str(answer)
                    self.requests.append(request)
                    if isinstance(answer, int):
                        answer = f"HTTP/1.1 {answer} X\r\nContent-Length: 2\r\n\r\nok"
                    writer.write(answer.encode())
                    await writer.drain()
        finally:
            self.writers.discard(writer)
            writer.transport.abort()


async def _read_request(reader: asyncio.StreamReader) -> Request:
    head = (await reader.readuntil(b"\r\n\r\n")).decode()
    first, *lines = head.strip().split("\r\n")
    headers = {name.lower(): value for name, _, value in (line.partition(": ") for line in lines)}
    return Request(first.split()[1], headers, await reader.readexactly(int(headers["content-length"])))


@asynccontextmanager
async def receiving(answer: Answer = lambda request: 200) -> AsyncIterator[Receiver]:
    receiver = Receiver(answer)
    server = await asyncio.start_server(receiver.serve, "127.0.0.1", 0)
    receiver.port = server.sockets[0].getsockname()[1]
    try:
        yield receiver
    finally:
        server.close()
        for writer in list(receiver.writers):
            writer.transport.abort()
