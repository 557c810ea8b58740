"""Runs a ledger on a database with three chats, and records the statements that it executes."""

import asyncio
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from dataclasses import dataclass, field
from typing import Any

import asyncpg

from blazechat.database.engine import Database
from blazechat.domain.events import MessageCreated
from blazechat.domain.messaging import read_cursors
from blazechat.domain.messaging.append import APPEND
from blazechat.domain.messaging.chat_heads import MAX_PERMITTED_SENDERS, ChatHeads
from blazechat.domain.messaging.fast_append import FAST_APPEND, FAST_APPEND_AND_MOVE
from blazechat.domain.messaging.ledger import Ledger
from blazechat.domain.messaging.sends import MessageDraft, Sender
from blazechat.domain.schemas.messages import Message
from tests.harness import eventually

STATEMENT_NAMES = {APPEND: "append", FAST_APPEND: "fast_append", FAST_APPEND_AND_MOVE: "fast_append"}


@dataclass
class LedgerHarness:
    """A running ledger. Users 1 to 3 are members of chats 1 to 3; user 4 is in no chat.

    User n has session n.
    """

    database: Database
    ledger: Ledger
    published: list[MessageCreated]
    """The events that the ledger has published."""
    connection: asyncpg.Connection
    """A connection of the test's own, to change rows and hold locks."""
    statements: list[str] = field(default_factory=list)
    """The statement of each attempt to store a batch, in order: `append` or `fast_append`."""

    queries: list[asyncpg.connection.LoggedQuery] = field(default_factory=list)
    """The same statements with their arguments."""

    def send(
        self,
        content: str = "x",
        *,
        chat: int = 1,
        author: int = 1,
        session_id: int | None = None,
        **options: Any,
    ) -> asyncio.Future[Message]:
        """Queue a message, by default from the author's session. `options` are fields of MessageDraft."""
        sender = Sender(author, author if session_id is None else session_id)
        return self.ledger.send(sender, MessageDraft(chat, content, **options))

    async def wait_for(self, query: str) -> None:
        """Wait until this query, of what other connections do, returns a row."""

        async def is_true() -> bool:
            return await self.connection.fetchrow(query) is not None

        await eventually(is_true)

    async def read_cursors(self, chat: int) -> dict[int, int]:
        """Return the read cursors of a chat's members by user id."""
        async with self.database.transaction() as session:
            return await read_cursors.cursors(session, chat)

    async def rows(self, chat: int = 1) -> list[asyncpg.Record]:
        """Return the stored messages of a chat, in the order of ids."""
        return await self.connection.fetch("SELECT * FROM messages WHERE chat_id = $1 ORDER BY id", chat)


SEED = """
INSERT INTO users (username, display_name) SELECT 'u' || n, 'u' || n FROM generate_series(1, 4) n;
INSERT INTO sessions (user_id, family_hash, token_hash, device, address, expires_at)
    SELECT n, n::text::bytea, '', '', '', now() + '1 day' FROM generate_series(1, 4) n;
INSERT INTO chats (kind) SELECT 'group' FROM generate_series(1, 3);
INSERT INTO members (chat_id, user_id, role)
    SELECT c, u, 'member' FROM generate_series(1, 3) c, generate_series(1, 3) u;
"""


@asynccontextmanager
async def started_ledger(
    dsn: str, *, max_queued: int = 10_000, max_senders: int = MAX_PERMITTED_SENDERS
) -> AsyncIterator[LedgerHarness]:
    """Empty the database, insert SEED, and run a ledger until the end of the block."""
    statements: list[str] = []
    queries: list[asyncpg.connection.LoggedQuery] = []

    def record_statement(record: asyncpg.connection.LoggedQuery) -> None:
        if record.query in STATEMENT_NAMES:
            statements.append(STATEMENT_NAMES[record.query])
            queries.append(record)

    class LoggedDatabase(Database):
        async def connect(self, **settings: str) -> asyncpg.Connection:
            connection = await super().connect(**settings)
            connection.add_query_logger(record_statement)
            return connection

    database = LoggedDatabase(dsn)
    published: list[MessageCreated] = []
    ledger = Ledger(
        database,
        published.append,
        max_queued=max_queued,
        timeout=5,
        chat_heads=ChatHeads(max_senders),
    )
    ledger.start()
    connection = await asyncpg.connect(dsn)
    try:
        await connection.execute(
            "TRUNCATE users, sessions, chats, members, messages, invitations RESTART IDENTITY CASCADE"
        )
        await connection.execute(SEED)
        yield LedgerHarness(database, ledger, published, connection, statements, queries)
    finally:
        await ledger.drain()
        await connection.close()
        await database.close()
