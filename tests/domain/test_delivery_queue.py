"""Lanes of the outbox beside other servers, whatever holds rows and whatever the statistics say."""

import asyncio
import json
from collections.abc import AsyncIterator
from dataclasses import dataclass
from datetime import UTC, datetime, timedelta
from random import Random
from typing import Any

import asyncpg
import pytest

from blazechat.database.direct import INDEXES_ONLY, ASYNC_COMMIT, DirectConnection
from blazechat.database.engine import Database
from blazechat.domain.webhooks import delivery_queue as module
from blazechat.domain.webhooks.delivery_queue import BATCH_EVENTS, DeliveryQueue, Lane, PendingWebhook
from blazechat.domain.webhooks.delivery_results import DeliveryResult
from blazechat.domain.webhooks.outbox import OutboxEvent
from tests.conftest import NewDatabase
from tests.harness import eventually

WAITING = """
INSERT INTO deliveries (webhook_id, chat_id, version, type, body, due_at)
SELECT w, c, v, 'chat.updated', '{}', $4
FROM generate_series(1, $1::int8) w, generate_series(1, $2::int8) c, generate_series(1, $3::int8) v
"""
DELIVERED = """
INSERT INTO deliveries (webhook_id, chat_id, version, type, body, state, finished_at)
SELECT 1 + n % 20, 1 + n % 500, n, 'chat.updated', '{}', 'delivered', now()
FROM generate_series(1, $1::int8) n
"""


@dataclass
class Stage:
    dsn: str
    connection: asyncpg.Connection
    lanes: list[DeliveryQueue]
    """Of one server each."""

    async def wait_for(self, webhooks: int, chats: int, events: int, due: timedelta = timedelta(0)) -> None:
        """Have as many events wait in the lane of each webhook and chat, due after a while."""
        await self.connection.execute(WAITING, webhooks, chats, events, datetime.now(UTC) + due)

    async def due_in(self, webhook_id: int, chat_id: int) -> list[float]:
        """Seconds until what waits in a lane is due."""
        rows = await self.connection.fetch(
            """SELECT extract(epoch FROM due_at - now())::float8 AS seconds FROM deliveries
            WHERE webhook_id = $1 AND chat_id = $2 AND state = 'waiting' ORDER BY version""",
            webhook_id,
            chat_id,
        )
        return [row["seconds"] for row in rows]


@pytest.fixture
async def stage(new_database: NewDatabase) -> AsyncIterator[Stage]:
    dsn = await new_database()
    databases = [Database(dsn) for _ in range(2)]
    directs = [
        DirectConnection(database, **settings) for database in databases for settings in ({}, ASYNC_COMMIT)
    ]
    connection = await asyncpg.connect(dsn)
    try:
        yield Stage(dsn, connection, [DeliveryQueue(*directs[:2]), DeliveryQueue(*directs[2:])])
    finally:
        for direct in directs:
            direct.close()
        for database in databases:
            await database.close()
        await connection.close()


def lane(webhook_id: int, chat_id: int) -> Lane:
    return Lane(PendingWebhook(webhook_id, 1, is_enabled=True, is_failing=False), chat_id)


def outcome(
    event: OutboxEvent, webhook_id: int, state: str = "delivered", retry_in: float = 0.0
) -> DeliveryResult:
    name = (event.chat_id, event.id, webhook_id, event.tries)
    return DeliveryResult(*name, state, retry_in, 0.1, 200, None, {}, "ok")


async def test_taking_looks_at_little_more_than_it_takes(stage: Stage) -> None:
    """Although by the statistics nothing waits: they were made when that was so."""
    await stage.connection.execute(DELIVERED, 5_000)
    await stage.connection.execute("ANALYZE deliveries")
    await stage.wait_for(1, 1, 3_000, timedelta(hours=5))
    await stage.wait_for(10, 10, BATCH_EVENTS)
    keys = [(webhook_id, chat_id) for webhook_id in range(2, 9) for chat_id in range(1, 11)]
    webhooks, chats = [list(column) for column in zip(*keys, strict=True)]
    looked, taken = await _rows_looked_at(stage, module.LEASE, webhooks, chats, 60.0, BATCH_EVENTS)
    assert taken == len(keys) * BATCH_EVENTS
    assert looked < 20 * taken
    rows = await stage.connection.fetch("SELECT * FROM deliveries WHERE state = 'waiting' LIMIT 500")
    columns = [[row[name] for row in rows] for name in ("chat_id", "id", "tries", "due_at")]
    looked, _ = await _rows_looked_at(stage, module.RELEASE, *columns)
    assert looked < 20 * len(rows)


