"""The handshake of sockets under `blazechat serve`: a protocol of uvicorn that gives its transport away.

uvicorn, FastAPI and the `websockets` package do the handshake. Then the transport is detached from uvicorn
and given to a `LiveSocket`, and everything that only the handshake needed is freed: an idle socket costs a
tenth of the memory that it costs as an ASGI task, and a delivery is one call
(docs/decisions/0004-sockets.md). docs/decisions/0009-uvicorn-internals.md lists the internals of uvicorn
that this module uses; tests of tests/realtime fail when they change. Under another ASGI server,
asgi.py does the same.
"""

import asyncio

from uvicorn._types import ASGISendEvent
from uvicorn.protocols.websockets.websockets_sansio_impl import WebSocketsSansIOProtocol
from websockets.http11 import Request

from blazechat.realtime.connection import Connection
from blazechat.realtime.socket import LiveSocket

PROTOCOL_EXTENSION = "blazechat.protocol"
"""The key of `scope["extensions"]` under which the SocketProtocol is found."""


class SocketProtocol(WebSocketsSansIOProtocol):
    """uvicorn's WebSocket protocol. It does the handshake, and then gives its transport away."""

    def handle_connect(self, event: Request) -> None:
        super().handle_connect(event)
        if not self.handshake_complete:  # otherwise the handshake was refused, and there is no scope
            self.scope["extensions"][PROTOCOL_EXTENSION] = self  # type: ignore[assignment]

    async def send(self, message: ASGISendEvent) -> None:
        await super().send(message)
        if message["type"] == "websocket.http.response.body" and not message.get("more_body"):
            # A refused handshake is complete as well; otherwise uvicorn logs it as an application error.
            self.handshake_complete = True

    def on_task_complete(self, task: asyncio.Task[None]) -> None:
        super().on_task_complete(task)
        if isinstance(self.transport, _DetachedTransport):
            # Break the reference cycles; otherwise the garbage collector finds them all together after a
            # storm.
            self.conn.parser.close()
            self.scope.clear()  # type: ignore[attr-defined]

    def detach_transport(self, connection: Connection, frame_limit: int) -> None:
        """Give the transport of the accepted socket to a connection. The ASGI task may end afterwards.

        Must be called in the turn of the event loop in which the handshake's response was written.
        """
        self.stop_keepalive()
        self.handshake_complete = True  # even if the client has left meanwhile
        self.connections.discard(self)
        transport, self.transport = self.transport, _DetachedTransport()  # type: ignore[assignment]
        live = LiveSocket(transport, connection, frame_limit)
        transport.set_protocol(live)
        if not self.queue.empty() or self.conn.reader.buffer:
            transport.abort()  # it sent frames before the handshake was answered
        elif transport.is_closing():
            connection.connection_lost()
        else:
            connection.accepted(live)


class _DetachedTransport:
    """What uvicorn keeps in place of the detached transport."""

    def close(self) -> None:
        pass

    def is_closing(self) -> bool:
        return True
