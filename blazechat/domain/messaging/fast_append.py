"""FAST_APPEND: the short SQL statement that stores a batch whose ids and versions are assigned already.

It stores the messages of the chats whose rows still have the expected versions. Everything that decides
whether a send is permitted is covered by a version: members and visibility by that of the chat, sessions
and authors' names by that of `auth_version`. So two comparisons of integers replace APPEND's checks. If
`auth_version` has another version, or one of the sessions is not known at it, the statement compares
sessions and names with the tables instead; otherwise PostgreSQL does not evaluate that part.

A chat whose version differs, whose row is locked, or that has webhooks, gets the verdict `stale`, and
APPEND stores its sends. If a session has ended or a name has changed, all sends of the batch are `stale`.
A duplicate violates the unique key and fails the whole batch.
"""

from collections.abc import Sequence
from dataclasses import dataclass
from datetime import datetime

import asyncpg

from blazechat.database.arrays import numbers, texts
from blazechat.domain.messaging.known_sessions import KnownSession
from blazechat.domain.messaging.sends import QueuedSend, Rejected, SendResult, Stored

_STORE = """
WITH given AS MATERIALIZED (
    SELECT $1::text::int8[] AS chats, $2::text::int8[] AS expected
), auth AS MATERIALIZED (
    SELECT version, version = $15::int8 AND now() < $16::timestamptz AS is_known
    FROM auth_version WHERE id = 1
), valid AS MATERIALIZED (
    SELECT count(*) AS sessions, min(s.expires_at) AS expires_at
    FROM unnest($17::text::int8[], $18::text::int8[], $19::text::text[], $20::text::text[])
        AS a (session_id, user_id, username, display_name)
    CROSS JOIN LATERAL (
        SELECT expires_at FROM sessions WHERE id = a.session_id AND user_id = a.user_id
            AND revoked_at IS NULL AND expires_at > now() LIMIT 1
    ) s
    CROSS JOIN LATERAL (
        SELECT FROM users WHERE id = a.user_id
            AND username = a.username AND display_name = a.display_name LIMIT 1
    ) u
), locked AS MATERIALIZED (
    SELECT id, version FROM chats WHERE id = ANY ((SELECT chats FROM given)::int8[]) AND hooks = 0
    ORDER BY id FOR NO KEY UPDATE SKIP LOCKED
), ready AS MATERIALIZED (
    SELECT coalesce(array_agg(id ORDER BY id), '{{}}') AS ids FROM given, locked
    WHERE version = expected[width_bucket(id, chats)]
        AND ((SELECT is_known FROM auth) OR (SELECT sessions FROM valid) = $21::int8)
        AND NOT EXISTS (SELECT FROM webhooks WHERE chat_id IS NULL AND disabled_at IS NULL)
), advanced AS (
    UPDATE chats SET version = c.version, last_message_id = c.newest,
        author_ids = c.authors::int8[], author_read_ids = c.read_ids::int8[]
    FROM ready, unnest(
        $1::text::int8[], $3::text::int8[], $4::text::int8[], $5::text::text[], $6::text::text[]
    ) AS c (id, version, newest, authors, read_ids)
    WHERE chats.id = c.id AND ids[width_bucket(c.id, ids)] = c.id
), inserted AS (
    INSERT INTO messages (chat_id, id, version, author_id, content, client_id, digest, reply_to)
    SELECT m.* FROM ready, unnest(
        $7::text::int8[], $8::text::int8[], $9::text::int8[], $10::text::int8[],
        $11::text::text[], $12::text::text[], $13::text::int8[], $14::text::int8[]
    ) AS m (chat_id, id, version, author_id, content, client_id, digest, reply_to)
    WHERE ids[width_bucket(m.chat_id, ids)] = m.chat_id
){and_move}
SELECT now() AS created_at, ids, (SELECT version FROM auth) AS auth_version,
    CASE WHEN (SELECT is_known FROM auth) THEN NULL ELSE (SELECT expires_at FROM valid) END AS expires_at
FROM ready
"""
_MOVE = """, moved AS (
    UPDATE members SET read_id = greatest(members.read_id, r.read_id)
    FROM ready, unnest($22::text::int8[], $23::text::int8[], $24::text::int8[])
        AS r (chat_id, author_id, read_id)
    WHERE members.chat_id = r.chat_id AND members.user_id = r.author_id
        AND ids[width_bucket(r.chat_id, ids)] = r.chat_id
)"""
FAST_APPEND = _STORE.format(and_move="")
FAST_APPEND_AND_MOVE = _STORE.format(and_move=_MOVE)
"""FAST_APPEND, which also moves read cursors from the rows of chats to `members`."""

