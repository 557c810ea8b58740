"""Batched access checks: many sockets or page requests are authorised by one SQL statement.

The rules are those of `access.authenticate()` and `access.chat_for()`. The statements need not check
whether the account was deleted: its deletion revokes its sessions.
"""

from dataclasses import dataclass
from datetime import datetime

import asyncpg

from blazechat.database.direct import DirectConnection
from blazechat.domain.auth.access_tokens import Claims
from blazechat.domain.batching import Batcher
from blazechat.errors import Error, NoSuchChat, SessionEnded

SESSIONS_PER_STATEMENT = 32
"""Sessions that one statement opens. Few, because it reads all their chats and delays the next batch."""


@dataclass(frozen=True, slots=True)
class ChatPosition:
    """The newest version and message of a member's chat, and where the member joined."""

    chat_id: int
    version: int
    last_message_id: int
    joined_id: int
    """An exclusive lower bound: the newest message when the member joined."""
    joined_version: int
    """The chat's version that the joining created."""
    has_limited_history: bool
    """True if the member sees only messages with ids greater than `joined_id`."""


@dataclass(frozen=True, slots=True)
class SessionChats:
    """A valid session and all chats of its user."""

    session_expires_at: datetime
    positions: list[ChatPosition]

    def position_in(self, chat_id: int) -> ChatPosition:
        """Raises NoSuchChat if the user is not a member."""
        for position in self.positions:
            if position.chat_id == chat_id:
                return position
        raise NoSuchChat


@dataclass(frozen=True, slots=True)
class ReadAccess:
    """The newest version and message of a chat that the caller may read."""

    version: int
    last_message_id: int
    visible_after: int
    """The caller sees messages with greater ids than this."""


RECORD_USE = """
    UPDATE sessions SET last_used_at = now()
    WHERE id = ANY ($1::int8[]) AND last_used_at < now() - interval '1 minute'
"""
"""Updates `last_used_at` of the sessions `$1`, at most once per minute (LAST_USED_INTERVAL)."""

OPEN_SESSIONS = f"""
WITH input AS MATERIALIZED (
    SELECT * FROM unnest($1::int8[], $2::int8[]) WITH ORDINALITY AS i (session_id, user_id, place)
), used AS ({RECORD_USE})
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
"""  # noqa: S608 (put together from constants)

JOIN_READABLE_CHAT = """
LEFT JOIN sessions s ON s.id = i.session_id AND s.user_id = i.user_id
    AND s.revoked_at IS NULL AND s.expires_at > now()
LEFT JOIN members m ON m.chat_id = i.chat_id AND m.user_id = s.user_id
LEFT JOIN chats c ON c.id = m.chat_id
"""
"""SQL that joins a request `i` with its session `s`, membership `m` and chat `c`.

Without a valid session, `s.id` is null. If the user is not a member of the chat, `c.id` is null.
"""

VISIBLE_AFTER = "CASE WHEN c.history = 'joined' THEN m.joined_id ELSE 0 END"
"""SQL for `Membership.visible_after`, from the tables of JOIN_READABLE_CHAT."""

CHECK_READS = f"""
SELECT s.id AS session_id, c.version, c.last_message_id, {VISIBLE_AFTER} AS visible_after
FROM unnest($1::int8[], $2::int8[], $3::int8[]) WITH ORDINALITY AS i (session_id, user_id, chat_id, place)
{JOIN_READABLE_CHAT}
ORDER BY i.place
"""  # noqa: S608 (put together from constants)

POSITION_COLUMNS = ("chat_ids", "versions", "newest", "joined", "joined_versions", "from_joining")
"""The columns of OPEN_SESSIONS that hold the fields of `ChatPosition`, in the order of the fields."""


class BatchAccess:
    """Authorises sockets, and requests for the newest messages of a chat."""

    def __init__(self, direct: DirectConnection) -> None:
        self._direct = direct
        self._sessions: Batcher[Claims, SessionChats] = Batcher(
            self._open_sessions, size=SESSIONS_PER_STATEMENT
        )
        self._reads: Batcher[tuple[Claims, int], ReadAccess] = Batcher(self._check_reads)

    async def open_session(self, claims: Claims) -> SessionChats:
        """Return all chats of a token's user. Raises SessionEnded, Busy."""
        return await self._sessions.submit(claims)

    async def check_read(self, claims: Claims, chat_id: int) -> ReadAccess:
        """Return what a token's user can see of a chat. Raises SessionEnded, NoSuchChat, Busy."""
        return await self._reads.submit((claims, chat_id))

    async def close(self) -> None:
        """Accept no more checks, and finish the queued ones."""
        await self._sessions.close()
        await self._reads.close()

    async def _open_sessions(self, all_claims: list[Claims]) -> list[SessionChats | Error]:
        rows = await self._direct.fetch(
            OPEN_SESSIONS,
            [claims.session_id for claims in all_claims],
            [claims.user_id for claims in all_claims],
        )
        return [_session_chats_of(row) for row in rows]

    async def _check_reads(self, requests: list[tuple[Claims, int]]) -> list[ReadAccess | Error]:
        rows = await self._direct.fetch(
            CHECK_READS,
            [claims.session_id for claims, _ in requests],
            [claims.user_id for claims, _ in requests],
            [chat_id for _, chat_id in requests],
        )
        return [_read_access_of(row) for row in rows]


def _session_chats_of(row: asyncpg.Record) -> SessionChats | Error:
    if row["expires_at"] is None:
        return SessionEnded()
    columns = (row[name] or () for name in POSITION_COLUMNS)
    return SessionChats(row["expires_at"], [ChatPosition(*fields) for fields in zip(*columns, strict=True)])


def _read_access_of(row: asyncpg.Record) -> ReadAccess | Error:
    if row["session_id"] is None:
        return SessionEnded()
    if row["version"] is None:
        return NoSuchChat()
    return ReadAccess(row["version"], row["last_message_id"], row["visible_after"])
