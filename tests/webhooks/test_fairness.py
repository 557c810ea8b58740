"""A slow or dead receiver takes no slots from others, however many events wait for it."""

import asyncio
from collections import Counter

import asyncpg
import pytest

from blazechat.domain.webhooks.delivery_queue import DeliveryQueue, Lane, PendingWebhook
from blazechat.jobs.concurrency import (
    MAX_FAILING_LANES,
    MAX_LANES,
    MAX_LANES_PER_OWNER,
    MAX_LANES_PER_WEBHOOK,
    DeliverySlots,
)
from tests.conftest import NewServer
from tests.harness import Live, eventually
from tests.webhooks.outgoing import FAST_RETRIES, create_webhook
from tests.webhooks.receiver import LOOPBACK, receiving

INSERT_WAITING = """
INSERT INTO deliveries (webhook_id, chat_id, version, type, body)
SELECT $1, 1000000 + n, 1, 'chat.updated', '{}' FROM generate_series(1, $2) n
"""
INSERT_WAITING_FOR_EACH = """
INSERT INTO deliveries (webhook_id, chat_id, version, type, body)
SELECT w, 1000000 + n, 1, 'chat.updated', '{}' FROM unnest($1::int8[]) w, generate_series(1, $2) n
"""
SELECT_WAITING = "SELECT FROM deliveries WHERE webhook_id = $1 AND state = 'waiting'"


async def execute(live: Live, statement: str, *arguments: object) -> list[asyncpg.Record]:
    connection = await asyncpg.connect(live.app.state.settings.database_url)
    rows: list[asyncpg.Record] = await connection.fetch(statement, *arguments)
    await connection.close()
    return rows


async def test_thousands_of_waiting_chats_delay_no_other_webhook(new_server: NewServer) -> None:
    """One dead receiver of a webhook for all chats; once it works again, it receives all waiting events."""
    live = await new_server(**LOOPBACK, **FAST_RETRIES, webhook_timeout=60)
    root, alice = await live.people("root", "alice")
    async with receiving() as dead, receiving() as quick:
        dead.hold = asyncio.Event()
        everywhere = await create_webhook(root, None, dead, "chat.updated")
        await execute(live, INSERT_WAITING, everywhere["id"], 1_200)
        chat = await alice.group()
        await create_webhook(alice, chat, quick, "message.created")
        for number in range(3):
            await alice.say(chat, f"{number}")
        await eventually(lambda: len(quick.accepted) == 3)
        assert not dead.requests
        dead.hold.set()
        await eventually(lambda: len(dead.accepted) >= 1_200, timeout_seconds=60)
        assert len({request.event_id for request in dead.accepted}) == 1_200


async def test_many_dead_receivers_of_one_user_delay_no_other_user(new_server: NewServer) -> None:
    """Each call to one of them lasts until its timeout; deliveries to other receivers do not wait."""
    live = await new_server(**LOOPBACK, webhook_timeout=60)
    mallory, alice = await live.people("mallory", "alice")
    async with receiving() as tarpit, receiving() as quick:
        tarpit.hold = asyncio.Event()
        traps = [await mallory.group() for _ in range(3)]
        for trap in traps:
            for _ in range(30):
                await create_webhook(mallory, trap, tarpit, "message.created")
            await mallory.say(trap, "all of them are called")
        await eventually(lambda: len(tarpit.writers) >= MAX_LANES_PER_OWNER)
        chat = await alice.group()
        await create_webhook(alice, chat, quick, "message.created")
        await alice.say(chat, "x")
        await eventually(lambda: quick.accepted)
        assert len(tarpit.writers) == MAX_LANES_PER_OWNER
        tarpit.hold.set()
        await eventually(lambda: len(tarpit.accepted) == 90)


