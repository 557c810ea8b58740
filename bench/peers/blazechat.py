"""Our own server as one of the peers."""

from collections.abc import AsyncIterator
from contextlib import asynccontextmanager

from bench import seed
from bench.peers.peer import HISTORY_MESSAGES, PAGE, Clients
from bench.peers.peer_socket import Dialect, PeerSocket, Step, content, log_in
from bench.server import NO_RATE_LIMIT, Bench, serving
from bench.socket_client import ACK, PING, PONG, send

USERS = 1_001
HISTORY_CHATS = 4
DIALECT = Dialect(ack=ACK, ping=PING, pong=PONG)
PAGES = Dialect(ack=b"}]")
"""The end of the last message of a page."""


class BlazeChat:
    """One server with all chats; users are members of several, and connected for one work item."""

    name = "BlazeChat"
    is_durable = True

    def __init__(self, bench: Bench) -> None:
        self.clocks = {"server": bench.server_clock, "PostgreSQL": bench.postgres_clock}
        self._bench = bench
        self._tokens: list[str] = []
        self._chats = 0  # as many were made

    async def open_pairs(self, count: int) -> Clients:
        first = await self._add_chats([[user, user % count + 1] for user in range(1, count + 1)])
        return Clients([await self._open(user, first + user - 1) for user in range(1, count + 1)], 2)

    async def open_room(self, count: int) -> Clients:
        room = await self._add_chats([list(range(1, count + 1))])
        return Clients([await self._open(user, room) for user in range(1, count + 1)], count)

    async def open_history(self, count: int) -> Clients:
        everyone = list(range(1, count + 1))
        first = await self._add_chats([everyone] * HISTORY_CHATS)
        async with self._bench.database() as connection:
            for chat_id in range(first, first + HISTORY_CHATS):
                await seed.messages(connection, chat_id, count, content("user"), HISTORY_MESSAGES)
            await connection.execute("ANALYZE messages")
        readers = [await self._open_reader(user, first + user % HISTORY_CHATS) for user in everyone]
        return Clients(readers, PAGE)

    async def start(self) -> None:
        async with self._bench.database() as connection:
            self._tokens = await seed.people(self._bench, connection, USERS)

    async def _add_chats(self, members: list[list[int]]) -> int:
        """Add chats; return the id of the first one."""
        async with self._bench.database() as connection:
            await seed.chats(connection, members, after=self._chats)
        first, self._chats = self._chats + 1, self._chats + len(members)
        return first

    async def _open(self, user: int, chat_id: int) -> PeerSocket:
        request = send(chat_id, content(f"user{user}"))
        client = PeerSocket(DIALECT, request)
        steps: list[Step] = [
            (
                f"GET /ws HTTP/1.1\r\nHost: {self._bench.host}:{self._bench.port}\r\n"
                "Connection: Upgrade\r\nUpgrade: websocket\r\nSec-WebSocket-Version: 13\r\n"
                "Sec-WebSocket-Key: dGhlIHNhbXBsZSBub25jZQ==\r\n"
                f"Authorization: Bearer {self._tokens[user - 1]}\r\n\r\n".encode(),
                b'{"type":"ready"',
            )
        ]
        await log_in(self._bench.port, client, steps)
        return client

    async def _open_reader(self, user: int, chat_id: int) -> PeerSocket:
        request = (
            f"GET /api/chats/{chat_id}/messages?limit={PAGE} HTTP/1.1\r\n"
            f"Host: {self._bench.host}:{self._bench.port}\r\n"
            f"Authorization: Bearer {self._tokens[user - 1]}\r\n\r\n"
        ).encode()
        client = PeerSocket(PAGES, request)
        await log_in(self._bench.port, client, [(request, PAGES.ack)])
        return client


@asynccontextmanager
async def serve() -> AsyncIterator[BlazeChat]:
    """Run our server until the end of the block."""
    async with serving(**NO_RATE_LIMIT) as bench:
        server = BlazeChat(bench)
        await server.start()
        yield server
