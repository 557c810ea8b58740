"""The door for what comes by the thousand: sockets, and newest pages. Many are let in with one statement.

What `access.caller()` and `access.chat_for()` ask, asked for all who wait at once.
"""

from dataclasses import dataclass
from datetime import datetime

import asyncpg

from blazechat.database.direct import DirectConnection
from blazechat.domain.auth.access_tokens import Claims
from blazechat.domain.batching import Batcher
from blazechat.errors import Error, NoSuchChat, SessionEnded


@dataclass(frozen=True, slots=True)
class ChatPosition:
    """Where a chat stands that somebody is in, and since which message they are."""

    chat_id: int
    version: int
    last_message_id: int
    joined_id: int
    joined_version: int
    from_joining: bool
    """Whether they may not see what was said before that."""


CALLERS_PER_STATEMENT = 32
"""Sockets that are let in with one statement: their chats are many, and nobody else is served meanwhile."""

POSITION_COLUMNS = ("chat_ids", "versions", "newest", "joined", "joined_versions", "from_joining")
"""The columns of ARRIVE that have a Place's fields, in their order."""


@dataclass(frozen=True, slots=True)
class SessionChats:
    session_expires_at: datetime
    positions: list[ChatPosition]

    def position_in(self, chat_id: int) -> ChatPosition:
        """Raises NotFound."""
        for place in self.positions:
            if place.chat_id == chat_id:
                return place
        raise NoSuchChat


@dataclass(frozen=True, slots=True)
class ReadAccess:
    """Where a chat stands, and behind which message its member may read."""

    version: int
    last_message_id: int
    visible_after: int


OPEN_SESSIONS = """
WITH input AS MATERIALIZED (
    SELECT * FROM unnest($1::int8[], $2::int8[]) WITH ORDINALITY AS i (session_id, user_id, place)
), used AS (
    UPDATE sessions SET last_used_at = now()
    WHERE id = ANY ($1::int8[]) AND last_used_at < now() - interval '1 minute'
)
SELECT s.expires_at, c.* FROM input i
LEFT JOIN (sessions s JOIN users u ON u.id = s.user_id AND u.deleted_at IS NULL)
    ON s.id = i.session_id AND s.user_id = i.user_id
    AND s.revoked_at IS NULL AND s.expires_at > now()
LEFT JOIN LATERAL (
    SELECT array_agg(c.id) AS chat_ids, array_agg(c.version) AS versions,
        array_agg(c.last_message_id) AS newest, array_agg(m.joined_id) AS joined,
        array_agg(m.joined_version) AS joined_versions,
        array_agg(c.history = 'joined') AS from_joining
    FROM members m JOIN chats c ON c.id = m.chat_id WHERE m.user_id = s.user_id
) c ON true
ORDER BY i.place
"""

CHECK_READS = """
SELECT s.id AS session_id, c.version, c.last_message_id,
    CASE WHEN c.history = 'joined' THEN m.joined_id ELSE 0 END AS visible_after
FROM unnest($1::int8[], $2::int8[], $3::int8[]) WITH ORDINALITY AS i (session_id, user_id, chat_id, place)
LEFT JOIN sessions s ON s.id = i.session_id AND s.user_id = i.user_id
    AND s.revoked_at IS NULL AND s.expires_at > now()
LEFT JOIN members m ON m.chat_id = i.chat_id AND m.user_id = s.user_id
LEFT JOIN chats c ON c.id = m.chat_id
ORDER BY i.place
"""


class BatchAccess:
    """Lets sockets in, and askers for a chat's newest messages: many at once, with one statement."""

    def __init__(self, direct: DirectConnection) -> None:
        self._direct = direct
        self._arrivals: Batcher[Claims, SessionChats] = Batcher(self._arrive, size=CALLERS_PER_STATEMENT)
        self._glances: Batcher[tuple[Claims, int], ReadAccess] = Batcher(self._glance)

    async def open_session(self, claims: Claims) -> SessionChats:
        """Whoever holds a token with these claims, with all their chats. Raises SessionEnded."""
        return await self._arrivals.ask(claims)

    async def check_read(self, claims: Claims, chat_id: int) -> ReadAccess:
        """What of a chat they may see, by its numbers. Raises SessionEnded, NotFound."""
        return await self._glances.ask((claims, chat_id))

    async def close(self) -> None:
        await self._arrivals.close()
        await self._glances.close()

    async def _arrive(self, all_claims: list[Claims]) -> list[SessionChats | Error]:
        rows = await self._direct.fetch(
            OPEN_SESSIONS,
            [claims.session_id for claims in all_claims],
            [claims.user_id for claims in all_claims],
        )
        return [
            SessionChats(
                row["expires_at"],
                [
                    ChatPosition(*each)
                    for each in zip(*(row[name] or () for name in POSITION_COLUMNS), strict=True)
                ],
            )
            if row["expires_at"] is not None
            else SessionEnded()
            for row in rows
        ]

    async def _glance(self, asked: list[tuple[Claims, int]]) -> list[ReadAccess | Error]:
        rows = await self._direct.fetch(
            CHECK_READS,
            [claims.session_id for claims, _ in asked],
            [claims.user_id for claims, _ in asked],
            [chat_id for _, chat_id in asked],
        )
        return [_glance_of(row) for row in rows]


def _glance_of(row: asyncpg.Record) -> ReadAccess | Error:
    if row["session_id"] is None:
        return SessionEnded()
    if row["version"] is None:
        return NoSuchChat()
    return ReadAccess(row["version"], row["last_message_id"], row["visible_after"])
