"""The commands of `/ws` that are executed one after another, because they need a transaction.

Not compiled: it awaits the end of transactions (docs/decisions/0011-compiled-core.md).
"""

import asyncio
from collections import deque
from collections.abc import Awaitable, Callable
from datetime import datetime
from typing import Any

import structlog
from msgspec import UNSET
from sqlalchemy.ext.asyncio import AsyncSession

from blazechat.database.engine import Database
from blazechat.domain.auth import access, users
from blazechat.domain.auth.access import Caller
from blazechat.domain.auth.access_tokens import Claims
from blazechat.domain.chats import members
from blazechat.domain.messaging import messages, reactions, read_cursors
from blazechat.domain.messaging.read_cursors import ReadCursors
from blazechat.domain.schemas.messages import Message
from blazechat.domain.schemas.users import Presence
from blazechat.errors import Error, InternalError, InvalidInput, NoSuchChat, TokenExpired, Unauthenticated
from blazechat.realtime import wire
from blazechat.realtime.connection import Close, Connection
from blazechat.realtime.hub import Hub
from blazechat.realtime.presence import PresenceTracker, Watchers

log = structlog.get_logger("blazechat.commands")

MAX_WATCHED = 1000
"""Users whose presence one socket can get."""
MAX_OPEN_CHATS = 100
"""Chats whose typing and read events one socket can get."""

LogIn = Callable[[Connection, wire.Auth], Awaitable[datetime | None]]
"""Logs a connection in, or replaces its token. Returns when the new token expires, None for a log-in."""


ChangeMessage = Callable[[AsyncSession, Caller, Any], Awaitable[Message]]

_CHANGES: dict[type[wire.Command], ChangeMessage] = {
    wire.Edit: lambda session, caller, c: messages.edit(
        session, caller, c.chat_id, c.message_id, c.content
    ),
    wire.Delete: lambda session, caller, c: messages.delete(session, caller, c.chat_id, c.message_id),
    wire.React: lambda session, caller, c: reactions.add(session, caller, c.chat_id, c.message_id, c.emoji),
    wire.Unreact: lambda session, caller, c: reactions.remove(
        session, caller, c.chat_id, c.message_id, c.emoji
    ),
    wire.Pin: lambda session, caller, c: messages.pin(session, caller, c.chat_id, c.message_id, True),
    wire.Unpin: lambda session, caller, c: messages.pin(session, caller, c.chat_id, c.message_id, False),
}
"""The domain call of each command that changes a message."""


