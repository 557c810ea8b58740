"""What comes in on `/ws`: each command is one call of the domain, answered by its `ref`.

Sends go to the ledger at once, many at a time. Whatever needs a transaction is carried out one after the
other, in the order in which it came.
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
from blazechat.domain.auth import access
from blazechat.domain.auth.access import Caller
from blazechat.domain.auth.access_tokens import Claims
from blazechat.domain.auth.scopes import EVERYTHING
from blazechat.domain.chats import members
from blazechat.domain.events import Typing
from blazechat.domain.messaging import messages, reactions, read_cursors
from blazechat.domain.messaging.ledger import Ledger
from blazechat.domain.messaging.read_cursors import ReadCursors
from blazechat.domain.messaging.sends import MessageDraft, Sender
from blazechat.domain.schemas.messages import Message
from blazechat.domain.schemas.users import Presence
from blazechat.errors import (
    Error,
    InternalError,
    InvalidInput,
    NoSuchChat,
    TokenExpired,
    TooManyCommands,
    Unauthenticated,
)
from blazechat.realtime import wire
from blazechat.realtime.connection import Close, Connection
from blazechat.realtime.hub import Hub
from blazechat.realtime.presence import Presence as Here
from blazechat.realtime.presence import Watchers
from blazechat.realtime.typing import TypingNow
from blazechat.vocabulary import Scope

log = structlog.get_logger("blazechat.commands")

WATCHED_LIMIT = 1000
"""Users whom one socket can watch."""
OPEN_LIMIT = 100
"""Chats that one socket can have open."""

LogIn = Callable[[Connection, wire.Auth], Awaitable[datetime | None]]
"""Logs a connection in, or renews its token; answers with when that expires, None for the first time."""


Change = Callable[[AsyncSession, Caller, Any], Awaitable[Message]]

_CHANGES: dict[type[wire.Command], Change] = {
    wire.Edit: lambda session, asker, c: messages.edit(session, asker, c.chat_id, c.message_id, c.content),
    wire.Delete: lambda session, asker, c: messages.delete(session, asker, c.chat_id, c.message_id),
    wire.React: lambda session, asker, c: reactions.add(session, asker, c.chat_id, c.message_id, c.emoji),
    wire.Unreact: lambda session, asker, c: reactions.remove(
        session, asker, c.chat_id, c.message_id, c.emoji
    ),
    wire.Pin: lambda session, asker, c: messages.pin(session, asker, c.chat_id, c.message_id, True),
    wire.Unpin: lambda session, asker, c: messages.pin(session, asker, c.chat_id, c.message_id, False),
}
"""What each command that changes a message asks of the domain."""


class Commands:
    def __init__(
        self,
        *,
        database: Database,
        ledger: Ledger,
        cursors: ReadCursors,
        hub: Hub,
        here: Here,
        watchers: Watchers,
        typing: TypingNow,
        log_in: LogIn,
        resume_limit: int,
    ) -> None:
        self._database = database
        self._ledger = ledger
        self._cursors = cursors
        self._hub = hub
        self._here = here
        self._watchers = watchers
        self._typing = typing
        self._log_in = log_in
        self._resume_limit = resume_limit
        self._tasks: set[asyncio.Task[None]] = set()
        self._carry_out_as: dict[type[wire.Command], Callable[..., Awaitable[wire.Ack | None]]] = {
            **dict.fromkeys(_CHANGES, self._change),
            wire.Read: self._read,
            wire.SetStatus: self._set_status,
            wire.Subscribe: self._subscribe,
            wire.Unsubscribe: self._unsubscribe,
            wire.Resume: self._resume,
            wire.Auth: self._auth,
        }

    def receive(self, connection: Connection, text: str | None) -> None:
        """A frame has come; None for a binary one."""
        try:
            if not connection.may_command():
                raise TooManyCommands(retry_after=1)
            if text is None:
                raise InvalidInput("This socket takes text frames.")
            command = wire.read_command(text)
            if not connection.verified and not isinstance(command, wire.Auth):
                raise Unauthenticated('Log in first: {"type": "auth", "token": …}.')
            _authorise(connection, command)
        except Error as error:
            refusal = wire.refusal(error, None if text is None else wire.ref_of(text))
            (connection.send if connection.verified else connection.answer)(refusal)
            return
        if isinstance(command, wire.Send):
            self._send(connection, command)
        elif isinstance(command, wire.TypingCommand):
            self._type(connection, command)
        elif isinstance(command, wire.Ping):
            connection.send(_PONG if command.ref is None else wire.frame(wire.Ack(command.ref)))
        elif not isinstance(command, wire.Pong):
            self._queue(connection, command)

    async def close(self) -> None:
        """See the commands under way through."""
        await asyncio.gather(*self._tasks, return_exceptions=True)

    # At once

    def _send(self, connection: Connection, command: wire.Send) -> None:
        ref = command.ref

        def tell(outcome: Message | Error) -> None:
            connection.end()
            if isinstance(outcome, Error):
                connection.send(wire.refusal(outcome, ref))
            elif ref is not None:
                ack = wire.Ack(ref, outcome.chat_id, outcome.id, outcome.version, outcome.created_at)
                connection.send(wire.frame(ack))

        connection.begin()
        try:
            self._ledger.submit(
                Sender(connection.user_id, connection.session_id),
                MessageDraft(
                    command.chat_id,
                    command.content,
                    command.client_id,
                    command.reply_to,
                    command.attachments,
                ),
                tell,
            )
        except Error as error:
            tell(error)

    def _type(self, connection: Connection, command: wire.TypingCommand) -> None:
        """Whether one is in the chat is known here: the hub takes it away with the membership."""
        if command.chat_id not in connection.chat_ids:
            connection.send(wire.refusal(_NO_CHAT, command.ref))
            return
        self._typing.tell(Typing(command.chat_id, connection.user_id, command.typing))
        if command.ref is not None:
            connection.send(wire.frame(wire.Ack(command.ref)))

    # One after the other

    def _queue(self, connection: Connection, command: wire.AnyCommand) -> None:
        connection.begin()
        if connection.queue is not None:
            connection.queue.append(command)
            return
        connection.queue = deque([command])
        task = asyncio.create_task(self._work_off(connection, connection.queue), name="commands")
        self._tasks.add(task)
        task.add_done_callback(self._tasks.discard)

    async def _work_off(self, connection: Connection, queue: deque[Any]) -> None:
        try:
            while queue:
                await self._carry_out(connection, queue.popleft())
                connection.end()
        finally:
            connection.queue = None

    async def _carry_out(self, connection: Connection, command: wire.Command) -> None:
        try:
            ack = await self._carry_out_as[type(command)](connection, command)
        except Error as error:
            if connection.verified:
                connection.send(wire.refusal(error, command.ref))
            else:
                self._refuse_log_in(connection, command, error)
        except Exception:
            log.exception("command failed", command=type(command).__name__)
            connection.send(wire.refusal(InternalError(), command.ref))
        else:
            if ack is not None and command.ref is not None:
                ack.ref = command.ref
                connection.send(wire.frame(ack))

    @staticmethod
    def _refuse_log_in(connection: Connection, command: wire.Command, error: Error) -> None:
        connection.answer(wire.refusal(error, command.ref))
        if isinstance(error, TokenExpired):
            connection.close(Close.TOKEN_EXPIRED, error.detail)
        elif isinstance(error, Unauthenticated):
            connection.close(Close.SESSION_ENDED, error.detail)
        else:
            connection.close(Close.TRY_AGAIN, error.detail)

    async def _change(self, connection: Connection, command: wire.Command) -> wire.Ack:
        """Carry out a command that changes a message."""
        async with self._database.transaction() as session:
            asker = await access.caller(session, _claims(connection))
            message = await _CHANGES[type(command)](session, asker, command)
        return wire.Ack(None, message.chat_id, message.id, message.version)

    async def _read(self, connection: Connection, command: wire.Read) -> wire.Ack:
        moved = await self._cursors.move(
            chat_id=command.chat_id,
            user_id=connection.user_id,
            session_id=connection.session_id,
            up_to=command.up_to,
        )
        return wire.Ack(None, command.chat_id, read_id=moved.read_id, unread=moved.unread)

    async def _set_status(self, connection: Connection, command: wire.SetStatus) -> wire.Ack:
        self._here.choose(connection.user_id, command.status)
        return wire.Ack(None)

    async def _subscribe(self, connection: Connection, command: wire.Subscribe) -> wire.Ack:
        """Answers with how far the members of the chat have read, and which of the users are here."""
        ack = wire.Ack(None)
        async with self._database.transaction() as session:
            asker = await access.caller(session, _claims(connection))
            if command.chat_id is not None:
                await access.chat_for(session, asker.user_id, command.chat_id)
                self._open(connection, command.chat_id)
                found = await read_cursors.cursors(session, command.chat_id)
                ack.chat_id = command.chat_id
                ack.cursors = {str(user_id): read_id for user_id, read_id in found.items()}
            if command.users:
                known = await members.known_to(session, asker.user_id, command.users)
                self._watch(connection, known)
                seen = await members.last_seen(session, known)
                ack.presence = [
                    Presence(user_id, self._here.status_of(user_id), seen.get(user_id))
                    for user_id in sorted(known)
                ]
        return ack

    def _open(self, connection: Connection, chat_id: int) -> None:
        if len(connection.open_chats or ()) >= OPEN_LIMIT and chat_id not in (connection.open_chats or ()):
            raise InvalidInput.of("chat_id", f"One socket has at most {OPEN_LIMIT} chats open.")
        if not self._hub.open_chat(connection, chat_id):
            raise _NO_CHAT

    def _watch(self, connection: Connection, user_ids: set[int]) -> None:
        if len(user_ids | (connection.watched or set())) > WATCHED_LIMIT:
            raise InvalidInput.of("users", f"One socket watches at most {WATCHED_LIMIT} users.")
        self._watchers.watch(connection, user_ids)

    async def _unsubscribe(self, connection: Connection, command: wire.Unsubscribe) -> wire.Ack:
        if command.chat_id is not None:
            self._hub.close_chat(connection, command.chat_id)
        self._watchers.unwatch(connection, command.users)
        return wire.Ack(None)

    async def _resume(self, connection: Connection, command: wire.Resume) -> wire.Ack:
        at_once: dict[str, int] = {}
        behind: dict[str, int] = {}
        for name, version in command.chats.items():
            reached = self._hub.caught_up(connection, _chat_id(name), version)
            if reached is not None:
                at_once[name] = reached
            else:
                behind[name] = version
        if at_once:
            connection.send(wire.frame(wire.Synced(at_once)))
        for name, version in behind.items():
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


_PONG = wire.frame(wire.PongEvent())
_NO_CHAT = NoSuchChat()


def _claims(connection: Connection) -> Claims:
    return Claims(connection.user_id, connection.session_id, 0, connection.grant)


_FOR_READERS = (
    wire.Auth,
    wire.Subscribe,
    wire.Unsubscribe,
    wire.Resume,
    wire.Ping,
    wire.Pong,
)
"""What a token that may only read is good for; everything else needs one that may write."""


def _authorise(connection: Connection, command: wire.AnyCommand) -> None:
    """Whether the connection's token is good for this. Raises InsufficientScope, NotFound."""
    if connection.grant is EVERYTHING:
        return
    if not isinstance(command, _FOR_READERS):
        connection.grant.require(Scope.WRITE)
    chat_id = getattr(command, "chat_id", None)
    if chat_id is not None:
        connection.grant.require_chat(chat_id)


def _chat_id(name: str) -> int:
    if not name.isdecimal() or len(name) > 15:
        raise InvalidInput.of("chats", "The names are ids of chats.")
    return int(name)
