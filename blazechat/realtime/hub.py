"""The hub: hands each event to the connections that listen, a chat's events in version order.

Knows no database. Where an event is missing, `catch_up` is asked for what it brought about before
anything newer is handed on; so the bus may lose, double or reorder what it carries.
"""

import asyncio
from collections.abc import Awaitable, Callable, Coroutine

import structlog

from blazechat.domain.changes import Changes, Mark
from blazechat.domain.errors import Unavailable
from blazechat.domain.events import (
    ChatDeleted,
    ChatEvent,
    ChatUpdated,
    Event,
    MessageCreated,
    MessageDeleted,
    MessageUpdated,
    PresenceChanged,
    Seat,
    SessionsEnded,
)
from blazechat.domain.shapes import Message
from blazechat.realtime import wire
from blazechat.realtime.connection import Close, Connection
from blazechat.realtime.wire import Kind

log = structlog.get_logger("blazechat.hub")

CatchUp = Callable[[int, Mark], Awaitable[Changes]]
"""What changed in a chat since a mark."""
Peers = Callable[[int, list[int]], Awaitable[set[int]]]
"""Which of some users share a chat with one."""

NOTHING = Mark(0, 0)
"""What a connection has seen that has not begun yet."""
EARLY_LIMIT = 1000
"""Events of a chat that are kept while something before them is missing."""
RETRY_PAUSE = 0.5
"""Seconds between attempts to fill a hole while the database is away."""


class Channel:
    """A chat that somebody here listens to."""

    def __init__(self, chat_id: int) -> None:
        self.chat_id = chat_id
        self.mark: Mark | None = None  # how far all have heard; None until the first has begun
        self.early: dict[int, ChatEvent] = {}  # by version: what cannot be handed on yet
        self.listeners: dict[Connection, Mark] = {}  # and behind what each hears
        self.held: dict[Connection, list[ChatEvent]] = {}  # for those that have not begun yet
        self.filling: asyncio.Task[None] | None = None  # set while a hole is being filled


