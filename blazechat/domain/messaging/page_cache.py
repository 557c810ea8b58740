"""Caches the newest page of messages per chat as encoded response bodies.

Access and the chat's version are checked for every request (`BatchAccess.check_read`). A page is valid for
one version only, so edited or deleted content is never served from the cache. Two things on a page are not
covered by the version: whether its messages were read, and its authors' names. An event about these evicts
the page; an event that this node misses is covered by MAX_AGE_SECONDS.
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
from blazechat.domain.events import BusEvent, ReadCursorMoved, UserUpdated
from blazechat.domain.messaging import messages
from blazechat.domain.messaging.message_query import find, readers_of
from blazechat.domain.schemas.messages import Message

MAX_AGE_SECONDS = 5.0
"""After which a page is loaded again."""
MAX_CACHE_BYTES = 32_000_000
"""Of all page bodies; the oldest are evicted."""

Key = tuple[int, int, int]
"""Chat id, page limit, and the member's `visible_after`."""


@dataclass(frozen=True, slots=True)
class CachedPage:
    """The body of a response.

    `older` is the id of its first message if there are older ones; `newer` the id of its last message if
    there are newer ones.
    """

    body: bytes
    older: int | None = None
    newer: int | None = None


@dataclass(slots=True, eq=False)
class CacheEntry:
    """A page that is loaded or being loaded. Requests that arrive meanwhile await the same future."""

    version: int
    loaded_at: float
    page: asyncio.Future[CachedPage]
    size: int = 0  # of the body, once it is loaded


class PageCache:
    """`encode` turns messages, the oldest first, into the body of a response."""

    def __init__(
        self, database: Database, batch_access: BatchAccess, encode: Callable[[list[Message]], bytes]
    ) -> None:
        self._database = database
        self._batch_access = batch_access
        self._encode = encode
        self._entries: OrderedDict[Key, CacheEntry] = OrderedDict()
        self._keys_by_chat: dict[int, set[Key]] = {}
        self._bytes = 0

    async def page(self, claims: Claims, chat_id: int, request: messages.PageRequest) -> CachedPage:
        """Return the requested messages that the caller may see. Raises SessionEnded, NotFound."""
        if request.is_newest:
            return await self._newest_page(claims, chat_id, request.limit)
        async with self._database.transaction() as session:
            caller = await access.authenticate(session, claims)
            found = await messages.page(session, caller, chat_id, request)
        return CachedPage(
            self._encode(found.messages),
            older=found.messages[0].id if found.older else None,
            newer=found.messages[-1].id if found.newer else None,
        )

    async def _newest_page(self, claims: Claims, chat_id: int, limit: int) -> CachedPage:
        read_access = await self._batch_access.check_read(claims, chat_id)
        key = (chat_id, limit, read_access.visible_after)
        entry, now = self._entries.get(key), time.monotonic()
        if entry is None or entry.version != read_access.version or now - entry.loaded_at > MAX_AGE_SECONDS:
            entry = CacheEntry(
                read_access.version, now, asyncio.ensure_future(self._load(key, read_access))
            )
            self._evict(key)
            self._entries[key] = entry
            self._keys_by_chat.setdefault(chat_id, set()).add(key)
            entry.page.add_done_callback(lambda done: self._loaded(key, entry))
        return await asyncio.shield(entry.page)

    def handle(self, event: BusEvent) -> None:
        """Evict the pages that a bus event makes stale."""
        if isinstance(event, ReadCursorMoved):
            for key in list(self._keys_by_chat.get(event.chat_id, ())):
                self._evict(key)
        elif isinstance(event, UserUpdated):
            self._entries.clear()
            self._keys_by_chat.clear()
            self._bytes = 0

    async def _load(self, key: Key, read_access: ReadAccess) -> CachedPage:
        chat_id, limit, visible_after = key
        first = max(read_access.last_message_id - limit, visible_after) + 1
        async with self._database.transaction() as session:
            found = await find(
                session,
                tables.Message.chat_id == chat_id,
                tables.Message.id.between(first, read_access.last_message_id),
                readers=readers_of(chat_id, first),
            )
        return CachedPage(self._encode(found), older=first if found and first > visible_after + 1 else None)

    def _loaded(self, key: Key, entry: CacheEntry) -> None:
        if self._entries.get(key) is not entry:
            return  # evicted meanwhile
        if entry.page.cancelled() or entry.page.exception() is not None:
            self._evict(key)
            return
        entry.size = len(entry.page.result().body)
        self._bytes += entry.size
        while self._bytes > MAX_CACHE_BYTES:
            self._evict(next(iter(self._entries)))

    def _evict(self, key: Key) -> None:
        entry = self._entries.pop(key, None)
        if entry is None:
            return
        self._bytes -= entry.size
        keys = self._keys_by_chat[key[0]]
        keys.discard(key)
        if not keys:
            del self._keys_by_chat[key[0]]
