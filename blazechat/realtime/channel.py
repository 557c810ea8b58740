"""A channel: the subscribers of one chat on this node, and the delivery of its events to them.

An event is encoded once, frames of one turn of the event loop are joined once, and every subscriber gets
the same bytes.
"""

import asyncio
from collections.abc import Collection, Iterable
from typing import Protocol

from blazechat.domain import public_events
from blazechat.domain.auth.batch_access import ChatPosition
from blazechat.domain.chats.chat_query import my_chat
from blazechat.domain.events import (
    ChatCreated,
    ChatDeleted,
    ChatEvent,
    ChatRefreshed,
    ChatUpdated,
    MemberRemoved,
    MembersAdded,
    MemberState,
    MessageCreated,
    MessageDeleted,
    MessageUpdated,
)
from blazechat.realtime import wire
from blazechat.realtime.chat_sockets import ChatSockets
from blazechat.realtime.connection import Close, Connection, Kind
from blazechat.realtime.gap import Gap
from blazechat.realtime.subscription import Subscription
from blazechat.vocabulary import History

AboutMessage = (MessageCreated, MessageUpdated, MessageDeleted)

RELEASE_POLL_SECONDS = 0.05
LARGE_CHANNEL_SUBSCRIBERS = 100


class Outlet(Protocol):
    """What a channel asks of the hub."""

    def flush_soon(self, channel: "Channel") -> None:
        """Call `flush()` at the end of this turn of the event loop."""

    def detach(self, connection: Connection, chat_id: int) -> None:
        """A connection has lost the chat."""

    def main_sockets(self, user_ids: Collection[int]) -> Iterable[tuple[int, list[Connection]]]:
        """Yield the users of `user_ids` that are connected, each with their `/ws` connections."""


