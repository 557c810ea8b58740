"""Sockets from the outside: let in, logged in, given to whoever speaks their dialect, let go.

`/ws` is one socket for everything (docs/protocol.md); `/ws/chat/{chat_id}` and `/ws/status` are the seeds'.
"""

import asyncio
from collections import deque
from collections.abc import Callable, Collection, Coroutine
from contextlib import suppress
from datetime import UTC, datetime
from urllib.parse import urlsplit

import structlog
from fastapi import APIRouter, WebSocket
from starlette.responses import Response

from blazechat.database.engine import Database
from blazechat.domain.accounts.api_tokens import Credentials
from blazechat.domain.auth import access, socket_tickets, users
from blazechat.domain.auth.access_tokens import Claims
from blazechat.domain.auth.batch_access import BatchAccess, SessionChats
from blazechat.domain.chats import changes, members
from blazechat.domain.chats.changes import Changes
from blazechat.domain.chats.chats import Chats
from blazechat.domain.events import BusEvent, MemberRemoved, MessageCreated, PresenceChanged, UserUpdated
from blazechat.domain.messaging.ledger import Ledger
from blazechat.domain.messaging.read_cursors import ReadCursors
from blazechat.domain.messaging.sends import MessageDraft, Sender
from blazechat.domain.schemas.chats import MyChat
from blazechat.domain.schemas.messages import Message
from blazechat.errors import (
    Error,
    InvalidInput,
    NotFound,
    OriginNotAllowed,
    SessionEnded,
    ShuttingDown,
    TooManyCommands,
    TooManySockets,
    Unauthenticated,
    Unavailable,
)
from blazechat.realtime import simple_frames, wire
from blazechat.realtime.asgi import AsgiSocket
from blazechat.realtime.chat_list_feed import ChatListFeed
from blazechat.realtime.commands import Commands
from blazechat.realtime.connection import CLOSE_LIMIT, Close, Connection, Kind, SendFlusher, SocketLimits
from blazechat.realtime.hub import Hub
from blazechat.realtime.presence import Presence, Watchers
from blazechat.realtime.socket import PROTOCOL
from blazechat.realtime.timer_wheel import TimerWheel
from blazechat.realtime.typing import TypingNow
from blazechat.vocabulary import Scope

log = structlog.get_logger("blazechat.gateway")

Denial = Callable[[Error, str], Response]

FLUSH_LIMIT = 3.0
"""Seconds that sockets get to take what is left for them when the server stops."""
PEERS_OF_CHATS_UP_TO = 500
"""Members. In larger chats, `/ws/status` does not tell who is here; `/ws` does, of those one asks for."""
PEERS_LIMIT = 5000
SWEPT = 20
"""Connections that are forgotten in one turn of the loop."""
LATER = 30.0
"""Seconds until a session is looked at again that could not be looked at."""


