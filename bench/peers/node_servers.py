"""Rooms on `ws` and on `socket.io` (Node.js): small programs of ours, which store nothing.

A sender gets its own message back, which acknowledges it.
"""

import os
from collections.abc import AsyncIterator
from contextlib import AbstractAsyncContextManager, asynccontextmanager
from pathlib import Path

from bench.cpu import CpuClock
from bench.peers import peer
from bench.peers.peer import Clients
from bench.peers.peer_socket import Dialect, PeerSocket, Step, content, log_in, own_mark
from bench.socket_client import text_frame

PACKAGES = Path(os.environ.get("BENCH_NODE_PACKAGES") or Path.home() / ".cache" / "blazechat-bench")
"""The folder in which npm has installed the packages."""
UPGRADE = (
    "GET {path} HTTP/1.1\r\nHost: localhost\r\nConnection: Upgrade\r\nUpgrade: websocket\r\n"
    "Sec-WebSocket-Version: 13\r\nSec-WebSocket-Key: dGhlIHNhbXBsZSBub25jZQ==\r\n\r\n"
)
ENGINE_PATH = "/socket.io/?EIO=4&transport=websocket"


class NodeRooms:
    """The common part of both: only rooms can be compared."""

    name = ""
    is_durable = False

    def __init__(self, port: int, clock: CpuClock) -> None:
        self.clocks = {self.name: clock}
        self._port = port
        self._rooms = 0

    async def open_pairs(self, count: int) -> Clients:
        raise peer.Unsupported("stores nothing")

    async def open_room(self, count: int) -> Clients:
        self._rooms += 1
        room = f"room{self._rooms}"
        return Clients([await self._open(f"user{number}", room) for number in range(count)], count)

    async def open_history(self, count: int) -> Clients:
        raise peer.Unsupported("has no history")

    async def _open(self, author: str, room: str) -> PeerSocket:
        client = PeerSocket(Dialect(ack=own_mark(author)), self._request(author, room))
        await log_in(self._port, client, self._log_in_steps(room))
        return client

    def _request(self, author: str, room: str) -> bytes:
        raise NotImplementedError

    def _log_in_steps(self, room: str) -> list[Step]:
        raise NotImplementedError


class WsRooms(NodeRooms):
    """`ws`: the text of a frame goes to all."""

    name = "ws (Node.js)"

    def _request(self, author: str, room: str) -> bytes:
        return text_frame(content(author).encode())

    def _log_in_steps(self, room: str) -> list[Step]:
        return [(UPGRADE.format(path=f"/{room}").encode(), b"\r\n\r\n")]


class SocketIoRooms(NodeRooms):
    """`socket.io`, by its WebSocket transport: Engine.IO and Socket.IO packets in text frames."""

    name = "socket.io"

    def _request(self, author: str, room: str) -> bytes:
        return text_frame(f'42["message","{room}","{content(author)}"]'.encode())

    def _log_in_steps(self, room: str) -> list[Step]:
        return [
            (UPGRADE.format(path=ENGINE_PATH).encode(), b'"sid"'),
            (text_frame(b"40"), b'40{"sid"'),
            (text_frame(f'42["join","{room}"]'.encode()), b'42["joined"]'),
        ]


def serve_ws() -> AbstractAsyncContextManager[NodeRooms]:
    """Run the server on `ws` until the end of the block. Raises NotInstalled."""
    return _serve(WsRooms, "ws", "ws_server.mjs")


def serve_socketio() -> AbstractAsyncContextManager[NodeRooms]:
    """Run the server on `socket.io` until the end of the block. Raises NotInstalled."""
    return _serve(SocketIoRooms, "socket.io", "socketio_server.mjs")


@asynccontextmanager
async def _serve(rooms: type[NodeRooms], package: str, script: str) -> AsyncIterator[NodeRooms]:
    node = peer.program("node", "nodejs (Debian)")
    if not (PACKAGES / "node_modules" / package).exists():
        raise peer.NotInstalled(f"npm install --prefix {PACKAGES} {package}")
    port = peer.free_port()
    command = [node, str(Path(__file__).with_name(script)), str(PACKAGES), str(port)]
    with peer.temporary_folder("node") as folder:
        async with peer.running(command, port, folder, as_ordinary_user=False) as clock:
            yield rooms(port, clock)