async def _rows_looked_at(stage: Stage, statement: str, *arguments: Any) -> tuple[int, int]:
    """By all steps of its plan together; and how many came out of it."""
    connection = await asyncpg.connect(stage.dsn, server_settings=INDEXES_ONLY)
    try:
        explained = await connection.fetchval(f"EXPLAIN (ANALYZE, FORMAT JSON) {statement}", *arguments)
    finally:
        await connection.close()
    plan = json.loads(explained)[0]["Plan"]
    return _rows(plan), int(plan["Actual Rows"])


def _rows(plan: dict[str, Any]) -> int:
    rows = plan["Actual Rows"] + sum(count for name, count in plan.items() if "Removed" in name)
    return int(rows * plan["Actual Loops"]) + sum(map(_rows, plan.get("Plans", ())))


async def test_two_servers_never_wait_for_each_other(stage: Stage) -> None:
    """Both work through the same list of what is due; each event is delivered once, in its lane's order."""
    await stage.wait_for(8, 30, 30)
    keys = [(webhook_id, chat_id) for webhook_id in range(1, 9) for chat_id in range(1, 31)]
    told: dict[tuple[int, int], list[int]] = {key: [] for key in keys}

    chance = Random(7)

    async def work(lanes: DeliveryQueue, webhook_id: int, chat_id: int) -> None:
        while len(told[webhook_id, chat_id]) < 30:
            run = await lanes.lease(lane(webhook_id, chat_id), 60)
            told[webhook_id, chat_id] += [event.version for event in run]
            await asyncio.sleep(chance.uniform(0, 0.01))
            await asyncio.gather(*(lanes.record(outcome(event, webhook_id)) for event in run))

    async with asyncio.timeout(60):
        await asyncio.gather(*(work(lanes, *key) for key in keys for lanes in stage.lanes))
    assert all(versions == list(range(1, 31)) for versions in told.values())
    deadlocks = "SELECT deadlocks FROM pg_stat_database WHERE datname = current_database()"
    assert await stage.connection.fetchval(deadlocks) == 0


async def test_a_lane_that_somebody_holds_holds_up_no_other(stage: Stage) -> None:
    await stage.wait_for(2, 1, 3)
    (lanes, others) = stage.lanes
    async with stage.connection.transaction():
        held = "SELECT FROM deliveries WHERE webhook_id = 1 AND version = 1 FOR UPDATE"
        await stage.connection.execute(held)
        async with asyncio.timeout(10):
            first, second = await asyncio.gather(lanes.lease(lane(1, 1), 60), lanes.lease(lane(2, 1), 60))
            assert first == [], "not the second event as if it were the first"
            assert [event.version for event in second] == [1, 2, 3]
            assert await others.record(outcome(second[0], 2))
    assert [event.version for event in await lanes.lease(lane(1, 1), 60)] == [1, 2, 3]


async def test_what_is_let_go_keeps_what_came_of_it(stage: Stage) -> None:
    """A schedule that was noted, and what somebody else has taken since."""
    await stage.wait_for(2, 1, 2)
    (lanes, others) = stage.lanes
    run = await lanes.lease(lane(1, 1), 60)
    assert await lanes.record(outcome(run[0], 1, "waiting", 3600))
    await lanes.release(run)
    head, behind = await stage.due_in(1, 1)
    assert head > 3000
    assert behind <= 0
    late = await lanes.lease(lane(2, 1), 0)
    await eventually(lambda: others.lease(lane(2, 1), 60))
    await lanes.release(late)
    assert min(await stage.due_in(2, 1)) > 30


async def test_who_stops_in_the_middle_of_taking_lets_go(stage: Stage) -> None:
    await stage.wait_for(1, 3, 2)
    (lanes, _) = stage.lanes
    takers = [asyncio.create_task(lanes.lease(lane(1, chat_id), 60)) for chat_id in (1, 2, 3)]
    await asyncio.sleep(0)
    for taker in takers:
        taker.cancel()
    await asyncio.gather(*takers, return_exceptions=True)
    await lanes.close([])
    for chat_id in (1, 2, 3):
        assert max(await stage.due_in(1, chat_id)) <= 0
