"""The hub: hands each event to the connections that listen, a chat's events in version order.

Knows no database. Where an event is missing, `catch_up` is asked for what it brought about before
anything newer is handed on; so the bus may lose, double or reorder what it carries.

An event is encoded once, what comes of one chat within a turn of the loop is joined once, and every
listener is given the same bytes.
"""

import asyncio
from collections.abc import Awaitable, Callable, Collection, Coroutine, Iterable
from typing import NamedTuple

import structlog

from blazechat.domain import told
from blazechat.domain.access import Place
from blazechat.domain.changes import Changes
from blazechat.domain.chats import my_chat
from blazechat.domain.errors import Unavailable
from blazechat.domain.events import (
    ChatCreated,
    ChatDeleted,
    ChatEvent,
    ChatInDoubt,
    ChatRefreshed,
    ChatUpdated,
    CursorMoved,
    MemberRemoved,
    MembersAdded,
    MessageCreated,
    MessageDeleted,
    MessageUpdated,
    Seat,
    SessionsEnded,
    Typing,
)
from blazechat.domain.shapes import History, Message
from blazechat.realtime import wire
from blazechat.realtime.connection import Close, Connection, Kind

log = structlog.get_logger("blazechat.hub")

CatchUp = Callable[[int, int, Collection[int]], Awaitable[Changes]]
"""The next page of what changed in a chat above a version, and which of some users are in it."""

AboutMessage = MessageCreated | MessageUpdated | MessageDeleted

EARLY_LIMIT = 1000
"""Events of a chat that are kept while something before them is missing."""
HELD_LIMIT = 1000
"""Events that are held back for one connection while it is told what it missed."""
PATIENCE = 0.02
"""Seconds in which events that overtook each other are waited for before the database is asked."""
RETRY_PAUSE = 0.5
"""Seconds between attempts to fill a hole while the database is away."""
REMEMBERED_FOR = 60.0
"""Seconds for which at least it is known how far chats have come that nobody listened to; longer than any
statement may take, so that whoever looked before such an event and listens after it is brought up."""


class Listening(NamedTuple):
    """Since which message a listener is a member, and above which version they were told everything."""

    joined_id: int
    since: int


class Channel:
    """A chat that somebody here listens to."""

    __slots__ = (
        "ahead",
        "by_id",
        "chat_id",
        "early",
        "filling",
        "frames",
        "from_joining",
        "held",
        "listeners",
        "members_version",
        "open_for",
        "singles",
        "target",
        "told_id",
        "version",
    )

    def __init__(self, place: Place) -> None:
        self.chat_id = place.chat_id
        self.version = place.version  # how far all have heard
        self.members_version = place.version  # when, as far as is known, somebody last joined or left
        self.from_joining = place.from_joining
        self.listeners: dict[Connection, Listening] = {}  # of `/ws`
        self.open_for: set[Connection] | None = None  # those of them that hear typing and reading
        self.frames: list[bytes] = []  # to be joined and sent at the end of this turn
        self.held: dict[Connection, list[ChatEvent]] | None = None  # for those that are catching up
        self.ahead: dict[Connection, int] | None = None  # those who know more versions already
        self.early: dict[int, ChatEvent] | None = None  # by version: what cannot be handed on yet
        self.target = 0  # a version that is known to have been reached
        self.filling: asyncio.Task[None] | None = None  # set while a hole is being filled
        # Sockets of this chat alone hear new messages by their ids, and nothing else.
        self.singles: dict[Connection, int] | None = None  # and behind which message each hears
        self.told_id = place.last_message_id
        self.by_id: dict[int, Message] | None = None  # messages before which one is missing

    async def released(self, connection: Connection) -> None:
        """Wait until nothing is held back from a connection."""
        while self.held is not None and connection in self.held:  # noqa: ASYNC110 (rare, and short)
            await asyncio.sleep(PATIENCE)

    def release(self, connection: Connection) -> list[ChatEvent] | None:
        """What was held back from a connection; None if it does not hear the chat any more."""
        held = self.held.pop(connection, None) if self.held is not None else None
        if not self.held:
            self.held = None
        return held


