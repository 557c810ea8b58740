"""The hub's order, with a bus that loses, doubles and reorders, and a database in memory."""

import asyncio
import json
import random
from collections.abc import Collection
from datetime import UTC, datetime
from typing import Any

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from blazechat.domain.auth.batch_access import ChatPosition
from blazechat.domain.chats.changes import Changes
from blazechat.domain.events import (
    ChatDeleted,
    ChatEvent,
    ChatInDoubt,
    ChatRefreshed,
    MemberRemoved,
    MembersAdded,
    MessageCreated,
    MessageUpdated,
    MemberState,
    SessionsEnded,
)
from blazechat.domain.schemas.chats import Chat
from blazechat.domain.schemas.messages import Message
from blazechat.domain.schemas.users import Author, Member
from blazechat.errors import Unavailable
from blazechat.realtime import frames
from blazechat.realtime import hub as hub_module
from blazechat.realtime.connection import Close, Connection, Kind, SendFlusher, SocketLimits
from blazechat.realtime.gap import MAX_OUT_OF_ORDER
from blazechat.realtime.hub import Hub
from blazechat.vocabulary import History, Role, Status
from tests.harness import eventually

NOW = datetime(2026, 1, 1, tzinfo=UTC)


def _message(number: int, version: int) -> Message:
    author = Author(1, "alice", "Alice")
    return Message(
        number,
        7,
        1,
        author,
        f"m{number}",
        f"c{number}",
        None,
        version,
        False,
        NOW,
        NOW,
        None,
        None,
        None,
        [],
        [],
    )


def _created(number: int) -> MessageCreated:
    """The number-th message of a chat in which nothing else happens: it brings version number + 1."""
    return MessageCreated(7, number + 1, _message(number, number + 1))


def _chat(version: int, count: int, history: History = History.ALL) -> Chat:
    return Chat(7, "Team", True, history, NOW, [], count, 0, version)


def _refreshed(version: int, *user_ids: int) -> ChatRefreshed:
    seats = {user_id: MemberState(Role.MEMBER, 0, 0) for user_id in user_ids}
    return ChatRefreshed(7, version, _chat(version, len(user_ids)), None, seats)


def _added(version: int, user_id: int) -> MembersAdded:
    member = Member(user_id, f"u{user_id}", "U", NOW, None, Status.ONLINE, False, Role.MEMBER)
    return MembersAdded(7, version, [member], MemberState(Role.MEMBER, 0, 0), _chat(version, 9), None)


class Truth:
    """What the database would say: the events of chat 7 so far, whatever reached the hub of them."""

    def __init__(self, *events: ChatEvent, page: int = 100) -> None:
        self.events = list(events)
        self.asked = 0
        self.away = False
        self.page = page

    async def catch_up(self, chat_id: int, version: int, among: Collection[int]) -> Changes:
        self.asked += 1
        await asyncio.sleep(0)
        if self.away:
            raise Unavailable
        above = [event for event in self.events if event.version > version]
        some = above[: self.page]
        newest = max((event.version for event in self.events), default=1)
        reached = some[-1].version if len(above) > self.page else max(newest, version)
        refreshed = [event for event in above if isinstance(event, ChatRefreshed)]
        return Changes(some, reached, newest, refreshed[-1] if refreshed else None)


class Owner:
    def receive(self, connection: Connection, text: str | None) -> None: ...

    def closing(self, connection: Connection) -> None: ...

    def lost(self, connection: Connection) -> None: ...

    def expired(self, connection: Connection) -> None: ...


class Recorder:
    """A line that keeps what is written to it."""

    is_paused = False

    def __init__(self) -> None:
        self.frames: list[dict[str, Any]] = []
        self.writes: list[list[bytes]] = []
        self.code: int | None = None

    def write(self, whole_frames: list[bytes]) -> None:
        self.writes.append(whole_frames)
        reader = b"".join(whole_frames)
        while reader:
            size, header = reader[1], 2
            if size == 126:
                size, header = int.from_bytes(reader[2:4], "big"), 4
            assert reader[0] == frames.FIN | frames.TEXT
            self.frames.append(json.loads(reader[header : header + size]))
            reader = reader[header + size :]

    def close(self, code: int, reason: str) -> None:
        self.code = code

    def abort(self) -> None: ...

    def read(self, more: bool) -> None: ...


