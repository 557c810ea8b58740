"""The hub: passes each event to the connections that may get it, a chat's events in version order.

It knows no database. Where a version is missing, `recovery.py` reads the changes before anything newer is
delivered. So the bus may lose, repeat or reorder events.
"""

import asyncio
from collections.abc import Collection, Coroutine, Iterator, Sequence

import structlog

from blazechat.domain.auth.batch_access import ChatPosition
from blazechat.domain.events import (
    ChatCreated,
    ChatEvent,
    ChatInDoubt,
    EphemeralNotice,
    MembersAdded,
    ReadCursorMoved,
    SessionsEnded,
    Typing,
)
from blazechat.domain.schemas.messages import Message
from blazechat.realtime import simple_frames, wire
from blazechat.realtime.channel import Channel, member_states_of
from blazechat.realtime.connection import Close, Connection, Kind
from blazechat.realtime.gap import Gap
from blazechat.realtime.recovery import ReadChanges, Recovery
from blazechat.vocabulary import History

log = structlog.get_logger("blazechat.hub")

RECHECK_SECONDS = (1.0, 15.0)
"""When a chat is read again after a commit whose result is unknown: it might take effect late."""
NOTED_VERSION_SECONDS = 60.0
"""How long the hub keeps, at least, the newest version of a chat without subscribers: longer than any query
runs. So a connection that read the chat before an event, and subscribes after it, gets the event."""


