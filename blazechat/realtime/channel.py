"""A chat that somebody here listens to: who they are, and what they are told.

An event is encoded once, what comes within a turn of the loop is joined once, and every listener is given
the same bytes.
"""

import asyncio
from collections.abc import Collection, Iterable
from typing import Protocol

from msgspec import Struct

from blazechat.domain import public_events
from blazechat.domain.auth.batch_access import ChatPosition
from blazechat.domain.chats.chats import my_chat
from blazechat.domain.events import (
    ChatCreated,
    ChatDeleted,
    ChatEvent,
    ChatRefreshed,
    ChatUpdated,
    MemberRemoved,
    MembersAdded,
    MessageCreated,
    MessageDeleted,
    MessageUpdated,
    Seat,
)
from blazechat.domain.schemas.messages import Message
from blazechat.realtime import simple_frames, wire
from blazechat.realtime.connection import Close, Connection, Kind
from blazechat.vocabulary import History

AboutMessage = (MessageCreated, MessageUpdated, MessageDeleted)

PATIENCE = 0.05
"""Seconds in which events that overtook each other are waited for before the database is asked."""


class Outlet(Protocol):
    """What a channel asks of the hub."""

    def dirty(self, channel: "Channel") -> None:
        """It has frames to be sent at the end of this turn of the loop."""

    def detach(self, connection: Connection, chat_id: int) -> None:
        """A connection has lost the chat."""

    def followers(self, user_ids: Collection[int]) -> Iterable[tuple[int, list[Connection]]]:
        """Of those users who have some, the connections that hear of all their chats."""


class Listening(Struct, frozen=True, gc=False):
    """Since which message and version a listener is a member; above which version they were told all."""

    joined_id: int
    joined_version: int
    since: int


