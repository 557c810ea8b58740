"""Pages of messages that prepared statements read are those of a plain query and of a plain rule."""

import asyncio
import json
from collections.abc import AsyncIterator
from dataclasses import dataclass, fields
from datetime import timedelta
from typing import Any

import msgspec
import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from blazechat.database.direct import INDEXES_ONLY, DirectConnection
from blazechat.domain.auth.batch_access import BatchAccess
from blazechat.domain.messaging import page_reader
from blazechat.domain.messaging.message_rows import PageMessage
from blazechat.domain.messaging.messages import PageRequest
from blazechat.domain.messaging.page_cache import CachedPage, PageCache
from blazechat.domain.messaging.page_reader import PageReader
from blazechat.domain.schemas.messages import Message
from blazechat.errors import NotFound, SessionEnded
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


@dataclass
class Stage(MessageStage):
    """With the page cache of a server."""

    cache: PageCache

    async def page(self, user_id: int, chat_id: int, request: PageRequest) -> CachedPage:
        return await self.cache.page(claims_of(user_id), chat_id, request)


@pytest.fixture(scope="module")
async def stage(new_database: NewDatabase) -> AsyncIterator[Stage]:
    async with message_stage(await new_database()) as opened:
        directs = [DirectConnection(opened.database) for _ in range(2)]
        batch_access, reader = BatchAccess(directs[0]), PageReader(directs[1])
        yield Stage(opened.database, opened.connection, PageCache(reader, batch_access))
        await reader.close()
        await batch_access.close()
        for direct in directs:
            direct.close()


def test_page_message_has_the_fields_of_message() -> None:
    """Both are created by position."""
    assert PageMessage.__struct_fields__ == tuple(field.name for field in fields(Message))


POSITIONS: dict[str, int] = {"before": 1, "after": 0, "around": 1, "skip": 0}
"""The smallest value per kind of position."""

requests = st.builds(
    lambda limit, position: PageRequest(limit, **position),
    st.integers(1, 8),
    st.one_of(
        st.just({}),
        *(
            st.dictionaries(st.just(name), st.integers(least, 14), min_size=1)
            for name, least in POSITIONS.items()
        ),
    ),
)


@given(
    history=st.sampled_from(["all", "joined"]),
    members=members,
    authors=st.dictionaries(st.integers(1, USERS), st.integers(0, 12)),
    messages=st.lists(stored_message(), max_size=12),
    pages=st.lists(st.tuples(st.integers(1, USERS), requests), min_size=1, max_size=12),
)
@settings(suppress_health_check=[HealthCheck.function_scoped_fixture, HealthCheck.too_slow], deadline=None)
async def test_pages_are_those_of_a_plain_query(
    stage: Stage,
    history: str,
    members: list[tuple[int, int, int]],
    authors: dict[int, int],
    messages: list[dict[str, Any]],
    pages: list[tuple[int, PageRequest]],
) -> None:
    """Whatever is stored, by requests of several users at once."""
    chat_id = await stage.add_chat(history, members, len(messages), authors)
    for message_id, message in enumerate(messages, 1):
        await stage.insert(chat_id, message_id, message)
    answers = await asyncio.gather(
        *(stage.page(user_id, chat_id, request) for user_id, request in pages), return_exceptions=True
    )
    members = [(user, joined, max(read, authors.get(user, 0))) for user, joined, read in members]
    joined_ids = {user_id: joined_id for user_id, joined_id, _ in members}
    for (user_id, request), answer in zip(pages, answers, strict=True):
        if user_id not in joined_ids:
            assert isinstance(answer, NotFound)
            continue
        assert isinstance(answer, CachedPage)
        visible_after = joined_ids[user_id] if history == "joined" else 0
        first, last = plain_bounds(request, len(messages))
        ids = range(max(first, visible_after + 1), min(last, len(messages)) + 1)
        assert answer.body == msgspec.json.encode(await stage.found(chat_id, ids))
        assert answer.older == (ids[0] if ids and ids[0] > visible_after + 1 else None)
        assert answer.newer == (ids[-1] if ids and ids[-1] < len(messages) else None)
        for message in json.loads(answer.body):
            assert message["is_read"] == is_read(message["id"], message["user_id"], members)


