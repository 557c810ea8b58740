"""The hub: hands each event to the connections that listen, a chat's events in version order.

Knows no database. Where an event is missing, `catch_up` is asked for what it brought about before
anything newer is handed on; so the bus may lose, double or reorder what it carries.
"""

import asyncio
from collections.abc import Collection, Coroutine, Iterator

import structlog

from blazechat.domain.auth.batch_access import ChatPosition
from blazechat.domain.events import (
    ChatCreated,
    ChatEvent,
    ChatInDoubt,
    CursorMoved,
    EphemeralNotice,
    MembersAdded,
    SessionsEnded,
    Typing,
)
from blazechat.domain.schemas.messages import Message
from blazechat.realtime import simple_frames, wire
from blazechat.realtime.channel import PATIENCE, Channel, Listening, seats_of
from blazechat.realtime.connection import Close, Connection, Kind
from blazechat.realtime.recovery import RETRY_PAUSE, CatchUp, Recovery
from blazechat.vocabulary import History

log = structlog.get_logger("blazechat.hub")

EARLY_LIMIT = 1000
"""Events of a chat that are kept while something before them is missing."""
IN_DOUBT = (1.0, 15.0)
"""Seconds after which it is looked again whether a commit that was cut off took effect: perhaps late."""
REMEMBERED_FOR = 60.0
"""Seconds for which at least it is known how far chats have come that nobody listened to; longer than any
statement may take, so that whoever looked before such an event and listens after it is brought up."""


