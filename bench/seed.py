"""Inserts users, sessions, chats and messages directly: thousands per second instead of tens."""

import random

import asyncpg

from bench.server import Bench

USERS = """
INSERT INTO users (id, username, username_key, display_name) OVERRIDING SYSTEM VALUE
SELECT n, 'user' || n, 'user' || n, 'User ' || n FROM generate_series(1, $1::int8) n
"""
SESSIONS = """
INSERT INTO sessions (id, user_id, family_hash, token_hash, device, address, expires_at)
OVERRIDING SYSTEM VALUE
SELECT n, n, int8send(n), '', 'bench', '127.0.0.1', now() + '1 day' FROM generate_series(1, $1::int8) n
"""
CHATS = """
INSERT INTO chats (id, kind, name, member_count) OVERRIDING SYSTEM VALUE
SELECT $2::int8 + n, 'group', 'Chat ' || $2 + n, size FROM unnest($1::int8[]) WITH ORDINALITY AS c (size, n)
"""
MESSAGES = """
INSERT INTO messages (chat_id, id, version, author_id, content, client_id, digest)
SELECT $1, n, n + 1, 1 + n % $2::int8, $3, 'seed-' || n, n FROM generate_series(1, $4::int8) n
"""
ADVANCE = "UPDATE chats SET last_message_id = $2::int8, version = $2::int8 + 1 WHERE id = $1"


async def people(bench: Bench, connection: asyncpg.Connection, count: int) -> list[str]:
    """Insert the users 1 to `count` with a session each; return their access tokens."""
    await connection.execute(USERS, count)
    await connection.execute(SESSIONS, count)
    return [bench.tokens.issue(user_id, user_id) for user_id in range(1, count + 1)]


async def chats(connection: asyncpg.Connection, members: list[list[int]], after: int = 0) -> None:
    """Insert a chat per list of user ids. The first chat has the id after `after`."""
    await connection.execute(CHATS, [len(user_ids) for user_ids in members], after)
    await connection.copy_records_to_table(
        "members",
        records=[
            (chat_id, user_id, "member")
            for chat_id, user_ids in enumerate(members, after + 1)
            for user_id in user_ids
        ],
        columns=["chat_id", "user_id", "role"],
    )
    await connection.execute("ANALYZE users, sessions, chats, members")


async def messages(
    connection: asyncpg.Connection, chat_id: int, authors: int, content: str, count: int
) -> None:
    """Fill an empty chat with `count` messages of the users 1 to `authors` in turn."""
    await connection.execute(MESSAGES, chat_id, authors, content, count)
    await connection.execute(ADVANCE, chat_id, count)


def chat_members(people: int, chats_each: int, size: int) -> list[list[int]]:
    """Return the members of random chats of `size`, so that each user of 1 to `people` is in `chats_each`
    chats."""
    generator = random.Random(7)  # noqa: S311 (the same chats in every run)
    chats = []
    for _ in range(chats_each):
        users = list(range(1, people + 1))
        generator.shuffle(users)
        chats += [users[start : start + size] for start in range(0, people, size)]
    return chats
