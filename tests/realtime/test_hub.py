"""The hub: order, gaps and resume, with a bus that loses, repeats and reorders events."""

import asyncio
import random
from collections.abc import Collection

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from blazechat.domain.auth.batch_access import ChatPosition
from blazechat.domain.chats.changes import Changes
from blazechat.domain.events import (
    ChatInDoubt,
    MessageCreated,
    MessageUpdated,
)
from blazechat.errors import Unavailable
from blazechat.realtime import frames
from blazechat.realtime.channel import LARGE_CHANNEL_SUBSCRIBERS
from blazechat.realtime.connection import Kind
from blazechat.realtime.gap import MAX_OUT_OF_ORDER
from blazechat.realtime.hub import Hub
from tests.harness import eventually
from tests.realtime.hub_harness import (
    MemoryDatabase,
    RecordingTransport,
    Subscriber,
    message,
    message_created,
    settled,
)


@settings(max_examples=100, deadline=None)
@given(seed=st.integers(0, 2**32), count=st.integers(1, 30), kind=st.sampled_from([Kind.MAIN, Kind.CHAT]))
def test_every_subscriber_receives_all_messages_in_order(seed: int, count: int, kind: Kind) -> None:
    """Events are lost, repeated and reordered: there is no gap and no duplicate after the position."""

    async def run() -> None:
        rng = random.Random(seed)
        database = MemoryDatabase()
        hub = Hub(database.read_changes)
        positions: dict[Subscriber, int] = {}
        on_the_bus: list[MessageCreated] = []
        for number in range(1, count + 1):
            if rng.random() < 0.2 or not positions:
                positions[Subscriber(hub, number, rng.randrange(1, 5), kind)] = number - 1
            database.events.append(message_created(number))
            on_the_bus += [message_created(number)] * rng.choice([0, 1, 1, 2])
            rng.shuffle(on_the_bus)
            while on_the_bus and rng.random() < 0.7:
                hub.handle(on_the_bus.pop())
            if rng.random() < 0.3:
                await asyncio.sleep(0)
        for event in on_the_bus:
            hub.handle(event)
        database.events.append(message_created(count + 1))
        hub.handle(message_created(count + 1))
        await settled(hub)
        for subscriber, position in positions.items():
            received = subscriber.message_ids
            if kind is Kind.MAIN:  # it may begin earlier, at the version that the channel has delivered
                assert received == list(range(received[0], count + 2))
                assert received[0] <= position + 1
            else:
                assert received == list(range(position + 1, count + 2))

    asyncio.run(run())


@settings(max_examples=100, deadline=None)
@given(seed=st.integers(0, 2**32), count=st.integers(1, 30))
def test_resume_has_no_gap_and_no_duplicate(seed: int, count: int) -> None:
    """New events arrive while the missed ones are sent."""

    async def run() -> None:
        rng = random.Random(seed)
        database = MemoryDatabase(page_rows=rng.choice([1, 3, 100]))
        hub = Hub(database.read_changes)
        database.events += [message_created(number) for number in range(1, count + 1)]
        known = rng.randrange(count + 1) + 1
        subscriber = Subscriber(hub, count + 1)
        resumed = asyncio.create_task(hub.resume(subscriber.connection, 7, known, 1000))
        await asyncio.sleep(0)
        for number in range(count + 1, count + 6):
            for _ in range(rng.randrange(4)):
                await asyncio.sleep(0)
            database.events.append(message_created(number))
            if rng.random() < 0.8 or number == count + 5:
                hub.handle(message_created(number))
        reached = await resumed
        await settled(hub)
        assert reached is not None
        assert subscriber.message_ids == list(range(known, count + 6))

    asyncio.run(run())


async def test_change_that_is_superseded_during_a_resume_is_sent_at_its_newer_version() -> None:
    """The database has only the newer change, whose event arrives after the resume."""
    newer = MessageUpdated(7, 6, message(4, 6))
    created = [message_created(number) for number in range(1, 4)]
    database = MemoryDatabase(*created, newer)  # version 5 is superseded
    hub = Hub(database.read_changes)
    subscriber = Subscriber(hub, 5)
    assert await hub.resume(subscriber.connection, 7, 4, 1000) == 5
    hub.handle(newer)
    await settled(hub)
    assert [(frame["type"], frame["version"]) for frame in subscriber.transport.frames] == [
        ("message.updated", 6)
    ]