class Hub:
    def __init__(self, catch_up: CatchUp, peers: Peers) -> None:
        self._catch_up = catch_up
        self._peers = peers
        self._channels: dict[int, Channel] = {}
        self._users: dict[int, set[Connection]] = {}
        self._tasks: set[asyncio.Task[None]] = set()
        self._presence: dict[int, PresenceChanged] = {}  # by user: what has not been told yet
        self._telling: asyncio.Task[None] | None = None  # set while that is told

    def add(self, connection: Connection) -> None:
        """Make a connection known, so that what concerns its user reaches it."""
        self._users.setdefault(connection.user_id, set()).add(connection)

    def listen(self, connection: Connection, chat_id: int) -> None:
        """Have the connection hear a chat. `begin()` has to follow, or `remove()`.

        Between the two the caller looks whether this is allowed and how far the chat has come: what
        happens meanwhile is kept.
        """
        channel = self._channels.setdefault(chat_id, Channel(chat_id))
        if connection not in channel.listeners:
            channel.listeners[connection] = NOTHING
            channel.held[connection] = []
            connection.chat_ids.add(chat_id)

    def begin(self, connection: Connection, chat_id: int, mark: Mark) -> None:
        """The connection, listening already, has seen the chat up to `mark`."""
        channel = self._channels.get(chat_id)
        if channel is None or connection not in channel.listeners:
            return  # it has lost the chat since
        if channel.mark is None:
            channel.mark = mark
            self._release(channel, connection, mark)
            self._hand_on_early(channel)
        elif _covers(channel.held[connection], mark.version, channel.mark.version):
            self._release(channel, connection, mark)
        else:
            name = f"socket of {connection.user_id} in chat {chat_id}"
            self._spawn(self._catch_one_up(channel, connection, mark), name)

    def confirm(self, connection: Connection, message: Message) -> None:
        """Show a sender a message that was stored before their socket began: they sent it again."""
        channel = self._channels.get(message.chat_id)
        if channel is None or connection not in channel.listeners:
            return
        if message.version <= channel.listeners[connection].version:
            connection.send(wire.message(message))

    def stop(self, connection: Connection, chat_id: int) -> None:
        """The connection hears the chat no more."""
        connection.chat_ids.discard(chat_id)
        channel = self._channels.get(chat_id)
        if channel is not None:
            channel.listeners.pop(connection, None)
            channel.held.pop(connection, None)
            self._drop_if_empty(channel)

    def remove(self, connection: Connection) -> None:
        """Forget a connection."""
        for chat_id in list(connection.chat_ids):
            self.stop(connection, chat_id)
        others = self._users.get(connection.user_id)
        if others is not None:
            others.discard(connection)
            if not others:
                del self._users[connection.user_id]

    def connections(self) -> list[Connection]:
        return [connection for each in self._users.values() for connection in each]

    def handle(self, event: Event) -> None:
        """Take an event from the bus."""
        if isinstance(event, ChatEvent):
            self._handle_chat_event(event)
        elif isinstance(event, SessionsEnded):
            self._end_sessions(event)
        else:
            self._presence[event.user_id] = event
            if self._telling is None:
                self._telling = self._spawn(self._tell_presence(), "presence")

    async def close(self) -> None:
        for task in list(self._tasks):
            task.cancel()
        await asyncio.gather(*self._tasks, return_exceptions=True)

    # Order

    def _handle_chat_event(self, event: ChatEvent) -> None:
        channel = self._channels.get(event.chat_id)
        if channel is None:
            channel = self._open_for_members(event)
            if channel is None:
                return
        if channel.mark is None or event.version > channel.mark.version:
            channel.early[event.version] = event
            if len(channel.early) > EARLY_LIMIT:  # the newest alone makes the hole known
                channel.early = {event.version: event}
            self._hand_on_early(channel)

    def _open_for_members(self, event: ChatEvent) -> Channel | None:
        """A channel for a chat that nobody here heard yet, if now somebody here is a member.

        The event may be an old one that comes late, so the database is asked what is true now.
        """
        if not isinstance(event, ChatUpdated) or not self._followers_among(event.seats):
            return None
        channel = self._channels[event.chat_id] = Channel(event.chat_id)
        channel.mark = Mark(event.version - 1, event.chat.last_message_id)
        self._fill(channel)
        return channel

    def _hand_on_early(self, channel: Channel) -> None:
        """Hand on what is next in order; have the hole filled if something is missing before it."""
        if channel.mark is None or channel.filling is not None:
            return
        for version in [v for v in channel.early if v <= channel.mark.version]:
            self._look_for_new_members(channel, channel.early.pop(version))
        while channel.early:
            event = channel.early.pop(channel.mark.version + 1, None)
            if event is None:
                self._fill(channel)
                return
            channel.mark = Mark(event.version, _newest(event, channel.mark.message_id))
            self._hand_on(channel, event)

    def _release(self, channel: Channel, connection: Connection, mark: Mark) -> None:
        """Let a connection hear what was held for it, from `mark` on."""
        channel.listeners[connection] = mark
        for event in channel.held.pop(connection, ()):
            if connection in channel.listeners:
                self._tell(channel, connection, event, {})

    async def _catch_one_up(self, channel: Channel, connection: Connection, mark: Mark) -> None:
        """For a connection that began behind the others: what they had heard before it listened."""
        changes = await self._ask(channel, mark, lambda: connection in channel.held)
        if changes is None or connection not in channel.held:
            return
        if changes.too_many:
            connection.close(Close.TRY_AGAIN, "too much was missed; read the chat again")
        held = channel.held[connection]
        channel.held[connection] = [
            *changes.events,
            *(event for event in held if event.version > changes.mark.version),
        ]
        self._release(channel, connection, mark)

    def _look_for_new_members(self, channel: Channel, event: ChatEvent) -> None:
        """An event that all who listen have seen already may still be news to whoever was added by it."""
        if isinstance(event, ChatUpdated) and any(
            connection not in channel.listeners for connection in self._followers_among(event.seats)
        ):
            self._spawn(self._refresh_members(channel, event), f"members of chat {channel.chat_id}")

    async def _refresh_members(self, channel: Channel, event: ChatUpdated) -> None:
        """Ask who is in the chat now: the event that told may be an old one."""
        before = Mark(event.version - 1, event.chat.last_message_id)
        changes = await self._ask(channel, before, lambda: channel.mark is not None)
        for found in changes.events if changes is not None else ():
            if isinstance(found, ChatUpdated):
                self._welcome(channel, found)
                self._part_from_former(channel, found)

    async def _ask(self, channel: Channel, mark: Mark, wanted: Callable[[], bool]) -> Changes | None:
        """What changed since `mark`, however long the database is away; None once it is not wanted."""
        while wanted():
            try:
                return await self._catch_up(channel.chat_id, mark)
            except Unavailable:
                await asyncio.sleep(RETRY_PAUSE)
        return None

    def _fill(self, channel: Channel) -> None:
        channel.filling = self._spawn(self._fill_hole(channel), f"chat {channel.chat_id}")

    async def _fill_hole(self, channel: Channel) -> None:
        try:
            assert channel.mark is not None
            wanted = lambda: bool(channel.listeners or channel.early)  # noqa: E731
            changes = await self._ask(channel, channel.mark, wanted)
            if changes is not None:
                self._hand_on_changes(channel, changes)
        finally:
            channel.filling = None
        self._hand_on_early(channel)
        self._drop_if_empty(channel)

    def _hand_on_changes(self, channel: Channel, changes: Changes) -> None:
        channel.mark = changes.mark
        if changes.too_many:
            for connection in list(channel.listeners):
                connection.close(Close.TRY_AGAIN, "too much was missed; read the chat again")
        for event in changes.events:
            self._hand_on(channel, event)

    # Delivery

    def _hand_on(self, channel: Channel, event: ChatEvent) -> None:
        """Give an event to all who listen, encoded once a kind of socket."""
        if isinstance(event, ChatDeleted):
            for connection in list(channel.listeners):
                self._lose(connection, channel.chat_id, Close.CHAT_GONE, "the chat was deleted")
            return
        if isinstance(event, ChatUpdated):
            self._part_from_former(channel, event)
        encoded: dict[Kind, wire.Frame | None] = {}
        for connection in list(channel.listeners):
            if connection in channel.held:
                channel.held[connection].append(event)
            else:
                self._tell(channel, connection, event, encoded)
        if isinstance(event, ChatUpdated):
            self._welcome(channel, event)

    def _part_from_former(self, channel: Channel, event: ChatUpdated) -> None:
        """Take the chat from those who are not in it, or were not for a while that went unnoticed."""
        for connection, begun in list(channel.listeners.items()):
            seat = event.seats.get(connection.user_id)
            if seat is None:
                self._lose(connection, channel.chat_id, Close.REMOVED, "you are not in this chat")
            elif begun is not NOTHING and seat.joined_id > begun.message_id:
                if connection.kind is Kind.CHAT:
                    self._lose(connection, channel.chat_id, Close.TRY_AGAIN, "you were away; come back")
                else:
                    channel.listeners[connection] = Mark(begun.version, seat.joined_id)

    def _tell(
        self,
        channel: Channel,
        connection: Connection,
        event: ChatEvent,
        encoded: dict[Kind, wire.Frame | None],
    ) -> None:
        """Send an event to a connection, unless it is older than what the connection has seen."""
        begun = channel.listeners[connection]
        if event.version <= begun.version:
            return
        if isinstance(event, ChatUpdated) and connection.user_id not in event.seats:
            self._lose(connection, channel.chat_id, Close.REMOVED, "you are not in this chat")
            return
        if isinstance(event, MessageCreated) and event.message.id <= begun.message_id:
            return  # new to others, and to this one but a change
        kind = connection.kind
        if kind not in encoded:
            encoded[kind] = wire.ENCODERS[kind](event)
        frame = encoded[kind]
        if frame is not None:
            connection.send(frame if isinstance(frame, str) else frame(connection.user_id))

    def _welcome(self, channel: Channel, event: ChatUpdated) -> None:
        """Have those hear the chat who hear all of their user's chats and were not in it before."""
        for connection in self._followers_among(event.seats):
            if connection not in channel.listeners:
                channel.listeners[connection] = Mark(event.version, event.chat.last_message_id)
                connection.chat_ids.add(channel.chat_id)
                connection.send(wire.list_addition(event)(connection.user_id))

    def _followers_among(self, seats: dict[int, Seat]) -> list[Connection]:
        """Connections that hear of all their user's chats, of the users who have these seats."""
        return [
            connection
            for user_id in self._users.keys() & seats.keys()
            for connection in self._users[user_id]
            if connection.kind is Kind.STATUS
        ]

    def _lose(self, connection: Connection, chat_id: int, code: Close, reason: str) -> None:
        """Take a chat from a connection, at once."""
        self.stop(connection, chat_id)
        if connection.kind is Kind.STATUS:
            connection.send(wire.list_removal(chat_id))
        else:
            connection.silence()
            connection.close(code, reason)

    def _end_sessions(self, event: SessionsEnded) -> None:
        for connection in list(self._users.get(event.user_id, ())):
            if connection.session_id in event.session_ids:
                self.remove(connection)
                connection.silence()
                connection.close(Close.SESSION_ENDED, "this session has ended; log in again")

    async def _tell_presence(self) -> None:
        """One user after the other, each with the latest only, however many come and go at once."""
        try:
            while self._presence:
                user_id, event = self._presence.popitem()
                among = [
                    other
                    for other, connections in self._users.items()
                    if any(connection.kind is Kind.STATUS for connection in connections)
                ]
                try:
                    told = await self._peers(user_id, among)
                except Unavailable:
                    continue  # presence is no promise; the next change will do
                frame = wire.presence(event)
                for other in told | {user_id}:
                    for connection in self._users.get(other, ()):
                        if connection.kind is Kind.STATUS:
                            connection.send(frame)
        finally:
            self._telling = None

    # Book-keeping

    def _drop_if_empty(self, channel: Channel) -> None:
        if channel.listeners or channel.filling is not None:
            return
        if self._channels.get(channel.chat_id) is channel:
            del self._channels[channel.chat_id]
            early, channel.early = channel.early, {}
            for event in early.values():  # kept for those who have left; others may be told by it
                self._handle_chat_event(event)

    def _spawn(self, work: Coroutine[None, None, None], name: str) -> asyncio.Task[None]:
        task = asyncio.create_task(work, name=name)
        self._tasks.add(task)
        task.add_done_callback(self._finished)
        return task

    def _finished(self, task: asyncio.Task[None]) -> None:
        self._tasks.discard(task)
        if not task.cancelled() and (error := task.exception()) is not None:
            log.error("hub task failed", task=task.get_name(), exc_info=error)


def _newest(event: ChatEvent, before: int) -> int:
    if isinstance(event, MessageCreated | MessageUpdated | MessageDeleted):
        return max(before, event.message.id)
    return before


def _covers(events: list[ChatEvent], seen: int, reached: int) -> bool:
    """Whether the events are all those with versions above `seen`, up to `reached`."""
    return {event.version for event in events}.issuperset(range(seen + 1, reached + 1))