LIMITS = SocketLimits(outbox=10**9, frame=10**6, rate=1000, burst=1000, heartbeat=60, handshake=5)


class Listener:
    """A connection of a user that listens to chat 7 from a version on."""

    def __init__(self, hub: Hub, version: int = 1, user_id: int = 1, kind: Kind = Kind.MAIN) -> None:
        self.line = Recorder()
        self.connection = Connection(kind, Owner(), SendFlusher(), LIMITS)
        self.connection.user_id, self.connection.session_id = user_id, 100 + user_id
        self.connection.verified = True
        self.connection.accepted(self.line)
        hub.add(self.connection)
        if version:
            hub.attach(self.connection, ChatPosition(7, version, version - 1, 0, 0, False))

    @property
    def heard(self) -> list[int]:
        """The ids of the messages that came, in the order in which they came."""
        told = [frame.get("message", frame) for frame in self.line.frames]
        return [message["id"] for message in told if "content" in message]

    @property
    def types(self) -> list[str]:
        return [frame["type"] for frame in self.line.frames]


async def _settled(hub: Hub) -> None:
    await asyncio.sleep(0)
    await eventually(lambda: not hub._tasks)
    for _ in range(4):
        await asyncio.sleep(0)


@settings(max_examples=100, deadline=None)
@given(seed=st.integers(0, 2**32), count=st.integers(1, 30), kind=st.sampled_from([Kind.MAIN, Kind.CHAT]))
def test_every_listener_hears_all_in_order_whatever_the_bus_does(seed: int, count: int, kind: Kind) -> None:
    """Lost, doubled, reordered: in order, gap-free and without duplicates from where one began."""

    async def run() -> None:
        chance = random.Random(seed)
        truth = Truth()
        hub = Hub(truth.catch_up)
        begun: dict[Listener, int] = {}
        late: list[MessageCreated] = []
        for number in range(1, count + 1):
            if chance.random() < 0.2 or not begun:
                begun[Listener(hub, number, chance.randrange(1, 5), kind)] = number - 1
            truth.events.append(_created(number))
            late += [_created(number)] * chance.choice([0, 1, 1, 2])
            chance.shuffle(late)
            while late and chance.random() < 0.7:
                hub.handle(late.pop())
            if chance.random() < 0.3:
                await asyncio.sleep(0)
        for event in late:
            hub.handle(event)
        truth.events.append(_created(count + 1))
        hub.handle(_created(count + 1))
        await _settled(hub)
        for listener, start in begun.items():
            heard = listener.heard
            if kind is Kind.MAIN:  # it may begin earlier, where the others are
                assert heard == list(range(heard[0], count + 2))
                assert heard[0] <= start + 1
            else:
                assert heard == list(range(start + 1, count + 2))

    asyncio.run(run())


@settings(max_examples=100, deadline=None)
@given(seed=st.integers(0, 2**32), count=st.integers(1, 30))
def test_resume_has_no_gap_and_no_duplicate_at_the_seam(seed: int, count: int) -> None:
    """Whatever happens while one is told what one missed."""

    async def run() -> None:
        chance = random.Random(seed)
        truth = Truth(page=chance.choice([1, 3, 100]))
        hub = Hub(truth.catch_up)
        truth.events += [_created(number) for number in range(1, count + 1)]
        known = chance.randrange(count + 1) + 1
        listener = Listener(hub, count + 1)
        resumed = asyncio.create_task(hub.resume(listener.connection, 7, known, 1000))
        await asyncio.sleep(0)
        for number in range(count + 1, count + 6):
            for _ in range(chance.randrange(4)):
                await asyncio.sleep(0)
            truth.events.append(_created(number))
            if chance.random() < 0.8 or number == count + 5:
                hub.handle(_created(number))
        reached = await resumed
        await _settled(hub)
        assert reached is not None
        assert listener.heard == list(range(known, count + 6))

    asyncio.run(run())


