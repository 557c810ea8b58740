"""Sockets from the outside: accept, authenticate, hand frames to the domain.

Two sockets in the seeds' dialect, `/ws/chat/{chat_id}` and `/ws/status`. The multiplexed `/ws` gets
its route here too, with a dialect of its own in `wire.py`.
"""

import asyncio
from collections import deque
from collections.abc import Callable
from contextlib import suppress
from datetime import UTC, datetime
from urllib.parse import urlsplit

import structlog
from fastapi import APIRouter, WebSocket
from starlette.responses import Response

from blazechat.database.engine import Database
from blazechat.domain import access, changes, members, users
from blazechat.domain.changes import Changes, Mark
from blazechat.domain.chats import Chats
from blazechat.domain.errors import (
    ContentTooLarge,
    Error,
    InternalError,
    InvalidInput,
    NotFound,
    OriginNotAllowed,
    ShuttingDown,
    Unauthenticated,
    Unavailable,
)
from blazechat.domain.ledger import Ledger
from blazechat.domain.shapes import Message, Status
from blazechat.domain.tokens import AccessTokens, Claims
from blazechat.realtime import wire
from blazechat.realtime.connection import Close, Connection
from blazechat.realtime.hub import Hub
from blazechat.realtime.presence import Presence
from blazechat.realtime.socket import TRANSPORT
from blazechat.realtime.wire import Kind

log = structlog.get_logger("blazechat.gateway")

Denial = Callable[[Error, str], Response]

IN_FLIGHT = 64
"""Messages of one socket that may wait for their commit; the next is read when one is through."""
FLUSH_LIMIT = 3.0
"""Seconds that sockets get to take what is left for them when the server stops."""


