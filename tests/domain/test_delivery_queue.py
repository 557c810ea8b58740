"""The delivery queue with several servers, held row locks and outdated planner statistics."""

import asyncio
import json
from collections.abc import AsyncIterator
from dataclasses import dataclass
from datetime import UTC, datetime, timedelta
from random import Random
from typing import Any

import asyncpg
import pytest

from blazechat.database.direct import ASYNC_COMMIT, INDEXES_ONLY, DirectConnection
from blazechat.database.engine import Database
from blazechat.domain.webhooks import delivery_queue
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
    """A database and the delivery queues of two servers on it."""

    dsn: str
    connection: asyncpg.Connection
    queues: list[DeliveryQueue]

    async def add_waiting(
        self, webhooks: int, chats: int, events: int, due_in: timedelta = timedelta(0)
    ) -> None:
        """Add `events` waiting deliveries to the lane of each webhook and chat."""
        await self.connection.execute(WAITING, webhooks, chats, events, datetime.now(UTC) + due_in)

    async def due_in(self, webhook_id: int, chat_id: int) -> list[float]:
        """Return the seconds until each waiting delivery of a lane is due."""
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


def result_of(
    event: OutboxEvent, webhook_id: int, state: str = "delivered", retry_in: float = 0.0
) -> DeliveryResult:
    key = (event.chat_id, event.id, webhook_id, event.tries)
    return DeliveryResult(*key, state, retry_in, 0.1, 200, None, {}, "ok")


async def test_leases_and_releases_read_few_more_rows_than_they_return(stage: Stage) -> None:
    """By the planner's statistics no delivery waits: they are older than the waiting deliveries."""
    await stage.connection.execute(DELIVERED, 5_000)
    await stage.connection.execute("ANALYZE deliveries")
    await stage.add_waiting(1, 1, 3_000, timedelta(hours=5))
    await stage.add_waiting(10, 10, BATCH_EVENTS)
    keys = [(webhook_id, chat_id) for webhook_id in range(2, 9) for chat_id in range(1, 11)]
    webhooks, chats = [list(column) for column in zip(*keys, strict=True)]
    read, leased = await _rows_read(stage, delivery_queue.LEASE, webhooks, chats, 60.0, BATCH_EVENTS)
    assert leased == len(keys) * BATCH_EVENTS
    assert read < 20 * leased
    rows = await stage.connection.fetch("SELECT * FROM deliveries WHERE state = 'waiting' LIMIT 500")
    columns = [[row[name] for row in rows] for name in ("chat_id", "id", "tries", "due_at")]
    read, _ = await _rows_read(stage, delivery_queue.RELEASE, *columns)
    assert read < 20 * len(rows)


async def _rows_read(stage: Stage, statement: str, *arguments: Any) -> tuple[int, int]:
    """Return the rows that all steps of the statement's plan read, and the rows that it returns."""
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
    """Each event is delivered once, in the order of its lane, and there are no deadlocks."""
    await stage.add_waiting(8, 30, 30)
    keys = [(webhook_id, chat_id) for webhook_id in range(1, 9) for chat_id in range(1, 31)]
    delivered: dict[tuple[int, int], list[int]] = {key: [] for key in keys}

    random = Random(7)

    async def deliver(queue: DeliveryQueue, webhook_id: int, chat_id: int) -> None:
        while len(delivered[webhook_id, chat_id]) < 30:
            batch = await queue.lease(lane(webhook_id, chat_id), 60)
            delivered[webhook_id, chat_id] += [event.version for event in batch]
            await asyncio.sleep(random.uniform(0, 0.01))
            await asyncio.gather(*(queue.record(result_of(event, webhook_id)) for event in batch))

    async with asyncio.timeout(60):
        await asyncio.gather(*(deliver(queue, *key) for key in keys for queue in stage.queues))
    assert all(versions == list(range(1, 31)) for versions in delivered.values())
    deadlocks = "SELECT deadlocks FROM pg_stat_database WHERE datname = current_database()"
    assert await stage.connection.fetchval(deadlocks) == 0


async def test_locked_lane_does_not_delay_other_lanes(stage: Stage) -> None:
    await stage.add_waiting(2, 1, 3)
    (queue, other) = stage.queues
    async with stage.connection.transaction():
        lock = "SELECT FROM deliveries WHERE webhook_id = 1 AND version = 1 FOR UPDATE"
        await stage.connection.execute(lock)
        async with asyncio.timeout(10):
            locked, free = await asyncio.gather(queue.lease(lane(1, 1), 60), queue.lease(lane(2, 1), 60))
            assert locked == [], "a lane must not skip its first event"
            assert [event.version for event in free] == [1, 2, 3]
            assert await other.record(result_of(free[0], 2))
    assert [event.version for event in await queue.lease(lane(1, 1), 60)] == [1, 2, 3]


async def test_release_keeps_recorded_retries_and_leases_of_other_servers(stage: Stage) -> None:
    await stage.add_waiting(2, 1, 2)
    (queue, other) = stage.queues
    batch = await queue.lease(lane(1, 1), 60)
    assert await queue.record(result_of(batch[0], 1, "waiting", 3600))
    await queue.release(batch)
    retried, released = await stage.due_in(1, 1)
    assert retried > 3000
    assert released <= 0
    expired = await queue.lease(lane(2, 1), 0)
    await eventually(lambda: other.lease(lane(2, 1), 60))
    await queue.release(expired)
    assert min(await stage.due_in(2, 1)) > 30


async def test_cancelled_leases_are_released(stage: Stage) -> None:
    await stage.add_waiting(1, 3, 2)
    (queue, _) = stage.queues
    leases = [asyncio.create_task(queue.lease(lane(1, chat_id), 60)) for chat_id in (1, 2, 3)]
    await asyncio.sleep(0)
    for lease in leases:
        lease.cancel()
    await asyncio.gather(*leases, return_exceptions=True)
    await queue.close([])
    for chat_id in (1, 2, 3):
        assert max(await stage.due_in(1, chat_id)) <= 0
