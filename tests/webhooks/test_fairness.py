"""A receiver that is slow or dead takes no place from others, however much waits for it."""

import asyncio
from collections import Counter

import asyncpg
import pytest

from blazechat.domain.webhooks.delivery_queue import DeliveryQueue, Hook, Lane
from blazechat.jobs.concurrency import ALL, FAILING, OF_ONE, OF_OWNER, DeliverySlots
from tests.conftest import NewServer
from tests.harness import Live, eventually
from tests.webhooks.receiver import LOOPBACK, receiving
from tests.webhooks.test_outgoing import FAST, hook, server

__all__ = ["server"]  # a fixture

QUEUE = """
INSERT INTO deliveries (webhook_id, chat_id, version, type, body)
SELECT $1, 1000000 + n, 1, 'chat.updated', '{}' FROM generate_series(1, $2) n
"""
QUEUES = """
INSERT INTO deliveries (webhook_id, chat_id, version, type, body)
SELECT w, 1000000 + n, 1, 'chat.updated', '{}' FROM unnest($1::int8[]) w, generate_series(1, $2) n
"""
WAITING = "SELECT FROM deliveries WHERE webhook_id = $1 AND state = 'waiting'"


async def execute(live: Live, statement: str, *arguments: object) -> list[asyncpg.Record]:
    connection = await asyncpg.connect(live.app.state.settings.database_url)
    rows: list[asyncpg.Record] = await connection.fetch(statement, *arguments)
    await connection.close()
    return rows


async def test_thousands_of_waiting_chats_hold_up_no_other_webhook(new_server: NewServer) -> None:
    """One dead receiver for all chats of the server; and when it is back, it is told all that waited."""
    live = await new_server(**LOOPBACK, **FAST, webhook_timeout=60)
    root, alice = await live.people("root", "alice")
    async with receiving() as dead, receiving() as quick:
        dead.hold = asyncio.Event()
        everywhere = await hook(root, None, dead, "chat.updated")
        await execute(live, QUEUE, everywhere["id"], 1_200)
        chat = await alice.group()
        await hook(alice, chat, quick, "message.created")
        for number in range(3):
            await alice.say(chat, f"{number}")
        await eventually(lambda: len(quick.accepted) == 3)
        assert not dead.requests
        dead.hold.set()
        await eventually(lambda: len(dead.accepted) >= 1_200, patience=60)
        assert len({request.name for request in dead.accepted}) == 1_200


async def test_one_user_with_many_dead_receivers_holds_up_no_other(new_server: NewServer) -> None:
    """Each of them would take its time for a call; what others are told does not wait for it."""
    live = await new_server(**LOOPBACK, webhook_timeout=60)
    mallory, alice = await live.people("mallory", "alice")
    async with receiving() as tarpit, receiving() as quick:
        tarpit.hold = asyncio.Event()
        traps = [await mallory.group() for _ in range(3)]
        for trap in traps:
            for _ in range(30):
                await hook(mallory, trap, tarpit, "message.created")
            await mallory.say(trap, "all of them are called")
        await eventually(lambda: len(tarpit.lines) >= OF_OWNER)
        chat = await alice.group()
        await hook(alice, chat, quick, "message.created")
        await alice.say(chat, "x")
        await eventually(lambda: quick.accepted)
        assert len(tarpit.lines) == OF_OWNER
        tarpit.hold.set()
        await eventually(lambda: len(tarpit.accepted) == 90)


def test_places_are_shared_out() -> None:
    """By webhook, by owner, and between those that fail and those that work."""
    places = DeliverySlots()

    def taken(hook: Hook) -> int:
        chat_id = 0
        while places.room(hook):
            assert places.take(Lane(hook, chat_id))
            chat_id += 1
        return chat_id

    assert taken(Hook(1, 1, is_enabled=True, is_failing=False)) == OF_ONE
    assert not places.take(Lane(Hook(1, 1, is_enabled=True, is_failing=False), 0)), "it is under way"
    assert (
        sum(taken(Hook(n, 1, is_enabled=True, is_failing=False)) for n in range(2, 50)) == OF_OWNER - OF_ONE
    )
    failing = [Hook(n, n, is_enabled=True, is_failing=True) for n in range(100, 300)]
    assert sum(map(taken, failing)) == FAILING
    working = [Hook(n, n, is_enabled=True, is_failing=False) for n in range(300, 500)]
    assert sum(map(taken, working)) == ALL - OF_OWNER - FAILING
    places.leave(Lane(failing[0], 0))
    assert places.room(failing[0])
    assert places.room(working[-1])


async def test_many_lanes_of_several_webhooks_keep_to_their_places(
    new_server: NewServer, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Each webhook's places are taken by its own lanes, however many wait."""
    live = await new_server(**LOOPBACK, **FAST)
    root = await live.person()
    take, most = DeliverySlots.take, 0

    def counted(places: DeliverySlots, lane: Lane) -> bool:
        nonlocal most
        taken = take(places, lane)
        most = max(most, *places._of_hook.values())
        return taken

    monkeypatch.setattr(DeliverySlots, "take", counted)
    async with receiving() as receiver, receiving() as another:
        hooks = [(await hook(root, None, each, "chat.updated"))["id"] for each in (receiver, another) * 2]
        await execute(live, QUEUES, hooks, 300)
        await eventually(lambda: len(receiver.accepted) + len(another.accepted) >= 1_200, patience=60)
        for each in (receiver, another):
            assert sorted(Counter(request.name for request in each.accepted).values()) == [2] * 300
    assert most == OF_ONE


async def test_what_was_written_for_a_webhook_while_it_was_deleted_is_removed(server: Live) -> None:
    """Nobody would ever look at it again."""
    await execute(server, QUEUE, 999_999, 300)
    while await server.app.state.sweeper.sweep():
        pass
    assert not await execute(server, WAITING, 999_999)


async def test_webhook_of_a_deleted_chat_goes_although_it_was_disabled(server: Live) -> None:
    """With all that waited for it: nobody is left who could enable it."""
    alice = await server.person()
    chat = await alice.group()
    async with receiving() as receiver:
        made = await hook(alice, chat, receiver)
        receiver.answer = lambda request: 500
        await alice.say(chat, "x")
        await eventually(lambda: receiver.requests)
        await alice.put(f"/api/chats/{chat}/webhooks/{made['id']}", {"enabled": False})
        await alice.delete(f"/api/chats/{chat}")
        for _ in range(2):
            await server.app.state.sweeper.sweep()
        assert not await execute(server, "SELECT FROM webhooks WHERE id = $1", made["id"])
        assert not await execute(server, WAITING, made["id"])


async def test_without_webhooks_nobody_looks_for_what_waits(
    new_server: NewServer, monkeypatch: pytest.MonkeyPatch
) -> None:
    """However many messages there are; and the first webhook is told at once."""
    live = await new_server(**LOOPBACK)
    lanes, looks = live.app.state.deliverer._queue, 0
    look = DeliveryQueue.hooks

    async def counted(of: DeliveryQueue) -> list[Hook]:
        nonlocal looks
        looks += of is lanes
        return await look(of)

    monkeypatch.setattr(DeliveryQueue, "hooks", counted)
    alice = await live.person()
    chat = await alice.group()
    for number in range(50):
        await alice.say(chat, f"{number}")
        await asyncio.sleep(0.01)
    assert looks == 0
    async with receiving() as receiver:
        await hook(alice, chat, receiver, "message.created")
        await alice.say(chat, "x")
        await eventually(lambda: receiver.accepted)
    assert looks > 0