async def test_what_was_overtaken_during_a_resume_is_told_as_what_overtook_it() -> None:
    """By then the database knows only the newer one, of which the hub is told a moment later."""
    overtaking = MessageUpdated(7, 6, _message(4, 6))
    truth = Truth(*[_created(number) for number in range(1, 4)], overtaking)  # version 5 is gone
    hub = Hub(truth.catch_up)
    listener = Listener(hub, 5)
    assert await hub.resume(listener.connection, 7, 4, 1000) == 5
    hub.handle(overtaking)
    await _settled(hub)
    assert [(frame["type"], frame["version"]) for frame in listener.line.frames] == [("message.updated", 6)]


async def test_a_resume_that_fails_is_not_taken_for_done() -> None:
    """What was missed can be asked for again, and what came meanwhile is not lost."""
    truth = Truth(*[_created(number) for number in range(1, 4)])
    hub = Hub(truth.catch_up)
    listener = Listener(hub, 4)
    truth.away = True
    failing = asyncio.create_task(hub.resume(listener.connection, 7, 1, 1000))
    await asyncio.sleep(0)
    truth.events.append(_created(4))
    hub.handle(_created(4))
    with pytest.raises(Unavailable):
        await failing
    truth.away = False
    assert await hub.resume(listener.connection, 7, 1, 1000) == 5
    await _settled(hub)
    assert listener.heard == [4, 1, 2, 3]


async def test_events_of_one_turn_are_written_at_once() -> None:
    """Encoded once, joined once, and the same for all."""
    hub = Hub(Truth().catch_up)
    listeners = [Listener(hub, user_id=number) for number in range(1, 4)]
    for number in (1, 2, 3):
        hub.handle(_created(number))
    await _settled(hub)
    writes = [listener.line.writes for listener in listeners]
    assert [len(some) for some in writes] == [1, 1, 1]
    assert writes[0][0][0] is writes[1][0][0] is writes[2][0][0]
    assert all(listener.heard == [1, 2, 3] for listener in listeners)


async def test_what_overtook_is_waited_for_before_the_database_is_asked() -> None:
    """Two commits that are published in the wrong order are no hole."""
    truth = Truth()
    hub = Hub(truth.catch_up)
    listener = Listener(hub)
    hub.handle(_created(2))
    hub.handle(_created(1))
    await _settled(hub)
    assert listener.heard == [1, 2]
    assert truth.asked == 0


async def test_a_hole_is_filled_from_the_database_before_going_on() -> None:
    """And asked for once, however much comes meanwhile."""
    truth = Truth(*[_created(number) for number in range(1, 6)])
    hub = Hub(truth.catch_up)
    listener = Listener(hub)
    for number in (3, 5, 4):
        hub.handle(_created(number))
    assert listener.heard == []
    await _settled(hub)
    assert listener.heard == [1, 2, 3, 4, 5]
    assert truth.asked == 1


async def test_a_database_that_is_away_delays_and_loses_nothing() -> None:
    """The hole is filled when it is back."""
    truth = Truth(_created(1), _created(2))
    truth.away = True
    hub = Hub(truth.catch_up)
    listener = Listener(hub)
    hub.handle(_created(2))
    await eventually(lambda: truth.asked)
    truth.away = False
    await _settled(hub)
    assert listener.heard == [1, 2]


async def test_what_waits_for_a_hole_is_bounded() -> None:
    """However much comes while something is missing, little is kept and nothing is lost."""
    truth = Truth(*[_created(number) for number in range(1, MAX_OUT_OF_ORDER * 2 + 1)])
    truth.away = True
    hub = Hub(truth.catch_up)
    listener = Listener(hub)
    for number in range(2, MAX_OUT_OF_ORDER * 2 + 1):
        hub.handle(_created(number))
        gap = hub._channels[7].gap
        assert gap is not None
        assert len(gap._out_of_order) <= MAX_OUT_OF_ORDER
    truth.away = False
    await _settled(hub)
    assert listener.heard == list(range(1, MAX_OUT_OF_ORDER * 2 + 1))