class Hub:
    """Tracks the connections and channels of this node. `read_changes` reads from the database."""

    def __init__(
        self, read_changes: ReadChanges, recheck_seconds: Sequence[float] = RECHECK_SECONDS
    ) -> None:
        self._recheck_seconds = recheck_seconds
        self._recovery = Recovery(read_changes)
        self._channels: dict[int, Channel] = {}  # by chat id
        self._users: dict[int, set[Connection]] = {}  # by user id
        self._tasks: set[asyncio.Task[None]] = set()
        self._to_flush: list[Channel] = []
        self._noted_versions: dict[int, int] = {}  # newest versions of chats without subscribers
        self._noted_versions_before: dict[int, int] = {}
        self._noted_since = 0.0
        self._closed = False

    # Connections

    def add(self, connection: Connection) -> None:
        """Register a connection, so that events about its user reach it."""
        self._users.setdefault(connection.user_id, set()).add(connection)

    def attach(self, connection: Connection, position: ChatPosition) -> None:
        """Subscribe a connection to a chat, in which its user was found to be a member at `position`.

        A connection of `/ws` gets what is delivered from now on. A chat socket gets all messages after the
        newest one at `position`; those that were delivered between `position` and now come first.
        """
        if position.chat_id in connection.chat_ids:
            return  # an event has subscribed it as a new member meanwhile
        channel = self._channels.get(position.chat_id)
        if channel is None:
            channel = self._channels[position.chat_id] = Channel(position, self)
            self._fill_up_to(channel, self._noted_version(position.chat_id))
        elif channel.gap is not None:
            self._gap_of(channel)  # if the last attempt to fill it has failed, try again
        connection.chat_ids.add(position.chat_id)
        if not channel.attach(connection, position):
            replay = self._recovery.replay(channel, connection, position)
            self._spawn(replay, f"chat {position.chat_id}")

    def detach(self, connection: Connection, chat_id: int) -> None:
        """End the connection's subscription to the chat."""
        connection.chat_ids.discard(chat_id)
        if connection.open_chats is not None:
            connection.open_chats.discard(chat_id)
        channel = self._channels.get(chat_id)
        if channel is None:
            return
        channel.detach(connection)
        self._drop_if_empty(channel)

    def open_chat(self, connection: Connection, chat_id: int) -> bool:
        """Send typing and read events of a chat to the connection. Returns False if it is not
        subscribed."""
        channel = self._channels.get(chat_id)
        if channel is None or chat_id not in connection.chat_ids:
            return False
        channel.open_to(connection)
        if connection.open_chats is None:
            connection.open_chats = set()
        connection.open_chats.add(chat_id)
        return True

    def close_chat(self, connection: Connection, chat_id: int) -> None:
        """Send no more typing and read events of a chat to the connection."""
        channel = self._channels.get(chat_id)
        if channel is not None:
            channel.close_to(connection)
        if connection.open_chats is not None:
            connection.open_chats.discard(chat_id)

    def remove(self, connection: Connection) -> None:
        """Forget a connection."""
        others = self._users.get(connection.user_id)
        if others is not None:
            others.discard(connection)
            if not others:
                del self._users[connection.user_id]
        # Last, because events that wait in a gap may be handled now, and must not subscribe it again.
        for chat_id in list(connection.chat_ids):
            self.detach(connection, chat_id)

    def connections(self) -> list[Connection]:
        return [connection for each in self._users.values() for connection in each]

    def connections_of(self, user_id: int) -> set[Connection]:
        return self._users.get(user_id, set())

    def resend_own_message(self, connection: Connection, message: Message) -> None:
        """Send a chat socket its own message again, if that was stored before the socket subscribed."""
        channel = self._channels.get(message.chat_id)
        sockets = channel.chat_sockets if channel is not None else None
        after = sockets.after(connection) if sockets is not None else None
        if after is not None and message.id <= after:
            connection.send(simple_frames.message(message))

    def caught_up(self, connection: Connection, chat_id: int, version: int) -> int | None:
        """Return the delivered version if the connection has missed nothing after `version`, else None."""
        channel = self._channels.get(chat_id)
        subscription = channel.subscription(connection) if channel is not None else None
        if channel is None or subscription is None or not subscription.since <= version <= channel.version:
            return None
        channel.flush()
        return channel.version

    async def resume(self, connection: Connection, chat_id: int, version: int, limit: int) -> int | None:
        """Send a connection what it missed of a chat after `version` (`Recovery.resume`)."""
        channel = self._channels.get(chat_id)
        if channel is None:
            return None
        return await self._recovery.resume(channel, connection, version, limit)

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
        elif isinstance(event, ReadCursorMoved):
            self._send_cursor(event)
        elif isinstance(event, Typing):
            self._send_to_open(event.chat_id, wire.typing(event), event.user_id)
        elif isinstance(event, EphemeralNotice):
            self._send_notice(event)
        elif isinstance(event, SessionsEnded):
            self._end_sessions(event)
        elif isinstance(event, ChatInDoubt):
            self._recheck(event.chat_id)
            for pause in self._recheck_seconds:
                asyncio.get_running_loop().call_later(pause, self._recheck, event.chat_id)

    def _handle_chat_event(self, event: ChatEvent) -> None:
        channel = self._channels.get(event.chat_id)
        if channel is None:
            self._handle_without_subscribers(event)
        elif event.version == channel.version + 1 and channel.gap is None:
            channel.deliver(event)
        elif event.version > channel.version:
            self._gap_of(channel).add(event)

    def _handle_without_subscribers(self, event: ChatEvent) -> None:
        """An event of a chat without subscribers: a new member might be connected, else it is noted."""
        if not isinstance(event, ChatCreated | MembersAdded) or not any(
            self._main_sockets_of(user_id) for user_id in member_states_of(event)
        ):
            self._note_version(event.chat_id, event.version)
            return
        joined = event.chat.history == History.JOINED
        before = ChatPosition(event.chat_id, event.version - 1, event.chat.last_message_id, 0, 0, joined)
        channel = self._channels[event.chat_id] = Channel(before, self)
        channel.deliver(event)
        self._fill_up_to(channel, self._noted_version(event.chat_id))
        self._drop_if_empty(channel)  # no connection may get the chat: its token is for other chats

    # Chats without subscribers

    def _note_version(self, chat_id: int, version: int) -> None:
        now = asyncio.get_running_loop().time()
        if now - self._noted_since > NOTED_VERSION_SECONDS:
            self._noted_versions_before, self._noted_versions = self._noted_versions, {}
            self._noted_since = now
        self._noted_versions[chat_id] = max(version, self._noted_versions.get(chat_id, 0))

    def _noted_version(self, chat_id: int) -> int:
        """The newest version that was noted of a chat, 0 if none was."""
        return max(self._noted_versions.get(chat_id, 0), self._noted_versions_before.get(chat_id, 0))

    # Gaps

    def _recheck(self, chat_id: int) -> None:
        channel = self._channels.get(chat_id)
        if channel is not None and not self._closed:
            self._fill_up_to(channel, channel.version + 1)

    def _fill_up_to(self, channel: Channel, version: int) -> None:
        """Read the chat's changes if it has reached a version that is not delivered."""
        if version > channel.version:
            self._gap_of(channel).expect(version)

    def _gap_of(self, channel: Channel) -> Gap:
        """The channel's gap, opened if it has none. Recovery fills it."""
        if channel.gap is None:
            channel.gap = Gap()
        if not channel.gap.is_filling:
            channel.gap.is_filling = True
            self._spawn(self._fill(channel, channel.gap), f"chat {channel.chat_id}")
        return channel.gap

    async def _fill(self, channel: Channel, gap: Gap) -> None:
        try:
            await self._recovery.fill(channel, gap, self._users_with_main_sockets)
            if channel.has_subscribers:
                channel.gap = None
        finally:
            gap.is_filling = False  # after an error the gap stays, with its events
            if not self._closed:
                self._drop_if_empty(channel)

    # Outlet of channels

    def flush_soon(self, channel: Channel) -> None:
        """Call `channel.flush()` at the end of this turn of the event loop."""
        if not self._to_flush:
            asyncio.get_running_loop().call_soon(self._flush)
        self._to_flush.append(channel)

    def main_sockets(self, user_ids: Collection[int]) -> Iterator[tuple[int, list[Connection]]]:
        """Yield the users of `user_ids` that are connected, each with their `/ws` connections."""
        for user_id in self._users.keys() & user_ids:
            yield user_id, self._main_sockets_of(user_id)

    def _flush(self) -> None:
        channels, self._to_flush = self._to_flush, []
        if len(channels) > 1:
            for channel in channels:
                channel.flush()
        elif channels[0].is_large:
            # One turn later: acknowledgements, which are queued, do not wait for so many writes.
            asyncio.get_running_loop().call_soon(channels[0].flush_now)
        else:
            channels[0].flush_now()

    def _main_sockets_of(self, user_id: int) -> list[Connection]:
        connections = self._users.get(user_id, ())
        return [connection for connection in connections if connection.kind is Kind.MAIN]

    def _users_with_main_sockets(self) -> list[int]:
        return [user_id for user_id in self._users if self._main_sockets_of(user_id)]

    # Events that are not part of a chat's history

    def _send_cursor(self, event: ReadCursorMoved) -> None:
        for connection in self._main_sockets_of(event.user_id):
            if connection.grant.permits_chat(event.chat_id):
                connection.send(wire.cursor(event, own=True))
        self._send_to_open(event.chat_id, wire.cursor(event, own=False), event.user_id)

    def _send_notice(self, event: EphemeralNotice) -> None:
        for connection in self._main_sockets_of(event.user_id):
            if event.chat_id in connection.chat_ids:
                connection.send(wire.notice(event))

    def _send_to_open(self, chat_id: int, frame: bytes, about: int) -> None:
        """Send a frame to the connections that have the chat open, except those of the user `about`."""
        channel = self._channels.get(chat_id)
        if channel is not None:
            for connection in channel.opened_by():
                if connection.user_id != about:
                    connection.send(frame)

    def _end_sessions(self, event: SessionsEnded) -> None:
        for connection in list(self._users.get(event.user_id, ())):
            if connection.session_id in event.session_ids:
                self.remove(connection)
                connection.discard_outbox()
                connection.close(Close.SESSION_ENDED, "this session has ended; log in again")

    # Bookkeeping

    def _drop_if_empty(self, channel: Channel) -> None:
        """Drop a channel without subscribers. Events that wait in its gap might add a connected member."""
        gap = channel.gap
        if channel.has_subscribers or (gap is not None and gap.is_filling):
            return
        if self._channels.get(channel.chat_id) is not channel:
            return
        del self._channels[channel.chat_id]
        self._note_version(channel.chat_id, max(channel.version, gap.newest if gap is not None else 0))
        for event in gap.waiting() if gap is not None else ():
            self._handle_chat_event(event)

    def _spawn(self, work: Coroutine[None, None, None], name: str) -> None:
        task = asyncio.create_task(work, name=name)
        self._tasks.add(task)
        task.add_done_callback(self._finished)

    def _finished(self, task: asyncio.Task[None]) -> None:
        self._tasks.discard(task)
        if not task.cancelled() and (error := task.exception()) is not None:
            log.error("hub task failed", task=task.get_name(), exc_info=error)
