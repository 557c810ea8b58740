"""The protocol class under uvicorn: hands the gateway the transport, which ASGI keeps to itself.

uvicorn's own does the rest; what is leant on here is held by tests/realtime/test_sockets.py. The fast
path, frames written to the transport directly, will hang here too. Under another server everything
works as well, but for cutting off a reader that takes nothing.
"""

from uvicorn._types import ASGISendEvent
from uvicorn.protocols.websockets.websockets_sansio_impl import WebSocketsSansIOProtocol
from websockets.http11 import Request

TRANSPORT = "blazechat.transport"
"""The name under which `scope["extensions"]` has the transport."""


class SocketProtocol(WebSocketsSansIOProtocol):
    def handle_connect(self, event: Request) -> None:
        super().handle_connect(event)
        if not self.handshake_complete:  # else it was refused, and there is no scope
            self.scope["extensions"][TRANSPORT] = self.transport  # type: ignore[assignment]

    async def send(self, message: ASGISendEvent) -> None:
        await super().send(message)
        if message["type"] == "websocket.http.response.body" and not message.get("more_body"):
            # A refusal is an end, too; else uvicorn logs each as an error of the application.
            self.handshake_complete = True