async def test_failed_resume_can_be_repeated() -> None:
    """Events that arrived meanwhile are not lost."""
    database = MemoryDatabase(*[message_created(number) for number in range(1, 4)])
    hub = Hub(database.read_changes)
    subscriber = Subscriber(hub, 4)
    database.is_away = True
    failing = asyncio.create_task(hub.resume(subscriber.connection, 7, 1, 1000))
    await asyncio.sleep(0)
    database.events.append(message_created(4))
    hub.handle(message_created(4))
    with pytest.raises(Unavailable):
        await failing
    database.is_away = False
    assert await hub.resume(subscriber.connection, 7, 1, 1000) == 5
    await settled(hub)
    assert subscriber.message_ids == [4, 1, 2, 3]


async def test_events_of_one_turn_are_one_write() -> None:
    """They are encoded once and joined once; all subscribers get the same bytes."""
    hub = Hub(MemoryDatabase().read_changes)
    subscribers = [Subscriber(hub, user_id=number) for number in range(1, 4)]
    for number in (1, 2, 3):
        hub.handle(message_created(number))
    await settled(hub)
    writes = [subscriber.transport.writes for subscriber in subscribers]
    assert [len(each) for each in writes] == [1, 1, 1]
    assert writes[0][0][0] is writes[1][0][0] is writes[2][0][0]
    assert all(subscriber.message_ids == [1, 2, 3] for subscriber in subscribers)


async def test_event_is_written_after_the_frames_that_were_queued_before_it() -> None:
    """Frames that are queued in the same turn, and those of a socket that cannot take more, come first."""
    hub = Hub(MemoryDatabase().read_changes)
    acknowledged, paused = Subscriber(hub), Subscriber(hub, user_id=2)
    paused.transport.is_paused = True
    hub.handle(message_created(1))
    acknowledged.connection.send(frames.text(b'{"type":"ack"}'))
    await settled(hub)
    hub.handle(message_created(2))
    await settled(hub)
    paused.transport.is_paused = False
    hub.handle(message_created(3))
    await settled(hub)
    assert acknowledged.types == ["ack", *["message.created"] * 3]
    assert acknowledged.message_ids == [1, 2, 3]
    assert paused.message_ids == [1, 2, 3]
    assert len(acknowledged.transport.writes) == 3


async def test_acknowledgement_does_not_wait_for_the_writes_to_a_large_chat() -> None:
    """It is written before the event is written to any subscriber."""
    hub = Hub(MemoryDatabase().read_changes)
    subscribers = [Subscriber(hub, user_id=number) for number in range(1, LARGE_CHANNEL_SUBSCRIBERS + 2)]
    written_before: list[int] = []
    sender = subscribers[-1]

    class Acknowledged(RecordingTransport):
        def write(self, whole_frames: list[bytes]) -> None:
            written_before.append(sum(len(each.transport.writes) for each in subscribers))
            super().write(whole_frames)

    sender.transport = Acknowledged()
    sender.connection.accepted(sender.transport)
    hub.handle(message_created(1))
    sender.connection.send(frames.text(b'{"type":"ack"}'))
    await settled(hub)
    assert sender.types == ["ack", "message.created"]
    assert written_before[0] == 0
    assert all(each.message_ids == [1] for each in subscribers)


async def test_events_of_several_chats_in_one_turn_are_one_write() -> None:
    """A socket that gets them all has one write; the events of one chat alone are written at once."""
    hub = Hub(MemoryDatabase().read_changes)
    subscriber = Subscriber(hub)
    hub.attach(subscriber.connection, ChatPosition(8, 1, 0, 0, 0, False))
    hub.handle(message_created(1))
    hub.handle(MessageCreated(8, 2, message(1, 2)))
    await settled(hub)
    assert len(subscriber.transport.frames) == 2
    assert len(subscriber.transport.writes) == 1


