"""A ledger on a database with a few chats in it."""

import asyncio
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from dataclasses import dataclass, field
from typing import Any

import asyncpg

from blazechat.database.engine import Database
from blazechat.domain.events import MessageCreated
from blazechat.domain.messaging.append import APPEND
from blazechat.domain.messaging.chat_heads import FAST_APPEND
from blazechat.domain.messaging.ledger import Ledger
from blazechat.domain.messaging.sends import MessageDraft, Sender
from blazechat.domain.schemas.messages import Message

NAMES = {APPEND: "append", FAST_APPEND: "extend"}


@dataclass
class Scene:
    """Chats 1..3 with users 1..3 in each; user n has session n. User 4 is in no chat."""

    database: Database
    ledger: Ledger
    published: list[MessageCreated]
    connection: asyncpg.Connection
    statements: list[str] = field(default_factory=list)
    """`append` or `extend`, for each attempt of the ledger's."""

    def send(
        self,
        content: str = "x",
        *,
        chat: int = 1,
        author: int = 1,
        session_id: int | None = None,
        **options: Any,
    ) -> asyncio.Future[Message]:
        sender = Sender(author, author if session_id is None else session_id)
        return self.ledger.send(sender, MessageDraft(chat, content, **options))

    async def rows(self, chat: int = 1) -> list[asyncpg.Record]:
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
async def scene(dsn: str, *, max_queued: int = 10_000) -> AsyncIterator[Scene]:
    statements: list[str] = []

    def note(record: asyncpg.connection.LoggedQuery) -> None:
        if record.query in NAMES:
            statements.append(NAMES[record.query])

    class Watched(Database):
        async def connect(self, **settings: str) -> asyncpg.Connection:
            connection = await super().connect(**settings)
            connection.add_query_logger(note)
            return connection

    database = Watched(dsn)
    published: list[MessageCreated] = []
    ledger = Ledger(database, published.append, max_queued=max_queued, timeout=5)
    ledger.start()
    connection = await asyncpg.connect(dsn)
    try:
        await connection.execute(
            "TRUNCATE users, sessions, chats, members, messages, invitations RESTART IDENTITY CASCADE"
        )
        await connection.execute(SEED)
        yield Scene(database, ledger, published, connection, statements)
    finally:
        await ledger.drain()
        await connection.close()
        await database.close()