class Hub:
    def __init__(self, catch_up: CatchUp) -> None:
        self._catch_up = catch_up
        self._channels: dict[int, Channel] = {}
        self._users: dict[int, set[Connection]] = {}
        self._tasks: set[asyncio.Task[None]] = set()
        self._dirty: list[Channel] = []  # have frames to be sent at the end of this turn
        self._passed: dict[int, int] = {}  # versions of chats that nobody listened to
        self._passed_before: dict[int, int] = {}
        self._turned_at = 0.0
        self._pages: dict[tuple[int, int], asyncio.Task[tuple[Changes, list[bytes]]]] = {}

    # Connections

    def add(self, connection: Connection) -> None:
        """Make a connection known, so that what concerns its user reaches it."""
        self._users.setdefault(connection.user_id, set()).add(connection)

    def attach(self, connection: Connection, place: Place) -> None:
        """Have the connection hear a chat, of which its user was found to be a member at `place`.

        A connection of `/ws` hears what is handed on from now. One of a single chat hears all messages
        behind the newest at `place`, those that were handed on in between first.
        """
        channel = self._channels.get(place.chat_id)
        if channel is None:
            channel = self._channels[place.chat_id] = Channel(place)
            channel.target = max(some.get(place.chat_id, 0) for some in (self._passed, self._passed_before))
        connection.chat_ids.add(place.chat_id)
        may_have_left = place.version < channel.members_version
        if connection.kind is Kind.CHAT:
            if channel.singles is None:
                channel.singles = {}
            channel.singles[connection] = place.last_message_id
            may_have_left |= place.last_message_id < channel.told_id
        elif not may_have_left:
            self._listen(channel, connection, Listening(place.joined_id, channel.version))
            channel.from_joining |= place.from_joining and place.version >= channel.version
        if may_have_left:
            self._hold(channel, connection)
            self._spawn(self._bring_up(channel, connection, place), f"chat {place.chat_id}")
        if channel.target > channel.version:
            self._fill(channel)

    def _listen(self, channel: Channel, connection: Connection, listening: Listening) -> None:
        self._flush_channel(channel)
        channel.listeners[connection] = listening

    def _hold(self, channel: Channel, connection: Connection) -> None:
        """Keep what is handed on back from a connection for a while."""
        self._flush_channel(channel)
        channel.listeners.pop(connection, None)
        if channel.held is None:
            channel.held = {}
        channel.held[connection] = []

    def detach(self, connection: Connection, chat_id: int) -> None:
        """The connection hears the chat no more."""
        connection.chat_ids.discard(chat_id)
        if connection.open_chats is not None:
            connection.open_chats.discard(chat_id)
        channel = self._channels.get(chat_id)
        if channel is None:
            return
        if connection in channel.listeners:
            self._flush_channel(channel)
            del channel.listeners[connection]
        for some in (channel.singles, channel.held, channel.ahead):
            if some is not None:
                some.pop(connection, None)
        if channel.open_for is not None:
            channel.open_for.discard(connection)
        self._drop_if_empty(channel)

    def open(self, connection: Connection, chat_id: int) -> bool:
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

    def shut(self, connection: Connection, chat_id: int) -> None:
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
        began = channel.singles.get(connection) if channel and channel.singles else None
        if began is not None and message.id <= began:
            connection.send(wire.message(message))

    def caught_up(self, connection: Connection, chat_id: int, version: int) -> int | None:
        """How far a connection has heard a chat, if it has been told all above `version`; else None."""
        channel = self._channels.get(chat_id)
        listening = channel.listeners.get(connection) if channel is not None else None
        if channel is None or listening is None or not listening.since <= version <= channel.version:
            return None
        self._flush_channel(channel)
        return channel.version

    async def resume(self, connection: Connection, chat_id: int, version: int, limit: int) -> int | None:
        """Tell a connection what it missed of a chat above `version`; returns how far it has heard then.

        What it was told since it began to listen is not told again, and what happens meanwhile is held
        back: nothing comes twice, nothing is left out. None if it does not hear the chat, if it missed more
        than `limit` changes, or if the chat has never come to that version.
        """
        channel = self._channels.get(chat_id)
        if channel is None:
            return None
        await channel.released(connection)
        listening = channel.listeners.get(connection)
        if listening is None or listening.since - version > limit:
            return None
        self._hold(channel, connection)
        done = False
        try:
            if version > channel.version:
                done = await self._has_come_to(channel, version)
            else:
                done = await self._tell_missed(channel, connection, listening, version)
        finally:
            held = channel.release(connection)
            if held is not None:  # it still hears the chat
                listening = Listening(listening.joined_id, min(version, listening.since))
                self._listen(channel, connection, listening)
        if held is None or not done:
            return None
        for event in held:
            if event.version > version:
                self._tell_one(channel, connection, listening, event, wire.chat_event(event))
        if version > channel.version:
            channel.ahead = {**(channel.ahead or {}), connection: version}
        return max(version, channel.version)

    async def close(self) -> None:
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
        elif isinstance(event, SessionsEnded):
            self._end_sessions(event)
        elif isinstance(event, ChatInDoubt):
            channel = self._channels.get(event.chat_id)
            if channel is not None:
                channel.target = channel.version + 1
                self._fill(channel)

    def _handle_chat_event(self, event: ChatEvent) -> None:
        channel = self._channels.get(event.chat_id)
        if channel is None:
            channel = self._open_for_members(event)
            if channel is None:
                self._remember(event.chat_id, event.version)
                return
        if event.version == channel.version + 1 and channel.filling is None:
            self._hand_on(channel, event)
            if channel.early:
                self._hand_on_early(channel)
        elif event.version > channel.version:
            if channel.early is None:
                channel.early = {}
            channel.early[event.version] = event
            if len(channel.early) > EARLY_LIMIT:  # the newest alone makes the hole known
                channel.early = {event.version: event}
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
            self._followers(user_id) for user_id in _seats(event)
        ):
            return None
        before = event.chat.last_message_id
        joined = event.chat.history == History.JOINED
        place = Place(event.chat_id, event.version - 1, before, 0, joined)
        channel = self._channels[event.chat_id] = Channel(place)
        return channel

    def _followers(self, user_id: int) -> list[Connection]:
        """Connections of a user that hear of all their chats."""
        connections = self._users.get(user_id, ())
        return [connection for connection in connections if connection.kind is Kind.ALL]

    def _hand_on_early(self, channel: Channel) -> None:
        """Hand on what is next in order; have the hole filled if something is missing before it."""
        early = channel.early
        if early is None or channel.filling is not None:
            return
        for version in [version for version in early if version <= channel.version]:
            del early[version]
        while early:
            event = early.pop(channel.version + 1, None)
            if event is None:
                self._fill(channel)
                return
            self._hand_on(channel, event)
        channel.early = None

    # Holes

    def _fill(self, channel: Channel) -> None:
        if channel.filling is None:
            channel.filling = self._spawn(self._fill_hole(channel), f"chat {channel.chat_id}")

    async def _fill_hole(self, channel: Channel) -> None:
        try:
            await asyncio.sleep(PATIENCE)
            self._skip_to_known(channel)
            while self._lacks_something(channel):
                among = [user_id for user_id in self._users if self._followers(user_id)]
                changes = await self._ask(channel, channel.version, among)
                if changes is None:
                    break
                for event in changes.events:
                    if event.version > channel.version:
                        self._hand_on(channel, event)
                channel.version = max(channel.version, changes.version)
                if changes.complete:
                    channel.target = 0
                    if channel.early is not None and changes.newest < max(channel.early, default=0):
                        await asyncio.sleep(RETRY_PAUSE)  # a replica that lags; the event was committed
        finally:
            channel.filling = None
        self._hand_on_early(channel)
        self._drop_if_empty(channel)

    def _skip_to_known(self, channel: Channel) -> None:
        """Hand on what has come in order while nobody was asked."""
        early = channel.early
        while early and (event := early.pop(channel.version + 1, None)) is not None:
            self._hand_on(channel, event)

    def _lacks_something(self, channel: Channel) -> bool:
        if not (channel.listeners or channel.singles or channel.held):
            return False
        if channel.early:
            for version in [version for version in channel.early if version <= channel.version]:
                del channel.early[version]
        self._skip_to_known(channel)
        return bool(channel.early) or channel.target > channel.version

    async def _ask(self, channel: Channel, version: int, among: Collection[int]) -> Changes | None:
        """What changed above `version`, however long the database is away; None once nobody cares."""
        while channel.listeners or channel.singles or channel.held:
            try:
                return await self._catch_up(channel.chat_id, version, among)
            except Unavailable:
                await asyncio.sleep(RETRY_PAUSE)
        return None

    async def _has_come_to(self, channel: Channel, version: int) -> bool:
        """Whether the chat really is at a version that the hub has not heard of yet."""
        changes, _ = await self._page(channel.chat_id, version)
        return changes.newest >= version

    async def _tell_missed(
        self, channel: Channel, connection: Connection, listening: Listening, version: int
    ) -> bool:
        """Send the pages of what changed above `version`, before the connection began to listen."""
        while version < listening.since:
            changes, encoded = await self._page(channel.chat_id, version)
            held = channel.held.get(connection) if channel.held is not None else None
            if held is None:
                return False
            for event, frame in zip(changes.events, encoded, strict=True):
                if event.version > listening.since:
                    break  # it was told, or is held back
                hides = channel.from_joining and told.hides(event, listening.joined_id)
                connection.send(wire.hidden(event) if hides else frame)
            if len(held) > HELD_LIMIT:
                connection.close(Close.TRY_AGAIN, "too much happened meanwhile; come back")
                return False
            version = max(version, changes.version)
            await connection.room()
        return True

    async def _page(self, chat_id: int, version: int) -> tuple[Changes, list[bytes]]:
        """A page of changes and its frames; many who ask for the same one at once share it."""
        key = (chat_id, version)
        page = self._pages.get(key)
        if page is None:
            page = asyncio.create_task(self._load_page(chat_id, version))
            self._pages[key] = page
            page.add_done_callback(lambda _: self._pages.pop(key, None))
        return await asyncio.shield(page)

    async def _load_page(self, chat_id: int, version: int) -> tuple[Changes, list[bytes]]:
        changes = await self._catch_up(chat_id, version, ())
        return changes, [wire.chat_event(event) for event in changes.events]

    async def _bring_up(self, channel: Channel, connection: Connection, place: Place) -> None:
        """For a connection that looked at the chat before it came to where the others have heard it.

        What is handed on meanwhile is held back for it.
        """
        since = channel.version
        missed = await self._missed_by(channel, connection, place)
        held = channel.release(connection)
        if missed is None or held is None:
            return
        joined_id, events = missed
        if connection.kind is Kind.ALL:
            listening = Listening(joined_id, since)
            self._listen(channel, connection, listening)
            for event in held:
                self._tell_one(channel, connection, listening, event, wire.chat_event(event))
            return
        by_id = {event.message.id: event.message for event in held if isinstance(event, AboutMessage)}
        by_id |= {event.message.id: event.message for event in events if isinstance(event, AboutMessage)}
        for message_id in sorted(by_id):
            if message_id > place.last_message_id:
                connection.send(wire.message(by_id[message_id]))
        if channel.singles is not None and by_id:
            channel.singles[connection] = max(place.last_message_id, *by_id)

    async def _missed_by(
        self, channel: Channel, connection: Connection, place: Place
    ) -> tuple[int, list[ChatEvent]] | None:
        """Since which message the connection's user is a member, and all that changed since `place`.

        None if they are no member any more, which they are told, or have left meanwhile.
        """
        joined_id, version = place.joined_id, place.version
        events: list[ChatEvent] = []
        while True:
            changes = await self._ask(channel, version, [connection.user_id])
            if changes is None or channel.held is None or connection not in channel.held:
                return None
            for event in changes.events:
                if isinstance(event, ChatRefreshed) and connection.user_id in event.seats:
                    joined_id = event.seats[connection.user_id].joined_id
                elif not isinstance(event, AboutMessage):
                    gone = MemberRemoved(channel.chat_id, event.version, connection.user_id)
                    self._tell_and_end(channel, gone, [connection], Close.REMOVED)
                    return None
            events += changes.events
            version = changes.version
            if changes.complete:
                return joined_id, events

    # Delivery

    def _hand_on(self, channel: Channel, event: ChatEvent) -> None:
        """Give the next event to all who listen."""
        channel.version = event.version
        if not isinstance(event, AboutMessage):
            self._change_listeners(channel, event)
        elif channel.singles:
            self._tell_singles(channel, event.message)
        else:
            channel.told_id = max(channel.told_id, event.message.id)
        if channel.held is not None:
            for held in channel.held.values():
                held.append(event)
        if channel.listeners:
            self._tell_listeners(channel, event)
        if isinstance(event, ChatCreated | MembersAdded | ChatRefreshed):
            self._welcome(channel, event)

    def _tell_listeners(self, channel: Channel, event: ChatEvent) -> None:
        frame = wire.chat_event(event)
        if channel.ahead or (channel.from_joining and isinstance(event, AboutMessage)):
            self._flush_channel(channel)
            for connection, listening in channel.listeners.items():
                self._tell_one(channel, connection, listening, event, frame)
            return
        if not channel.frames:
            self._mark_dirty(channel)
        channel.frames.append(frame)

    def _mark_dirty(self, channel: Channel) -> None:
        if not self._dirty:
            asyncio.get_running_loop().call_soon(self._flush)
        self._dirty.append(channel)

    def _flush(self) -> None:
        dirty, self._dirty = self._dirty, []
        for channel in dirty:
            self._flush_channel(channel)

    def _flush_channel(self, channel: Channel) -> None:
        """Send what has been joined so far: before anybody begins or ceases to listen."""
        if channel.frames:
            joined = channel.frames[0] if len(channel.frames) == 1 else b"".join(channel.frames)
            channel.frames = []
            for connection in channel.listeners:
                connection.send(joined)

    def _tell_one(
        self,
        channel: Channel,
        connection: Connection,
        listening: Listening,
        event: ChatEvent,
        frame: bytes,
    ) -> None:
        """Send an event, encoded as `frame`, to one connection, unless it knows it or may not see it."""
        ahead = channel.ahead
        if ahead is not None and connection in ahead:
            if event.version <= ahead[connection]:
                return
            del ahead[connection]
        hides = channel.from_joining and told.hides(event, listening.joined_id)
        connection.send(wire.hidden(event) if hides else frame)

    def _tell_singles(self, channel: Channel, message: Message) -> None:
        """Tell the sockets of this chat alone, in the order of ids."""
        if message.id <= channel.told_id:
            return
        if message.id > channel.told_id + 1:
            if channel.by_id is None:
                channel.by_id = {}
            channel.by_id[message.id] = message
            return
        waiting = channel.by_id or {}
        following: Message | None = message
        while following is not None:
            channel.told_id = following.id
            frame = wire.message(following)
            for connection, began in (channel.singles or {}).items():
                held = channel.held is not None and connection in channel.held
                if following.id > began and not held:
                    connection.send(frame)
            following = waiting.pop(channel.told_id + 1, None)
        if not waiting:
            channel.by_id = None

    def _change_listeners(self, channel: Channel, event: ChatEvent) -> None:
        """An event that changes who may listen, or what they may hear."""
        if isinstance(event, ChatDeleted):
            self._tell_and_end(channel, event, _listening(channel), Close.CHAT_GONE)
        elif isinstance(event, MemberRemoved):
            channel.members_version = event.version
            gone = [each for each in _listening(channel) if each.user_id == event.user_id]
            self._tell_and_end(channel, event, gone, Close.REMOVED)
        elif isinstance(event, ChatUpdated | ChatRefreshed):
            self._flush_channel(channel)
            channel.from_joining = event.chat.history == History.JOINED
            if isinstance(event, ChatRefreshed):
                channel.members_version = event.version
                self._compare_seats(channel, event)

    def _compare_seats(self, channel: Channel, event: ChatRefreshed) -> None:
        """It is not known what happened, but who is in the chat now."""
        for connection in _listening(channel):
            seat = event.seats.get(connection.user_id)
            if seat is None:
                removed = MemberRemoved(channel.chat_id, event.version, connection.user_id)
                self._tell_and_end(channel, removed, [connection], Close.REMOVED)
                continue
            since = _since(channel, connection)
            if since is None or seat.joined_id <= since:
                continue
            if connection.kind is Kind.ALL and connection in channel.listeners:
                channel.listeners[connection] = Listening(seat.joined_id, event.version)
            else:
                connection.silence()
                connection.close(Close.TRY_AGAIN, "you were away; come back")

    def _tell_and_end(
        self, channel: Channel, event: ChatEvent, connections: Iterable[Connection], code: Close
    ) -> None:
        """Take a chat from connections, at once; on `/ws` this is the last they hear of it."""
        self._flush_channel(channel)
        frame = wire.chat_event(event)
        reason = "the chat was deleted" if code is Close.CHAT_GONE else "you are not in this chat"
        for connection in connections:
            self.detach(connection, channel.chat_id)
            if connection.kind is Kind.ALL:
                connection.send(frame)
            else:
                connection.silence()
                connection.close(code, reason)

    def _welcome(self, channel: Channel, event: ChatCreated | MembersAdded | ChatRefreshed) -> None:
        """Have new members hear the chat. Their first frame of it is the chat itself."""
        channel.members_version = event.version
        seats = _seats(event)
        last_message = None if isinstance(event, ChatCreated) else event.last_message
        for user_id in seats.keys() & self._users.keys():
            frame = b""
            for connection in self._followers(user_id):
                if channel.chat_id in connection.chat_ids:
                    continue
                self._listen(channel, connection, Listening(seats[user_id].joined_id, event.version))
                connection.chat_ids.add(channel.chat_id)
                frame = frame or wire.new_chat(my_chat(event.chat, seats[user_id], last_message))
                connection.send(frame)

    # What is no part of a chat's history

    def _tell_cursor(self, event: CursorMoved) -> None:
        for connection in self._followers(event.user_id):
            connection.send(wire.cursor(event, own=True))
        self._tell_open(event.chat_id, wire.cursor(event, own=False), event.user_id)

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
                connection.silence()
                connection.close(Close.SESSION_ENDED, "this session has ended; log in again")

    # Book-keeping

    def _drop_if_empty(self, channel: Channel) -> None:
        if channel.listeners or channel.singles or channel.held or channel.filling is not None:
            return
        if self._channels.get(channel.chat_id) is channel:
            del self._channels[channel.chat_id]
            self._remember(channel.chat_id, max(channel.version, channel.target, *(channel.early or (0,))))

    def _spawn(self, work: Coroutine[None, None, None], name: str) -> asyncio.Task[None]:
        task = asyncio.create_task(work, name=name)
        self._tasks.add(task)
        task.add_done_callback(self._finished)
        return task

    def _finished(self, task: asyncio.Task[None]) -> None:
        self._tasks.discard(task)
        if not task.cancelled() and (error := task.exception()) is not None:
            log.error("hub task failed", task=task.get_name(), exc_info=error)


def _listening(channel: Channel) -> list[Connection]:
    """All connections that hear a chat, those that are catching up included."""
    everybody = {**channel.listeners, **(channel.singles or {}), **(channel.held or {})}
    return list(everybody)


def _since(channel: Channel, connection: Connection) -> int | None:
    """The message behind which a connection hears a chat; None while it is catching up."""
    if connection.kind is Kind.ALL:
        listening = channel.listeners.get(connection)
        return listening.joined_id if listening is not None else None
    return (channel.singles or {}).get(connection)


def _seats(event: ChatCreated | MembersAdded | ChatRefreshed) -> dict[int, Seat]:
    """The seats of those to whom the chat may be new."""
    if isinstance(event, MembersAdded):
        return {member.id: event.seat for member in event.members}
    return event.seats
