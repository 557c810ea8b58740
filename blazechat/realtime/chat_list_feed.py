"""The seeds' `/ws/status`: changes of one's list of chats, and who of the people in it is here.

Not in the order of versions, as the hub does it: a frame has the whole chat as its reader sees it, so the
latest is enough, read from the database a moment after something changed. Who is not in a chat any more is
not told what it is like by then.
"""

import asyncio
from collections.abc import Awaitable, Callable, Collection

import structlog

from blazechat.domain.events import (
    ChatEvent,
    ChatInDoubt,
    MessageCreated,
    MessageDeleted,
    MessageUpdated,
)
from blazechat.domain.schemas.chats import MyChat
from blazechat.errors import Error
from blazechat.realtime import simple_frames
from blazechat.realtime.connection import Connection
from blazechat.realtime.presence import Watchers

log = structlog.get_logger("blazechat.lists")

TICK = 0.02
"""Seconds for which changes are gathered."""
RETRY_PAUSE = 0.5

AsSeenBy = Callable[[int, Collection[int]], Awaitable[dict[int, MyChat]]]
"""A chat from the seats of those of some users who are in it."""
PeersOf = Callable[[int], Awaitable[set[int]]]
"""Users who share a chat with one, those of very large chats left out."""


class ChatListFeed:
    def __init__(self, as_seen_by: AsSeenBy, peers_of: PeersOf, watchers: Watchers) -> None:
        self._as_seen_by = as_seen_by
        self._peers_of = peers_of
        self._watchers = watchers
        self._known: dict[Connection, set[int] | None] = {}  # the chats of each; None until it has begun
        self._missed: dict[Connection, set[int]] = {}  # what changed before it had
        self._changed: set[int] = set()
        self._task: asyncio.Task[None] | None = None  # set while something is to be told

    def add(self, connection: Connection) -> None:
        """Have the connection hear of changes; `begin()` says which chats it has, looked up after this."""
        self._known[connection] = None
        self._missed[connection] = set()

    async def begin(self, connection: Connection, chat_ids: Collection[int]) -> None:
        self._watchers.watch(connection, await self._peers_of(connection.user_id) | {connection.user_id})
        if connection in self._missed:
            self._known[connection] = set(chat_ids)
            self._change(self._missed.pop(connection))

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
            self._change({event.chat_id})

    async def close(self) -> None:
        if self._task is not None:
            self._task.cancel()
            await asyncio.gather(self._task, return_exceptions=True)

    def _change(self, chat_ids: set[int]) -> None:
        self._changed |= chat_ids
        if self._changed and self._task is None:
            self._task = asyncio.create_task(self._tell(), name="lists of chats")

    async def _tell(self) -> None:
        try:
            while self._changed:
                await asyncio.sleep(TICK)
                chat_id = self._changed.pop()
                try:
                    await self._tell_of(chat_id)
                except Error:
                    self._changed.add(chat_id)
                    await asyncio.sleep(RETRY_PAUSE)
        except Exception:
            log.exception("lists of chats not told")
        finally:
            self._task = None

    async def _tell_of(self, chat_id: int) -> None:
        users = {connection.user_id for connection in self._known}
        seen = await self._as_seen_by(chat_id, users)
        others: list[Connection] = []
        for connection, known in list(self._known.items()):
            if known is None:
                continue
            chat = seen.get(connection.user_id)
            if chat is not None:
                connection.send(
                    simple_frames.list_change("chat.updated" if chat_id in known else "chat.created", chat)
                )
                known.add(chat_id)
                others.append(connection)
            elif chat_id in known:
                known.discard(chat_id)
                connection.send(simple_frames.list_removal(chat_id))
                others.append(connection)
        for connection in others:
            await self._watch_again(connection)

    async def _watch_again(self, connection: Connection) -> None:
        """The people around somebody may be others now."""
        peers = await self._peers_of(connection.user_id) | {connection.user_id}
        if connection in self._known:
            self._watchers.unwatch(connection, (connection.watched or set()) - peers)
            self._watchers.watch(connection, peers)
