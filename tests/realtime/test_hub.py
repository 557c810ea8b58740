"""The hub's order, with a bus that loses, doubles and reorders, and a database in memory."""

import asyncio
import json
import random
from datetime import UTC, datetime

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from blazechat.domain.changes import Changes, Mark
from blazechat.domain.errors import Unavailable
from blazechat.domain.events import (
    ChatDeleted,
    ChatEvent,
    ChatUpdated,
    MessageCreated,
    MessageUpdated,
    PresenceChanged,
    Seat,
    SessionsEnded,
)
from blazechat.domain.shapes import Author, Chat, History, Message, Role, Status
from blazechat.realtime.connection import Connection
from blazechat.realtime.hub import EARLY_LIMIT, Hub
from blazechat.realtime.wire import Kind
from tests.harness import eventually

NOW = datetime(2026, 1, 1, tzinfo=UTC)


def _message(number: int, version: int) -> Message:
    author = Author(1, "alice", "Alice")
    return Message(
        number, 7, 1, author, f"m{number}", f"c{number}", None, version, False, NOW, NOW, None, None
    )


def _created(number: int) -> MessageCreated:
    """The number-th message of a chat in which nothing else happens: it brings version number + 1."""
    return MessageCreated(7, number + 1, _message(number, number + 1))


class Ledger:
    """What is true: the messages of chat 7 so far."""

    def __init__(self) -> None:
        self.newest = 0
        self.asked = 0
        self.away = False

    async def catch_up(self, chat_id: int, mark: Mark) -> Changes:
        self.asked += 1
        await asyncio.sleep(0)
        if self.away:
            raise Unavailable
        events: list[ChatEvent] = [
            _created(number) for number in range(1, self.newest + 1) if number + 1 > mark.version
        ]
        return Changes(events, Mark(self.newest + 1, self.newest))


async def _nobody(user_id: int, among: list[int]) -> set[int]:
    return set()


def _listener(hub: Hub, user_id: int = 1, kind: Kind = Kind.CHAT, limit: int = 10**6) -> Connection:
    connection = Connection(kind, user_id, 100 + user_id, limit)
    hub.add(connection)
    hub.listen(connection, 7)
    return connection


def _heard(connection: Connection) -> list[int]:
    return [json.loads(frame)["id"] for frame in connection._outbox]


async def _settled(hub: Hub) -> None:
    await eventually(lambda: not hub._tasks)


@settings(max_examples=200, deadline=None)
@given(seed=st.integers(0, 2**32), count=st.integers(1, 40))
def test_every_listener_hears_all_in_order_whatever_the_bus_does(seed: int, count: int) -> None:
    """Lost, doubled, reordered: in order, gap-free and without duplicates from where one began."""

    async def run() -> None:
        chance = random.Random(seed)
        truth = Ledger()
        hub = Hub(truth.catch_up, _nobody)
        begun: dict[Connection, int] = {}
        late: list[MessageCreated] = []
        for number in range(1, count + 1):
            if chance.random() < 0.2 or not begun:
                connection = _listener(hub, chance.randrange(1, 5))
                begun[connection] = truth.newest
                if chance.random() < 0.5:
                    await asyncio.sleep(0)
                hub.begin(connection, 7, Mark(truth.newest + 1, truth.newest))
            truth.newest = number
            late += [_created(number)] * chance.choice([0, 1, 1, 2])
            chance.shuffle(late)
            while late and chance.random() < 0.7:
                hub.handle(late.pop())
            if chance.random() < 0.3:
                await asyncio.sleep(0)
        for event in late:
            hub.handle(event)
        truth.newest += 1
        hub.handle(_created(truth.newest))
        await _settled(hub)
        for connection, start in begun.items():
            assert _heard(connection) == list(range(start + 1, truth.newest + 1))

    asyncio.run(run())


