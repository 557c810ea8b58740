"""Sockets under any other ASGI server: the same behaviour as socket.py, with more time and memory per
socket."""

import asyncio
from collections import deque
from contextlib import suppress
from typing import Any

from starlette.websockets import WebSocket, WebSocketDisconnect

from blazechat.realtime import frames
from blazechat.realtime.connection import Connection

MAX_BUFFERED_BYTES = 65_536
"""Frames of so many bytes may wait for the server; further ones stay in the connection's outbox."""


class AsgiSocket:
    """The transport of a connection under an ASGI server: one task reads, one writes."""

    def __init__(self, websocket: WebSocket, connection: Connection, frame_limit: int) -> None:
        self._socket = websocket
        self._connection = connection
        self._frame_limit = frame_limit
        self._frames: deque[bytes] = deque()  # a channel joins those of one turn
        self._size = 0  # bytes in `_frames`
        self._close: tuple[int, str] | None = None
        self._wake = asyncio.Event()
        self._may_read = asyncio.Event()
        self._may_read.set()
        self._tasks: list[asyncio.Task[None]] = []

    async def run(self) -> None:
        """Read and write until the client or the server closes the socket."""
        self._connection.accepted(self)
        self._tasks = [
            asyncio.create_task(self._read(), name="socket reader"),
            asyncio.create_task(self._write(), name="socket writer"),
        ]
        try:
            await asyncio.wait(self._tasks, return_when=asyncio.FIRST_COMPLETED)
        finally:
            self.abort()
            await asyncio.gather(*self._tasks, return_exceptions=True)
            self._connection.connection_lost()

    # Transport

    @property
    def is_paused(self) -> bool:
        return self._size > MAX_BUFFERED_BYTES

    def write(self, whole_frames: list[bytes]) -> None:
        self._frames.extend(whole_frames)
        self._size += sum(map(len, whole_frames))
        self._wake.set()

    def write_one(self, frame: bytes) -> None:
        self.write([frame])

    def close(self, code: int, reason: str) -> None:
        self._close = code, reason
        self._wake.set()

    def abort(self) -> None:
        for task in self._tasks:
            task.cancel()

    def read(self, more: bool) -> None:
        if more:
            self._may_read.set()
        else:
            self._may_read.clear()

    async def _read(self) -> None:
        while True:
            await self._may_read.wait()
            event: dict[str, Any] = dict(await self._socket.receive())
            if event["type"] != "websocket.receive":
                return
            self._connection.heard_at = asyncio.get_running_loop().time()
            text = event.get("text")
            if text is not None and len(text) > self._frame_limit:
                self._connection.close(frames.TOO_BIG, "the message is larger than this server accepts")
            else:
                self._connection.receive(text)

    async def _write(self) -> None:
        with suppress(RuntimeError, OSError, WebSocketDisconnect):  # the client has left
            while True:
                while self._frames:
                    joined = self._frames.popleft()
                    for opcode, payload in frames.split(joined):
                        if opcode == frames.TEXT:  # the ASGI server sends pings and pongs itself
                            await self._socket.send_text(payload.decode())
                    self._size -= len(joined)
                if self._close is not None:
                    await self._socket.close(*self._close)
                    return
                self._connection.flush()
                if not self._frames:
                    self._wake.clear()
                    await self._wake.wait()
