"""The gateway: admits sockets, authenticates them, routes what they send, and closes them.

It serves three kinds of socket: `/ws`, the main socket (docs/protocol.md), and the two simple sockets
`/ws/chat/{chat_id}` and `/ws/status` (docs/api.md).
"""

import asyncio
from collections import deque
from collections.abc import Callable, Collection, Coroutine
from contextlib import suppress
from datetime import UTC, datetime
from urllib.parse import urlsplit

import structlog
from fastapi import WebSocket

from blazechat.database.engine import Database
from blazechat.domain.accounts.api_tokens import Credentials
from blazechat.domain.auth.access_tokens import Claims
from blazechat.domain.auth.batch_access import BatchAccess, SessionChats
from blazechat.domain.chats.changes_reader import ChangesReader
from blazechat.domain.chats.chat_query import ChatQuery
from blazechat.domain.events import BusEvent, MemberRemoved, MessageCreated, PresenceChanged, UserUpdated
from blazechat.domain.messaging.ledger import Ledger
from blazechat.domain.messaging.read_cursors import ReadCursors
from blazechat.errors import (
    Error,
    InvalidInput,
    OriginNotAllowed,
    SessionEnded,
    ShuttingDown,
    TooManySockets,
    Unauthenticated,
    Unavailable,
)
from blazechat.realtime import wire
from blazechat.realtime.asgi import AsgiSocket
from blazechat.realtime.chat_list_feed import ChatListFeed
from blazechat.realtime.commands import Commands
from blazechat.realtime.connection import (
    CLOSE_TIMEOUT_SECONDS,
    Close,
    Connection,
    Kind,
    SendFlusher,
    SocketLimits,
)
from blazechat.realtime.hub import Hub
from blazechat.realtime.presence import PresenceTracker, Watchers
from blazechat.realtime.queries import Queries
from blazechat.realtime.queued_commands import QueuedCommands
from blazechat.realtime.simple_sockets import SimpleSockets
from blazechat.realtime.socket_protocol import PROTOCOL_EXTENSION, SocketProtocol
from blazechat.realtime.timer_wheel import TimerWheel
from blazechat.realtime.typing import TypingNow

log = structlog.get_logger("blazechat.gateway")

DRAIN_SECONDS = 3.0
"""How long sockets get to receive what is queued for them when the server stops."""
FORGOTTEN_PER_TURN = 20
"""Connections that are forgotten in one turn of the event loop."""
SESSION_RECHECK_SECONDS = 30.0
"""When the session of a simple socket is checked again if the database was away."""


