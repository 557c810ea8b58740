"""Those who are behind: what a connection, or a whole chat, missed is read from the database and told.

Meanwhile what is new is held back for them, so that on every socket a chat's versions ascend.
"""

import asyncio
from collections import OrderedDict
from collections.abc import Awaitable, Callable, Collection

from blazechat.domain import public_events
from blazechat.domain.auth.batch_access import ChatPosition
from blazechat.domain.chats.changes import Changes
from blazechat.domain.events import ChatDeleted, ChatEvent, MemberRemoved
from blazechat.errors import Unavailable
from blazechat.realtime import simple_frames, wire
from blazechat.realtime.channel import AboutMessage, Channel, Listening
from blazechat.realtime.connection import Close, Connection, Kind

CatchUp = Callable[[int, int, Collection[int]], Awaitable[Changes]]
"""The next page of what changed in a chat above a version, and which of some users are in it."""

EncodedChanges = tuple[Changes, list[bytes]]
"""Changes, and the frame of each of their events."""

READ_AT_ONCE = 4
"""Pages that are read from the database at a time: others want its connections, too."""
PAGES_KEPT = 2_000
PAGE_KEPT = 16_384
"""Bytes; larger pages are read again."""
HELD_LIMIT = 1000
"""Events that are held back for one connection while it is told what it missed."""
RETRY_PAUSE = 0.5
"""Seconds between attempts to fill a hole while the database is away."""


