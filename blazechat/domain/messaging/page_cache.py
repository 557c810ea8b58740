"""Pages of messages as they are answered; the newest of each chat is kept ready.

Whoever asks is looked up each time (`access.Door.glance`), and so is the chat's version. A page is good for
that version alone, so nothing that was deleted or changed is ever shown from here. What a page also shows
and the version does not cover is whether its messages were read, and its authors' names: what this server
hears of those makes it forget the page, and what it does not hear, after FRESH seconds.
"""

import asyncio
import time
from collections import OrderedDict
from collections.abc import Callable
from dataclasses import dataclass

from blazechat.database import tables
from blazechat.database.engine import Database
from blazechat.domain.auth import access
from blazechat.domain.auth.access_tokens import Claims
from blazechat.domain.auth.batch_access import BatchAccess, ReadAccess
from blazechat.domain.events import BusEvent, CursorMoved, UserUpdated
from blazechat.domain.messaging import messages
from blazechat.domain.messaging.message_query import find, readers_of
from blazechat.domain.schemas.messages import Message

FRESH = 5.0
"""Seconds for which a page is good at most."""
ROOM = 32_000_000
"""Bytes of pages that are kept."""

Key = tuple[int, int, int]
"""A chat, the length of the page, and behind which message it may begin."""


@dataclass(frozen=True, slots=True)
class CachedPage:
    """The body of an answer.

    `older` is the id of its first message if there are some before it, `newer` of its last if there are
    some behind it.
    """

    body: bytes
    older: int | None = None
    newer: int | None = None


@dataclass(slots=True, eq=False)
class CacheEntry:
    version: int
    made_at: float
    page: asyncio.Future[CachedPage]
    size: int = 0  # once it is there


class PageCache:
    """`encode` makes the body of an answer from messages, the oldest first."""

    def __init__(
        self, database: Database, batch_access: BatchAccess, encode: Callable[[list[Message]], bytes]
    ) -> None:
        self._database = database
        self._batch_access = batch_access
        self._encode = encode
        self._kept: OrderedDict[Key, CacheEntry] = OrderedDict()
        self._keys: dict[int, set[Key]] = {}  # of each chat
        self._size = 0

    async def page(self, claims: Claims, chat_id: int, wanted: messages.PageRequest) -> CachedPage:
        """The wanted messages, as far as this member may see them. Raises Unauthenticated, NotFound."""
        if wanted.is_newest:
            return await self._newest(claims, chat_id, wanted.limit)
        async with self._database.transaction() as session:
            asker = await access.caller(session, claims)
            found = await messages.page(session, asker, chat_id, wanted)
        return CachedPage(
            self._encode(found.messages),
            older=found.messages[0].id if found.older else None,
            newer=found.messages[-1].id if found.newer else None,
        )

    async def _newest(self, claims: Claims, chat_id: int, limit: int) -> CachedPage:
        seen = await self._batch_access.check_read(claims, chat_id)
        key = (chat_id, limit, seen.visible_after)
        kept, now = self._kept.get(key), time.monotonic()
        if kept is None or kept.version != seen.version or now - kept.made_at > FRESH:
            kept = CacheEntry(seen.version, now, asyncio.ensure_future(self._load(key, seen)))
            self._forget(key)
            self._kept[key] = kept
            self._keys.setdefault(chat_id, set()).add(key)
            kept.page.add_done_callback(lambda done: self._loaded(key, kept))
        return await asyncio.shield(kept.page)

    def handle(self, event: BusEvent) -> None:
        """Take an event from the bus: some pages may not be right any more."""
        if isinstance(event, CursorMoved):
            for key in list(self._keys.get(event.chat_id, ())):
                self._forget(key)
        elif isinstance(event, UserUpdated):
            self._kept.clear()
            self._keys.clear()
            self._size = 0

    async def _load(self, key: Key, seen: ReadAccess) -> CachedPage:
        chat_id, limit, visible_after = key
        first = max(seen.last_message_id - limit, visible_after) + 1
        async with self._database.transaction() as session:
            found = await find(
                session,
                tables.Message.chat_id == chat_id,
                tables.Message.id.between(first, seen.last_message_id),
                readers=readers_of(chat_id, first),
            )
        return CachedPage(self._encode(found), older=first if found and first > visible_after + 1 else None)

    def _loaded(self, key: Key, kept: CacheEntry) -> None:
        if self._kept.get(key) is not kept:
            return  # it is not right any more
        if kept.page.cancelled() or kept.page.exception() is not None:
            self._forget(key)
            return
        kept.size = len(kept.page.result().body)
        self._size += kept.size
        while self._size > ROOM:
            self._forget(next(iter(self._kept)))

    def _forget(self, key: Key) -> None:
        kept = self._kept.pop(key, None)
        if kept is None:
            return
        self._size -= kept.size
        keys = self._keys[key[0]]
        keys.discard(key)
        if not keys:
            del self._keys[key[0]]
