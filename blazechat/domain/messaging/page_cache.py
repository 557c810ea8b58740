"""Caches the newest page of messages per chat as encoded response bodies.

Access and the chat's version are checked for every request (`BatchAccess.check_read`). A page is valid for
one version only, so edited or deleted content is never served from the cache. Two things on a page are not
covered by the version: whether its messages were read, and its authors' names. An event about these evicts
the page; an event that this node misses is covered by MAX_AGE_SECONDS.
"""

import asyncio
import time
from collections import OrderedDict
from dataclasses import dataclass

from blazechat.domain.auth.access_tokens import Claims
from blazechat.domain.auth.batch_access import BatchAccess, ReadAccess
from blazechat.domain.events import BusEvent, ReadCursorMoved, UserUpdated
from blazechat.domain.messaging.messages import PageRequest
from blazechat.domain.messaging.page_reader import PageReader, PageRows

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
    """Returns pages of messages as response bodies, the newest message first."""

    def __init__(self, page_reader: PageReader, batch_access: BatchAccess) -> None:
        self._page_reader = page_reader
        self._batch_access = batch_access
        self._entries: OrderedDict[Key, CacheEntry] = OrderedDict()
        self._keys_by_chat: dict[int, set[Key]] = {}
        self._bytes = 0

    async def page(self, claims: Claims, chat_id: int, request: PageRequest) -> CachedPage:
        """Return the requested messages that the caller may see. Raises SessionEnded, NotFound, Busy."""
        if request.is_newest:
            return await self._newest_page(claims, chat_id, request.limit)
        found = await self._page_reader.page(claims, chat_id, request)
        return _encoded(found, found.head["newest_id"], found.head["visible_after"])

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
        newest = read_access.last_message_id
        first = max(newest - limit, visible_after) + 1
        found = await self._page_reader.messages_between(chat_id, first, newest)
        return _encoded(found, newest, visible_after)

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


def _encoded(found: PageRows, newest: int, visible_after: int) -> CachedPage:
    body = found.encode()
    if not found.messages:
        return CachedPage(body)
    first, last = found.messages[0]["id"], found.messages[-1]["id"]
    return CachedPage(
        body, older=first if first > visible_after + 1 else None, newer=last if last < newest else None
    )