class Hub:
    def __init__(self, catch_up: CatchUp) -> None:
        self._behind = Recovery(catch_up)
        self._channels: dict[int, Channel] = {}
        self._users: dict[int, set[Connection]] = {}
        self._tasks: set[asyncio.Task[None]] = set()
        self._dirty: list[Channel] = []  # have frames to be sent at the end of this turn
        self._passed: dict[int, int] = {}  # versions of chats that nobody listened to
        self._passed_before: dict[int, int] = {}
        self._turned_at = 0.0
        self._closed = False

    # Connections

    def add(self, connection: Connection) -> None:
        """Make a connection known, so that what concerns its user reaches it."""
        self._users.setdefault(connection.user_id, set()).add(connection)

    def attach(self, connection: Connection, place: ChatPosition) -> None:
        """Have the connection hear a chat, of which its user was found to be a member at `place`.

        A connection of `/ws` hears what is handed on from now. One of a single chat hears all messages
        behind the newest at `place`, those that were handed on in between first.
        """
        channel = self._channels.get(place.chat_id)
        if channel is None:
            channel = self._new_channel(place)
        connection.chat_ids.add(place.chat_id)
        may_have_left = place.version < channel.members_version
        if connection.kind is Kind.CHAT:
            if channel.chat_sockets is None:
                channel.chat_sockets = {}
            channel.chat_sockets[connection] = place.last_message_id
            may_have_left |= place.last_message_id < channel.last_sent_id
        elif not may_have_left:
            channel.listen(connection, Listening(place.joined_id, place.joined_version, channel.version))
            channel.from_joining |= place.from_joining and place.version >= channel.version
        if may_have_left:
            channel.hold(connection)
            self._spawn(self._behind.bring_up(channel, connection, place), f"chat {place.chat_id}")
        if channel.target > channel.version:
            self._fill(channel)

    def _new_channel(self, place: ChatPosition) -> Channel:
        channel = self._channels[place.chat_id] = Channel(place, self)
        channel.target = max(some.get(place.chat_id, 0) for some in (self._passed, self._passed_before))
        return channel

    def detach(self, connection: Connection, chat_id: int) -> None:
        """The connection hears the chat no more."""
        connection.chat_ids.discard(chat_id)
        if connection.open_chats is not None:
            connection.open_chats.discard(chat_id)
        channel = self._channels.get(chat_id)
        if channel is None:
            return
        channel.forget(connection)
        self._drop_if_empty(channel)

    def open_chat(self, connection: Connection, chat_id: int) -> bool:
        """Have the connection hear who types and reads in a chat; whether it hears that chat at all."""
        channel = self._channels.get(chat_id)
        if channel is None or chat_id not in connection.chat_ids:
            return False
        if channel.open_for is None:
            channel.open_for = set()
        channel.open_for.add(connection)
        if connection.open_chats is None:
            connection.open_chats = set()
        connection.open_chats.add(chat_id)
        return True

    def close_chat(self, connection: Connection, chat_id: int) -> None:
        channel = self._channels.get(chat_id)
        if channel is not None and channel.open_for is not None:
            channel.open_for.discard(connection)
        if connection.open_chats is not None:
            connection.open_chats.discard(chat_id)

    def remove(self, connection: Connection) -> None:
        """Forget a connection."""
        for chat_id in list(connection.chat_ids):
            self.detach(connection, chat_id)
        others = self._users.get(connection.user_id)
        if others is not None:
            others.discard(connection)
            if not others:
                del self._users[connection.user_id]

    def connections(self) -> list[Connection]:
        return [connection for each in self._users.values() for connection in each]

    def connections_of(self, user_id: int) -> set[Connection]:
        return self._users.get(user_id, set())

    def confirm(self, connection: Connection, message: Message) -> None:
        """Show a sender a message that was stored before their socket began: they sent it again."""
        channel = self._channels.get(message.chat_id)
        began = channel.chat_sockets.get(connection) if channel and channel.chat_sockets else None
        if began is not None and message.id <= began:
            connection.send(simple_frames.message(message))

    def caught_up(self, connection: Connection, chat_id: int, version: int) -> int | None:
        """How far a connection has heard a chat, if it has been told all above `version`; else None."""
        channel = self._channels.get(chat_id)
        listening = channel.listeners.get(connection) if channel is not None else None
        if channel is None or listening is None or not listening.since <= version <= channel.version:
            return None
        channel.flush()
        return channel.version

    async def resume(self, connection: Connection, chat_id: int, version: int, limit: int) -> int | None:
        """Tell a connection what it missed of a chat above `version` (`Behind.resume`)."""
        channel = self._channels.get(chat_id)
        if channel is None:
            return None
        return await self._behind.resume(channel, connection, version, limit)

    async def close(self) -> None:
        self._closed = True
        for task in list(self._tasks):
            task.cancel()
        await asyncio.gather(*self._tasks, return_exceptions=True)

    # Events

    def handle(self, event: object) -> None:
        """Take an event from the bus."""
        if isinstance(event, ChatEvent):
            self._handle_chat_event(event)
        elif isinstance(event, CursorMoved):
            self._tell_cursor(event)
        elif isinstance(event, Typing):
            self._tell_open(event.chat_id, wire.typing(event), event.user_id)
        elif isinstance(event, EphemeralNotice):
            self._tell_one(event)
        elif isinstance(event, SessionsEnded):
            self._end_sessions(event)
        elif isinstance(event, ChatInDoubt):
            self._look_up(event.chat_id)
            for pause in IN_DOUBT:
                asyncio.get_running_loop().call_later(pause, self._look_up, event.chat_id)

    def _handle_chat_event(self, event: ChatEvent) -> None:
        channel = self._channels.get(event.chat_id)
        if channel is None:
            channel = self._open_for_members(event)
            if channel is None:
                self._remember(event.chat_id, event.version)
                return
        if event.version == channel.version + 1 and channel.filling is None:
            channel.hand_on(event)
            if channel.out_of_order:
                self._hand_on_early(channel)
            elif channel.target > channel.version:
                self._fill(channel)
        elif event.version > channel.version:
            if channel.out_of_order is None:
                channel.out_of_order = {}
            channel.out_of_order[event.version] = event
            if len(channel.out_of_order) > EARLY_LIMIT:  # the newest alone makes the hole known
                channel.out_of_order = {event.version: event}
            self._hand_on_early(channel)

    def _remember(self, chat_id: int, version: int) -> None:
        """Somebody may have looked at the chat before this, and listen to it only after."""
        now = asyncio.get_running_loop().time()
        if now - self._turned_at > REMEMBERED_FOR:
            self._passed, self._passed_before = {}, self._passed
            self._turned_at = now
        self._passed[chat_id] = max(version, self._passed.get(chat_id, 0))

    def _open_for_members(self, event: ChatEvent) -> Channel | None:
        """A channel for a chat that nobody here heard yet, if somebody here has become a member."""
        if not isinstance(event, ChatCreated | MembersAdded) or not any(
            self._followers(user_id) for user_id in seats_of(event)
        ):
            return None
        joined = event.chat.history == History.JOINED
        place = ChatPosition(event.chat_id, event.version - 1, event.chat.last_message_id, 0, 0, joined)
        return self._new_channel(place)

    def _followers(self, user_id: int) -> list[Connection]:
        """Connections of a user that hear of all their chats."""
        connections = self._users.get(user_id, ())
        return [connection for connection in connections if connection.kind is Kind.MAIN]

    def _hand_on_early(self, channel: Channel) -> None:
        """Hand on what is next in order; have the hole filled if something is missing before it."""
        early = channel.out_of_order
        if early is None or channel.filling is not None:
            return
        for version in [version for version in early if version <= channel.version]:
            del early[version]
        while early:
            event = early.pop(channel.version + 1, None)
            if event is None:
                self._fill(channel)
                return
            channel.hand_on(event)
        channel.out_of_order = None

    # Holes

    def _look_up(self, chat_id: int) -> None:
        channel = self._channels.get(chat_id)
        if channel is not None and not self._closed:
            channel.target = max(channel.target, channel.version + 1)
            self._fill(channel)

    def _fill(self, channel: Channel) -> None:
        if channel.filling is None:
            channel.filling = self._spawn(self._fill_hole(channel), f"chat {channel.chat_id}")

    async def _fill_hole(self, channel: Channel) -> None:
        try:
            await asyncio.sleep(PATIENCE)
            self._skip_to_known(channel)
            while self._lacks_something(channel):
                among = [user_id for user_id in self._users if self._followers(user_id)]
                changes = await self._behind.ask(channel, channel.version, among)
                if changes is None:
                    break
                if changes.refreshed is not None:
                    channel.compare_seats(changes.refreshed)
                for event in changes.events:
                    if event.version > channel.version:
                        channel.hand_on(event)
                channel.version = max(channel.version, changes.version)
                if changes.complete:
                    channel.target = 0
                    if channel.out_of_order is not None and changes.newest < max(
                        channel.out_of_order, default=0
                    ):
                        await asyncio.sleep(RETRY_PAUSE)  # a replica that lags; the event was committed
        finally:
            channel.filling = None
        self._hand_on_early(channel)
        self._drop_if_empty(channel)

    def _skip_to_known(self, channel: Channel) -> None:
        """Hand on what has come in order while nobody was asked."""
        early = channel.out_of_order
        while early and (event := early.pop(channel.version + 1, None)) is not None:
            channel.hand_on(event)

    def _lacks_something(self, channel: Channel) -> bool:
        if not channel.is_heard:
            return False
        if channel.out_of_order:
            for version in [version for version in channel.out_of_order if version <= channel.version]:
                del channel.out_of_order[version]
        self._skip_to_known(channel)
        return bool(channel.out_of_order) or channel.target > channel.version

    # Outlet of channels

    def dirty(self, channel: Channel) -> None:
        """It has frames to be sent at the end of this turn of the loop."""
        if not self._dirty:
            asyncio.get_running_loop().call_soon(self._flush)
        self._dirty.append(channel)

    def followers(self, user_ids: Collection[int]) -> Iterator[tuple[int, list[Connection]]]:
        """Of those users who have some, the connections that hear of all their chats."""
        for user_id in self._users.keys() & user_ids:
            yield user_id, self._followers(user_id)

    def _flush(self) -> None:
        dirty, self._dirty = self._dirty, []
        for channel in dirty:
            channel.flush()

    # What is no part of a chat's history

    def _tell_cursor(self, event: CursorMoved) -> None:
        for connection in self._followers(event.user_id):
            if connection.grant.allows(event.chat_id):
                connection.send(wire.cursor(event, own=True))
        self._tell_open(event.chat_id, wire.cursor(event, own=False), event.user_id)

    def _tell_one(self, event: EphemeralNotice) -> None:
        for connection in self._followers(event.user_id):
            if event.chat_id in connection.chat_ids:
                connection.send(wire.notice(event))

    def _tell_open(self, chat_id: int, frame: bytes, about: int) -> None:
        """Tell those who have the chat open, but for the user that it is about."""
        channel = self._channels.get(chat_id)
        if channel is not None and channel.open_for:
            for connection in channel.open_for:
                if connection.user_id != about:
                    connection.send(frame)

    def _end_sessions(self, event: SessionsEnded) -> None:
        for connection in list(self._users.get(event.user_id, ())):
            if connection.session_id in event.session_ids:
                self.remove(connection)
                connection.discard_outbox()
                connection.close(Close.SESSION_ENDED, "this session has ended; log in again")

    # Book-keeping

    def _drop_if_empty(self, channel: Channel) -> None:
        if channel.is_heard or channel.filling is not None:
            return
        if self._channels.get(channel.chat_id) is channel:
            del self._channels[channel.chat_id]
            self._remember(
                channel.chat_id, max(channel.version, channel.target, *(channel.out_of_order or (0,)))
            )

    def _spawn(self, work: Coroutine[None, None, None], name: str) -> asyncio.Task[None]:
        task = asyncio.create_task(work, name=name)
        self._tasks.add(task)
        task.add_done_callback(self._finished)
        return task

    def _finished(self, task: asyncio.Task[None]) -> None:
        self._tasks.discard(task)
        if not task.cancelled() and (error := task.exception()) is not None:
            log.error("hub task failed", task=task.get_name(), exc_info=error)
