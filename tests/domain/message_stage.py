"""A database with messages of every kind, for tests of the statements that read them."""

import json
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from dataclasses import dataclass
from datetime import UTC, datetime, timedelta
from typing import Any

import asyncpg
from hypothesis import strategies as st

from blazechat.database import tables
from blazechat.database.engine import Database
from blazechat.domain.auth.access_tokens import Claims
from blazechat.domain.messaging import message_query
from blazechat.domain.schemas.messages import Message

USERS = 5
SEED = """
INSERT INTO users (username, display_name)
    SELECT 'u' || n, 'Name "' || n || '" ü\n' FROM generate_series(1, 5) n;
INSERT INTO sessions (user_id, family_hash, token_hash, device, address, expires_at)
    SELECT n, n::text::bytea, '', '', '', now() + '1 day' FROM generate_series(1, 5) n;
INSERT INTO blobs (media_type, size, received, width, height, duration, placeholder)
    VALUES ('image/png', 5, 5, 30, 20, NULL, 'abc'), ('audio/ogg', 9, 9, NULL, NULL, 1.25, NULL);
INSERT INTO pieces (key, blob_id, part, size, width, height, stored) VALUES
    ('a', 1, 'small', 3, 3, 2, true), ('b', 1, 'large', 4, 6, 4, true),
    ('c', 1, 'content', 5, NULL, NULL, true);
INSERT INTO media (user_id, blob_id, name, ready_at)
    VALUES (1, 1, 'picture "1".png', now()), (2, 2, 'ü.ogg', now());
"""
MESSAGE = """
INSERT INTO messages (chat_id, id, version, author_id, content, client_id, reply_to, created_at, edited_at,
    deleted_at, pinned_at, reaction_count, attachment_count, shown_as)
VALUES ($1, $2::int8, $3, $4, $5, 'c' || $2::int8, $6, $7, $8, $9, $10, $11, $12, $13)
"""


@dataclass
class MessageStage:
    """A database with five users, user n with session n, and chats with all that messages can have."""

    database: Database
    connection: asyncpg.Connection

    async def add_chat(
        self,
        history: str,
        members: list[tuple[int, int, int]],
        newest: int,
        authors: dict[int, int] | None = None,
    ) -> int:
        """Add a chat with members, each with user id, `joined_id` and `read_id`; return its id.

        `authors` are the read cursors that are stored with the chat, by user id.
        """
        chat_id: int = await self.connection.fetchval(
            "INSERT INTO chats (kind, history, last_message_id, author_ids, author_read_ids)"
            " VALUES ('group', $1, $2, $3, $4) RETURNING id",
            history,
            newest,
            list(authors or {}),
            list((authors or {}).values()),
        )
        await self.connection.executemany(
            "INSERT INTO members (chat_id, user_id, role, joined_id, read_id)"
            " VALUES ($1, $2, 'member', $3, $4)",
            [(chat_id, *member) for member in members],
        )
        return chat_id

    async def found(self, chat_id: int, ids: range) -> list[Message]:
        """Return messages by the plain query, the newest first."""
        async with self.database.transaction() as session:
            found = await message_query.find(
                session, tables.Message.chat_id == chat_id, tables.Message.id.in_(list(ids))
            )
        return found[::-1]

    async def insert(
        self, chat_id: int, message_id: int, message: dict[str, Any], version: int | None = None
    ) -> None:
        """Insert what `stored_message()` has drawn, by default at the version after its id."""
        created_at = datetime(2026, 1, 2, 3, 4, 5, message["microseconds"], UTC)
        times = [
            created_at + timedelta(days=days, microseconds=7) if message[name] else None
            for days, name in enumerate(("edited_at", "deleted_at", "pinned_at"), 1)
        ]
        await self.connection.execute(
            MESSAGE,
            chat_id,
            message_id,
            message_id + 1 if version is None else version,
            message["author"],
            message["content"],
            1 if message["replies"] else None,
            created_at,
            *times,
            len(message["reactions"]),
            len(message["files"]),
            json.dumps(message["shown_as"]) if message["shown_as"] else None,
        )
        await self.connection.executemany(
            "INSERT INTO reactions (chat_id, message_id, emoji, user_id) VALUES ($1, $2, $3, $4)",
            [(chat_id, message_id, *reaction) for reaction in message["reactions"]],
        )
        await self.connection.executemany(
            "INSERT INTO attachments (chat_id, message_id, place, media_id) VALUES ($1, $2, $3, $4)",
            [(chat_id, message_id, *file) for file in enumerate(message["files"])],
        )


@asynccontextmanager
async def message_stage(dsn: str) -> AsyncIterator[MessageStage]:
    """Insert SEED into an empty database."""
    database = Database(dsn)
    connection = await asyncpg.connect(dsn)
    try:
        await connection.execute(SEED)
        yield MessageStage(database, connection)
    finally:
        await connection.close()
        await database.close()


def claims_of(user_id: int) -> Claims:
    return Claims(user_id, user_id, 2**40)


@st.composite
def stored_message(draw: st.DrawFn) -> dict[str, Any]:
    """Draw the columns of a message, its reactions and its attachments."""
    sometimes = st.sampled_from([False, False, True])
    return {
        "author": draw(st.integers(1, USERS)),
        "content": draw(
            st.text(st.characters(exclude_characters="\0", exclude_categories=["Cs"]), max_size=9)
        ),
        "microseconds": draw(st.sampled_from([0, 5, 120_000, 999_999])),
        "replies": draw(sometimes),
        **{name: draw(sometimes) for name in ("edited_at", "deleted_at", "pinned_at")},
        "shown_as": draw(
            st.sampled_from(
                [None, None, {"name": "Bot", "icon_url": None}, {"name": None, "icon_url": "/i"}]
            )
        ),
        "reactions": draw(
            st.lists(st.tuples(st.sampled_from("👍🎉"), st.integers(1, USERS)), unique=True, max_size=4)
        ),
        "files": draw(st.lists(st.integers(1, 2), unique=True, max_size=2)),
    }


members = st.lists(
    st.tuples(st.integers(1, USERS), st.integers(0, 12), st.integers(0, 12)),
    unique_by=lambda member: member[0],
    min_size=1,
)


PLAIN: dict[str, Any] = {
    "author": 1,
    "content": "x",
    "microseconds": 0,
    "replies": False,
    "edited_at": False,
    "deleted_at": False,
    "pinned_at": False,
    "shown_as": None,
    "reactions": [],
    "files": [],
}


def rows_read(plan: dict[str, Any], table: str) -> int:
    """Return how many rows the scans of a table read."""
    own = 0
    if plan.get("Relation Name") == table:
        removed = sum(count for name, count in plan.items() if "Removed" in name)
        own = int((plan["Actual Rows"] + removed) * plan["Actual Loops"])
    return own + sum(rows_read(child, table) for child in plan.get("Plans", ()))
