"""The uvicorn server: accepts connections a few at a time and stops in our order."""

import contextlib
import socket
from collections.abc import Iterator

import uvicorn
from fastapi import FastAPI

from blazechat.api.direct.routes import DirectCalls
from blazechat.config import Settings
from blazechat.direct_protocol import DirectProtocol
from blazechat.realtime.acceptor import HANDSHAKES_PER_TURN, Acceptor, HandshakeQueue
from blazechat.realtime.socket_protocol import SocketProtocol


class UvicornServer(uvicorn.Server):
    """A uvicorn server that stops in three steps: accept no more, commit sends in flight, close sockets.

    It depends on uvicorn's internals (docs/decisions/0009-uvicorn-internals.md).
    """

    def __init__(self, app: FastAPI, config: uvicorn.Config) -> None:
        super().__init__(config)
        self._app = app
        self._handshakes = HandshakeQueue(HANDSHAKES_PER_TURN)

    async def startup(self, sockets: list[socket.socket] | None = None) -> None:
        await super().startup(sockets=[])
        self._direct_calls = DirectCalls(self._app.state.services)
        for listener in sockets or ():
            acceptor = Acceptor(listener, self._protocol)
            acceptor.start()
            self.servers.append(acceptor)  # type: ignore[arg-type]  # it has the methods that uvicorn calls

    def _protocol(self) -> DirectProtocol:
        return DirectProtocol(
            self.config,
            self.server_state,
            self.lifespan.state,
            handshakes=self._handshakes,
            direct_calls=self._direct_calls,
        )

    async def shutdown(self, sockets: object = None) -> None:
        for server in self.servers:
            server.close()
        await self._app.state.drain()
        for connection in list(self.server_state.connections):
            if isinstance(connection, SocketProtocol):  # its handshake is not finished
                connection.transport.abort()
        await super().shutdown()

    @contextlib.contextmanager
    def capture_signals(self) -> Iterator[None]:
        """Capture signals as uvicorn does, but do not raise them again: the process exits with 0."""
        with super().capture_signals():
            yield
            self._captured_signals.clear()


def create_server(app: FastAPI, settings: Settings) -> UvicornServer:
    """Return a server for an app that is `started()`; `await server.serve([listener])` runs until a
    signal."""
    config = uvicorn.Config(
        app,
        host=settings.host,
        port=settings.port,
        http=DirectProtocol,
        ws=SocketProtocol,
        ws_ping_interval=None,  # the gateway has one timer for all sockets
        ws_max_size=settings.max_frame_bytes,
        ws_per_message_deflate=False,
        lifespan="off",
        log_config=None,
        access_log=False,
        server_header=False,
        timeout_keep_alive=75,
        timeout_graceful_shutdown=10,
    )
    return UvicornServer(app, config)