NO_SESSIONS: tuple[str, str, str, str, int] = ("{}", "{}", "{}", "{}", -1)
"""The sessions to compare with the tables: none. -1 is no count, so then the batch is stored only if all
its sessions are known."""


class AssignedIds:
    """The id and version assigned to a send, and its author's membership and session."""

    __slots__ = ("message_id", "session", "version", "visible_after")

    def __init__(self, message_id: int, version: int, visible_after: int, session: KnownSession) -> None:
        self.message_id = message_id
        self.version = version
        self.visible_after = visible_after
        self.session = session


@dataclass
class CursorMoves:
    """Read cursors to move to `members`; three columns."""

    chat_ids: list[int]
    user_ids: list[int]
    read_ids: list[int]


@dataclass
class FastAppend:
    """A batch with assigned ids, ready for FAST_APPEND."""

    batch: Sequence[QueuedSend]
    assigned: list[AssignedIds]
    columns: list[str]
    """The first 14 arguments of FAST_APPEND: chats and messages."""
    moves: CursorMoves | None
    sessions: dict[int, KnownSession]
    """The sessions of the batch by id."""
    auth_version: int
    """The version at which all of `sessions` are known; -1 if one of them has to be checked."""
    valid_until: datetime
    """When the first of `sessions` expires."""
    checked_at: int | None = None
    """The auth version at which the statement has checked `sessions`; None if it did not need to."""

    async def store(self, connection: asyncpg.Connection) -> list[SendResult]:
        """Return a result per send. Raises asyncpg.UniqueViolationError if one of them is a duplicate."""
        row = await self._run(connection, NO_SESSIONS if self.auth_version >= 0 else self._sessions())
        if self.auth_version >= 0 and row["auth_version"] != self.auth_version:
            # Nothing is stored. Some session has ended or some name has changed since; perhaps none of
            # these.
            row = await self._run(connection, self._sessions())
        created_at, stored = row["created_at"], set(row["ids"])
        if stored and row["expires_at"] is not None:
            self.checked_at, self.valid_until = row["auth_version"], row["expires_at"]
        return [
            Stored(ids.message_id, ids.version, created_at, ids.session, ids.visible_after)
            if send.chat_id in stored
            else Rejected("stale")
            for send, ids in zip(self.batch, self.assigned, strict=True)
        ]

    async def _run(
        self, connection: asyncpg.Connection, sessions: tuple[str, str, str, str, int]
    ) -> asyncpg.Record:
        arguments = (*self.columns, self.auth_version, self.valid_until, *sessions)
        moves = self.moves
        if moves is None:
            (row,) = await connection.fetch(FAST_APPEND, *arguments)
        else:
            columns = numbers(moves.chat_ids), numbers(moves.user_ids), numbers(moves.read_ids)
            (row,) = await connection.fetch(FAST_APPEND_AND_MOVE, *arguments, *columns)
        return row

    def _sessions(self) -> tuple[str, str, str, str, int]:
        sessions = self.sessions
        authors = [session.author for session in sessions.values()]
        return (
            numbers(sessions),
            numbers([author.id for author in authors]),
            texts([author.username for author in authors]),
            texts([author.display_name for author in authors]),
            len(sessions),
        )