async def test_reordered_events_are_delivered_without_a_database_read() -> None:
    """Two commits that are published in the wrong order are no gap."""
    database = MemoryDatabase()
    hub = Hub(database.read_changes)
    subscriber = Subscriber(hub)
    hub.handle(message_created(2))
    hub.handle(message_created(1))
    await settled(hub)
    assert subscriber.message_ids == [1, 2]
    assert database.reads == 0


async def test_gap_is_filled_before_later_events_are_delivered() -> None:
    """The database is read once, however many events arrive meanwhile."""
    database = MemoryDatabase(*[message_created(number) for number in range(1, 6)])
    hub = Hub(database.read_changes)
    subscriber = Subscriber(hub)
    for number in (3, 5, 4):
        hub.handle(message_created(number))
    assert subscriber.message_ids == []
    await settled(hub)
    assert subscriber.message_ids == [1, 2, 3, 4, 5]
    assert database.reads == 1


async def test_gap_is_filled_when_the_database_is_back() -> None:
    """While the database is away, events are delayed and not lost."""
    database = MemoryDatabase(message_created(1), message_created(2))
    database.is_away = True
    hub = Hub(database.read_changes)
    subscriber = Subscriber(hub)
    hub.handle(message_created(2))
    await eventually(lambda: database.reads)
    database.is_away = False
    await settled(hub)
    assert subscriber.message_ids == [1, 2]


async def test_gap_keeps_a_bounded_number_of_events() -> None:
    """Dropped events are read from the database, so none is lost."""
    database = MemoryDatabase(*[message_created(number) for number in range(1, MAX_OUT_OF_ORDER * 2 + 1)])
    database.is_away = True
    hub = Hub(database.read_changes)
    subscriber = Subscriber(hub)
    for number in range(2, MAX_OUT_OF_ORDER * 2 + 1):
        hub.handle(message_created(number))
        gap = hub._channels[7].gap
        assert gap is not None
        assert len(gap._out_of_order) <= MAX_OUT_OF_ORDER
    database.is_away = False
    await settled(hub)
    assert subscriber.message_ids == list(range(1, MAX_OUT_OF_ORDER * 2 + 1))


async def test_event_before_the_subscription_and_after_its_position_is_delivered() -> None:
    """A connection read the chat at version 1. A message arrived, then the connection subscribed."""
    database = MemoryDatabase(message_created(1))
    hub = Hub(database.read_changes)
    hub.handle(message_created(1))
    subscriber = Subscriber(hub, version=1)
    await settled(hub)
    assert subscriber.message_ids == [1]


async def test_commit_in_doubt_is_read_from_the_database() -> None:
    """The connection was lost during the commit, so its result is unknown."""
    database = MemoryDatabase(message_created(1))
    hub = Hub(database.read_changes)
    subscriber = Subscriber(hub)
    hub.handle(ChatInDoubt(7))
    await settled(hub)
    assert subscriber.message_ids == [1]
    await hub.close()


async def test_commit_in_doubt_that_takes_effect_late_is_delivered() -> None:
    """The first read does not find it; a recheck does."""
    database = MemoryDatabase()
    hub = Hub(database.read_changes, recheck_seconds=(0.2,))
    subscriber = Subscriber(hub)
    hub.handle(ChatInDoubt(7))
    await eventually(lambda: database.reads == 1)
    assert subscriber.message_ids == []
    database.events.append(message_created(1))
    await eventually(lambda: subscriber.message_ids == [1])


async def test_chat_socket_receives_only_messages_after_its_position() -> None:
    """Its position may be newer than what the hub has delivered to earlier chat sockets."""
    hub = Hub(MemoryDatabase().read_changes)
    first, late = Subscriber(hub, 1, 1, Kind.CHAT), Subscriber(hub, 3, 2, Kind.CHAT)
    for number in (1, 2, 3):
        hub.handle(message_created(number))
    await settled(hub)
    assert first.message_ids == [1, 2, 3]
    assert late.message_ids == [3]