class Channel:
    """A chat that somebody here listens to."""

    __slots__ = (
        "_outlet",
        "by_id",
        "chat_id",
        "chat_sockets",
        "filling",
        "frames",
        "from_joining",
        "held_back",
        "last_sent_id",
        "listeners",
        "members_version",
        "open_for",
        "out_of_order",
        "resumed_to",
        "target",
        "version",
    )

    def __init__(self, place: ChatPosition, outlet: Outlet) -> None:
        self._outlet = outlet
        self.chat_id = place.chat_id
        self.version = place.version  # how far all have heard
        self.members_version = place.version  # when, as far as is known, somebody last joined or left
        self.from_joining = place.from_joining
        self.listeners: dict[Connection, Listening] = {}  # of `/ws`
        self.open_for: set[Connection] | None = None  # those of them that hear typing and reading
        self.frames: list[bytes] = []  # to be joined and sent at the end of this turn
        self.held_back: dict[Connection, list[ChatEvent]] | None = None  # for those that are catching up
        self.resumed_to: dict[Connection, int] | None = None  # those who know more versions already
        self.out_of_order: dict[int, ChatEvent] | None = None  # by version: what cannot be handed on yet
        self.target = 0  # a version that is known to have been reached
        self.filling: asyncio.Task[None] | None = None  # set while a hole is being filled
        # Sockets of this chat alone hear new messages by their ids, and nothing else.
        self.chat_sockets: dict[Connection, int] | None = None  # and behind which message each hears
        self.last_sent_id = place.last_message_id
        self.by_id: dict[int, Message] | None = None  # messages before which one is missing

    async def released(self, connection: Connection) -> None:
        """Wait until nothing is held back from a connection."""
        while self.held_back is not None and connection in self.held_back:  # noqa: ASYNC110 (rare, and short)
            await asyncio.sleep(PATIENCE)

    def release(self, connection: Connection) -> list[ChatEvent] | None:
        """What was held back from a connection; None if it does not hear the chat any more."""
        held = self.held_back.pop(connection, None) if self.held_back is not None else None
        if not self.held_back:
            self.held_back = None
        return held

    def listen(self, connection: Connection, listening: Listening) -> None:
        """Have a connection of `/ws` hear what is handed on from now."""
        self.flush()
        self.listeners[connection] = listening

    def hold(self, connection: Connection) -> None:
        """Keep what is handed on back from a connection for a while."""
        self.flush()
        self.listeners.pop(connection, None)
        if self.held_back is None:
            self.held_back = {}
        self.held_back[connection] = []

    def forget(self, connection: Connection) -> None:
        """The connection hears the chat no more."""
        if connection in self.listeners:
            self.flush()
            del self.listeners[connection]
        for some in (self.chat_sockets, self.held_back, self.resumed_to):
            if some is not None:
                some.pop(connection, None)
        if self.open_for is not None:
            self.open_for.discard(connection)

    def everybody(self) -> list[Connection]:
        """All connections that hear the chat, those that are catching up included."""
        return list({**self.listeners, **(self.chat_sockets or {}), **(self.held_back or {})})

    @property
    def is_heard(self) -> bool:
        return bool(self.listeners or self.chat_sockets or self.held_back)

    # What they are told

    def hand_on(self, event: ChatEvent) -> None:
        """Give the next event to all who listen."""
        self.version = event.version
        if not isinstance(event, AboutMessage):
            self._change_listeners(event)
        elif self.chat_sockets:
            self._tell_singles(event.message)
        else:
            self.last_sent_id = max(self.last_sent_id, event.message.id)
        if self.held_back is not None:
            for held in self.held_back.values():
                held.append(event)
        if self.listeners:
            self._tell_listeners(event)
        if isinstance(event, ChatCreated | MembersAdded | ChatRefreshed):
            self._welcome(event)

    def _tell_listeners(self, event: ChatEvent) -> None:
        frame = wire.chat_event(event)
        if self.resumed_to or (self.from_joining and isinstance(event, AboutMessage)):
            self.flush()
            for connection, listening in self.listeners.items():
                self.tell_one(connection, listening, event, frame)
            return
        if not self.frames:
            self._outlet.dirty(self)
        self.frames.append(frame)

    def flush(self) -> None:
        """Send what has been joined so far: before anybody begins or ceases to listen."""
        if self.frames:
            joined = self.frames[0] if len(self.frames) == 1 else b"".join(self.frames)
            self.frames = []
            for connection in self.listeners:
                connection.send(joined)

    def tell_one(
        self,
        connection: Connection,
        listening: Listening,
        event: ChatEvent,
        frame: bytes,
    ) -> None:
        """Send an event, encoded as `frame`, to one connection, unless it knows it or may not see it."""
        ahead = self.resumed_to
        if ahead is not None and connection in ahead:
            if event.version <= ahead[connection]:
                return
            del ahead[connection]
        hides = self.from_joining and public_events.is_hidden_from(event, listening.joined_id)
        connection.send(wire.hidden(event) if hides else frame)

    def _tell_singles(self, message: Message) -> None:
        """Tell the sockets of this chat alone, in the order of ids."""
        if message.id <= self.last_sent_id:
            return
        if message.id > self.last_sent_id + 1:
            if self.by_id is None:
                self.by_id = {}
            self.by_id[message.id] = message
            return
        waiting = self.by_id or {}
        following: Message | None = message
        while following is not None:
            self.last_sent_id = following.id
            frame = simple_frames.message(following)
            for connection, began in (self.chat_sockets or {}).items():
                held = self.held_back is not None and connection in self.held_back
                if following.id > began and not held:
                    connection.send(frame)
            following = waiting.pop(self.last_sent_id + 1, None)
        if not waiting:
            self.by_id = None

    def _change_listeners(self, event: ChatEvent) -> None:
        """An event that changes who may listen, or what they may hear."""
        if isinstance(event, ChatDeleted):
            self.tell_and_end(event, self.everybody(), Close.CHAT_GONE)
        elif isinstance(event, MemberRemoved):
            self.members_version = event.version
            gone = [each for each in self.everybody() if each.user_id == event.user_id]
            self.tell_and_end(event, gone, Close.REMOVED)
        elif isinstance(event, ChatUpdated | ChatRefreshed):
            self.flush()
            self.from_joining = event.chat.history == History.JOINED
            if isinstance(event, ChatRefreshed):
                self.members_version = event.version
                self.compare_seats(event)

    def compare_seats(self, event: ChatRefreshed) -> None:
        """It is not known what happened, but who is in the chat now."""
        for connection in self.everybody():
            seat = event.seats.get(connection.user_id)
            if seat is None:
                removed = MemberRemoved(self.chat_id, event.version, connection.user_id)
                self.tell_and_end(removed, [connection], Close.REMOVED)
                continue
            since = self._since(connection)
            if since is None or seat.joined_id <= since:
                continue
            if connection.kind is Kind.MAIN and connection in self.listeners:
                self.listeners[connection] = Listening(seat.joined_id, event.version, event.version)
            else:
                connection.discard_outbox()
                connection.close(Close.TRY_AGAIN, "you were away; come back")

    def tell_and_end(self, event: ChatEvent, connections: Iterable[Connection], code: Close) -> None:
        """Take a chat from connections, at once; on `/ws` this is the last they hear of it."""
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
        """Have new members hear the chat. Their first frame of it is the chat itself."""
        self.members_version = event.version
        seats = seats_of(event)
        last_message = None if isinstance(event, ChatCreated) else event.last_message
        for user_id, connections in self._outlet.followers(seats):
            frame = b""
            for connection in connections:
                if self.chat_id in connection.chat_ids or not connection.grant.allows(self.chat_id):
                    continue
                # `chat.created` tells it whole: of whatever came before, nothing is left to be resumed.
                listening = Listening(seats[user_id].joined_id, event.version, 0)
                self.listen(connection, listening)
                connection.chat_ids.add(self.chat_id)
                chat = my_chat(event.chat, seats[user_id], last_message)
                frame = frame or wire.new_chat(chat, event.version)
                connection.send(frame)

    def _since(self, connection: Connection) -> int | None:
        """The message behind which a connection hears the chat; None while it is catching up."""
        if connection.kind is Kind.MAIN:
            listening = self.listeners.get(connection)
            return listening.joined_id if listening is not None else None
        return (self.chat_sockets or {}).get(connection)


def seats_of(event: ChatCreated | MembersAdded | ChatRefreshed) -> dict[int, Seat]:
    """The seats of those to whom the chat may be new."""
    if isinstance(event, MembersAdded):
        return {member.id: event.seat for member in event.members}
    return event.seats
