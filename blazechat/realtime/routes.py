"""The WebSocket routes: `/ws`, `/ws/chat/{chat_id}` and `/ws/status`, also under `/api`."""

from collections.abc import Awaitable, Callable
from contextlib import suppress

from starlette.responses import Response
from starlette.routing import WebSocketRoute
from starlette.websockets import WebSocket

from blazechat.errors import Error, NotFound
from blazechat.realtime.gateway import Gateway

MAX_ID_DIGITS = 15

Denial = Callable[[Error, str], Response]
"""Returns the HTTP response that refuses a handshake, from an error and a request id."""


def routes(denial: Denial) -> list[WebSocketRoute]:
    """Return the routes. A handshake that raises an Error is refused with the response of `denial`.

    They are Starlette's. FastAPI's would solve dependencies, of which there are none, for each handshake.
    """

    def route(path: str, serve: Callable[[Gateway, WebSocket], Awaitable[None]]) -> WebSocketRoute:
        async def endpoint(socket: WebSocket) -> None:
            try:
                await serve(socket.app.state.gateway, socket)
            except Error as error:
                with suppress(RuntimeError):  # the client has left, or the socket was accepted before
                    await socket.send_denial_response(denial(error, socket.scope["request_id"]))

        return WebSocketRoute(path, endpoint)

    return [
        route("/api/ws", Gateway.serve_main),
        route("/api/ws/chat/{chat_id}", _serve_chat),
        route("/api/ws/status", Gateway.serve_status),
        route("/{path:path}", _refuse),
    ]


async def _serve_chat(gateway: Gateway, socket: WebSocket) -> None:
    chat_id = socket.path_params["chat_id"]
    if not chat_id.isdecimal() or len(chat_id) > MAX_ID_DIGITS:
        raise NotFound
    await gateway.serve_chat(socket, int(chat_id))


async def _refuse(gateway: Gateway, socket: WebSocket) -> None:
    raise NotFound("There is no socket at this path.")
