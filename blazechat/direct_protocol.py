"""The HTTP protocol of the server: direct calls without an ASGI task, everything else by uvicorn.

It extends uvicorn's HTTP protocol class (docs/decisions/0009-uvicorn-internals.md).
"""

import asyncio
from collections.abc import Coroutine
from typing import Any

from uvicorn.middleware.proxy_headers import ProxyHeadersMiddleware
from uvicorn.protocols.http.httptools_impl import STATUS_LINE

from blazechat.api.direct.call import DirectCall, Header
from blazechat.api.direct.routes import DirectCalls
from blazechat.realtime.acceptor import HandshakeQueue, HttpProtocol

FORWARDED_SCHEMES = frozenset({"http", "https", "ws", "wss"})
"""Values of X-Forwarded-Proto that uvicorn accepts from a trusted proxy."""


class DirectProtocol(HttpProtocol):
    """Gives a request to a direct call if it arrives in one read, and no earlier request of the connection
    is unanswered. So a direct call needs no limits for slow bodies, and no order with other responses."""

    def __init__(self, *arguments: Any, handshakes: HandshakeQueue, direct_calls: DirectCalls) -> None:
        super().__init__(*arguments, handshakes=handshakes)
        self._direct_calls = direct_calls
        self._call: DirectCall | None = None  # set between the head and the end of its request
        self._call_body = b""

    def data_received(self, data: bytes) -> None:
        super().data_received(data)
        if self._call is not None:
            self._call = None
            if not self.transport.is_closing():  # it is after a syntax error
                self._pass_on()

    def on_headers_complete(self) -> None:
        if self._is_free() and self.parser.get_http_version() == "1.1":
            self._call = self._direct_calls.call_for(self.parser.get_method(), self.url, self.headers)
            self._call_body = b""
        if self._call is None:
            super().on_headers_complete()

    def on_body(self, body: bytes) -> None:
        if self._call is None:
            super().on_body(body)
        else:
            self._call_body += body

    def on_message_complete(self) -> None:
        call = self._call
        if call is None:
            super().on_message_complete()
            return
        self._call = None
        exchange = DirectExchange(self)
        if call.begin(self._call_body, exchange):
            self.cycle = exchange  # type: ignore[assignment]  # it has the attributes that uvicorn reads
        else:
            self._pass_on()
            super().on_message_complete()

    def _is_free(self) -> bool:
        """True if all responses before the next one are written, and the client reads them."""
        cycle: Any = self.cycle  # None before the first request
        return (cycle is None or cycle.response_complete) and not self.flow.write_paused

    def _pass_on(self) -> None:
        """Pass the request to the application, as far as it has arrived."""
        super().on_headers_complete()
        if self._call_body:
            super().on_body(self._call_body)


class _NoEvent:
    """Takes the place of the event that wakes the task of a request: a direct call has none."""

    def set(self) -> None:
        pass


_NO_EVENT = _NoEvent()


class DirectExchange:
    """A request of a direct call and its response, in the place of uvicorn's `RequestResponseCycle`."""

    __slots__ = ("_protocol", "disconnected", "keep_alive", "response_complete")

    message_event = _NO_EVENT

    def __init__(self, protocol: DirectProtocol) -> None:
        self._protocol: DirectProtocol | None = protocol  # None after the response: it refers back
        self.keep_alive = protocol.parser.should_keep_alive()
        self.disconnected = False
        self.response_complete = False

    def respond(self, status: int, headers: list[Header], body: bytes) -> None:
        protocol = self._protocol
        assert protocol is not None, "a request has one response"
        self.response_complete = True
        if not self.disconnected and not protocol.transport.is_closing():
            self._write(protocol, status, headers, body)
        self._protocol = None

    def _write(self, protocol: DirectProtocol, status: int, headers: list[Header], body: bytes) -> None:
        parts = [STATUS_LINE[status]]
        for name, value in (*protocol.server_state.default_headers, *headers):
            parts += (name, b": ", value, b"\r\n")
        parts += (b"\r\n", body) if self.keep_alive else (b"connection: close\r\n\r\n", body)
        protocol.transport.write(b"".join(parts))
        if not self.keep_alive:
            protocol.transport.close()
        protocol.on_response_complete()

    def spawn(self, work: Coroutine[Any, Any, None]) -> None:
        assert self._protocol is not None, "the request has its response"
        task: asyncio.Task[None] = self._protocol.loop.create_task(work)
        tasks = self._protocol.tasks
        tasks.add(task)
        task.add_done_callback(tasks.discard)

    def abort(self) -> None:
        if self._protocol is not None:
            self._protocol.transport.abort()

    def scheme(self, forwarded: bytes | None) -> str:
        assert self._protocol is not None, "the request has its response"
        client, proxy = self._protocol.client, self._protocol.app
        is_trusted = (
            isinstance(proxy, ProxyHeadersMiddleware) and client and client[0] in proxy.trusted_hosts
        )
        name = "" if forwarded is None else forwarded.decode("latin1").strip()
        return name if is_trusted and name in FORWARDED_SCHEMES else self._protocol.scheme or "http"
