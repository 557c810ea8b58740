"""Changes that prepared statements read are those of `changes.py`, which reads them in a transaction."""

import json
from collections.abc import AsyncIterator
from dataclasses import dataclass
from typing import Any

import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from blazechat.database.direct import INDEXES_ONLY, DirectConnection
from blazechat.domain.auth import access
from blazechat.domain.chats import changes, changes_reader
from blazechat.domain.chats.changes import PAGE_ROWS, Changes, Missed
from blazechat.domain.chats.changes_reader import ChangesReader
from blazechat.domain.chats.chat_query import ChatQuery
from blazechat.domain.events import ChatDeleted
from blazechat.errors import Error, NotFound, SessionEnded
from blazechat.vocabulary import Status
from tests.conftest import NewDatabase
from tests.domain.message_stage import (
    PLAIN,
    USERS,
    MessageStage,
    claims_of,
    members,
    message_stage,
    rows_read,
    stored_message,
)

LIMIT = 15
"""Changes after which a client has to load the chat again."""


@dataclass
class Stage(MessageStage):
    """With the reader of a server, and the same answers by transactions."""

    reader: ChangesReader
    chat_query: ChatQuery

    async def set_versions(self, chat_id: int, version: int, info_version: int) -> None:
        await self.connection.execute(
            "UPDATE chats SET version = $2, info_version = $3 WHERE id = $1", chat_id, version, info_version
        )

    async def missed(self, user_id: int, chat_id: int, after: int) -> Missed | type[Error]:
        try:
            return await self.reader.missed(claims_of(user_id), chat_id, after=after, limit=LIMIT)
        except Error as error:
            return type(error)

    async def plain_since(self, chat_id: int, version: int, user_ids: list[int]) -> Changes:
        async with self.database.transaction() as session:
            return await changes.since(session, self.chat_query, chat_id, version, user_ids)

    async def plain_missed(self, user_id: int, chat_id: int, after: int) -> Missed | type[Error]:
        try:
            async with self.database.transaction() as session:
                caller = await access.authenticate(session, claims_of(user_id))
                return await changes.missed(
                    session, self.chat_query, caller, chat_id, after=after, limit=LIMIT
                )
        except Error as error:
            return type(error)


@pytest.fixture(scope="module")
async def stage(new_database: NewDatabase) -> AsyncIterator[Stage]:
    async with message_stage(await new_database()) as opened:
        direct, chat_query = DirectConnection(opened.database), ChatQuery(lambda user_id: Status.OFFLINE)
        reader = ChangesReader(opened.database, direct, chat_query)
        yield Stage(opened.database, opened.connection, reader, chat_query)
        direct.close()


@given(
    history=st.sampled_from(["all", "joined"]),
    members=members,
    authors=st.dictionaries(st.integers(1, USERS), st.integers(0, 12)),
    messages=st.lists(stored_message(), max_size=12),
    order=st.randoms(use_true_random=False),
    info_version=st.integers(1, 20),
    after=st.lists(st.integers(0, 22), min_size=1, max_size=6),
)
@settings(suppress_health_check=[HealthCheck.function_scoped_fixture, HealthCheck.too_slow], deadline=None)
async def test_changes_are_those_of_a_transaction(
    stage: Stage,
    history: str,
    members: list[tuple[int, int, int]],
    authors: dict[int, int],
    messages: list[dict[str, Any]],
    order: Any,
    info_version: int,
    after: list[int],
) -> None:
    """For the hub and for each user, after any version, whether the chat itself has changed or not."""
    chat_id = await stage.add_chat(history, members, len(messages), authors)
    versions = order.sample(range(2, 21), len(messages))
    for message_id, (message, version) in enumerate(zip(messages, versions, strict=True), 1):
        await stage.insert(chat_id, message_id, message, version)
    await stage.set_versions(chat_id, max(info_version, *versions, 1), info_version)
    for version in after:
        found = await stage.reader.since(chat_id, version, [1, 2])
        assert found == await stage.plain_since(chat_id, version, [1, 2])
        for user_id in range(1, USERS + 1):
            missed = await stage.missed(user_id, chat_id, version)
            assert missed == await stage.plain_missed(user_id, chat_id, version)


async def test_changes_come_in_pages(stage: Stage) -> None:
    """A page ends with the version of its last message."""
    chat_id = await stage.add_chat("all", [(1, 0, 0)], PAGE_ROWS + 20)
    for message_id in range(1, PAGE_ROWS + 21):
        await stage.insert(chat_id, message_id, PLAIN)
    await stage.set_versions(chat_id, PAGE_ROWS + 21, 1)
    first = await stage.reader.since(chat_id, 1, [])
    assert (first.version, first.newest_version, first.is_complete) == (101, 121, False)
    second = await stage.reader.since(chat_id, first.version, [])
    assert (second.version, second.is_complete) == (121, True)
    events = [event.version for event in (*first.events, *second.events)]
    assert events == list(range(2, 122))


async def test_changes_of_a_deleted_chat_are_its_deletion(stage: Stage) -> None:
    found = await stage.reader.since(2**40, 7, [1])
    assert found.events == [ChatDeleted(2**40, 8)]


@pytest.mark.parametrize(
    ("end", "error"),
    [
        ("UPDATE sessions SET revoked_at = now() WHERE id = 1", SessionEnded),
        ("UPDATE sessions SET expires_at = now() WHERE id = 1", SessionEnded),
        ("DELETE FROM members WHERE user_id = 1", NotFound),
    ],
)
async def test_access_that_has_ended_reads_no_changes(stage: Stage, end: str, error: type[Error]) -> None:
    chat_id = await stage.add_chat("all", [(1, 0, 0), (2, 0, 0)], 1)
    await stage.insert(chat_id, 1, PLAIN)
    await stage.set_versions(chat_id, 2, 1)
    before = await stage.missed(1, chat_id, 1)
    assert isinstance(before, Missed)
    assert len(before.events) == 1
    await stage.connection.execute(end)
    try:
        ended = await stage.missed(1, chat_id, 1)
        assert isinstance(ended, type)
        assert issubclass(ended, error)
        assert await stage.missed(2, chat_id, 1) == before
    finally:
        await stage.connection.execute(
            "UPDATE sessions SET revoked_at = NULL, expires_at = now() + interval '1 day'"
        )


async def test_changes_read_changed_messages_only(stage: Stage) -> None:
    """By the planner's statistics the tables are empty. Older changes, and those of other pages, are not
    read."""
    chat_id = await stage.add_chat("all", [(user_id, 0, 9_000) for user_id in range(1, USERS + 1)], 10_000)
    await stage.connection.execute(
        "INSERT INTO messages (chat_id, id, version, author_id, content, client_id)"
        " SELECT $1::int8, n, n + 1, 1 + n % 5, 'x', 'c' || n FROM generate_series(1, 10000) n",
        chat_id,
    )
    await stage.set_versions(chat_id, 10_001, 1)
    connection = await stage.database.connect(**INDEXES_ONLY)
    try:
        explained = await connection.fetchval(
            f"EXPLAIN (ANALYZE, FORMAT JSON) {changes_reader.READ_CHANGES}", chat_id, 5_000
        )
    finally:
        await connection.close()
    plan = json.loads(explained)[0]["Plan"]
    assert plan["Actual Rows"] == 1 + PAGE_ROWS
    assert rows_read(plan, "messages") == PAGE_ROWS
    assert rows_read(plan, "members") <= USERS
