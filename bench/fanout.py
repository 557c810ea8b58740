"""Fan-out in one chat of 1,000 sockets: deliveries per second, and their latency."""

import asyncio
import time
from collections.abc import AsyncIterator, Sequence
from contextlib import asynccontextmanager
from dataclasses import dataclass

import psutil

from bench import connect, seed
from bench.bare_server import BareServer, run_bare_server
from bench.connect import wait_until
from bench.cpu import CpuClock, generator_seconds, shares
from bench.figures import Figure, percentile
from bench.sends import measure
from bench.server import NO_RATE_LIMIT, Bench, serving
from bench.socket_client import EVENT, Sender, Socket, TimedSocket, send

SOCKETS = 1000
SENDERS = 4
IN_FLIGHT = 4
"""Messages of each sender."""
CONTENT = "x" * 200
SECONDS = 2.0
ROUNDS = 3
MIN_RATIO = 0.75
MESSAGES_PER_SECOND = 10
"""The pace of the latency scenario. The first second is not counted."""
LATENCY_SECONDS = 9.0


@dataclass(frozen=True)
class Room:
    """A server with one chat of all users, and a socket per user."""

    bench: Bench
    senders: list[Sender]
    listeners: Sequence[Socket]

    @property
    def sockets(self) -> list[Socket]:
        return [*self.senders, *self.listeners]


async def throughput() -> list[Figure]:
    """Measure deliveries per second, in turns with bare writes."""
    async with _room([Socket() for _ in range(SOCKETS - SENDERS)]) as room, run_bare_server() as bare:
        await connect.listen(bare.port, listeners := [Socket() for _ in range(SOCKETS)])
        await bare.wait_for_connections(SOCKETS)
        await _measure(room, 1.0, "warming up")
        frame = _frame_of_same_size(room.listeners[0])
        written, writing, sent, sending = 0, 0.0, 0, 0.0
        for _ in range(ROUNDS):
            count, seconds = await _measure_bare_writes(bare, listeners, frame)
            written, writing = written + count, writing + seconds
            count, seconds = await _measure(room, SECONDS, "fan-out")
            sent, sending = sent + SOCKETS * count, sending + seconds
        for listener in listeners:
            listener.drop()
    print(f"  a frame has {len(frame)} bytes")
    return [
        Figure(
            "fan-out, one chat of 1,000 sockets, deliveries",
            sent / sending,
            "/s",
            written / writing,
            MIN_RATIO,
        ),
        Figure("fan-out, messages", sent / sending / SOCKETS, "/s"),
    ]


async def _measure(room: Room, seconds: float, phase: str) -> tuple[int, float]:
    return await measure(
        room.bench,
        room.senders,
        room.sockets,
        in_flight=IN_FLIGHT,
        members=SOCKETS,
        seconds=seconds,
        phase=phase,
    )


async def latency() -> list[Figure]:
    """Measure the time from a send to each delivery, at a steady pace."""
    sent: list[float] = []
    listeners = [TimedSocket(sent) for _ in range(SOCKETS)]
    async with _room(listeners, senders=1) as room:
        (sender,) = room.senders
        with room.bench.shares(f"{MESSAGES_PER_SECOND} messages per second"):
            async for _ in _paced(LATENCY_SECONDS):
                sent.append(time.perf_counter())
                sender.send()
            await wait_until(lambda: all(each.events == len(sent) for each in listeners), room.sockets)
        bare_p99 = await _measure_bare_latency(_frame_of_same_size(listeners[0]))
    late = [1000 * each for listener in listeners for each in listener.latencies[MESSAGES_PER_SECOND:]]
    name = "fan-out latency, 1,000 sockets, 10 messages/s"
    return [
        Figure(f"{name}, p50", percentile(late, 0.5), "ms"),
        Figure(f"{name}, p99", percentile(late, 0.99), "ms", maximum=25),
        Figure(f"{name}, slowest", max(late), "ms"),
        Figure("bare writes to 1,000 sockets, p99", 1000 * bare_p99, "ms"),
    ]


async def _measure_bare_latency(frame: bytes) -> float:
    """Return the p99 latency in seconds of bare writes to as many sockets: what sockets alone cost."""
    sent: list[float] = []
    listeners = [TimedSocket(sent) for _ in range(SOCKETS)]
    async with run_bare_server() as bare:
        await connect.listen(bare.port, listeners)
        await bare.wait_for_connections(SOCKETS)
        async for _ in _paced(LATENCY_SECONDS / 3):
            sent.append(time.perf_counter())
            await bare.request(f"write 0 {frame.hex()}")
        await wait_until(lambda: all(each.events == len(sent) for each in listeners), listeners)
        for listener in listeners:
            listener.drop()
    return percentile(
        [each for listener in listeners for each in listener.latencies[MESSAGES_PER_SECOND:]], 0.99
    )


async def _paced(seconds: float) -> AsyncIterator[None]:
    """Yield MESSAGES_PER_SECOND times per second."""
    began = time.perf_counter()
    for number in range(int(seconds * MESSAGES_PER_SECOND)):
        await asyncio.sleep(began + number / MESSAGES_PER_SECOND - time.perf_counter())
        yield


@asynccontextmanager
async def _room(listeners: Sequence[Socket], senders: int = SENDERS) -> AsyncIterator[Room]:
    async with serving(**NO_RATE_LIMIT) as bench:
        async with bench.database() as connection:
            tokens = await seed.people(bench, connection, senders + len(listeners))
            await seed.chats(connection, [list(range(1, len(tokens) + 1))])
        room = Room(bench, [Sender(send(1, CONTENT)) for _ in range(senders)], listeners)
        await connect.open_all(bench, room.sockets, tokens)
        yield room


def _frame_of_same_size(listener: Socket) -> bytes:
    """Return a frame of the size of those that the listener has received."""
    size = round(listener.bytes / listener.events) - 4
    return b"\x81\x7e" + size.to_bytes(2, "big") + EVENT.ljust(size, b"x")


async def _measure_bare_writes(
    bare: BareServer, listeners: list[Socket], frame: bytes
) -> tuple[int, float]:
    """Return the number of frames that the bare server writes, and the seconds until all have arrived."""
    writer = CpuClock(psutil.Process(bare.process.pid))
    before, began = sum(listener.events for listener in listeners), time.perf_counter()
    with shares("bare writes", writer=writer.seconds, generator=generator_seconds):
        count = await bare.request(f"write {SECONDS} {frame.hex()}")
        await wait_until(lambda: sum(each.events for each in listeners) - before >= count, listeners)
    return count, time.perf_counter() - began