async def test_chat_socket_receives_messages_in_the_order_of_ids() -> None:
    """A missing message that was edited since has a newer version than the message after it.

    The main socket receives the events in the order of versions.
    """
    changed = MessageUpdated(7, 4, message(1, 4))
    database = MemoryDatabase(MessageCreated(7, 3, message(2, 3)), changed)
    hub = Hub(database.read_changes)
    chat_socket, main_socket = Subscriber(hub, 1, 1, Kind.CHAT), Subscriber(hub, 1, 2)
    hub.handle(changed)
    await settled(hub)
    assert chat_socket.message_ids == [1, 2]
    assert main_socket.message_ids == [2, 1]


async def test_gap_without_subscribers_is_dropped() -> None:
    """When the last subscriber leaves while versions are missing, the chat is dropped and not read."""
    database = MemoryDatabase(message_created(1), message_created(2), message_created(3))
    hub = Hub(database.read_changes)
    subscriber = Subscriber(hub)
    hub.handle(message_created(3))
    hub.remove(subscriber.connection)
    await asyncio.wait_for(settled(hub), timeout=5)
    assert not hub._channels
    assert database.reads == 0
    again = Subscriber(hub, version=1)
    await settled(hub)
    assert again.message_ids == [1, 2, 3]


async def test_chat_socket_that_opens_after_all_others_have_closed_receives_new_messages() -> None:
    """Even if a message was waiting for an earlier id when the last of the others closed."""
    database = MemoryDatabase(
        MessageCreated(7, 3, message(2, 3)), MessageUpdated(7, 4, message(1, 4)), page_rows=1
    )

    async def read_changes(chat_id: int, version: int, user_ids: Collection[int]) -> Changes:
        changes = await database.read_changes(chat_id, version, user_ids)
        if version == 3:  # one page was delivered: message 2 waits for message 1
            assert first.message_ids == []
            hub.remove(first.connection)
        return changes

    hub = Hub(read_changes)
    Subscriber(hub, 1, 2)
    first = Subscriber(hub, 1, 1, Kind.CHAT)
    hub.handle(ChatInDoubt(7))
    await settled(hub)
    assert database.reads == 2
    late = Subscriber(hub, 0, 3, Kind.CHAT)
    hub.attach(late.connection, ChatPosition(7, 4, 2, 0, 0, False))
    hub.handle(MessageCreated(7, 5, message(3, 5)))
    await settled(hub)
    assert late.message_ids == [3]
    await hub.close()


async def test_failed_read_keeps_the_events_that_wait() -> None:
    """When the missing version arrives late, nothing is lost."""
    database = MemoryDatabase()
    database.error = RuntimeError("read failed")
    hub = Hub(database.read_changes)
    subscriber = Subscriber(hub)
    hub.handle(message_created(2))
    await settled(hub)
    hub.handle(message_created(1))
    await settled(hub)
    assert subscriber.message_ids == [1, 2]


@pytest.mark.parametrize("kind", [Kind.MAIN, Kind.CHAT])
async def test_failed_read_is_repeated_for_the_next_subscriber(kind: Kind) -> None:
    """Even if the last subscriber has left meanwhile: the version of what waited is still known."""
    database = MemoryDatabase(message_created(1), message_created(2))
    database.error = RuntimeError("read failed")
    hub = Hub(database.read_changes)
    first = Subscriber(hub)
    hub.handle(message_created(2))
    await settled(hub)
    hub.remove(first.connection)
    assert not hub._channels
    database.error = None
    second = Subscriber(hub, 1, 2, kind)
    await settled(hub)
    assert second.message_ids == [1, 2]


async def test_failed_read_is_repeated_when_another_connection_subscribes() -> None:
    """The gap stays until it is filled."""
    database = MemoryDatabase(message_created(1))
    database.error = RuntimeError("read failed")
    hub = Hub(database.read_changes)
    hub.handle(message_created(1))  # no subscribers: its version is noted
    first = Subscriber(hub)
    await settled(hub)
    database.error = None
    Subscriber(hub, 2, 2)
    await settled(hub)
    assert first.message_ids == [1]
