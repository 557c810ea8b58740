"""The feed of `/ws/status`: changes of a user's list of chats, and the presence of the users in it.

It does not keep the order of versions as the hub does. A frame has the whole chat as its user sees it, so
the newest one is enough; it is read from the database a moment after a change. A user who is no longer a
member gets only the chat's id.
"""

import asyncio
from collections.abc import Collection
from datetime import datetime
from typing import Protocol

import structlog

from blazechat.domain.events import (
    ChatEvent,
    ChatInDoubt,
    MessageCreated,
    MessageDeleted,
    MessageUpdated,
)
from blazechat.domain.schemas.chats import MyChat
from blazechat.domain.schemas.users import Presence, StatusOf
from blazechat.errors import Error
from blazechat.realtime import simple_frames
from blazechat.realtime.connection import Connection
from blazechat.realtime.presence import Watchers
from blazechat.vocabulary import Status

log = structlog.get_logger("blazechat.lists")

GATHER_SECONDS = 0.02
"""How long changes are gathered before they are read."""
RETRY_SECONDS = 0.5


class FeedQueries(Protocol):
    """What the feed asks of the database (queries.py)."""

    async def as_seen_by(self, chat_id: int, user_ids: Collection[int]) -> dict[int, MyChat]:
        """Return a chat as each of some users sees it, without users who are not members."""

    async def peers_of(self, user_id: int) -> set[int]:
        """Return the users who share a chat with a user, without those of very large chats."""

    async def last_seen(self, user_ids: Collection[int]) -> dict[int, datetime | None]:
        """Return when each of some users was last online."""


class ChatListFeed:
    """Sends to status sockets. Its queries are passed in, since the realtime parts know no database."""

    def __init__(self, queries: FeedQueries, status_of: StatusOf, watchers: Watchers) -> None:
        self._queries = queries
        self._status_of = status_of
        self._watchers = watchers
        self._known: dict[Connection, set[int] | None] = {}  # the chats sent to each; None before `begin()`
        self._missed: dict[Connection, set[int]] = {}  # by connection: chats that changed before `begin()`
        self._changed: set[int] = set()
        self._task: asyncio.Task[None] | None = None  # set while there are changes to send

    def add(self, connection: Connection) -> None:
        """Note changes for a connection. Its chats are read after this call, and passed to `begin()`."""
        self._known[connection] = None
        self._missed[connection] = set()

    async def begin(self, connection: Connection, chat_ids: Collection[int]) -> None:
        """Send the presence of a connection's peers, its changes, and changes of chats. It knows these
        chats."""
        peers = await self._queries.peers_of(connection.user_id)
        self._watchers.watch(connection, peers | {connection.user_id})
        await self._send_presence(connection, peers - {connection.user_id})
        if connection in self._missed:
            self._known[connection] = set(chat_ids)
            self._mark_changed(self._missed.pop(connection))

    async def _send_presence(self, connection: Connection, peers: set[int]) -> None:
        """Send one frame per peer who is online or away. The connection watches them already, so that no
        change during the query is missed."""
        last_seen = await self._queries.last_seen([peer for peer in peers if self._is_here(peer)])
        for user_id in sorted(filter(self._is_here, last_seen)):
            presence = Presence(user_id, self._status_of(user_id), last_seen[user_id])
            connection.send(simple_frames.presence(presence))

    def _is_here(self, user_id: int) -> bool:
        return self._status_of(user_id) != Status.OFFLINE

    def remove(self, connection: Connection) -> None:
        self._known.pop(connection, None)
        self._missed.pop(connection, None)

    def handle(self, event: object) -> None:
        """Take an event from the bus."""
        if isinstance(event, MessageCreated | MessageUpdated | MessageDeleted) or not self._known:
            return
        if isinstance(event, ChatEvent | ChatInDoubt):
            for missed in self._missed.values():
                missed.add(event.chat_id)
            self._mark_changed({event.chat_id})

    async def close(self) -> None:
        if self._task is not None:
            self._task.cancel()
            await asyncio.gather(self._task, return_exceptions=True)

    def _mark_changed(self, chat_ids: set[int]) -> None:
        self._changed |= chat_ids
        if self._changed and self._task is None:
            self._task = asyncio.create_task(self._run(), name="chat list feed")

    async def _run(self) -> None:
        try:
            while self._changed:
                await asyncio.sleep(GATHER_SECONDS)
                chat_id = self._changed.pop()
                try:
                    await self._send_chat(chat_id)
                except Error:
                    self._changed.add(chat_id)
                    await asyncio.sleep(RETRY_SECONDS)
        except Exception:
            log.exception("chat list feed failed")
        finally:
            self._task = None

    async def _send_chat(self, chat_id: int) -> None:
        users = {connection.user_id for connection in self._known}
        seen = await self._queries.as_seen_by(chat_id, users)
        changed: list[Connection] = []
        for connection, known in list(self._known.items()):
            if known is None:
                continue
            chat = seen.get(connection.user_id)
            if chat is not None:
                connection.send(
                    simple_frames.chat_changed("chat.updated" if chat_id in known else "chat.created", chat)
                )
                known.add(chat_id)
                changed.append(connection)
            elif chat_id in known:
                known.discard(chat_id)
                connection.send(simple_frames.chat_removed(chat_id))
                changed.append(connection)
        for connection in changed:
            await self._watch_peers(connection)

    async def _watch_peers(self, connection: Connection) -> None:
        """Watch the present peers of a connection's user, who might have changed."""
        peers = await self._queries.peers_of(connection.user_id) | {connection.user_id}
        if connection in self._known:
            self._watchers.unwatch(connection, (connection.watched or set()) - peers)
            self._watchers.watch(connection, peers)