async def test_an_event_between_looking_and_listening_is_not_missed() -> None:
    """Somebody found the chat at version 1; a message came when nobody listened; then they listen."""
    truth = Truth(_created(1))
    hub = Hub(truth.catch_up)
    hub.handle(_created(1))
    listener = Listener(hub, version=1)
    await _settled(hub)
    assert listener.heard == [1]


async def test_a_commit_in_doubt_is_looked_up() -> None:
    """Nobody knows whether it was committed, so the hub asks."""
    truth = Truth(_created(1))
    hub = Hub(truth.catch_up)
    listener = Listener(hub)
    hub.handle(ChatInDoubt(7))
    await _settled(hub)
    assert listener.heard == [1]


async def test_a_commit_in_doubt_that_takes_effect_late_is_found(monkeypatch: pytest.MonkeyPatch) -> None:
    """It was not there yet when it was first looked for."""
    monkeypatch.setattr(hub_module, "IN_DOUBT_RECHECK_SECONDS", (0.2,))
    truth = Truth()
    hub = Hub(truth.catch_up)
    listener = Listener(hub)
    hub.handle(ChatInDoubt(7))
    await asyncio.sleep(0.1)
    await _settled(hub)
    assert listener.heard == []
    truth.events.append(_created(1))
    await eventually(lambda: listener.heard == [1])


@pytest.mark.parametrize("kind", [Kind.MAIN, Kind.CHAT])
async def test_removal_takes_effect_before_anything_newer(kind: Kind) -> None:
    """The removed hear of nothing behind it, not even what was handed on in the same turn."""
    hub = Hub(Truth().catch_up)
    stays, goes = Listener(hub, user_id=1, kind=kind), Listener(hub, user_id=2, kind=kind)
    hub.handle(_created(1))
    hub.handle(MemberRemoved(7, 3, 2))
    hub.handle(MessageCreated(7, 4, _message(2, 4)))
    await _settled(hub)
    assert stays.heard == [1, 2]
    assert 2 not in goes.heard
    if kind is Kind.CHAT:
        assert goes.line.code == Close.REMOVED
    else:
        assert goes.types == ["message.created", "member.removed"]


async def test_a_removal_between_looking_and_listening_is_noticed() -> None:
    """Whoever was found to be a member, and was removed before they listened, hears nothing new."""
    truth = Truth(MemberRemoved(7, 2, 2))
    hub = Hub(truth.catch_up)
    stays = Listener(hub, user_id=1)
    hub.handle(MemberRemoved(7, 2, 2))
    truth.events[0] = _refreshed(2, 1)
    goes = Listener(hub, version=1, user_id=2)
    truth.events.append(MessageCreated(7, 3, _message(1, 3)))
    hub.handle(truth.events[-1])
    await _settled(hub)
    assert goes.types == ["member.removed"]
    assert stays.heard == [1]


async def test_a_lost_removal_is_found_with_the_next_event() -> None:
    """The database says who is in the chat before anything newer is handed on; and who is new."""
    truth = Truth(_refreshed(2, 1, 3), MessageCreated(7, 3, _message(1, 3)))
    hub = Hub(truth.catch_up)
    stays, goes = Listener(hub, user_id=1), Listener(hub, user_id=2)
    comes = Listener(hub, user_id=3, version=0)
    hub.handle(truth.events[1])
    await _settled(hub)
    assert stays.types == ["chat.updated", "message.created"]
    assert goes.types == ["member.removed"]
    assert comes.types == ["chat.created", "message.created"]


async def test_new_members_hear_the_chat_first() -> None:
    """Whoever listened before hears of them; they hear the chat, and then what follows."""
    hub = Hub(Truth().catch_up)
    old, new = Listener(hub, user_id=1), Listener(hub, user_id=2, version=0)
    hub.handle(_created(1))
    hub.handle(_added(3, 2))
    hub.handle(MessageCreated(7, 4, _message(2, 4)))
    await _settled(hub)
    assert old.types == ["message.created", "member.added", "message.created"]
    assert new.types == ["chat.created", "message.created"]


async def test_being_added_to_a_chat_nobody_heard_opens_it() -> None:
    """And what comes later reaches the new member."""
    hub = Hub(Truth().catch_up)
    new = Listener(hub, user_id=2, version=0)
    hub.handle(_added(3, 2))
    hub.handle(MessageCreated(7, 4, _message(2, 4)))
    await _settled(hub)
    assert new.types == ["chat.created", "message.created"]


