"""One chat heard by 1,000 sockets: how many deliveries a second, and how late they are."""

import asyncio
import time
from collections.abc import AsyncIterator, Sequence
from contextlib import asynccontextmanager
from dataclasses import dataclass

import psutil

from bench import connect, seed
from bench.bare_server import Bare, bare
from bench.connect import until
from bench.cpu import CpuClock, generator_seconds, shares
from bench.figures import Figure, percentile
from bench.sends import measured
from bench.server import NO_RATE_LIMIT, Bench, serving
from bench.socket_client import EVENT, Sender, Socket, Timed, send

SOCKETS = 1000
SENDERS = 4
IN_FLIGHT = 4
"""Of each of the senders."""
CONTENT = "x" * 200
SECONDS = 2.0
ROUNDS = 3
MUST = 0.75
A_SECOND = 10
"""Messages, where it is about latency; those of the first second are not counted."""
LATENCY_SECONDS = 9.0


@dataclass(frozen=True)
class Room:
    bench: Bench
    senders: list[Sender]
    listeners: Sequence[Socket]

    @property
    def sockets(self) -> list[Socket]:
        return [*self.senders, *self.listeners]


async def throughput() -> list[Figure]:
    async with _room([Socket() for _ in range(SOCKETS - SENDERS)]) as room, bare() as wall:
        await connect.listen(wall.port, listeners := [Socket() for _ in range(SOCKETS)])
        await wall.has(SOCKETS)
        await measured(room.bench, room.senders, room.sockets, IN_FLIGHT, SOCKETS, 1.0, "warming up")
        frame = _frame_like(room.listeners[0])
        written, writing, sent, sending = 0, 0.0, 0, 0.0
        for _ in range(ROUNDS):
            count, seconds = await _written(wall, listeners, frame)
            written, writing = written + count, writing + seconds
            count, seconds = await measured(
                room.bench, room.senders, room.sockets, IN_FLIGHT, SOCKETS, SECONDS, "fan-out"
            )
            sent, sending = sent + SOCKETS * count, sending + seconds
        for listener in listeners:
            listener.drop()
    print(f"  a frame has {len(frame)} bytes")
    return [
        Figure(
            "fan-out, one chat of 1,000 sockets, deliveries", sent / sending, "/s", written / writing, MUST
        ),
        Figure("fan-out, messages", sent / sending / SOCKETS, "/s"),
    ]


async def latency() -> list[Figure]:
    sent: list[float] = []
    listeners = [Timed(sent) for _ in range(SOCKETS)]
    async with _room(listeners, senders=1) as room:
        (sender,) = room.senders
        with room.bench.shares(f"{A_SECOND} messages a second"):
            async for _ in _beats(LATENCY_SECONDS):
                sent.append(time.perf_counter())
                sender.send()
            await until(lambda: all(each.events == len(sent) for each in listeners), room.sockets)
        least = await _bare_latency(_frame_like(listeners[0]))
    late = [1000 * each for listener in listeners for each in listener.late[A_SECOND:]]
    name = "fan-out latency, 1,000 sockets, 10 messages/s"
    return [
        Figure(f"{name}, p50", percentile(late, 0.5), "ms"),
        Figure(f"{name}, p99", percentile(late, 0.99), "ms", most=25),
        Figure(f"{name}, worst", max(late), "ms"),
        Figure("bare writes to as many sockets, p99", 1000 * least, "ms"),
    ]


async def _bare_latency(frame: bytes) -> float:
    """The same, in seconds and p99, of a process that does nothing but write: what sockets alone cost."""
    sent: list[float] = []
    listeners = [Timed(sent) for _ in range(SOCKETS)]
    async with bare() as wall:
        await connect.listen(wall.port, listeners)
        await wall.has(SOCKETS)
        async for _ in _beats(LATENCY_SECONDS / 3):
            sent.append(time.perf_counter())
            await wall.ask(f"write 0 {frame.hex()}")
        await until(lambda: all(each.events == len(sent) for each in listeners), listeners)
        for listener in listeners:
            listener.drop()
    return percentile([each for listener in listeners for each in listener.late[A_SECOND:]], 0.99)


async def _beats(seconds: float) -> AsyncIterator[None]:
    began = time.perf_counter()
    for number in range(int(seconds * A_SECOND)):
        await asyncio.sleep(began + number / A_SECOND - time.perf_counter())
        yield


@asynccontextmanager
async def _room(listeners: Sequence[Socket], senders: int = SENDERS) -> AsyncIterator[Room]:
    """A server with a chat of everybody, and a socket of each."""
    async with serving(**NO_RATE_LIMIT) as bench:
        async with bench.database() as connection:
            tokens = await seed.people(bench, connection, senders + len(listeners))
            await seed.chats(connection, [list(range(1, len(tokens) + 1))])
        room = Room(bench, [Sender(send(1, CONTENT)) for _ in range(senders)], listeners)
        await connect.open_all(bench, room.sockets, tokens)
        yield room


def _frame_like(listener: Socket) -> bytes:
    """A frame of the size of those that the listener got."""
    size = round(listener.bytes / listener.events) - 4
    return b"\x81\x7e" + size.to_bytes(2, "big") + EVENT.ljust(size, b"x")


async def _written(wall: Bare, listeners: list[Socket], frame: bytes) -> tuple[int, float]:
    """How many frames the bare server writes, and in how many seconds all of them have come."""
    writer = CpuClock(psutil.Process(wall.process.pid))
    before, began = sum(listener.events for listener in listeners), time.perf_counter()
    with shares("bare writes", writer=writer.seconds, generator=generator_seconds):
        count = await wall.ask(f"write {SECONDS} {frame.hex()}")
        await until(lambda: sum(each.events for each in listeners) - before >= count, listeners)
    return count, time.perf_counter() - began