def plain_bounds(request: PageRequest, newest: int) -> tuple[int, int]:
    """Return the first and last id of a page, by a rule of its own per kind of position."""
    if request.after is not None:
        return request.after + 1, request.after + request.limit
    if request.around is not None:
        first = max(1, min(request.around - request.limit // 2, newest - request.limit + 1))
        return first, first + request.limit - 1
    last = newest - (request.skip or 0) if request.before is None else min(newest, request.before - 1)
    return last - request.limit + 1, last


def is_read(message_id: int, author_id: int, members: list[tuple[int, int, int]]) -> bool:
    return any(
        user_id != author_id and joined_id < message_id <= read_id
        for user_id, joined_id, read_id in members
    )


OLDER = PageRequest(5, before=9)


@pytest.mark.parametrize(
    "end",
    [
        "UPDATE sessions SET revoked_at = now() WHERE id = 1",
        "UPDATE sessions SET expires_at = now() WHERE id = 1",
        "DELETE FROM members WHERE user_id = 1",
    ],
)
@pytest.mark.parametrize("request_", [OLDER, PageRequest(5)], ids=["older", "newest"])
async def test_access_that_has_ended_reads_nothing(stage: Stage, end: str, request_: PageRequest) -> None:
    """From the next request on, also beside requests of others that succeed."""
    chat_id = await stage.add_chat("all", [(1, 0, 0), (2, 0, 0)], 10)
    for message_id in range(1, 11):
        await stage.insert(chat_id, message_id, PLAIN)
    assert (await stage.page(1, chat_id, request_)).body != b"[]"
    await stage.connection.execute(end)
    try:
        answers = [stage.page(user_id, chat_id, request_) for user_id in (2, 1, 2, 1)]
        found = await asyncio.gather(*answers, return_exceptions=True)
        assert isinstance(found[0], CachedPage)
        assert found[0] == found[2]
        expected = NotFound if "members" in end else SessionEnded
        assert isinstance(found[1], expected)
        assert isinstance(found[3], expected)
    finally:
        await stage.connection.execute(
            "UPDATE sessions SET revoked_at = NULL, expires_at = now() + interval '1 day'"
        )


async def test_reading_older_pages_uses_the_session(stage: Stage) -> None:
    """Once per minute."""
    chat_id = await stage.add_chat("all", [(3, 0, 0)], 0)
    used = "UPDATE sessions SET last_used_at = now() - $1::interval WHERE id = 3"
    last_used = "SELECT now() - last_used_at < interval '10 seconds' FROM sessions WHERE id = 3"
    for seconds, is_recorded in ((90, True), (30, False)):
        await stage.connection.execute(used, timedelta(seconds=seconds))
        await stage.page(3, chat_id, OLDER)
        assert await stage.connection.fetchval(last_used) is is_recorded


async def test_pages_read_their_messages_only(stage: Stage) -> None:
    """By the planner's statistics the tables are empty."""
    chat_id = await stage.add_chat("all", [(user_id, 0, 9_000) for user_id in range(1, USERS + 1)], 10_000)
    await stage.connection.execute(
        "INSERT INTO messages (chat_id, id, version, author_id, content, client_id)"
        " SELECT $1::int8, n, n + 1, 1 + n % 5, 'x', 'c' || n FROM generate_series(1, 10000) n",
        chat_id,
    )
    befores = [100, 5_000, 8_990, 20_000]
    size = len(befores)
    arguments = [[1] * size, [1] * size, [chat_id] * size, [50] * size, [0] * size, befores, [0] * size]
    connection = await stage.database.connect(**INDEXES_ONLY)
    try:
        explained = await connection.fetchval(
            f"EXPLAIN (ANALYZE, FORMAT JSON) {page_reader.READ_PAGES}", *arguments
        )
    finally:
        await connection.close()
    plan = json.loads(explained)[0]["Plan"]
    assert plan["Actual Rows"] == size * 51
    assert rows_read(plan, "messages") == size * 50
    assert rows_read(plan, "members") <= size * (1 + USERS)
