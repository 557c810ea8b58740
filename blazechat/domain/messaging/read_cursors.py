"""Read cursors: one per member and chat. A cursor never goes back, and never passes the last message."""

import asyncio
from collections.abc import Callable
from dataclasses import dataclass

from sqlalchemy import select
from sqlalchemy.ext.asyncio import AsyncSession

from blazechat.database import tables
from blazechat.database.direct import DirectConnection
from blazechat.domain.auth.access import Caller, chat_for, message_for
from blazechat.domain.batching import Batcher
from blazechat.domain.events import ReadCursorMoved
from blazechat.domain.schemas.messages import ReadCursor, ReadStatus
from blazechat.errors import Busy, Error, NoSuchChat

MAX_CURSORS = 500
"""Cursors of a chat that one response has; the furthest ones."""

MOVE = """
WITH input AS MATERIALIZED (
    SELECT * FROM unnest($1::int8[], $2::int8[], $3::int8[], $4::int8[])
    WITH ORDINALITY AS i (chat_id, user_id, session_id, up_to, place)
), alive AS MATERIALIZED (
    SELECT i.* FROM input i JOIN sessions s ON s.id = i.session_id AND s.user_id = i.user_id
    WHERE s.revoked_at IS NULL AND s.expires_at > now()
), locked AS MATERIALIZED (
    SELECT m.chat_id, m.user_id, m.read_id FROM members m
    WHERE (m.chat_id, m.user_id) IN (SELECT chat_id, user_id FROM alive)
    FOR NO KEY UPDATE SKIP LOCKED
), wanted AS MATERIALIZED (
    SELECT b.*, greatest(b.before, least(b.up_to, b.last_message_id)) AS read_id FROM (
        SELECT l.chat_id, l.user_id, max(a.up_to) AS up_to, c.last_message_id,
            greatest(l.read_id, c.author_read_ids[array_position(c.author_ids, l.user_id)]) AS before
        FROM alive a
        JOIN locked l ON l.chat_id = a.chat_id AND l.user_id = a.user_id
        JOIN chats c ON c.id = a.chat_id
        GROUP BY l.chat_id, l.user_id, l.read_id, c.id
    ) b
), moved AS (
    UPDATE members m SET read_id = w.read_id FROM wanted w
    WHERE m.chat_id = w.chat_id AND m.user_id = w.user_id AND w.read_id > m.read_id
)
SELECT i.place, m.user_id IS NOT NULL AND a.place IS NOT NULL AS member, w.before, w.read_id,
    w.last_message_id
FROM input i
LEFT JOIN alive a ON a.place = i.place
LEFT JOIN members m ON m.chat_id = i.chat_id AND m.user_id = i.user_id
LEFT JOIN wanted w ON w.chat_id = i.chat_id AND w.user_id = i.user_id AND a.place IS NOT NULL
ORDER BY i.place
"""
"""Skips rows that another transaction holds, so it never waits for a lock. Skipped moves are retried."""

NEWEST = 2**63 - 1
MAX_LOCK_ATTEMPTS, LOCK_RETRY_SECONDS = 200, 0.005
"""Attempts to move a cursor that another transaction holds, and the pause between them."""


@dataclass(frozen=True, slots=True)
class CursorMove:
    """One cursor to move to the message `up_to`."""

    chat_id: int
    user_id: int
    session_id: int
    up_to: int


class ReadCursors:
    """Moves cursors, many in one statement, and publishes each that has moved."""

    def __init__(self, direct: DirectConnection, publish: Callable[[ReadCursorMoved], None]) -> None:
        self._direct = direct
        self._publish = publish
        self._batcher: Batcher[CursorMove, ReadCursor] = Batcher(self._move_all)

    async def move(
        self, *, chat_id: int, user_id: int, session_id: int, up_to: int | None = None
    ) -> ReadCursor:
        """Move a user's cursor to a message, by default to the newest. Raises NoSuchChat, Busy."""
        target = NEWEST if up_to is None else up_to
        return await self._batcher.submit(CursorMove(chat_id, user_id, session_id, target))

    async def close(self) -> None:
        await self._batcher.close()

    async def _move_all(self, moves: list[CursorMove]) -> list[ReadCursor | Error]:
        results: dict[int, ReadCursor | Error] = {}
        remaining = list(range(len(moves)))
        for _ in range(MAX_LOCK_ATTEMPTS):
            events = await self._move_unlocked(moves, remaining, results)
            for event in events.values():
                self._publish(event)
            remaining = [place for place in remaining if place not in results]
            if not remaining:
                break
            await asyncio.sleep(LOCK_RETRY_SECONDS)
        return [results.get(place, Busy()) for place in range(len(moves))]

    async def _move_unlocked(
        self, moves: list[CursorMove], places: list[int], results: dict[int, ReadCursor | Error]
    ) -> dict[tuple[int, int], ReadCursorMoved]:
        """Try the moves at these places; add a result for each whose cursor is not locked. Return the
        events."""
        some = [moves[place] for place in places]
        rows = await self._direct.fetch(
            MOVE,
            [move.chat_id for move in some],
            [move.user_id for move in some],
            [move.session_id for move in some],
            [move.up_to for move in some],
        )
        events = {}
        for place, move, row in zip(places, some, rows, strict=True):
            read_id = row["read_id"]
            if not row["member"]:
                results[place] = NoSuchChat()
            elif read_id is not None:
                # `last_message_id` is as of the start of the statement; a later send may have moved the
                # cursor past it.
                unread = max(0, row["last_message_id"] - read_id)
                results[place] = ReadCursor("Messages marked as read", read_id, unread)
                if read_id > row["before"]:
                    event = ReadCursorMoved(move.chat_id, move.user_id, read_id, unread)
                    events[move.chat_id, move.user_id] = event
        return events


async def cursors(session: AsyncSession, chat_id: int) -> dict[int, int]:
    """Return the cursors of a chat by user id: the furthest MAX_CURSORS."""
    rows = await session.execute(
        select(tables.Member.user_id, tables.READ_CURSOR.label("read_id"))
        .join(tables.Chat, tables.Chat.id == tables.Member.chat_id)
        .where(tables.Member.chat_id == chat_id)
        .order_by(tables.READ_CURSOR.desc(), tables.Member.user_id)
        .limit(MAX_CURSORS)
    )
    return {row.user_id: row.read_id for row in rows}


async def status(session: AsyncSession, caller: Caller, chat_id: int, message_id: int) -> ReadStatus:
    """Return which members have read a message: of those who were members when it was sent, without its
    author.

    Raises NotFound.
    """
    membership = await chat_for(session, caller.user_id, chat_id)
    message = await message_for(session, membership, message_id)
    rows = await session.execute(
        select(tables.Member.user_id, tables.READ_CURSOR.label("read_id"))
        .join(tables.Chat, tables.Chat.id == tables.Member.chat_id)
        .where(
            tables.Member.chat_id == chat_id,
            tables.Member.user_id != message.author_id,
            tables.Member.joined_id < message_id,
        )
        .order_by(tables.Member.user_id)
    )
    readers = {row.user_id: row.read_id >= message_id for row in rows}
    read_by = [user_id for user_id, has_read in readers.items() if has_read]
    unread_by = [user_id for user_id, has_read in readers.items() if not has_read]
    return ReadStatus(bool(read_by), read_by, unread_by)