async def test_what_happens_while_one_begins_is_kept() -> None:
    """Between listening and beginning nothing is lost, and what was seen already is not repeated."""
    truth = Ledger()
    hub = Hub(truth.catch_up, _nobody)
    connection = _listener(hub)
    for number in (1, 2, 3):
        hub.handle(_created(number))
    truth.newest = 3
    hub.begin(connection, 7, Mark(2, 1))
    assert _heard(connection) == [2, 3]
    assert truth.asked == 0


async def test_a_hole_is_filled_from_the_database_before_going_on() -> None:
    """And asked for once, however much comes meanwhile."""
    truth = Ledger()
    hub = Hub(truth.catch_up, _nobody)
    connection = _listener(hub)
    hub.begin(connection, 7, Mark(1, 0))
    truth.newest = 5
    for number in (3, 5, 4):
        hub.handle(_created(number))
    assert _heard(connection) == []
    await _settled(hub)
    assert _heard(connection) == [1, 2, 3, 4, 5]
    assert truth.asked == 1


async def test_a_database_that_is_away_delays_and_loses_nothing() -> None:
    """The hole is filled when it is back."""
    truth = Ledger()
    truth.away = True
    hub = Hub(truth.catch_up, _nobody)
    connection = _listener(hub)
    hub.begin(connection, 7, Mark(1, 0))
    truth.newest = 2
    hub.handle(_created(2))
    await eventually(lambda: truth.asked)
    truth.away = False
    await _settled(hub)
    assert _heard(connection) == [1, 2]


async def test_what_waits_for_a_hole_is_bounded() -> None:
    """However much comes while something is missing, little is kept and nothing is lost."""
    truth = Ledger()
    truth.away = True
    hub = Hub(truth.catch_up, _nobody)
    connection = _listener(hub, limit=10**9)
    hub.begin(connection, 7, Mark(1, 0))
    truth.newest = EARLY_LIMIT * 2
    for number in range(2, truth.newest + 1):
        hub.handle(_created(number))
        assert len(hub._channels[7].early) <= EARLY_LIMIT + 1
    truth.away = False
    await _settled(hub)
    assert _heard(connection) == list(range(1, truth.newest + 1))


def _updated(version: int, *user_ids: int) -> ChatUpdated:
    chat = Chat(7, "Team", True, History.ALL, NOW, [], len(user_ids), 0, version)
    seats = {user_id: Seat(Role.MEMBER, 0, 0) for user_id in user_ids}
    return ChatUpdated(7, version, chat, None, seats)


async def test_removal_takes_effect_before_anything_newer() -> None:
    """Whoever is not a member any more is closed, and what was queued for them is dropped."""
    hub = Hub(Ledger().catch_up, _nobody)
    stays, goes = _listener(hub, 1), _listener(hub, 2)
    for connection in (stays, goes):
        hub.begin(connection, 7, Mark(1, 0))
    hub.handle(_created(1))
    hub.handle(_updated(3, 1))
    hub.handle(MessageCreated(7, 4, _message(2, 4)))
    assert goes.closing
    assert _heard(goes) == []
    assert _heard(stays) == [1, 2]


async def test_two_that_begin_at_once_both_hear_all() -> None:
    """The one that looked earlier and begins later is brought up from where it looked."""
    truth = Ledger()
    hub = Hub(truth.catch_up, _nobody)
    early = _listener(hub, 1)
    seen_by_early = Mark(2, 1)
    truth.newest = 3
    hub.handle(_created(2))
    hub.handle(_created(3))
    late = _listener(hub, 2)
    hub.begin(late, 7, Mark(4, 3))
    hub.begin(early, 7, seen_by_early)
    hub.handle(_created(4))
    truth.newest = 4
    await _settled(hub)
    assert _heard(early) == [2, 3, 4]
    assert _heard(late) == [4]


