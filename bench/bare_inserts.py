"""The ceiling of sends: batched INSERTs of messages, without checks, ordering and acknowledgements."""

import secrets
import time

import asyncpg

INSERT = """
INSERT INTO messages (chat_id, id, version, author_id, content, client_id, digest, reply_to)
SELECT * FROM unnest(
    $1::int8[], $2::int8[], $3::int8[], $4::int8[], $5::text[], $6::text[], $7::int8[], $8::int8[]
)
"""
"""Inserts the ledger's columns into the same table with the same indexes."""
MAX_ROWS_PER_SECOND = 80_000
"""So many rows per second are built before the measurement."""


class BareInserts:
    """Inserts batches of rows into `chats` chats with unused ids. Each batch is a transaction, on one
    connection."""

    def __init__(self, connection: asyncpg.Connection, *, chats: int, batch: int, content: str) -> None:
        self._connection = connection
        self._chats = chats
        self._batch = batch
        self._content = content
        self._rows = 0
        self._seconds = 0.0
        self._built = 0

    @property
    def rate(self) -> float:
        """Rows per second, over all runs."""
        return self._rows / self._seconds

    async def run(self, seconds: float) -> None:
        """Insert batches for so long."""
        statement = await self._connection.prepare(INSERT)
        batches = [self._build_batch() for _ in range(int(seconds * MAX_ROWS_PER_SECOND / self._batch))]
        began = time.perf_counter()
        for arguments in batches:
            await statement.fetch(*arguments)
            self._rows += self._batch
            if time.perf_counter() - began > seconds:
                break
        self._seconds += time.perf_counter() - began

    def _build_batch(self) -> list[list[object]]:
        numbers = range(self._built, self._built + self._batch)
        self._built += self._batch
        ids = [number // self._chats + 1 for number in numbers]
        return [
            [1_000_000 + number % self._chats for number in numbers],
            list(ids),
            list(ids),
            [1 + number % self._chats for number in numbers],
            [self._content] * self._batch,
            [secrets.token_urlsafe(12) for _ in numbers],
            [secrets.randbits(62) for _ in numbers],
            [None] * self._batch,
        ]
