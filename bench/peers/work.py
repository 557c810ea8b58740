"""How a round is measured: what clients send, and what must have arrived."""

import asyncio
import time
from collections.abc import Callable
from dataclasses import dataclass
from typing import Protocol

from bench.peers.peer import Clients

TIMEOUT_SECONDS = 30
POLL_SECONDS = 0.002


@dataclass(frozen=True)
class Round:
    """What one server did in one round."""

    count: int
    seconds: float


class Measurement(Protocol):
    """One kind of load on the clients of one server."""

    async def run(self, seconds: float) -> Round:
        """Send for so long; the round ends when all has arrived. Raises AssertionError for lost or doubled
        deliveries, TimeoutError."""


class Requests:
    """Clients repeat their request, each as soon as the one before is acknowledged: all, or the first."""

    def __init__(self, clients: Clients, *, only_first: bool = False) -> None:
        self._clients = clients
        self._senders = clients.sockets[:1] if only_first else clients.sockets

    async def run(self, seconds: float) -> Round:
        """Count the acknowledged requests."""
        acks_before, deliveries_before = self._acks(), self._deliveries()
        began = time.perf_counter()
        for sender in self._senders:
            sender.start()
        await asyncio.sleep(seconds)
        for sender in self._senders:
            sender.stop()
        await _wait_until(lambda: not any(sender.in_flight for sender in self._senders))
        acks = self._acks() - acks_before
        expected = acks * self._clients.deliveries
        await _wait_until(lambda: self._deliveries() - deliveries_before >= expected)
        spent = time.perf_counter() - began
        assert self._deliveries() - deliveries_before == expected, "a message was delivered twice"
        return Round(acks, spent)

    def _acks(self) -> int:
        return sum(sender.acks for sender in self._senders)

    def _deliveries(self) -> int:
        return sum(socket.deliveries for socket in self._clients.sockets)


async def _wait_until(is_done: Callable[[], bool]) -> None:
    """Raises TimeoutError."""
    end = time.perf_counter() + TIMEOUT_SECONDS
    while not is_done():
        await asyncio.sleep(POLL_SECONDS)
        if time.perf_counter() > end:
            raise TimeoutError("an acknowledgement or a delivery is missing")


class ClosedLoop:
    """One client sends its next message as soon as all others have the one before."""

    def __init__(self, clients: Clients) -> None:
        self._sender, *self._listeners = clients.sockets
        self._messages = 0
        self._missing = 0  # deliveries of the message in flight
        self._end = 0.0
        self._done: asyncio.Future[None] | None = None  # set during a round
        for listener in self._listeners:
            listener.on_delivery = self._delivered

    async def run(self, seconds: float) -> Round:
        """Count the deliveries to the other clients."""
        before, messages = [each.deliveries for each in self._listeners], self._messages
        self._done = asyncio.get_running_loop().create_future()
        began = time.perf_counter()
        self._end = began + seconds
        self._send()
        async with asyncio.timeout(seconds + TIMEOUT_SECONDS):
            await self._done
        spent = time.perf_counter() - began
        sent = self._messages - messages
        for listener, earlier in zip(self._listeners, before, strict=True):
            assert listener.deliveries - earlier == sent, "a message is missing, or was delivered twice"
        return Round(sent * len(self._listeners), spent)

    def _send(self) -> None:
        self._messages += 1
        self._missing = len(self._listeners)
        self._sender.send()

    def _delivered(self, count: int) -> None:
        self._missing -= count
        if self._missing > 0 or self._done is None or self._done.done():
            return
        if self._missing < 0:
            self._done.set_exception(AssertionError("a message was delivered twice"))
        elif time.perf_counter() < self._end:
            self._send()
        else:
            self._done.set_result(None)
