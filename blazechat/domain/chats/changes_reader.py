"""Reads the changes of chats by prepared statements: access and changed messages in one round trip.

If the chat itself has changed, which is rare, `changes.py` reads it with its members in a transaction.
"""

from collections.abc import Collection, Sequence

import asyncpg

from blazechat.database.direct import DirectConnection
from blazechat.database.engine import Database
from blazechat.domain.auth import access
from blazechat.domain.auth.access_tokens import Claims
from blazechat.domain.auth.batch_access import JOIN_READABLE_CHAT, RECORD_USE, VISIBLE_AFTER
from blazechat.domain.chats import changes
from blazechat.domain.chats.changes import PAGE_ROWS, Changes, Missed
from blazechat.domain.chats.chat_query import ChatQuery
from blazechat.domain.messaging.message_rows import READERS, messages_of, stored_messages
from blazechat.errors import NoSuchChat, SessionEnded

_CHANGED = stored_messages(
    "messages.chat_id = r.chat_id AND messages.version BETWEEN r.after + 1 AND r.newest_version"
)

_ROWS = f"""
, changed AS MATERIALIZED (
    SELECT m.* FROM requested r
    CROSS JOIN LATERAL ({_CHANGED} ORDER BY messages.version LIMIT {PAGE_ROWS}) m
)
SELECT m.*, NULL AS session_id, NULL AS readable_id, NULL AS newest_version, NULL AS info_version,
    NULL AS visible_after, NULL AS joined_version, NULL AS readers
FROM changed m
UNION ALL
SELECT m.*, r.session_id, r.chat_id, r.newest_version, r.info_version, r.visible_after, r.joined_version,
    ({READERS})
FROM (
    SELECT *, (SELECT min(id) FROM changed) AS first_id, (SELECT max(id) FROM changed) AS last_id
    FROM requested
) r LEFT JOIN changed m ON false
ORDER BY version NULLS FIRST
"""  # noqa: S608 (put together from constants)
"""The rows of a page: first a head without a message, then the changed messages."""

READ_CHANGES = f"""
WITH requested AS MATERIALIZED (
    SELECT NULL::int8 AS session_id, id AS chat_id, version AS newest_version, info_version,
        NULL::int8 AS visible_after, NULL::int8 AS joined_version, $2::int8 AS after
    FROM chats WHERE id = $1::int8
)
{_ROWS}"""  # noqa: S608 (put together from constants)
"""Reads the changes of a chat after a version, for the hub. Without the chat, it returns no row."""

READ_MISSED = f"""
WITH used AS ({RECORD_USE}), requested AS MATERIALIZED (
    SELECT s.id AS session_id, c.id AS chat_id, c.version AS newest_version, c.info_version,
        {VISIBLE_AFTER} AS visible_after, m.joined_version,
        CASE WHEN c.version - $4::int8 <= $5::int8 THEN $4::int8 END AS after
    FROM unnest($1::int8[], $2::int8[], $3::int8[]) AS i (session_id, user_id, chat_id)
    {JOIN_READABLE_CHAT}
)
{_ROWS}"""  # noqa: S608 (put together from constants)
"""Reads the changes that a member has missed; none if they are more than `$5`."""


class ChangesReader:
    """Reads pages of changes. `direct` is a connection outside the pool."""

    def __init__(self, database: Database, direct: DirectConnection, chat_query: ChatQuery) -> None:
        self._database = database
        self._direct = direct
        self._chat_query = chat_query

    async def since(self, chat_id: int, version: int, user_ids: Collection[int]) -> Changes:
        """Return what `changes.since()` returns. Raises Unavailable, Busy."""
        rows = await self._direct.fetch(READ_CHANGES, chat_id, version)
        if rows and rows[0]["info_version"] <= version:
            return _page_of(rows, version)
        async with self._database.transaction() as session:
            return await changes.since(session, self._chat_query, chat_id, version, user_ids)

    async def missed(self, claims: Claims, chat_id: int, *, after: int, limit: int) -> Missed:
        """Return what `changes.missed()` returns. Raises SessionEnded, NoSuchChat, Unavailable, Busy."""
        ids = ([claims.session_id], [claims.user_id], [chat_id])
        rows = await self._direct.fetch(READ_MISSED, *ids, after, limit)
        head = rows[0]
        if head["session_id"] is None:
            raise SessionEnded
        if head["readable_id"] is None:
            raise NoSuchChat
        if head["info_version"] > after:
            async with self._database.transaction() as session:
                caller = await access.authenticate(session, claims)
                return await changes.missed(
                    session, self._chat_query, caller, chat_id, after=after, limit=limit
                )
        newest, visible_after = head["newest_version"], head["visible_after"]
        if changes.must_reset(newest, after, limit, visible_after, head["joined_version"]):
            return Missed([], newest, more=False, reset=True)
        return changes.as_seen(_page_of(rows, after), chat_id, visible_after)


def _page_of(rows: Sequence[asyncpg.Record], after: int) -> Changes:
    head, *changed = rows
    return changes.page_of(messages_of(changed, head["readers"]), after, head["newest_version"])