class QueuedCommands:
    """Executes the commands of each connection in the order of their arrival."""

    def __init__(
        self,
        *,
        database: Database,
        read_cursors: ReadCursors,
        hub: Hub,
        presence: PresenceTracker,
        watchers: Watchers,
        log_in: LogIn,
        resume_limit: int,
    ) -> None:
        self._database = database
        self._read_cursors = read_cursors
        self._hub = hub
        self._presence = presence
        self._watchers = watchers
        self._log_in = log_in
        self._resume_limit = resume_limit
        self._tasks: set[asyncio.Task[None]] = set()
        self._handlers: dict[type[wire.Command], Callable[..., Awaitable[wire.Ack | None]]] = {
            **dict.fromkeys(_CHANGES, self._change),
            wire.Read: self._read,
            wire.SetStatus: self._set_status,
            wire.Subscribe: self._subscribe,
            wire.Unsubscribe: self._unsubscribe,
            wire.Resume: self._resume,
            wire.Auth: self._auth,
        }

    async def close(self) -> None:
        """Wait for the commands in flight."""
        await asyncio.gather(*self._tasks, return_exceptions=True)

    def add(self, connection: Connection, command: wire.AnyCommand) -> None:
        """Execute a command after the earlier ones of its connection."""
        connection.begin_command()
        if connection.queue is not None:
            connection.queue.append(command)
            return
        connection.queue = deque([command])
        task = asyncio.create_task(self._run_queue(connection, connection.queue), name="commands")
        self._tasks.add(task)
        task.add_done_callback(self._tasks.discard)

    async def _run_queue(self, connection: Connection, queue: deque[Any]) -> None:
        try:
            while queue:
                await self._execute(connection, queue.popleft())
                connection.end_command()
        finally:
            connection.queue = None

    async def _execute(self, connection: Connection, command: wire.Command) -> None:
        try:
            ack = await self._handlers[type(command)](connection, command)
        except Error as error:
            if connection.verified:
                connection.send(wire.refusal(error, command.ref))
            else:
                self._reject_login(connection, command, error)
        except Exception:
            log.exception("command failed", command=type(command).__name__)
            connection.send(wire.refusal(InternalError(), command.ref))
        else:
            if ack is not None and command.ref is not None:
                ack.ref = command.ref
                connection.send(wire.frame(ack))

    @staticmethod
    def _reject_login(connection: Connection, command: wire.Command, error: Error) -> None:
        connection.send_before_login(wire.refusal(error, command.ref))
        if isinstance(error, TokenExpired):
            connection.close(Close.TOKEN_EXPIRED, error.detail)
        elif isinstance(error, Unauthenticated):
            connection.close(Close.SESSION_ENDED, error.detail)
        else:
            connection.close(Close.TRY_AGAIN, error.detail)

    async def _change(self, connection: Connection, command: wire.Command) -> wire.Ack:
        """Execute a command that changes a message."""
        async with self._database.transaction() as session:
            caller = await access.authenticate(session, _claims(connection))
            message = await _CHANGES[type(command)](session, caller, command)
        return wire.Ack(None, message.chat_id, message.id, message.version)

    async def _read(self, connection: Connection, command: wire.Read) -> wire.Ack:
        moved = await self._read_cursors.move(
            chat_id=command.chat_id,
            user_id=connection.user_id,
            session_id=connection.session_id,
            up_to=command.up_to,
        )
        return wire.Ack(None, command.chat_id, read_id=moved.read_id, unread=moved.unread)

    async def _set_status(self, connection: Connection, command: wire.SetStatus) -> wire.Ack:
        self._presence.choose(connection.user_id, command.status)
        return wire.Ack(None)

    async def _subscribe(self, connection: Connection, command: wire.Subscribe) -> wire.Ack:
        """Return the read cursors of the chat's members, and the presence of the users."""
        ack = wire.Ack(None)
        async with self._database.transaction() as session:
            caller = await access.authenticate(session, _claims(connection))
            if command.chat_id is not None:
                await access.chat_for(session, caller.user_id, command.chat_id)
                self._open(connection, command.chat_id)
                found = await read_cursors.cursors(session, command.chat_id)
                ack.chat_id = command.chat_id
                ack.cursors = {str(user_id): read_id for user_id, read_id in found.items()}
            if command.users:
                known = await members.known_to(session, caller.user_id, command.users)
                self._watch(connection, known)
                seen = await users.last_seen(session, known)
                ack.presence = [
                    Presence(user_id, self._presence.status_of(user_id), seen.get(user_id))
                    for user_id in sorted(known)
                ]
        return ack

    def _open(self, connection: Connection, chat_id: int) -> None:
        if len(connection.open_chats or ()) >= MAX_OPEN_CHATS and chat_id not in (
            connection.open_chats or ()
        ):
            raise InvalidInput.of("chat_id", f"One socket can open at most {MAX_OPEN_CHATS} chats.")
        if not self._hub.open_chat(connection, chat_id):
            raise NoSuchChat

    def _watch(self, connection: Connection, user_ids: set[int]) -> None:
        if len(user_ids | (connection.watched or set())) > MAX_WATCHED:
            raise InvalidInput.of("users", f"One socket can watch at most {MAX_WATCHED} users.")
        self._watchers.watch(connection, user_ids)

    async def _unsubscribe(self, connection: Connection, command: wire.Unsubscribe) -> wire.Ack:
        if command.chat_id is not None:
            self._hub.close_chat(connection, command.chat_id)
        self._watchers.unwatch(connection, command.users)
        return wire.Ack(None)

    async def _resume(self, connection: Connection, command: wire.Resume) -> wire.Ack:
        caught_up: dict[str, int] = {}
        missing: dict[str, int] = {}
        for name, version in command.chats.items():
            reached = self._hub.caught_up(connection, _chat_id(name), version)
            if reached is not None:
                caught_up[name] = reached
            else:
                missing[name] = version
        if caught_up:
            connection.send(wire.frame(wire.Synced(caught_up)))
        for name, version in missing.items():
            if connection.closing or connection.lost:
                break
            reached = await self._hub.resume(connection, _chat_id(name), version, self._resume_limit)
            if reached is None:
                connection.send(wire.frame(wire.Reset(_chat_id(name))))
            else:
                connection.send(wire.frame(wire.Synced({name: reached})))
        return wire.Ack(None)

    async def _auth(self, connection: Connection, command: wire.Auth) -> wire.Ack | None:
        expires_at = await self._log_in(connection, command)
        return wire.Ack(None, expires_at=UNSET if expires_at is None else expires_at)


def _claims(connection: Connection) -> Claims:
    return Claims(connection.user_id, connection.session_id, 0, connection.grant)


def _chat_id(name: str) -> int:
    if not name.isdecimal() or len(name) > 15:
        raise InvalidInput.of("chats", "The names are ids of chats.")
    return int(name)
