"""The WebSocket routes: `/ws`, `/ws/chat/{chat_id}` and `/ws/status`, also under `/api`."""

from collections.abc import Callable
from contextlib import suppress

from fastapi import APIRouter, WebSocket
from starlette.responses import Response

from blazechat.errors import Error, NotFound
from blazechat.realtime.gateway import Gateway

MAX_ID_DIGITS = 15

Denial = Callable[[Error, str], Response]
"""Returns the HTTP response that refuses a handshake, from an error and a request id."""


def routes(denial: Denial) -> APIRouter:
    """Return the router. A handshake that raises an Error is refused with the response of `denial`."""
    router = APIRouter()

    async def deny(socket: WebSocket, error: Error) -> None:
        with suppress(RuntimeError):  # the client has left, or the socket was accepted before
            await socket.send_denial_response(denial(error, socket.scope["request_id"]))

    @router.websocket("/api/ws")
    async def main_socket(socket: WebSocket) -> None:
        gateway: Gateway = socket.app.state.gateway
        try:
            await gateway.serve_main(socket)
        except Error as error:
            await deny(socket, error)

    @router.websocket("/api/ws/chat/{chat_id}")
    async def chat_socket(socket: WebSocket, chat_id: str) -> None:
        gateway: Gateway = socket.app.state.gateway
        try:
            if not chat_id.isdecimal() or len(chat_id) > MAX_ID_DIGITS:
                raise NotFound
            await gateway.serve_chat(socket, int(chat_id))
        except Error as error:
            await deny(socket, error)

    @router.websocket("/api/ws/status")
    async def status_socket(socket: WebSocket) -> None:
        gateway: Gateway = socket.app.state.gateway
        try:
            await gateway.serve_status(socket)
        except Error as error:
            await deny(socket, error)

    @router.websocket("/{path:path}")
    async def unknown(socket: WebSocket, path: str) -> None:
        await deny(socket, NotFound("There is no socket at this path."))

    return router
