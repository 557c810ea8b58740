"""The hub: removed and new members, deleted chats and ended sessions."""

from collections.abc import Collection

import pytest

from blazechat.domain.auth.batch_access import ChatPosition
from blazechat.domain.auth.scopes import Grant
from blazechat.domain.chats.changes import Changes
from blazechat.domain.events import (
    ChatDeleted,
    MemberRemoved,
    MessageCreated,
    SessionsEnded,
)
from blazechat.realtime.connection import Close, Kind
from blazechat.realtime.hub import Hub
from blazechat.vocabulary import Scope
from tests.realtime.hub_harness import (
    MemoryDatabase,
    Subscriber,
    chat_refreshed,
    members_added,
    message,
    message_created,
    settled,
)


@pytest.mark.parametrize("kind", [Kind.MAIN, Kind.CHAT])
async def test_removal_takes_effect_before_later_events(kind: Kind) -> None:
    """A removed member receives no later event, even one of the same turn of the event loop."""
    hub = Hub(MemoryDatabase().read_changes)
    member, removed = Subscriber(hub, user_id=1, kind=kind), Subscriber(hub, user_id=2, kind=kind)
    hub.handle(message_created(1))
    hub.handle(MemberRemoved(7, 3, 2))
    hub.handle(MessageCreated(7, 4, message(2, 4)))
    await settled(hub)
    assert member.message_ids == [1, 2]
    assert 2 not in removed.message_ids
    if kind is Kind.CHAT:
        assert removed.transport.close_code == Close.REMOVED
    else:
        assert removed.types == ["message.created", "member.removed"]


async def test_removal_before_the_subscription_and_after_its_position_is_noticed() -> None:
    """A user who was a member at the position, and was removed since, receives `member.removed` only."""
    database = MemoryDatabase(MemberRemoved(7, 2, 2))
    hub = Hub(database.read_changes)
    member = Subscriber(hub, user_id=1)
    hub.handle(MemberRemoved(7, 2, 2))
    database.events[0] = chat_refreshed(2, 1)
    removed = Subscriber(hub, version=1, user_id=2)
    database.events.append(MessageCreated(7, 3, message(1, 3)))
    hub.handle(database.events[-1])
    await settled(hub)
    assert removed.types == ["member.removed"]
    assert member.message_ids == [1]


async def test_lost_change_of_members_is_applied_before_the_next_event() -> None:
    """The database returns the current members: removed ones lose the chat, and new ones receive it."""
    database = MemoryDatabase(chat_refreshed(2, 1, 3), MessageCreated(7, 3, message(1, 3)))
    hub = Hub(database.read_changes)
    member, removed = Subscriber(hub, user_id=1), Subscriber(hub, user_id=2)
    added = Subscriber(hub, user_id=3, version=0)
    hub.handle(database.events[1])
    await settled(hub)
    assert member.types == ["chat.updated", "message.created"]
    assert removed.types == ["member.removed"]
    assert added.types == ["chat.created", "message.created"]


async def test_new_member_receives_the_chat_first() -> None:
    """Earlier members receive `member.added`. The new one receives `chat.created`, then later events."""
    hub = Hub(MemoryDatabase().read_changes)
    old, new = Subscriber(hub, user_id=1), Subscriber(hub, user_id=2, version=0)
    hub.handle(message_created(1))
    hub.handle(members_added(3, 2))
    hub.handle(MessageCreated(7, 4, message(2, 4)))
    await settled(hub)
    assert old.types == ["message.created", "member.added", "message.created"]
    assert new.types == ["chat.created", "message.created"]


async def test_member_added_to_a_chat_without_subscribers_is_subscribed() -> None:
    """Later events reach the new member."""
    hub = Hub(MemoryDatabase().read_changes)
    new = Subscriber(hub, user_id=2, version=0)
    hub.handle(members_added(3, 2))
    hub.handle(MessageCreated(7, 4, message(2, 4)))
    await settled(hub)
    assert new.types == ["chat.created", "message.created"]


async def test_deleted_chat_ends_all_subscriptions() -> None:
    """The chat socket is closed, and the main socket receives `chat.deleted`."""
    hub = Hub(MemoryDatabase().read_changes)
    chat_socket, main_socket = Subscriber(hub, 1, 1, Kind.CHAT), Subscriber(hub, 1, 2)
    hub.handle(ChatDeleted(7, 2))
    await settled(hub)
    assert chat_socket.transport.close_code == Close.CHAT_GONE
    assert main_socket.types == ["chat.deleted"]
    assert not hub._channels


async def test_ended_session_receives_nothing() -> None:
    """Its connections are closed; connections of other sessions are not affected."""
    hub = Hub(MemoryDatabase().read_changes)
    ended, other = Subscriber(hub, user_id=1), Subscriber(hub, user_id=2)
    hub.handle(SessionsEnded(1, frozenset({101})))
    hub.handle(message_created(1))
    await settled(hub)
    assert (ended.transport.close_code, ended.message_ids) == (Close.SESSION_ENDED, [])
    assert other.message_ids == [1]


