"""Who has read what: a cursor a member, that never goes back and never passes the last message."""

import asyncio
from collections.abc import Callable
from dataclasses import dataclass

from sqlalchemy import select
from sqlalchemy.ext.asyncio import AsyncSession

from blazechat.database import tables
from blazechat.database.direct import DirectConnection
from blazechat.domain.auth.access import Caller, chat_for, message_for
from blazechat.domain.batching import Batcher
from blazechat.domain.events import CursorMoved
from blazechat.domain.schemas.messages import ReadCursor, ReadStatus
from blazechat.errors import Busy, Error, NoSuchChat

CURSORS_SHOWN = 500
"""Of a chat's members, those whose cursors are told at once."""

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
    SELECT a.chat_id, a.user_id, l.read_id AS before, c.last_message_id,
        greatest(l.read_id, least(max(a.up_to), c.last_message_id)) AS read_id
    FROM alive a
    JOIN locked l ON l.chat_id = a.chat_id AND l.user_id = a.user_id
    JOIN chats c ON c.id = a.chat_id
    GROUP BY a.chat_id, a.user_id, l.read_id, c.last_message_id
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
"""Locks nothing that somebody else holds, so it never waits: whoever is skipped is tried again."""

NEWEST = 2**63 - 1
ROUNDS, PAUSE = 200, 0.005
"""How often a cursor that somebody else holds is tried for, and the seconds in between."""


@dataclass(frozen=True, slots=True)
class CursorMove:
    chat_id: int
    user_id: int
    session_id: int
    up_to: int


class ReadCursors:
    """Moves cursors, those of many users in one statement. `publish` is told of each that moved."""

    def __init__(self, direct: DirectConnection, publish: Callable[[CursorMoved], None]) -> None:
        self._direct = direct
        self._publish = publish
        self._batches: Batcher[CursorMove, ReadCursor] = Batcher(self._move)

    async def move(
        self, *, chat_id: int, user_id: int, session_id: int, up_to: int | None = None
    ) -> ReadCursor:
        """Move the user's cursor up to a message; without one, to the newest. Raises NotFound."""
        target = NEWEST if up_to is None else up_to
        return await self._batches.ask(CursorMove(chat_id, user_id, session_id, target))

    async def close(self) -> None:
        await self._batches.close()

    async def _move(self, readings: list[CursorMove]) -> list[ReadCursor | Error]:
        answers: dict[int, ReadCursor | Error] = {}
        left = list(range(len(readings)))
        for _ in range(ROUNDS):
            events = await self._move_some(readings, left, answers)
            for event in events.values():
                self._publish(event)
            left = [place for place in left if place not in answers]
            if not left:
                break
            await asyncio.sleep(PAUSE)
        return [answers.get(place, Busy()) for place in range(len(readings))]

    async def _move_some(
        self, readings: list[CursorMove], places: list[int], answers: dict[int, ReadCursor | Error]
    ) -> dict[tuple[int, int], CursorMoved]:
        """Answer those of the readings at `places` whose cursors nobody else holds."""
        some = [readings[place] for place in places]
        rows = await self._direct.fetch(
            MOVE,
            [reading.chat_id for reading in some],
            [reading.user_id for reading in some],
            [reading.session_id for reading in some],
            [reading.up_to for reading in some],
        )
        events = {}
        for place, reading, row in zip(places, some, rows, strict=True):
            read_id = row["read_id"]
            if not row["member"]:
                answers[place] = NoSuchChat()
            elif read_id is not None:
                # The newest as of the statement's beginning; one sent meanwhile may have moved the cursor.
                unread = max(0, row["last_message_id"] - read_id)
                answers[place] = ReadCursor("Messages marked as read", read_id, unread)
                if read_id > row["before"]:
                    event = CursorMoved(reading.chat_id, reading.user_id, read_id, unread)
                    events[reading.chat_id, reading.user_id] = event
        return events


async def cursors(session: AsyncSession, chat_id: int) -> dict[int, int]:
    """How far the members of a chat have read, by user id; those who have come furthest."""
    rows = await session.execute(
        select(tables.Member.user_id, tables.Member.read_id)
        .where(tables.Member.chat_id == chat_id)
        .order_by(tables.Member.read_id.desc(), tables.Member.user_id)
        .limit(CURSORS_SHOWN)
    )
    return {row.user_id: row.read_id for row in rows}


async def status(session: AsyncSession, asker: Caller, chat_id: int, message_id: int) -> ReadStatus:
    """Who of those that were there when a message was said has read it, its author left out."""
    membership = await chat_for(session, asker.user_id, chat_id)
    message = await message_for(session, membership, message_id)
    rows = await session.execute(
        select(tables.Member.user_id, tables.Member.read_id)
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