class Gateway:
    """All sockets of a server; the owner of their connections."""

    def __init__(
        self,
        *,
        database: Database,
        credentials: Credentials,
        batch_access: BatchAccess,
        ledger: Ledger,
        read_cursors: ReadCursors,
        chats: Chats,
        presence: Presence,
        publish: Callable[[BusEvent], None],
        allowed_origins: list[str],
        limits: SocketLimits,
        sockets_per_user: int,
        resume_limit: int,
    ) -> None:
        self._database = database
        self._credentials = credentials
        self._batch_access = batch_access
        self._ledger = ledger
        self._chats = chats
        self._presence = presence
        self._publish = publish
        self._allowed_origins = set(allowed_origins)
        self._limits = limits
        self._sockets_per_user = sockets_per_user
        self._closing = False
        self._tasks: set[asyncio.Task[None]] = set()
        self._flusher = SendFlusher()
        self._wheel = TimerWheel()
        self._open: set[Connection] = set()  # accepted, and not lost yet
        self._all_gone = asyncio.Event()
        self._left: deque[Connection] = deque()  # lost, and not forgotten yet
        self._watchers = Watchers()
        self._chat_list_feed = ChatListFeed(self._as_seen_by, self._peers_of, self._watchers)
        self._typing = TypingNow(publish)
        self.hub = Hub(self._changes)
        self._commands = Commands(
            database=database,
            ledger=ledger,
            cursors=read_cursors,
            hub=self.hub,
            here=presence,
            watchers=self._watchers,
            typing=self._typing,
            log_in=self._log_in_by_frame,
            resume_limit=resume_limit,
        )

    def start(self) -> None:
        """Begin to keep time and to tell who is here."""
        self._spawn(self._wheel.run(), "wheel")
        self._wheel.add(self._typing, 1.0)
        self._spawn(self._presence.run(self._note_seen, self._publish), "presence")

    def handle(self, event: BusEvent) -> None:
        """Take an event from the bus."""
        self.hub.handle(event)
        if isinstance(event, MessageCreated):
            return  # of no concern to the others, and by far the most frequent
        self._chat_list_feed.handle(event)
        if isinstance(event, PresenceChanged | UserUpdated):
            self._watchers.handle(event)
        elif isinstance(event, MemberRemoved):
            concerned = self._watchers.around(event.user_id)
            concerned |= {c for c in self.hub.connections_of(event.user_id) if c.watched}
            if concerned:
                self._spawn(self._look_who_may_watch(concerned), "watchers")

    async def close(self) -> None:
        """Let every socket have what is meant for it, then close it with 1012."""
        self._closing = True
        await self._commands.close()
        for connection in self.hub.connections():
            connection.close(Close.RESTARTING, "the server restarts; come back in a moment")
        self._all_gone.clear()
        if self._open:
            with suppress(TimeoutError):
                await asyncio.wait_for(self._all_gone.wait(), FLUSH_LIMIT)
        for connection in list(self._open):
            connection.abort()
        for task in list(self._tasks):
            task.cancel()
        await asyncio.gather(*self._tasks, return_exceptions=True)
        await self._chat_list_feed.close()
        await self.hub.close()

    # Letting in. Each raises Error before the socket is accepted, to deny it.

    async def serve_all(self, socket: WebSocket) -> None:
        """`/ws`. Who gives neither token nor ticket with the handshake has to log in by the first frame."""
        self._admit(socket)
        connection = self._connection(Kind.MAIN)
        claims = await self._claims(socket, in_query="ticket")
        try:
            if claims is not None:
                await self._enter(connection, claims)
            await self._accept(socket, connection)
        except BaseException:
            self._forget(connection)
            raise

    async def serve_chat(self, socket: WebSocket, chat_id: int) -> None:
        """`/ws/chat/{chat_id}`."""
        self._admit(socket)
        connection = self._connection(Kind.CHAT)
        claims = await self._claims(socket, in_query="token")
        if claims is None:
            raise Unauthenticated
        claims.grant.require_chat(chat_id)
        try:
            arrival = await self._arrive(connection, claims)
            self.hub.attach(connection, arrival.position_in(chat_id))
            connection.verified = True
            await self._accept(socket, connection)
        except BaseException:
            self._forget(connection)
            raise

    async def serve_status(self, socket: WebSocket) -> None:
        """`/ws/status`."""
        self._admit(socket)
        connection = self._connection(Kind.STATUS)
        claims = await self._claims(socket, in_query="token")
        if claims is None:
            raise Unauthenticated
        claims.grant.require_everywhere()
        try:
            connection.user_id = claims.user_id
            self._chat_list_feed.add(connection)
            arrival = await self._arrive(connection, claims)
            await self._chat_list_feed.begin(connection, [place.chat_id for place in arrival.positions])
            connection.verified = True
            await self._accept(socket, connection)
        except BaseException:
            self._forget(connection)
            raise

    def _admit(self, socket: WebSocket) -> None:
        """Whether a socket may be opened from here. Raises ShuttingDown, OriginNotAllowed.

        Cross-site WebSocket hijacking (RFC 6455 section 10.2): browsers say where a page is from.
        """
        if self._closing:
            raise ShuttingDown
        origin = socket.headers.get("origin")
        if origin is None or "*" in self._allowed_origins or origin.rstrip("/") in self._allowed_origins:
            return
        with suppress(ValueError):
            if urlsplit(origin).netloc.lower() == socket.headers.get("host", "").lower():
                return
        raise OriginNotAllowed

    async def _claims(self, socket: WebSocket, *, in_query: str) -> Claims | None:
        """Who the handshake says it is, by a token in the header or by what the query has; None for nobody.

        Browsers cannot set the header. The log never shows the query (logs.py).
        """
        scheme, _, token = socket.headers.get("authorization", "").partition(" ")
        if scheme.lower() == "bearer":
            return await self._credentials.claims_of(token.strip())
        given = socket.query_params.get(in_query)
        if not given:
            return None
        if in_query == "token":
            return await self._credentials.claims_of(given.strip())
        async with self._database.transaction() as session:
            return await socket_tickets.redeem(session, given)

    def _connection(self, kind: Kind) -> Connection:
        connection = Connection(kind, self, self._flusher, self._limits)
        connection.heard_at = asyncio.get_running_loop().time()
        connection.await_login()
        return connection

    async def _arrive(self, connection: Connection, claims: Claims) -> SessionChats:
        """Find the session alive, and all chats of its user; what happens meanwhile is not missed."""
        connection.user_id, connection.session_id = claims.user_id, claims.session_id
        connection.grant = claims.grant
        if len(self.hub.connections_of(claims.user_id)) >= self._sockets_per_user:
            raise TooManySockets
        self.hub.add(connection)
        arrival = await self._batch_access.open_session(claims)
        if connection.closing:  # the session has ended since
            raise SessionEnded
        connection.expires_at = self._in_loop_time(arrival.session_expires_at.timestamp())
        self._presence.arrive(claims.user_id)
        connection.counted = True
        return arrival

    async def _enter(self, connection: Connection, claims: Claims) -> datetime:
        """Log a connection of `/ws` in; returns when its token expires. The first it hears is `ready`."""
        arrival = await self._arrive(connection, claims)
        for place in arrival.positions:
            if claims.grant.allows(place.chat_id):
                self.hub.attach(connection, place)
        expires_at = min(datetime.fromtimestamp(claims.expires_at, UTC), arrival.session_expires_at)
        connection.expires_at = self._in_loop_time(expires_at.timestamp())
        limits = self._limits
        ready = wire.Ready(
            claims.user_id,
            claims.session_id,
            expires_at,
            limits.heartbeat,
            {"frame_bytes": limits.frame, "commands_per_second": int(limits.rate), "burst": limits.burst},
        )
        connection.welcome(wire.frame(ready))
        return expires_at

    async def _log_in_by_frame(self, connection: Connection, command: wire.Auth) -> datetime | None:
        """The first frame of a socket, or later a newer token of the same user."""
        claims = await self._credentials.claims_of(command.token)
        if not connection.verified:
            try:
                await self._enter(connection, claims)
            except BaseException:
                self._forget(connection)
                raise
            return None
        if claims.user_id != connection.user_id:
            raise InvalidInput.of("token", "This is somebody else's token; open another socket for it.")
        if claims.grant != connection.grant:
            raise InvalidInput.of("token", "This token is good for something else; open another socket.")
        async with self._database.transaction() as session:
            caller = await access.caller(session, claims)
        connection.session_id = claims.session_id
        expires_at = min(datetime.fromtimestamp(claims.expires_at, UTC), caller.session_expires_at)
        connection.expires_at = self._in_loop_time(expires_at.timestamp())
        return expires_at

    @staticmethod
    def _in_loop_time(timestamp: float) -> float:
        """Of a time since 1970."""
        return asyncio.get_running_loop().time() + timestamp - datetime.now(UTC).timestamp()

    async def _accept(self, socket: WebSocket, connection: Connection) -> None:
        """Accept the socket; from here on the connection belongs to it, or it to the connection."""
        await socket.accept()
        self._open.add(connection)
        self._wheel.add(connection, min(self._limits.heartbeat, self._limits.handshake))
        protocol = socket.scope["extensions"].get(PROTOCOL)
        if protocol is not None:
            protocol.hand_over(connection, self._limits.frame)
        else:
            await AsgiSocket(socket, connection, self._limits.frame).run()

    # Owner of connections

    def receive(self, connection: Connection, text: str | None) -> None:
        """A message has come; None for a binary one."""
        if connection.kind is Kind.MAIN:
            self._commands.receive(connection, text)
            return
        try:
            if not connection.may_command():
                raise TooManyCommands(retry_after=1)
            if text is None:
                raise InvalidInput("This socket takes text frames.")
            connection.grant.require(Scope.WRITE)
            if connection.kind is Kind.STATUS:
                self._presence.choose(connection.user_id, simple_frames.read_status(text))
            else:
                self._send(connection, text)
        except Error as error:
            connection.send(simple_frames.error(error))

    def closing(self, connection: Connection) -> None:
        """It is being closed."""
        self._wheel.add(connection, CLOSE_LIMIT)

    def gone(self, connection: Connection) -> None:
        """The other side has left, or was cut off."""
        self._open.discard(connection)
        if not self._open:
            self._all_gone.set()
        if not self._left:
            asyncio.get_running_loop().call_soon(self._sweep)
        self._left.append(connection)

    def _sweep(self) -> None:
        """Forget some of those who have left: they may be thousands at once."""
        for _ in range(min(SWEPT, len(self._left))):
            self._forget(self._left.popleft())
        if self._left:
            asyncio.get_running_loop().call_soon(self._sweep)

    def expired(self, connection: Connection) -> None:
        """Its token has run out, or for the seeds' sockets, which cannot send a newer one, its session."""
        if connection.kind is Kind.MAIN:
            connection.close(Close.TOKEN_EXPIRED, "the access token has expired; come back with another")
            return
        connection.expires_at = self._in_loop_time(datetime.now(UTC).timestamp() + LATER)
        self._spawn(self._look_at_session(connection), "session")

    def _forget(self, connection: Connection) -> None:
        self.hub.remove(connection)
        self._chat_list_feed.remove(connection)
        self._watchers.forget(connection)
        if connection.counted:
            connection.counted = False
            self._presence.depart(connection.user_id)

    async def _look_at_session(self, connection: Connection) -> None:
        """Close the connection if its session has ended by itself; refreshing it puts that off."""
        claims = Claims(connection.user_id, connection.session_id, 0, connection.grant)
        try:
            async with self._database.transaction() as session:
                caller = await access.caller(session, claims)
        except Unauthenticated:
            connection.close(Close.SESSION_ENDED, "this session has ended; log in again")
        except Unavailable:
            return
        else:
            connection.expires_at = self._in_loop_time(caller.session_expires_at.timestamp())
            self._wheel.add(connection, connection.expires_at - asyncio.get_running_loop().time())

    def _send(self, connection: Connection, text: str) -> None:
        """Queue a message of a chat socket; its author sees it come back as everybody does, or an error."""
        (chat_id,) = connection.chat_ids or (0,)
        new = simple_frames.read_message(text)

        def tell(outcome: Message | Error) -> None:
            connection.end()
            if isinstance(outcome, Error):
                connection.send(simple_frames.error(outcome))
            else:
                self.hub.confirm(connection, outcome)

        connection.begin()
        try:
            self._ledger.submit(
                Sender(connection.user_id, connection.session_id),
                MessageDraft(chat_id, new.content, new.client_id, new.reply_to, new.attachments),
                tell,
            )
        except Error as error:
            tell(error)

    # What the parts ask of the database

    async def _changes(self, chat_id: int, version: int, among: Collection[int]) -> Changes:
        async with self._database.transaction() as session:
            return await changes.since(session, self._chats, chat_id, version, among)

    async def _as_seen_by(self, chat_id: int, user_ids: Collection[int]) -> dict[int, MyChat]:
        async with self._database.transaction() as session:
            return await self._chats.as_seen_by(session, chat_id, user_ids)

    async def _peers_of(self, user_id: int) -> set[int]:
        async with self._database.transaction() as session:
            return await members.peers(session, user_id, largest=PEERS_OF_CHATS_UP_TO, limit=PEERS_LIMIT)

    async def _note_seen(self, user_ids: list[int]) -> dict[int, datetime]:
        async with self._database.transaction() as session:
            return await users.seen(session, user_ids)

    async def _look_who_may_watch(self, connections: Collection[Connection]) -> None:
        """Somebody has left a chat: those who shared only that with them watch them no more."""
        for connection in connections:
            if connection.kind is Kind.MAIN:
                watched = set(connection.watched or ())
                with suppress(Error):
                    async with self._database.transaction() as session:
                        known = await members.known_to(session, connection.user_id, watched)
                    self._watchers.unwatch(connection, watched - known)

    def _spawn(self, work: Coroutine[None, None, None], name: str) -> None:
        task = asyncio.create_task(work, name=name)
        self._tasks.add(task)
        task.add_done_callback(self._finished)

    def _finished(self, task: asyncio.Task[None]) -> None:
        self._tasks.discard(task)
        if not task.cancelled() and (error := task.exception()) is not None:
            log.error("task failed", task=task.get_name(), exc_info=error)


def routes(denial: Denial) -> APIRouter:
    """The sockets' routes. `denial` words an error, and a request id, as the HTTP answer to a handshake."""
    router = APIRouter()

    async def deny(socket: WebSocket, error: Error) -> None:
        with suppress(RuntimeError):  # the other side has left, or was let in before
            await socket.send_denial_response(denial(error, socket.scope["request_id"]))

    @router.websocket("/api/ws")
    async def everything(socket: WebSocket) -> None:
        gateway: Gateway = socket.app.state.gateway
        try:
            await gateway.serve_all(socket)
        except Error as error:
            await deny(socket, error)

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