def test_slots_are_limited_per_webhook_owner_and_state() -> None:
    """Failing webhooks get half of the slots at most."""
    slots = DeliverySlots()

    def acquire_all(webhook: PendingWebhook) -> int:
        chat_id = 0
        while slots.has_free_slot(webhook):
            assert slots.acquire(Lane(webhook, chat_id))
            chat_id += 1
        return chat_id

    assert acquire_all(PendingWebhook(1, 1, is_enabled=True, is_failing=False)) == MAX_LANES_PER_WEBHOOK
    assert not slots.acquire(Lane(PendingWebhook(1, 1, is_enabled=True, is_failing=False), 0)), (
        "the lane has a slot"
    )
    assert (
        sum(acquire_all(PendingWebhook(n, 1, is_enabled=True, is_failing=False)) for n in range(2, 50))
        == MAX_LANES_PER_OWNER - MAX_LANES_PER_WEBHOOK
    )
    failing = [PendingWebhook(n, n, is_enabled=True, is_failing=True) for n in range(100, 300)]
    assert sum(map(acquire_all, failing)) == MAX_FAILING_LANES
    working = [PendingWebhook(n, n, is_enabled=True, is_failing=False) for n in range(300, 500)]
    assert sum(map(acquire_all, working)) == MAX_LANES - MAX_LANES_PER_OWNER - MAX_FAILING_LANES
    slots.release(Lane(failing[0], 0))
    assert slots.has_free_slot(failing[0])
    assert slots.has_free_slot(working[-1])


async def test_many_lanes_of_several_webhooks_stay_within_their_slots(
    new_server: NewServer, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Each webhook's slots are used by its own lanes, however many wait."""
    live = await new_server(**LOOPBACK, **FAST_RETRIES)
    root = await live.person()
    acquire, max_lanes = DeliverySlots.acquire, 0

    def counted_acquire(slots: DeliverySlots, lane: Lane) -> bool:
        nonlocal max_lanes
        is_acquired = acquire(slots, lane)
        max_lanes = max(max_lanes, *slots._lanes_per_webhook.values())
        return is_acquired

    monkeypatch.setattr(DeliverySlots, "acquire", counted_acquire)
    async with receiving() as receiver, receiving() as another:
        webhook_ids = [
            (await create_webhook(root, None, each, "chat.updated"))["id"]
            for each in (receiver, another) * 2
        ]
        await execute(live, INSERT_WAITING_FOR_EACH, webhook_ids, 300)
        await eventually(
            lambda: len(receiver.accepted) + len(another.accepted) >= 1_200, timeout_seconds=60
        )
        for each in (receiver, another):
            assert sorted(Counter(request.event_id for request in each.accepted).values()) == [2] * 300
    assert max_lanes == MAX_LANES_PER_WEBHOOK


async def test_events_stored_while_their_webhook_was_deleted_are_removed(server: Live) -> None:
    """No worker would ever read them."""
    await execute(server, INSERT_WAITING, 999_999, 300)
    while await server.app.state.sweeper.sweep():
        pass
    assert not await execute(server, SELECT_WAITING, 999_999)


async def test_disabled_webhook_of_a_deleted_chat_is_removed(server: Live) -> None:
    """With its waiting events: no member is left who could enable it."""
    alice = await server.person()
    chat = await alice.group()
    async with receiving() as receiver:
        webhook = await create_webhook(alice, chat, receiver)
        receiver.answer = lambda request: 500
        await alice.say(chat, "x")
        await eventually(lambda: receiver.requests)
        await alice.put(f"/api/chats/{chat}/webhooks/{webhook['id']}", {"enabled": False})
        await alice.delete(f"/api/chats/{chat}")
        for _ in range(2):
            await server.app.state.sweeper.sweep()
        assert not await execute(server, "SELECT FROM webhooks WHERE id = $1", webhook["id"])
        assert not await execute(server, SELECT_WAITING, webhook["id"])


async def test_without_webhooks_the_queue_is_not_polled(
    new_server: NewServer, monkeypatch: pytest.MonkeyPatch
) -> None:
    """However many messages are sent; the first webhook receives events immediately."""
    live = await new_server(**LOOPBACK)
    queue, polls = live.app.state.deliverer._queue, 0
    read_pending = DeliveryQueue.pending_webhooks

    async def counted_read(reader: DeliveryQueue) -> list[PendingWebhook]:
        nonlocal polls
        polls += reader is queue
        return await read_pending(reader)

    monkeypatch.setattr(DeliveryQueue, "pending_webhooks", counted_read)
    alice = await live.person()
    chat = await alice.group()
    for number in range(50):
        await alice.say(chat, f"{number}")
        await asyncio.sleep(0.01)
    assert polls == 0
    async with receiving() as receiver:
        await create_webhook(alice, chat, receiver, "message.created")
        await alice.say(chat, "x")
        await eventually(lambda: receiver.accepted)
    assert polls > 0
