"""How the benchmarks measure: CPU time of processes that end at any moment, the machine's description, and
deliveries of other servers."""

import asyncio
import subprocess
import sys
import time
from collections.abc import AsyncIterator, Callable
from contextlib import AbstractContextManager, asynccontextmanager
from typing import cast

import psutil
import pytest

from bench import __main__ as main
from bench import machine
from bench.cpu import CpuClock
from bench.peers import peer
from bench.peers.peer import Clients, NotInstalled
from bench.peers.peer_socket import Dialect, PeerSocket, content, log_in, own_mark
from bench.peers.work import ClosedLoop, Measurement, Requests
from tests.harness import eventually
from tests.processes import child

SHORT_LIVED_CHILDREN = """
import subprocess, sys
sys.stdout.write("ready\\n")
sys.stdout.flush()
for _ in range(60):
    subprocess.run(["true"])
    subprocess.run([sys.executable, "-S", "-c", "sum(range(200_000))"])
sys.stdin.read()
"""
BUSY_CHILDREN = """
import subprocess, sys
burn = "import time\\nend = time.process_time() + 0.2\\nwhile time.process_time() < end: pass"
for line in sys.stdin:
    subprocess.run([sys.executable, "-S", "-c", burn])
    sys.stdout.write("ended\\n")
    sys.stdout.flush()
"""


def _parent(program: str) -> AbstractContextManager["subprocess.Popen[str]"]:
    return child(sys.executable, "-S", "-c", program, stdin=subprocess.PIPE, stdout=subprocess.PIPE)


def test_clock_survives_children_that_end_while_they_are_read() -> None:
    """A hundred children start and end between and during the reads; the clock never goes back."""
    with _parent(SHORT_LIVED_CHILDREN) as parent:
        assert parent.stdout is not None
        assert parent.stdin is not None
        parent.stdout.readline()
        clock = CpuClock(psutil.Process(parent.pid), children=True)
        readings = []
        end = time.monotonic() + 1.0
        while time.monotonic() < end:
            readings.append(round(clock.seconds(), 3))
        parent.stdin.close()
    assert len(readings) > 10
    assert readings == sorted(readings)


def test_clock_counts_children_that_ended_between_two_reads() -> None:
    """Each child appears after the first read and ends before the second one."""
    with _parent(BUSY_CHILDREN) as parent:
        assert parent.stdin is not None
        assert parent.stdout is not None
        clock = CpuClock(psutil.Process(parent.pid), children=True)
        for _ in range(2):
            before = clock.seconds()
            parent.stdin.write("go\n")
            parent.stdin.flush()
            assert parent.stdout.readline() == "ended\n"
            assert 0.15 <= clock.seconds() - before <= 1.0
        parent.stdin.close()


def test_clock_of_an_ended_process_stands_still() -> None:
    """A server that ends during a measurement leaves its last reading, not an error."""
    with _parent(BUSY_CHILDREN) as parent:
        assert parent.stdin is not None
        alone = CpuClock(psutil.Process(parent.pid))
        family = CpuClock(psutil.Process(parent.pid), children=True)
        last = (alone.seconds(), family.seconds())
        parent.stdin.close()
    assert (alone.seconds(), family.seconds()) == last


def test_machine_is_described() -> None:
    """Cores, CPU, builds of Python and PostgreSQL: what the figures of two runs may differ by."""
    described = machine.describe()
    assert described["cores"] >= 1
    assert described["python"].endswith(".".join(map(str, sys.version_info[:3])))
    assert described["python_pgo"] in (True, False, None)
    assert described["python_lto"] in (True, False, None)
    line = machine.headline(described)
    assert f"PostgreSQL {described['postgresql']}" in line
    assert "PGO" in line


def test_peers_run_by_name_only() -> None:
    """A run of all scenarios needs no other servers."""
    assert "peers" in main.ONLY_BY_NAME
    assert "peers" not in main.SCENARIOS


def test_missing_peer_names_its_package() -> None:
    with pytest.raises(NotInstalled, match="install the package a-chat-server"):
        peer.program("a-chat-server-that-nobody-has", "a-chat-server (Debian)")


class Room(asyncio.Protocol):
    """A room of IRC-like lines: each line goes to all its connections, cut into pieces of `piece` bytes."""

    def __init__(self, members: list["Room"], piece: int = 10**6, copies: int = 1) -> None:
        self._members, self._piece, self._copies = members, piece, copies
        self._writing = asyncio.Lock()

    def connection_made(self, transport: asyncio.BaseTransport) -> None:
        self._transport = cast(asyncio.Transport, transport)
        self._members.append(self)
        self._transport.write(b"hello\n")

    def data_received(self, data: bytes) -> None:
        for member in self._members:
            member.deliver(data * (self._copies if member is self._members[-1] else 1))

    def connection_lost(self, error: Exception | None) -> None:
        self._members.remove(self)

    def deliver(self, data: bytes) -> None:
        asyncio.create_task(self._deliver(data))  # noqa: RUF006 (it ends with the test's event loop)

    async def _deliver(self, data: bytes) -> None:
        async with self._writing:
            for start in range(0, len(data), self._piece):
                self._transport.write(data[start : start + self._piece])
                await asyncio.sleep(0.001)


@asynccontextmanager
async def room(members: int, **options: int) -> AsyncIterator[Clients]:
    """Run a room with connected clients, whose own message acknowledges a request."""
    rooms: list[Room] = []
    server = await asyncio.get_running_loop().create_server(lambda: Room(rooms, **options), "127.0.0.1", 0)
    port = server.sockets[0].getsockname()[1]
    sockets = []
    for number in range(members):
        dialect = Dialect(ack=own_mark(f"user{number}"))
        sockets.append(PeerSocket(dialect, content(f"user{number}").encode()))
        await log_in(port, sockets[-1], [(b"hello", b"hello")])
    clients = Clients(sockets, members)
    try:
        yield clients
    finally:
        clients.close()
        server.close()
        await eventually(lambda: not rooms)


async def test_peer_sockets_count_marks_that_are_cut_between_reads() -> None:
    """Each message is counted once at each member, however its bytes arrive."""
    async with room(2, piece=7) as clients:
        one, two = clients.sockets
        one.send()
        await eventually(lambda: one.acks == 1 and two.deliveries == 1)
        two.send()
        await eventually(lambda: two.acks == 1 and one.deliveries == 2)
        assert (one.acks, one.deliveries, two.deliveries) == (1, 2, 2)


@pytest.mark.parametrize(("measure", "count_per_message"), [(Requests, 1), (ClosedLoop, 2)])
async def test_round_counts_what_has_arrived(
    measure: Callable[[Clients], Measurement], count_per_message: int
) -> None:
    """One counts messages, the other one their deliveries to those who do not send."""
    async with room(3) as clients:
        measured = await measure(clients).run(0.05)
        assert measured.count > 0
        sent = measured.count // count_per_message
        await eventually(lambda: [socket.deliveries for socket in clients.sockets] == [sent] * 3)


@pytest.mark.parametrize("measure", [Requests, ClosedLoop])
async def test_round_with_a_message_that_is_delivered_twice_has_no_figure(
    measure: Callable[[Clients], Measurement],
) -> None:
    async with room(3, copies=2) as clients:
        with pytest.raises(AssertionError, match="delivered twice"):
            await measure(clients).run(0.05)
