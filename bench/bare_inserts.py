"""The ceiling of sending: what the database takes if nobody asks, checks, orders or tells anything."""

import secrets
import time

import asyncpg

INSERT = """
INSERT INTO messages (chat_id, id, version, author_id, content, client_id, digest, reply_to)
SELECT * FROM unnest(
    $1::int8[], $2::int8[], $3::int8[], $4::int8[], $5::text[], $6::text[], $7::int8[], $8::int8[]
)
"""
"""The columns that the ledger writes, into the same table with the same indexes."""
FASTEST = 80_000
"""Rows a second that are made beforehand."""


class Inserts:
    """Batches into `chats` chats behind all that are real, one transaction each, on one connection."""

    def __init__(self, connection: asyncpg.Connection, *, chats: int, batch: int, content: str) -> None:
        self._connection = connection
        self._chats = chats
        self._batch = batch
        self._content = content
        self._rows = 0
        self._seconds = 0.0
        self._made = 0

    @property
    def rate(self) -> float:
        """Rows a second."""
        return self._rows / self._seconds

    async def run(self, seconds: float) -> None:
        statement = await self._connection.prepare(INSERT)
        batches = [self._next() for _ in range(int(seconds * FASTEST / self._batch))]
        began = time.perf_counter()
        for arguments in batches:
            await statement.fetch(*arguments)
            self._rows += self._batch
            if time.perf_counter() - began > seconds:
                break
        self._seconds += time.perf_counter() - began

    def _next(self) -> list[list[object]]:
        places = range(self._made, self._made + self._batch)
        self._made += self._batch
        ids = [place // self._chats + 1 for place in places]
        return [
            [1_000_000 + place % self._chats for place in places],
            list(ids),
            list(ids),
            [1 + place % self._chats for place in places],
            [self._content] * self._batch,
            [secrets.token_urlsafe(12) for _ in places],
            [secrets.randbits(62) for _ in places],
            [None] * self._batch,
        ]
