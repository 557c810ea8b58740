"""InspIRCd: channels of IRC. It stores nothing; PONG to a PING behind the message acknowledges it."""

import asyncio
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager

from bench.cpu import CpuClock
from bench.peers import peer
from bench.peers.peer import Clients
from bench.peers.peer_socket import Dialect, PeerSocket, Step, content, log_in

SERVER = "irc.bench"
DIALECT = Dialect(ack=b" PONG irc.bench", ping=b"PING :irc.bench", pong=b"PONG irc.bench\r\n")
CONFIGURATION = """
<server name="irc.bench" description="bench" network="bench">
<admin name="bench" nick="bench" email="bench@localhost">
<bind address="127.0.0.1" port="{port}" type="clients">
<connect allow="*" timeout="60" pingfreq="600" threshold="100000" commandrate="100000000" fakelag="no"
 hardsendq="100000000" softsendq="50000000" recvq="1000000" limit="5000" localmax="5000" globalmax="5000"
 maxchans="100" resolvehostnames="no" useident="no" useconnectban="no">
<dns enabled="no" server="127.0.0.1" timeout="1">
<performance softlimit="5000" somaxconn="1024">
<options defaultmodes="">
<pid file="{folder}/pid">
"""
"""The limits of rates, queues and connections are raised; look-ups of names are off."""


class InspIrcd:
    """One server; the work items use a channel each."""

    name = "InspIRCd"
    is_durable = False

    def __init__(self, port: int, clock: CpuClock) -> None:
        self.clocks = {"InspIRCd": clock}
        self._port = port
        self._rooms = 0

    async def open_pairs(self, count: int) -> Clients:
        raise peer.Unsupported("stores nothing")

    async def open_room(self, count: int) -> Clients:
        self._rooms += 1
        channel = f"#room{self._rooms}"
        opened = [self._open(f"u{self._rooms}n{number}", channel) for number in range(count)]
        # Together, because the server finishes log-ins once per second. A sender gets no copy.
        return Clients(await asyncio.gather(*opened), count - 1)

    async def open_history(self, count: int) -> Clients:
        raise peer.Unsupported("has no history")

    async def _open(self, nick: str, channel: str) -> PeerSocket:
        request = f"PRIVMSG {channel} :{content(nick)}\r\nPING {SERVER}\r\n".encode()
        client = PeerSocket(DIALECT, request)
        steps: list[Step] = [
            (f"NICK {nick}\r\nUSER {nick} 0 * :{nick}\r\n".encode(), f" 001 {nick} ".encode()),
            (f"JOIN {channel}\r\n".encode(), f" 366 {nick} ".encode()),
        ]
        await log_in(self._port, client, steps)
        return client


@asynccontextmanager
async def serve() -> AsyncIterator[InspIrcd]:
    """Run InspIRCd until the end of the block. Raises NotInstalled."""
    binary = peer.program("inspircd", "inspircd (Debian)")
    port = peer.free_port()
    with peer.temporary_folder("inspircd") as folder:
        configuration = folder / "inspircd.conf"
        configuration.write_text(CONFIGURATION.format(port=port, folder=folder))
        command = [binary, "--config", str(configuration), "--nofork", "--nolog"]
        async with peer.running(command, port, folder) as clock:
            yield InspIrcd(port, clock)