@pytest.mark.parametrize("first", ["begins", "is a stranger"])
async def test_being_added_is_told_whoever_else_is_about_to_listen(first: str) -> None:
    """An event that is no news to the first listener is still news to whoever was added by it."""
    added = _updated(2, 1, 2)

    async def catch_up(chat_id: int, mark: Mark) -> Changes:
        return Changes([added], Mark(2, 0))

    hub = Hub(catch_up, _nobody)
    bob = Connection(Kind.STATUS, 2, 102, 10**6)
    hub.add(bob)
    other = _listener(hub, 1)
    hub.handle(added)
    if first == "begins":
        hub.begin(other, 7, Mark(2, 0))
    else:
        hub.remove(other)
    await _settled(hub)
    assert [json.loads(frame)["action"] for frame in bob._outbox] == ["chat.created"]
    assert bob.chat_ids == {7}


async def test_who_was_away_unnoticed_hears_nothing_of_it() -> None:
    """Removed and added again within one hole: the socket has to come back, and what is hidden stays so."""
    chat = Chat(7, "Team", True, History.JOINED, NOW, [], 2, 5, 8)
    again = ChatUpdated(7, 8, chat, None, {1: Seat(Role.MEMBER, 5, 5), 2: Seat(Role.OWNER, 5, 0)})

    async def catch_up(chat_id: int, mark: Mark) -> Changes:
        return Changes([again, _created(5)], Mark(8, 5))

    hub = Hub(catch_up, _nobody)
    away, stayed = _listener(hub, 1), _listener(hub, 2)
    for connection in (away, stayed):
        hub.begin(connection, 7, Mark(5, 4))
    hub.handle(MessageUpdated(7, 8, _message(5, 8)))
    await _settled(hub)
    assert away.closing
    assert _heard(away) == []
    assert _heard(stayed) == [5]


async def test_presence_is_told_one_by_one_and_the_latest_only() -> None:
    """However many changes come at once, one question is under way, and a user's last state is told."""
    under_way = most = 0
    asked = []

    async def peers(user_id: int, among: list[int]) -> set[int]:
        nonlocal under_way, most
        under_way += 1
        most = max(most, under_way)
        asked.append(user_id)
        await asyncio.sleep(0)
        under_way -= 1
        return set(among)

    hub = Hub(Ledger().catch_up, peers)
    watcher = Connection(Kind.STATUS, 1, 101, 10**6)
    hub.add(watcher)
    for status in (Status.ONLINE, Status.AWAY, Status.OFFLINE):
        for user_id in range(2, 50):
            hub.handle(PresenceChanged(user_id, status, NOW))
    await _settled(hub)
    assert most == 1
    assert sorted(asked) == list(range(2, 50))
    assert {json.loads(frame)["status"] for frame in watcher._outbox} == {"offline"}


async def test_edits_reach_no_chat_socket_and_leave_no_hole() -> None:
    """They raise the version like everything else."""
    truth = Ledger()
    hub = Hub(truth.catch_up, _nobody)
    connection = _listener(hub)
    hub.begin(connection, 7, Mark(2, 1))
    hub.handle(MessageUpdated(7, 3, _message(1, 3)))
    hub.handle(MessageCreated(7, 4, _message(2, 4)))
    assert _heard(connection) == [2]
    assert truth.asked == 0


async def test_far_behind_is_told_to_come_back() -> None:
    """Where too much was missed, sockets are closed instead of being given half of it."""

    async def too_many(chat_id: int, mark: Mark) -> Changes:
        return Changes([], Mark(10_000, 9_000), too_many=True)

    hub = Hub(too_many, _nobody)
    connection = _listener(hub)
    hub.begin(connection, 7, Mark(1, 0))
    hub.handle(_created(8_000))
    await _settled(hub)
    assert connection.closing


async def test_ended_sessions_and_deleted_chats_close_at_once() -> None:
    """And nothing is kept of them."""
    hub = Hub(Ledger().catch_up, _nobody)
    one, other = _listener(hub, 1), _listener(hub, 2)
    for connection in (one, other):
        hub.begin(connection, 7, Mark(1, 0))
    hub.handle(SessionsEnded(1, frozenset({101})))
    assert (one.closing, other.closing) == (True, False)
    hub.handle(ChatDeleted(7, 2))
    assert other.closing
    assert hub._channels == {}