async def test_an_event_that_others_have_seen_is_not_news_to_who_began_later() -> None:
    """A socket of one chat that looked later than the others have heard waits for what is new to it."""
    hub = Hub(Truth().catch_up)
    early, late = Listener(hub, 1, 1, Kind.CHAT), Listener(hub, 3, 2, Kind.CHAT)
    for number in (1, 2, 3):
        hub.handle(_created(number))
    await _settled(hub)
    assert early.heard == [1, 2, 3]
    assert late.heard == [3]


async def test_edits_and_deletions_keep_the_order_of_new_messages() -> None:
    """A hole whose message was changed since is told in the order of ids to sockets of one chat."""
    changed = MessageUpdated(7, 4, _message(1, 4))
    truth = Truth(MessageCreated(7, 3, _message(2, 3)), changed)
    hub = Hub(truth.catch_up)
    single, everything = Listener(hub, 1, 1, Kind.CHAT), Listener(hub, 1, 2)
    hub.handle(changed)
    await _settled(hub)
    assert single.heard == [1, 2]
    assert everything.heard == [2, 1]


async def test_deleted_chat_is_told_and_forgotten() -> None:
    """To all who listened."""
    hub = Hub(Truth().catch_up)
    single, everything = Listener(hub, 1, 1, Kind.CHAT), Listener(hub, 1, 2)
    hub.handle(ChatDeleted(7, 2))
    await _settled(hub)
    assert single.line.code == Close.CHAT_GONE
    assert everything.types == ["chat.deleted"]
    assert not hub._channels


async def test_ended_sessions_hear_nothing_more() -> None:
    """Of the user's connections those of that session, and no other."""
    hub = Hub(Truth().catch_up)
    ended, other = Listener(hub, user_id=1), Listener(hub, user_id=2)
    hub.handle(SessionsEnded(1, frozenset({101})))
    hub.handle(_created(1))
    await _settled(hub)
    assert (ended.line.code, ended.heard) == (Close.SESSION_ENDED, [])
    assert other.heard == [1]


async def test_nothing_is_kept_of_those_who_left() -> None:
    """Channels, users, what was held back and what was joined."""
    hub = Hub(Truth().catch_up)
    listeners = [Listener(hub, user_id=number) for number in range(1, 5)]
    for listener in listeners:
        hub.open_chat(listener.connection, 7)
        hub.remove(listener.connection)
    hub.handle(_created(1))
    await _settled(hub)
    assert not hub._channels
    assert not hub._users


async def test_gap_without_listeners_is_given_up() -> None:
    """When the last listener leaves while versions are missing, the chat is dropped and nothing is read."""
    truth = Truth(_created(1), _created(2), _created(3))
    hub = Hub(truth.catch_up)
    listener = Listener(hub)
    hub.handle(_created(3))
    hub.remove(listener.connection)
    await asyncio.wait_for(_settled(hub), timeout=5)
    assert not hub._channels
    assert truth.asked == 0
    again = Listener(hub, version=1)
    await _settled(hub)
    assert again.heard == [1, 2, 3]


async def test_chat_socket_that_opens_after_all_others_have_closed_receives_new_messages() -> None:
    """Even if a message was waiting for an earlier id when the last of the others closed."""
    truth = Truth(MessageCreated(7, 3, _message(2, 3)), MessageUpdated(7, 4, _message(1, 4)), page=1)
    hub = Hub(truth.catch_up)
    Listener(hub, 1, 2)
    first = Listener(hub, 1, 1, Kind.CHAT)
    hub.handle(ChatInDoubt(7))
    await _settled(hub)  # one page was read: message 2 waits for message 1
    assert first.heard == []
    hub.remove(first.connection)
    hub.handle(truth.events[1])
    late = Listener(hub, 0, 3, Kind.CHAT)
    hub.attach(late.connection, ChatPosition(7, 4, 2, 0, 0, False))
    hub.handle(MessageCreated(7, 5, _message(3, 5)))
    await _settled(hub)
    assert late.heard == [3]