async def test_hub_forgets_removed_connections() -> None:
    """It keeps neither channels nor users, though an event arrives afterwards."""
    hub = Hub(MemoryDatabase().read_changes)
    subscribers = [Subscriber(hub, user_id=number) for number in range(1, 5)]
    for subscriber in subscribers:
        hub.open_chat(subscriber.connection, 7)
        hub.remove(subscriber.connection)
    hub.handle(message_created(1))
    await settled(hub)
    assert not hub._channels
    assert not hub._users


async def test_new_member_is_subscribed_though_the_event_waited_when_the_last_subscriber_left() -> None:
    """The events that wait in a gap are handled as those of a chat without subscribers."""
    hub = Hub(MemoryDatabase().read_changes)
    leaving, added = Subscriber(hub, user_id=1), Subscriber(hub, version=0, user_id=2)
    hub.handle(members_added(3, 2))  # version 2 has not arrived
    hub.remove(leaving.connection)
    await settled(hub)
    hub.handle(MessageCreated(7, 4, message(1, 4)))
    await settled(hub)
    assert added.types == ["chat.created", "message.created"]


async def test_chat_without_any_connection_that_may_receive_it_is_dropped() -> None:
    """The new member's token is for other chats."""
    hub = Hub(MemoryDatabase().read_changes)
    added = Subscriber(hub, version=0, user_id=2)
    added.connection.grant = Grant(Scope.WRITE, frozenset({8}))
    hub.handle(members_added(2, 2))
    await settled(hub)
    assert added.types == []
    assert not hub._channels


async def test_member_with_a_chat_socket_only_stays_when_a_change_of_the_chat_was_missed() -> None:
    """The membership of all subscribers is read, not only of those with a main socket."""
    database = MemoryDatabase(chat_refreshed(2, 1, 3), MessageCreated(7, 3, message(1, 3)))
    hub = Hub(database.read_changes)
    member, removed = Subscriber(hub, 1, 1, Kind.CHAT), Subscriber(hub, 1, 2, Kind.CHAT)
    hub.handle(database.events[1])
    await settled(hub)
    assert member.transport.close_code is None
    assert member.message_ids == [1]
    assert removed.transport.close_code == Close.REMOVED


async def test_member_who_subscribes_while_a_missed_change_is_read_stays() -> None:
    """The read is repeated with the new subscriber."""
    database = MemoryDatabase(chat_refreshed(2, 1, 2), MessageCreated(7, 3, message(1, 3)))
    late: list[Subscriber] = []

    async def read_changes(chat_id: int, version: int, user_ids: Collection[int]) -> Changes:
        changes = await database.read_changes(chat_id, version, user_ids)
        if not late:
            late.append(Subscriber(hub, 1, 2))
        return changes

    hub = Hub(read_changes)
    Subscriber(hub, 1, 1)
    hub.handle(database.events[1])
    await settled(hub)
    assert "member.removed" not in late[0].types
    assert late[0].message_ids == [1]
    assert database.reads == 2


async def test_closing_connection_is_not_subscribed_again() -> None:
    """An event that waited in a gap adds its user, but the connection has left."""
    hub = Hub(MemoryDatabase().read_changes)
    only = Subscriber(hub, user_id=2)
    hub.handle(members_added(3, 2))  # version 2 has not arrived
    hub.remove(only.connection)
    await settled(hub)
    assert not hub._channels
    assert not only.connection.chat_ids


async def test_chat_socket_of_a_member_who_joined_again_survives_the_late_event_of_the_removal() -> None:
    """The socket was opened after the second joining; the node has not delivered the removal yet."""
    hub = Hub(MemoryDatabase().read_changes)
    Subscriber(hub, user_id=1)
    again = Subscriber(hub, 0, 2, Kind.CHAT)
    hub.attach(again.connection, ChatPosition(7, 3, 0, 0, 3, False))
    hub.handle(MemberRemoved(7, 2, 2))
    hub.handle(members_added(3, 2))
    hub.handle(MessageCreated(7, 4, message(1, 4)))
    await settled(hub)
    assert again.transport.close_code is None
    assert again.message_ids == [1]


async def test_member_who_was_welcomed_before_the_subscription_is_subscribed_once() -> None:
    """The event of the joining arrives while the connection reads its chats."""
    hub = Hub(MemoryDatabase().read_changes)
    Subscriber(hub, user_id=1)
    added = Subscriber(hub, 0, 2)
    hub.handle(members_added(2, 2))
    hub.attach(added.connection, ChatPosition(7, 2, 0, 0, 2, False))
    hub.handle(MessageCreated(7, 3, message(1, 3)))
    await settled(hub)
    assert added.types == ["chat.created", "message.created"]