class Channel:
    """The subscribers of one chat.

    A `/ws` connection is in one of three states. *Subscribed*: it gets each event as it is delivered.
    *Held*: it catches up, and events are held back for it. *Ahead*: it resumed from a version that this
    node has not reached yet, and gets events after that version only. Chat sockets are subscribed or held.
    """

    __slots__ = (
        "_ahead_until",
        "_frames",
        "_held_back",
        "_opened_by",
        "_outlet",
        "_subscriptions",
        "chat_id",
        "chat_sockets",
        "gap",
        "has_limited_history",
        "last_message_id",
        "members_version",
        "version",
    )

    def __init__(self, position: ChatPosition, outlet: Outlet) -> None:
        self._outlet = outlet
        self.chat_id = position.chat_id
        self.version = position.version
        """The version up to which events are delivered."""
        self.gap: Gap | None = None
        """Set while versions are missing."""
        self.members_version = position.version
        """The version of the last known change of members."""
        self.has_limited_history = position.has_limited_history
        """True if members see only messages after they joined."""
        self._subscriptions: dict[Connection, Subscription] = {}
        self._opened_by: set[Connection] | None = None  # those that get typing and read events
        self._frames: list[bytes] = []  # joined and sent at the end of this turn
        self._held_back: dict[Connection, list[ChatEvent]] | None = None
        self._ahead_until: dict[Connection, int] | None = None
        self.chat_sockets: ChatSockets | None = None
        self.last_message_id = position.last_message_id
        """The greatest id of a delivered message."""

    # Subscribers

    def attach(self, connection: Connection, position: ChatPosition) -> bool:
        """Subscribe a connection whose user was a member at `position`.

        Returns False if the connection is held instead, because it might have missed an event: members
        have changed since `position`, or chat sockets have got messages after it.
        """
        is_late = position.version < self.members_version
        if connection.kind is Kind.CHAT:
            if self.chat_sockets is None:
                self.chat_sockets = ChatSockets(self.last_message_id)
            self.chat_sockets.add(connection, position.last_message_id, position.joined_version)
            is_late |= position.last_message_id < self.last_message_id
        elif not is_late:
            self.subscribe(
                connection, Subscription(position.joined_id, position.joined_version, self.version)
            )
            self.has_limited_history |= position.has_limited_history and position.version >= self.version
        if is_late:
            self.hold(connection)
        return not is_late

    def subscribe(self, connection: Connection, subscription: Subscription) -> None:
        """Let a `/ws` connection get the events that are delivered from now on."""
        self.flush()
        self._subscriptions[connection] = subscription

    def subscription(self, connection: Connection) -> Subscription | None:
        """The subscription of a `/ws` connection; None while it is held."""
        return self._subscriptions.get(connection)

    def hold(self, connection: Connection) -> None:
        """Hold back what is delivered, until `release()`."""
        self.flush()
        self._subscriptions.pop(connection, None)
        if self._held_back is None:
            self._held_back = {}
        self._held_back[connection] = []

    def held_back(self, connection: Connection) -> list[ChatEvent] | None:
        """The events that are held back for a connection; None if it is not held."""
        return self._held_back.get(connection) if self._held_back is not None else None

    def release(self, connection: Connection) -> list[ChatEvent] | None:
        """End the hold and return the events held back; None if the connection has lost the chat."""
        held = self._held_back.pop(connection, None) if self._held_back is not None else None
        if not self._held_back:
            self._held_back = None
        return held

    async def released(self, connection: Connection) -> None:
        """Wait until a connection is not held."""
        while self.held_back(connection) is not None:  # noqa: ASYNC110 (rare and short)
            await asyncio.sleep(RELEASE_POLL_SECONDS)

    def run_ahead(self, connection: Connection, version: int) -> None:
        """A connection has resumed from a version that is not delivered yet."""
        self._ahead_until = {**(self._ahead_until or {}), connection: version}

    def detach(self, connection: Connection) -> None:
        """End the subscription, whatever state it is in."""
        if connection in self._subscriptions:
            self.flush()
            del self._subscriptions[connection]
        for some in (self._held_back, self._ahead_until):
            if some is not None:
                some.pop(connection, None)
        if self.chat_sockets is not None:
            self.chat_sockets.discard(connection)
            if not self.chat_sockets:
                self.chat_sockets = None
        self.close_to(connection)

    def open_to(self, connection: Connection) -> None:
        """Send typing and read events of the chat to a connection."""
        if self._opened_by is None:
            self._opened_by = set()
        self._opened_by.add(connection)

    def close_to(self, connection: Connection) -> None:
        if self._opened_by is not None:
            self._opened_by.discard(connection)

    def opened_by(self) -> Iterable[Connection]:
        """The connections that get typing and read events."""
        return self._opened_by or ()

    def user_ids(self) -> set[int]:
        """The users of all connections that get the chat."""
        return {connection.user_id for connection in self._all_connections()}

    @property
    def has_subscribers(self) -> bool:
        return bool(self._subscriptions or self.chat_sockets or self._held_back)

    @property
    def is_large(self) -> bool:
        """True if a write to each subscriber takes a noticeable time."""
        return len(self._subscriptions) > LARGE_CHANNEL_SUBSCRIBERS

    # Delivery

    def deliver(self, event: ChatEvent) -> None:
        """Give the event of the next version to all subscribers."""
        self.version = event.version
        if not isinstance(event, AboutMessage):
            self._change_subscribers(event)
        else:
            message = event.message
            if message.id > self.last_message_id:
                self.last_message_id = message.id
            if self.chat_sockets is not None:
                self.chat_sockets.send(message, self._held_back or ())
        if self._held_back is not None:
            for held in self._held_back.values():
                held.append(event)
        if self._subscriptions:
            self._send_to_main_sockets(event)
        if isinstance(event, ChatCreated | MembersAdded | ChatRefreshed):
            self._welcome(event)

    def deliver_waiting(self) -> None:
        """Deliver the events of the gap that are next in order."""
        while self.gap is not None and (event := self.gap.take(self.version + 1)) is not None:
            self.deliver(event)

    def flush(self) -> None:
        """Send the frames that were joined so far: before the set of subscribers changes."""
        if self._frames:
            joined = self._take_frames()
            for connection in self._subscriptions:
                connection.send(joined)

    def flush_now(self) -> None:
        """Send them without queueing: if no other chat has frames that could be joined with them."""
        if self._frames:
            joined = self._take_frames()
            for connection in self._subscriptions:
                connection.send_now(joined)

    def send_to(
        self, connection: Connection, subscription: Subscription, event: ChatEvent, frame: bytes
    ) -> None:
        """Send an event, encoded as `frame`, unless the connection has it or its user may not see it."""
        ahead = self._ahead_until
        if ahead is not None and connection in ahead:
            if event.version <= ahead[connection]:
                return
            del ahead[connection]
        hidden = self.has_limited_history and public_events.is_hidden_from(event, subscription.joined_id)
        connection.send(wire.hidden(event) if hidden else frame)

    def _take_frames(self) -> bytes:
        """Return the frames of this turn, joined."""
        frames, self._frames = self._frames, []
        return frames[0] if len(frames) == 1 else b"".join(frames)

    def _send_to_main_sockets(self, event: ChatEvent) -> None:
        frame = wire.chat_event(event)
        if self._ahead_until or (self.has_limited_history and isinstance(event, AboutMessage)):
            self.flush()
            for connection, subscription in self._subscriptions.items():
                self.send_to(connection, subscription, event, frame)
            return
        if not self._frames:
            self._outlet.flush_soon(self)
        self._frames.append(frame)

    # Changes of the subscribers

    def _change_subscribers(self, event: ChatEvent) -> None:
        """Apply an event that changes who may subscribe, or what subscribers may see."""
        if isinstance(event, ChatDeleted):
            self.end(event, self._all_connections(), Close.CHAT_GONE)
        elif isinstance(event, MemberRemoved):
            self.members_version = event.version
            removed = [
                each
                for each in self._all_connections()
                if each.user_id == event.user_id and not self._has_rejoined(each, event.version)
            ]
            self.end(event, removed, Close.REMOVED)
        elif isinstance(event, ChatUpdated | ChatRefreshed):
            self.flush()
            self.has_limited_history = event.chat.history == History.JOINED
            if isinstance(event, ChatRefreshed):
                self.members_version = event.version
                self.compare_members(event)

    def compare_members(self, event: ChatRefreshed) -> None:
        """Apply the present members, where the changes that led to them are not known.

        A connection whose user was not checked has subscribed during the read. It has to
        reconnect.
        """
        for connection in self._all_connections():
            state = event.member_states.get(connection.user_id)
            if connection.user_id not in event.checked_user_ids:
                connection.discard_outbox()
                connection.close(Close.TRY_AGAIN, "membership has to be checked; connect again")
            elif state is None:
                if not self._has_rejoined(connection, event.version):
                    removed = MemberRemoved(self.chat_id, event.version, connection.user_id)
                    self.end(removed, [connection], Close.REMOVED)
            else:
                self._update_membership(connection, state, event.version)

    def _update_membership(self, connection: Connection, state: MemberState, version: int) -> None:
        """The user might have left and joined again: then an earlier part of the chat is hidden."""
        visible_after = self._visible_after(connection)
        if visible_after is None or state.joined_id <= visible_after:
            return
        if connection.kind is Kind.MAIN and connection in self._subscriptions:
            self._subscriptions[connection] = Subscription(state.joined_id, version, version)
        else:
            connection.discard_outbox()
            connection.close(Close.TRY_AGAIN, "membership has changed; connect again")

    def end(self, event: ChatEvent, connections: Iterable[Connection], code: Close) -> None:
        """Take the chat from connections. On `/ws`, `event` is its last frame; a chat socket is closed."""
        self.flush()
        frame = wire.chat_event(event)
        reason = "the chat was deleted" if code is Close.CHAT_GONE else "you are not in this chat"
        for connection in connections:
            self._outlet.detach(connection, self.chat_id)
            if connection.kind is Kind.MAIN:
                connection.send(frame)
            else:
                connection.discard_outbox()
                connection.close(code, reason)

    def _welcome(self, event: ChatCreated | MembersAdded | ChatRefreshed) -> None:
        """Subscribe new members. Their first frame of the chat is the chat itself."""
        self.members_version = event.version
        states = member_states_of(event)
        last_message = None if isinstance(event, ChatCreated) else event.last_message
        for user_id, connections in self._outlet.main_sockets(states):
            frame = b""
            for connection in connections:
                if self.chat_id in connection.chat_ids or not connection.grant.permits_chat(self.chat_id):
                    continue
                # `chat.created` carries the whole chat: no earlier version can be resumed from, so `since`
                # is 0.
                subscription = Subscription(states[user_id].joined_id, event.version, 0)
                self.subscribe(connection, subscription)
                connection.chat_ids.add(self.chat_id)
                chat = my_chat(event.chat, states[user_id], last_message)
                frame = frame or wire.new_chat(chat, event.version)
                connection.send(frame)

    def _has_rejoined(self, connection: Connection, version: int) -> bool:
        """True for a chat socket that was opened after its user, removed at `version`, joined again.

        A `/ws` connection is removed even so: `chat.created` follows with the later event.
        """
        joined = self.chat_sockets.joined_version(connection) if self.chat_sockets is not None else None
        return joined is not None and joined > version

    def _all_connections(self) -> list[Connection]:
        return list(
            dict.fromkeys([*self._subscriptions, *(self.chat_sockets or ()), *(self._held_back or ())])
        )

    def _visible_after(self, connection: Connection) -> int | None:
        """The message id after which a connection gets the chat; None while it is held."""
        if connection.kind is Kind.MAIN:
            subscription = self._subscriptions.get(connection)
            return subscription.joined_id if subscription is not None else None
        return self.chat_sockets.after(connection) if self.chat_sockets is not None else None


def member_states_of(event: ChatCreated | MembersAdded | ChatRefreshed) -> dict[int, MemberState]:
    """The states of the members to whom the chat might be new, by user id."""
    if isinstance(event, MembersAdded):
        return {member.id: event.new_member_state for member in event.members}
    return event.member_states