class Gateway:
    """All sockets of a node. It owns their connections."""

    def __init__(
        self,
        *,
        database: Database,
        credentials: Credentials,
        batch_access: BatchAccess,
        ledger: Ledger,
        read_cursors: ReadCursors,
        chat_query: ChatQuery,
        changes_reader: ChangesReader,
        presence: PresenceTracker,
        publish: Callable[[BusEvent], None],
        allowed_origins: list[str],
        limits: SocketLimits,
        sockets_per_user: int,
        resume_limit: int,
    ) -> None:
        self._credentials = credentials
        self._batch_access = batch_access
        self._presence = presence
        self._publish = publish
        self._allowed_origins = set(allowed_origins)
        self._limits = limits
        self._sockets_per_user = sockets_per_user
        self._closing = False
        self._tasks: set[asyncio.Task[None]] = set()
        self._queries = Queries(database, chat_query)
        self._flusher = SendFlusher()
        self._timers = TimerWheel()
        self._open: set[Connection] = set()  # accepted, and not lost yet
        self._all_lost = asyncio.Event()
        self._lost: deque[Connection] = deque()  # lost, and not forgotten yet
        self._watchers = Watchers()
        self._chat_list_feed = ChatListFeed(self._queries, presence.status_of, self._watchers)
        self._typing = TypingNow(publish)
        self.hub = Hub(changes_reader.since)
        self._simple_sockets = SimpleSockets(ledger, self.hub, presence)
        self._queued_commands = QueuedCommands(
            database=database,
            read_cursors=read_cursors,
            hub=self.hub,
            presence=presence,
            watchers=self._watchers,
            log_in=self._log_in_by_frame,
            resume_limit=resume_limit,
        )
        self._commands = Commands(ledger=ledger, typing=self._typing, queued=self._queued_commands)

    def start(self) -> None:
        """Start the timers, and publish changes of presence."""
        self._spawn(self._timers.run(), "timers")
        self._timers.add(self._typing, 1.0)
        self._spawn(self._presence.run(self._queries.record_last_seen, self._publish), "presence")

    def handle(self, event: BusEvent) -> None:
        """Take an event from the bus."""
        self.hub.handle(event)
        if isinstance(event, MessageCreated):
            return  # by far the most frequent event, and only the hub handles it
        self._chat_list_feed.handle(event)
        if isinstance(event, PresenceChanged | UserUpdated):
            self._watchers.handle(event)
        elif isinstance(event, MemberRemoved):
            affected = self._watchers.watchers_of(event.user_id)
            affected |= {c for c in self.hub.connections_of(event.user_id) if c.watched}
            if affected:
                self._spawn(self._recheck_watched(affected), "watchers")

    async def close(self) -> None:
        """Finish the commands in flight, send every socket what is queued for it, and close it with
        1012."""
        self._closing = True
        await self._queued_commands.close()
        for connection in self.hub.connections():
            connection.close(Close.RESTARTING, "the server restarts; connect again in a moment")
        self._all_lost.clear()
        if self._open:
            with suppress(TimeoutError):
                await asyncio.wait_for(self._all_lost.wait(), DRAIN_SECONDS)
        for connection in list(self._open):
            connection.abort()
        for task in list(self._tasks):
            task.cancel()
        await asyncio.gather(*self._tasks, return_exceptions=True)
        await self._chat_list_feed.close()
        await self.hub.close()

    # Admission. Each method raises Error before the socket is accepted, to refuse the handshake.

    async def serve_main(self, socket: WebSocket) -> None:
        """Serve `/ws`. A client whose handshake has neither token nor ticket logs in by the first frame."""
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
        """Serve `/ws/chat/{chat_id}`."""
        self._admit(socket)
        connection = self._connection(Kind.CHAT)
        claims = await self._claims(socket, in_query="token")
        if claims is None:
            raise Unauthenticated
        claims.grant.require_chat(chat_id)
        try:
            chats = await self._register(connection, claims)
            self.hub.attach(connection, chats.position_in(chat_id))
            connection.verified = True
            await self._accept(socket, connection)
        except BaseException:
            self._forget(connection)
            raise

    async def serve_status(self, socket: WebSocket) -> None:
        """Serve `/ws/status`."""
        self._admit(socket)
        connection = self._connection(Kind.STATUS)
        claims = await self._claims(socket, in_query="token")
        if claims is None:
            raise Unauthenticated
        claims.grant.require_all_chats()
        try:
            connection.user_id = claims.user_id
            self._chat_list_feed.add(connection)
            chats = await self._register(connection, claims)
            await self._chat_list_feed.begin(connection, [position.chat_id for position in chats.positions])
            connection.verified = True
            await self._accept(socket, connection)
        except BaseException:
            self._forget(connection)
            raise

    def _admit(self, socket: WebSocket) -> None:
        """Check the origin of a handshake. Raises ShuttingDown, OriginNotAllowed.

        It prevents cross-site WebSocket hijacking (RFC 6455 section 10.2): browsers send a page's origin.
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
        """Return the claims of the token in the header, or of what the query parameter `in_query` has.

        Returns None if there is neither. Browsers cannot set the header. Logs never contain the query
        (logs.py). Raises Unauthenticated, TicketInvalid.
        """
        scheme, _, token = socket.headers.get("authorization", "").partition(" ")
        if scheme.lower() == "bearer":
            return await self._credentials.claims_of(token.strip())
        given = socket.query_params.get(in_query)
        if not given:
            return None
        if in_query == "token":
            return await self._credentials.claims_of(given.strip())
        return await self._queries.claims_of_ticket(given)

    def _connection(self, kind: Kind) -> Connection:
        connection = Connection(kind, self, self._flusher, self._limits)
        connection.heard_at = asyncio.get_running_loop().time()
        connection.await_login()
        return connection

    async def _register(self, connection: Connection, claims: Claims) -> SessionChats:
        """Check the session, and return all chats of its user.

        The connection is added to the hub before the database is read, so that no event is missed.
        Raises SessionEnded, TooManySockets.
        """
        connection.user_id, connection.session_id = claims.user_id, claims.session_id
        connection.grant = claims.grant
        if len(self.hub.connections_of(claims.user_id)) >= self._sockets_per_user:
            raise TooManySockets
        self.hub.add(connection)
        chats = await self._batch_access.open_session(claims)
        if connection.closing:  # the session was ended meanwhile
            raise SessionEnded
        connection.expires_at = self._in_loop_time(chats.session_expires_at.timestamp())
        self._presence.connect(claims.user_id)
        connection.counted = True
        return chats

    async def _enter(self, connection: Connection, claims: Claims) -> datetime:
        """Log in a connection of `/ws`; return when its token expires. Its first frame is `ready`."""
        chats = await self._register(connection, claims)
        for position in chats.positions:
            if claims.grant.permits_chat(position.chat_id):
                self.hub.attach(connection, position)
        expires_at = min(datetime.fromtimestamp(claims.expires_at, UTC), chats.session_expires_at)
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
        """Log in by the first frame of a socket, or replace its token by a newer one of the same user.

        Returns when the newer token expires, None for a log-in. Raises Unauthenticated, InvalidInput.
        """
        claims = await self._credentials.claims_of(command.token)
        if not connection.verified:
            try:
                await self._enter(connection, claims)
            except BaseException:
                self._forget(connection)
                raise
            return None
        if claims.user_id != connection.user_id:
            raise InvalidInput.of("token", "This is another user's token; open another socket for it.")
        if claims.grant != connection.grant:
            raise InvalidInput.of("token", "This token has other permissions; open another socket for it.")
        caller = await self._queries.authenticate(claims)
        connection.session_id = claims.session_id
        expires_at = min(datetime.fromtimestamp(claims.expires_at, UTC), caller.session_expires_at)
        connection.expires_at = self._in_loop_time(expires_at.timestamp())
        return expires_at

    @staticmethod
    def _in_loop_time(timestamp: float) -> float:
        """Convert a POSIX timestamp to the event loop's time."""
        return asyncio.get_running_loop().time() + timestamp - datetime.now(UTC).timestamp()

    async def _accept(self, socket: WebSocket, connection: Connection) -> None:
        """Accept the socket and connect it with its connection."""
        await socket.accept()
        self._open.add(connection)
        self._timers.add(connection, min(self._limits.heartbeat, self._limits.handshake))
        protocol: SocketProtocol | None = socket.scope["extensions"].get(PROTOCOL_EXTENSION)
        if protocol is not None:
            protocol.detach_transport(connection, self._limits.frame)
        else:
            await AsgiSocket(socket, connection, self._limits.frame).run()

    # Owner of connections

    def receive(self, connection: Connection, text: str | None) -> None:
        """A message has arrived; `text` is None for a binary one."""
        if connection.kind is Kind.MAIN:
            self._commands.receive(connection, text)
        else:
            self._simple_sockets.receive(connection, text)

    def closing(self, connection: Connection) -> None:
        """The connection is being closed."""
        self._timers.add(connection, CLOSE_TIMEOUT_SECONDS)

    def lost(self, connection: Connection) -> None:
        """The client has left, or was disconnected."""
        self._open.discard(connection)
        if not self._open:
            self._all_lost.set()
        if not self._lost:
            asyncio.get_running_loop().call_soon(self._forget_some)
        self._lost.append(connection)

    def expired(self, connection: Connection) -> None:
        """The connection's token has expired; a simple socket's session, since it cannot send another
        token."""
        if connection.kind is Kind.MAIN:
            connection.close(Close.TOKEN_EXPIRED, "the access token has expired; connect with another")
            return
        connection.expires_at = self._in_loop_time(datetime.now(UTC).timestamp() + SESSION_RECHECK_SECONDS)
        self._spawn(self._check_session(connection), "session")

    def _forget_some(self) -> None:
        """Forget lost connections, a few in each turn of the event loop: thousands may be lost together."""
        for _ in range(min(FORGOTTEN_PER_TURN, len(self._lost))):
            self._forget(self._lost.popleft())
        if self._lost:
            asyncio.get_running_loop().call_soon(self._forget_some)

    def _forget(self, connection: Connection) -> None:
        self.hub.remove(connection)
        self._chat_list_feed.remove(connection)
        self._watchers.forget(connection)
        if connection.counted:
            connection.counted = False
            self._presence.disconnect(connection.user_id)

    async def _check_session(self, connection: Connection) -> None:
        """Close the connection if its session has expired; a refresh of the session extends it."""
        claims = Claims(connection.user_id, connection.session_id, 0, connection.grant)
        try:
            caller = await self._queries.authenticate(claims)
        except Unauthenticated:
            connection.close(Close.SESSION_ENDED, "this session has ended; log in again")
        except Unavailable:
            return
        else:
            connection.expires_at = self._in_loop_time(caller.session_expires_at.timestamp())
            self._timers.add(connection, connection.expires_at - asyncio.get_running_loop().time())

    async def _recheck_watched(self, connections: Collection[Connection]) -> None:
        """A member has left a chat: users who share no chat with them any more may not watch them."""
        for connection in connections:
            if connection.kind is Kind.MAIN:
                watched = set(connection.watched or ())
                with suppress(Error):
                    known = await self._queries.known_to(connection.user_id, watched)
                    self._watchers.unwatch(connection, watched - known)

    def _spawn(self, work: Coroutine[None, None, None], name: str) -> None:
        task = asyncio.create_task(work, name=name)
        self._tasks.add(task)
        task.add_done_callback(self._finished)

    def _finished(self, task: asyncio.Task[None]) -> None:
        self._tasks.discard(task)
        if not task.cancelled() and (error := task.exception()) is not None:
            log.error("task failed", task=task.get_name(), exc_info=error)
