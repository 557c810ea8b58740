"""Reads pages of messages by prepared statements: access, range and messages in one round trip.

Requests that arrive while a statement runs share the next one.
"""

from collections.abc import Sequence
from dataclasses import dataclass, field

import asyncpg

from blazechat.database.direct import DirectConnection
from blazechat.domain.auth.access_tokens import Claims
from blazechat.domain.auth.batch_access import JOIN_READABLE_CHAT, RECORD_USE, VISIBLE_AFTER
from blazechat.domain.batching import Batcher
from blazechat.domain.messaging.message_rows import READERS, encode_newest_first, stored_messages
from blazechat.domain.messaging.messages import PageRequest
from blazechat.errors import Error, NoSuchChat, SessionEnded

BATCH_PAGES = 8
"""Pages that one statement reads. Few, because the next statement waits for it."""

_MESSAGES = stored_messages("messages.chat_id = r.chat_id AND messages.id BETWEEN r.first_id AND r.last_id")

_ROWS = f"""
SELECT m.*, r.place, NULL AS session_id, NULL AS readable_id, NULL AS newest_id, NULL AS visible_after,
    NULL AS readers
FROM requested r JOIN LATERAL ({_MESSAGES}) m ON true
UNION ALL
SELECT m.*, r.place, r.session_id, r.chat_id, r.newest_id, r.visible_after, ({READERS})
FROM requested r LEFT JOIN LATERAL ({_MESSAGES}) m ON false
ORDER BY place, id NULLS FIRST
"""  # noqa: S608 (put together from constants)
"""The rows of each request of `requested`: first a head without a message, then the messages."""

READ_PAGES = f"""
WITH used AS ({RECORD_USE}), requested AS MATERIALIZED (
    SELECT i.place, s.id AS session_id, c.id AS chat_id, c.last_message_id AS newest_id, p.visible_after,
        greatest(p.last_id - i.size, p.visible_after) + 1 AS first_id, p.last_id
    FROM unnest(
        $1::int8[], $2::int8[], $3::int8[], $4::int8[], $5::int8[], $6::int8[], $7::int8[]
    ) WITH ORDINALITY AS i (session_id, user_id, chat_id, size, least_last, greatest_last, skip, place)
    {JOIN_READABLE_CHAT}
    CROSS JOIN LATERAL (
        SELECT {VISIBLE_AFTER} AS visible_after,
            greatest(i.least_last, least(i.greatest_last, c.last_message_id - i.skip)) AS last_id
    ) p
)
{_ROWS}"""  # noqa: S608 (put together from constants)
"""Reads the pages that sessions request. Without access, `chat_id` is null and matches no message."""

READ_RANGE = f"""
WITH requested AS MATERIALIZED (
    SELECT 1 AS place, NULL::int8 AS session_id, $1::int8 AS chat_id, NULL::int8 AS newest_id,
        NULL::int8 AS visible_after, $2::int8 AS first_id, $3::int8 AS last_id
)
{_ROWS}"""
"""Reads a range of messages for a caller that has checked the access."""


@dataclass(slots=True)
class PageRows:
    """The rows of a page: its head, and its messages in the order of ids."""

    head: asyncpg.Record
    messages: list[asyncpg.Record] = field(default_factory=list)

    def encode(self) -> bytes:
        """Return the messages as JSON, the newest first."""
        return encode_newest_first(self.messages, self.head["readers"])


class PageReader:
    """Reads encoded pages. `direct` is a connection outside the pool."""

    def __init__(self, direct: DirectConnection) -> None:
        self._direct = direct
        self._pages: Batcher[tuple[Claims, int, PageRequest], PageRows] = Batcher(
            self._read_pages, BATCH_PAGES
        )

    async def page(self, claims: Claims, chat_id: int, request: PageRequest) -> PageRows:
        """Return the requested messages that the caller may see. Raises SessionEnded, NoSuchChat, Busy."""
        return await self._pages.submit((claims, chat_id, request))

    async def messages_between(self, chat_id: int, first_id: int, last_id: int) -> PageRows:
        """Return the messages from `first_id` to `last_id`, whoever asks: access was checked before."""
        (page,) = _pages_of(await self._direct.fetch(READ_RANGE, chat_id, first_id, last_id))
        return page

    async def close(self) -> None:
        """Accept no more requests, and finish the queued ones."""
        await self._pages.close()

    async def _read_pages(
        self, requests: Sequence[tuple[Claims, int, PageRequest]]
    ) -> list[PageRows | Error]:
        ranges = [request.last_id_range for _, _, request in requests]
        rows = await self._direct.fetch(
            READ_PAGES,
            [claims.session_id for claims, _, _ in requests],
            [claims.user_id for claims, _, _ in requests],
            [chat_id for _, chat_id, _ in requests],
            [request.limit for _, _, request in requests],
            [least for least, _ in ranges],
            [greatest for _, greatest in ranges],
            [request.skip or 0 for _, _, request in requests],
        )
        return [_error_of(page.head) or page for page in _pages_of(rows)]


def _pages_of(rows: Sequence[asyncpg.Record]) -> list[PageRows]:
    """Return a page per head, with the messages that follow it."""
    pages: list[PageRows] = []
    for row in rows:
        if row["id"] is None:
            pages.append(PageRows(row))
        else:
            pages[-1].messages.append(row)
    return pages


def _error_of(head: asyncpg.Record) -> Error | None:
    if head["session_id"] is None:
        return SessionEnded()
    return NoSuchChat() if head["readable_id"] is None else None