class Gateway:
    """All sockets of a server."""

    def __init__(
        self,
        *,
        database: Database,
        tokens: AccessTokens,
        ledger: Ledger,
        chats: Chats,
        presence: Presence,
        allowed_origins: list[str],
        outbox_limit: int,
        frame_limit: int,
    ) -> None:
        self._database = database
        self._tokens = tokens
        self._ledger = ledger
        self._chats = chats
        self._presence = presence
        self._origins = set(allowed_origins)
        self._outbox_limit = outbox_limit
        self._frame_limit = frame_limit
        self._closing = False
        self._open: set[asyncio.Task[object]] = set()
        self.hub = Hub(self._changes, self._peers)

    async def close(self) -> None:
        """Let every socket have what is meant for it, then close it with 1012."""
        self._closing = True
        for connection in self.hub.connections():
            connection.close(Close.RESTARTING, "the server restarts; come back in a moment")
        if self._open:
            _, late = await asyncio.wait(self._open, timeout=FLUSH_LIMIT)
            for task in late:
                task.cancel()
        await self.hub.close()

    async def serve_chat(self, socket: WebSocket, chat_id: int) -> None:
        """`/ws/chat/{chat_id}`. Raises Error before the socket is accepted, to deny it."""
        claims = self._admit(socket)
        connection = self._connection(Kind.CHAT, claims)
        self.hub.add(connection)
        self.hub.listen(connection, chat_id)
        try:
            async with self._database.transaction() as session:
                caller = await access.caller(session, claims)
                membership = await access.chat_for(session, caller.user_id, chat_id)
                mark = Mark(membership.chat.version, membership.chat.last_message_id)
            self.hub.begin(connection, chat_id, mark)
            await self._serve(socket, connection, caller)
        finally:
            self.hub.remove(connection)

    async def serve_status(self, socket: WebSocket) -> None:
        """`/ws/status`. Raises Error before the socket is accepted, to deny it."""
        claims = self._admit(socket)
        connection = self._connection(Kind.STATUS, claims)
        self.hub.add(connection)
        try:
            async with self._database.transaction() as session:
                caller = await access.caller(session, claims)
                first = await members.chats_of(session, caller.user_id)
                for chat_id in first:
                    self.hub.listen(connection, chat_id)
            # Again, now that nothing can be missed: a chat may have been lost since.
            async with self._database.transaction() as session:
                marks = await members.chats_of(session, caller.user_id)
            for chat_id, mark in marks.items():
                self.hub.listen(connection, chat_id)
                self.hub.begin(connection, chat_id, mark)
            for chat_id in first.keys() - marks.keys():
                self.hub.stop(connection, chat_id)
            await self._serve(socket, connection, caller)
        finally:
            self.hub.remove(connection)

    def _admit(self, socket: WebSocket) -> Claims:
        """Whoever may open a socket from here. Raises ShuttingDown, OriginNotAllowed, Unauthenticated."""
        if self._closing:
            raise ShuttingDown
        self._check_origin(socket)
        scheme, _, token = socket.headers.get("authorization", "").partition(" ")
        if scheme.lower() != "bearer":
            # Browsers cannot set the header. The log never shows the query (logs.py).
            token = socket.query_params.get("token", "")
        if not token:
            raise Unauthenticated
        return self._tokens.verify(token.strip())

    def _check_origin(self, socket: WebSocket) -> None:
        """Cross-site WebSocket hijacking (RFC 6455 section 10.2): browsers say where a page is from."""
        origin = socket.headers.get("origin")
        if origin is None or "*" in self._origins or origin.rstrip("/") in self._origins:
            return
        with suppress(ValueError):
            if urlsplit(origin).netloc.lower() == socket.headers.get("host", "").lower():
                return
        raise OriginNotAllowed

    def _connection(self, kind: Kind, claims: Claims) -> Connection:
        return Connection(kind, claims.user_id, claims.session_id, self._outbox_limit)

    async def _serve(self, socket: WebSocket, connection: Connection, caller: access.Caller) -> None:
        """Read and write until either side ends it."""
        await socket.accept()
        await self._arrive(caller.user_id)
        writer = asyncio.create_task(connection.write(socket), name="socket writer")
        reader = asyncio.create_task(self._read(socket, connection), name="socket reader")
        expiry = asyncio.create_task(self._watch_expiry(connection, caller), name="socket expiry")
        self._open.add(writer)
        transport = socket.scope["extensions"].get(TRANSPORT)
        if transport is not None:
            connection.cut_off = transport.abort
        try:
            await asyncio.wait((reader, writer), return_when=asyncio.FIRST_COMPLETED)
        finally:
            for task in (reader, writer, expiry):
                task.cancel()
            await asyncio.gather(reader, writer, expiry, return_exceptions=True)
            self._open.discard(writer)
            self.hub.remove(connection)
            await self._depart(caller.user_id)

    async def _watch_expiry(self, connection: Connection, caller: access.Caller) -> None:
        """Close the connection when its session ends by itself; refreshing the session puts that off."""
        claims = Claims(caller.user_id, caller.session_id, 0)
        while True:
            left = (caller.session_expires_at - datetime.now(UTC)).total_seconds()
            await asyncio.sleep(max(left, 1))
            with suppress(Unavailable):
                try:
                    async with self._database.transaction() as session:
                        caller = await access.caller(session, claims)
                except Unauthenticated:
                    connection.close(Close.SESSION_ENDED, "this session has ended; log in again")
                    return

    async def _read(self, socket: WebSocket, connection: Connection) -> None:
        in_flight: deque[asyncio.Future[Message]] = deque()
        while True:
            frame = await socket.receive()
            if frame["type"] != "websocket.receive":
                return
            if connection.closing:
                continue
            try:
                text = self._text_of(frame.get("text"))
                if connection.kind is Kind.STATUS:
                    await self._choose(connection.user_id, wire.read_status(text))
                    continue
                in_flight.append(self._send(connection, text))
            except Error as error:
                connection.send(wire.error(error))
            while in_flight and (in_flight[0].done() or len(in_flight) >= IN_FLIGHT):
                await asyncio.wait((in_flight.popleft(),))

    def _text_of(self, text: str | None) -> str:
        if text is None:
            raise InvalidInput("This socket takes text frames.")
        if len(text) > self._frame_limit:
            raise ContentTooLarge("The frame is larger than this server takes.")
        return text

    def _send(self, connection: Connection, text: str) -> asyncio.Future[Message]:
        """Queue a message; its author sees it come back as everybody does, or an error."""
        (chat_id,) = connection.chat_ids or (0,)
        new = wire.read_message(text)
        future = self._ledger.send(
            chat_id=chat_id,
            author_id=connection.user_id,
            session_id=connection.session_id,
            content=new.content,
            client_id=new.client_id,
            reply_to=new.reply_to,
        )
        future.add_done_callback(lambda done: self._tell_sender(connection, done))
        return future

    def _tell_sender(self, connection: Connection, done: asyncio.Future[Message]) -> None:
        """What was stored comes back as it comes to everybody; the rest is told here."""
        if done.cancelled():
            return
        error = done.exception()
        if error is None:
            self.hub.confirm(connection, done.result())
        elif isinstance(error, Error):
            connection.send(wire.error(error))
        else:
            log.error("send failed", exc_info=error)
            connection.send(wire.error(InternalError()))

    async def _choose(self, user_id: int, status: Status) -> None:
        async with self._database.transaction() as session:
            self._presence.choose(user_id, status)
            await users.note_status(session, user_id, status)

    async def _arrive(self, user_id: int) -> None:
        if self._presence.arrive(user_id):
            await self._tell_presence(user_id)

    async def _depart(self, user_id: int) -> None:
        if self._presence.depart(user_id):
            await self._tell_presence(user_id)

    async def _tell_presence(self, user_id: int) -> None:
        """Presence is no promise: where the database is away, nobody is told."""
        with suppress(Error):
            async with self._database.transaction() as session:
                await users.note_status(session, user_id, self._presence.status_of(user_id))

    async def _changes(self, chat_id: int, mark: Mark) -> Changes:
        async with self._database.transaction() as session:
            return await changes.since(session, self._chats, chat_id, mark)

    async def _peers(self, user_id: int, among: list[int]) -> set[int]:
        async with self._database.transaction() as session:
            return await members.peers(session, user_id, among)


def routes(denial: Denial) -> APIRouter:
    """The sockets' routes. `denial` words an error, and a request id, as the HTTP answer to a handshake."""
    router = APIRouter()

    async def deny(socket: WebSocket, error: Error) -> None:
        with suppress(RuntimeError):  # the other side has left, or was let in before
            await socket.send_denial_response(denial(error, socket.scope["request_id"]))

    @router.websocket("/api/ws/chat/{chat_id}")
    async def chat(socket: WebSocket, chat_id: str) -> None:
        gateway: Gateway = socket.app.state.gateway
        try:
            if not chat_id.isdecimal() or len(chat_id) > 15:
                raise NotFound
            await gateway.serve_chat(socket, int(chat_id))
        except Error as error:
            await deny(socket, error)

    @router.websocket("/api/ws/status")
    async def status(socket: WebSocket) -> None:
        gateway: Gateway = socket.app.state.gateway
        try:
            await gateway.serve_status(socket)
        except Error as error:
            await deny(socket, error)

    @router.websocket("/{path:path}")
    async def nothing(socket: WebSocket, path: str) -> None:
        await deny(socket, NotFound("There is no socket at this path."))

    return router