class Recovery:
    """`catch_up` reads from the database."""

    def __init__(self, catch_up: CatchUp) -> None:
        self._catch_up = catch_up
        self._reading = asyncio.Semaphore(READ_AT_ONCE)
        self._pages: OrderedDict[tuple[int, int], asyncio.Task[EncodedChanges]] = OrderedDict()

    async def ask(self, channel: Channel, version: int, among: Collection[int]) -> Changes | None:
        """What changed above `version`, however long the database is away; None once nobody cares."""
        while channel.is_heard:
            try:
                return await self._catch_up(channel.chat_id, version, among)
            except Unavailable:
                await asyncio.sleep(RETRY_PAUSE)
        return None

    async def resume(
        self, channel: Channel, connection: Connection, version: int, limit: int
    ) -> int | None:
        """Tell a connection what it missed of a chat above `version`; returns how far it has heard then.

        What it was told since it began to listen is not told again, and what happens meanwhile is held
        back: nothing comes twice, nothing is left out. None if it does not hear the chat, if it missed more
        than `limit` changes, or if the chat has never come to that version.
        """
        await channel.released(connection)
        listening = channel.listeners.get(connection)
        if listening is None or listening.since - version > limit:
            return None
        if channel.from_joining and version < listening.joined_version:
            return None  # it may have been in the chat before, and know what it may not see any more
        channel.hold(connection)
        done = False
        try:
            if version > channel.version:
                done = await self._has_come_to(channel, version)
            else:
                done = await self._tell_missed(channel, connection, listening, version)
        finally:
            held = channel.release(connection)
            if held is not None:  # it still hears the chat, and goes on hearing it whatever went wrong
                since = min(version, listening.since) if done else listening.since
                listening = Listening(listening.joined_id, listening.joined_version, since)
                channel.listen(connection, listening)
                for event in held:
                    if not done or event.version > version:
                        channel.tell_one(connection, listening, event, wire.chat_event(event))
        if held is None or not done:
            return None
        if version > channel.version:
            channel.resumed_to = {**(channel.resumed_to or {}), connection: version}
        return max(version, channel.version)

    async def _has_come_to(self, channel: Channel, version: int) -> bool:
        """Whether the chat really is at a version that the hub has not heard of yet."""
        changes, _ = await self._page(channel, version)
        return changes.newest >= version

    async def _tell_missed(
        self, channel: Channel, connection: Connection, listening: Listening, version: int
    ) -> bool:
        """Send the pages of what changed above `version`, before the connection began to listen."""
        while version < listening.since:
            changes, encoded = await self._page(channel, version)
            held = channel.held_back.get(connection) if channel.held_back is not None else None
            if held is None or _is_news_and_old(changes, listening.since):
                return False
            for event, frame in zip(changes.events, encoded, strict=True):
                if event.version > listening.since:
                    break  # it was told, or is held back
                hides = channel.from_joining and public_events.is_hidden_from(event, listening.joined_id)
                connection.send(wire.hidden(event) if hides else frame)
            if len(held) > HELD_LIMIT:
                connection.close(Close.TRY_AGAIN, "too much happened meanwhile; come back")
                return False
            version = max(version, changes.version)
            await connection.room()
        return True

    async def _page(self, channel: Channel, version: int) -> EncodedChanges:
        """A page of changes and its frames. Many who come back at once ask for the same ones.

        A page is good for as long as nothing has happened in the chat since it was read, so nothing that
        was changed or deleted is ever told from here.
        """
        key = (channel.chat_id, version)
        page = self._pages.get(key)
        if page is None or (page.done() and not _is_good(page, channel)):
            page = self._pages[key] = asyncio.create_task(self._load_page(channel.chat_id, version))
            if len(self._pages) > PAGES_KEPT:
                self._pages.popitem(last=False)
        return await asyncio.shield(page)

    async def _load_page(self, chat_id: int, version: int) -> EncodedChanges:
        async with self._reading:
            changes = await self._catch_up(chat_id, version, ())
        encoded = [wire.chat_event(event) for event in changes.events]
        if sum(map(len, encoded)) > PAGE_KEPT:
            self._pages.pop((chat_id, version), None)
        return changes, encoded

    async def bring_up(self, channel: Channel, connection: Connection, place: ChatPosition) -> None:
        """For a connection that looked at the chat before it came to where the others have heard it.

        What is handed on meanwhile is held back for it.
        """
        since = channel.version
        try:
            missed = await self._missed_by(channel, connection, place)
        except BaseException:
            connection.close(Close.TRY_AGAIN, "something went wrong; come back")
            raise
        finally:
            held = channel.release(connection)
        if missed is None or held is None:
            return
        joined_id, events = missed
        if connection.kind is Kind.MAIN:
            listening = Listening(joined_id, place.joined_version, since)
            channel.listen(connection, listening)
            for event in held:
                channel.tell_one(connection, listening, event, wire.chat_event(event))
            return
        by_id = {event.message.id: event.message for event in held if isinstance(event, AboutMessage)}
        by_id |= {event.message.id: event.message for event in events if isinstance(event, AboutMessage)}
        for message_id in sorted(by_id):
            if message_id > place.last_message_id:
                connection.send(simple_frames.message(by_id[message_id]))
        if channel.chat_sockets is not None and by_id:
            channel.chat_sockets[connection] = max(place.last_message_id, *by_id)

    async def _missed_by(
        self, channel: Channel, connection: Connection, place: ChatPosition
    ) -> tuple[int, list[ChatEvent]] | None:
        """Since which message the connection's user is a member, and all that changed since `place`.

        None if they are no member any more, which they are told, or have left meanwhile.
        """
        joined_id, version = place.joined_id, place.version
        events: list[ChatEvent] = []
        while True:
            changes = await self.ask(channel, version, [connection.user_id])
            if changes is None or channel.held_back is None or connection not in channel.held_back:
                return None
            if changes.refreshed is not None:
                seat = changes.refreshed.seats.get(connection.user_id)
                if seat is None:
                    gone = MemberRemoved(channel.chat_id, changes.refreshed.version, connection.user_id)
                    channel.tell_and_end(gone, [connection], Close.REMOVED)
                    return None
                joined_id = seat.joined_id
            elif any(isinstance(event, ChatDeleted) for event in changes.events):
                channel.tell_and_end(changes.events[0], [connection], Close.CHAT_GONE)
                return None
            events += changes.events
            version = changes.version
            if changes.complete:
                return joined_id, events


def _is_news_and_old(changes: Changes, since: int) -> bool:
    """Whether the chat itself changed behind `since`, which was told, and so perhaps before it as well.

    There is one version for all that changes in the chat itself, so what came before the last such change
    cannot be told any more.
    """
    return changes.refreshed is not None and changes.refreshed.version > since


def _is_good(page: asyncio.Task[EncodedChanges], channel: Channel) -> bool:
    """Whether a page that was read before is what would be read now."""
    if page.cancelled() or page.exception() is not None:
        return False
    return page.result()[0].newest == channel.version
