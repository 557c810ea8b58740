"""Recovery: reads from the database what the bus or a connection has missed, and replays it.

Meanwhile new events are held back, so that every socket gets a chat's events in version order.
"""

import asyncio
from collections import OrderedDict
from collections.abc import Awaitable, Callable, Collection

from blazechat.domain import public_events
from blazechat.domain.auth.batch_access import ChatPosition
from blazechat.domain.chats.changes import Changes
from blazechat.domain.events import ChatDeleted, ChatEvent, MemberRemoved
from blazechat.errors import Unavailable
from blazechat.realtime import wire
from blazechat.realtime.channel import AboutMessage, Channel
from blazechat.realtime.connection import Close, Connection, Kind
from blazechat.realtime.gap import Gap
from blazechat.realtime.subscription import Subscription

ReadChanges = Callable[[int, int, Collection[int]], Awaitable[Changes]]
"""Returns the next page of a chat's changes after a version, and which of some users are members."""

EncodedChanges = tuple[Changes, list[bytes]]
"""A page of changes, and the frame of each of its events."""

REORDER_SECONDS = 0.05
"""Events that overtook each other are waited for so long before the database is read."""
MAX_CONCURRENT_READS = 4
"""Pages that are read at the same time: other work needs the pool's connections as well."""
MAX_CACHED_PAGES = 2_000
MAX_CACHED_PAGE_BYTES = 16_384
"""Larger pages are read again."""
MAX_HELD_BACK = 1000
"""Events that are held back for one connection while it catches up."""
RETRY_SECONDS = 0.5
"""Between attempts to fill a gap while the database is away, or a replica lags."""


class Recovery:
    """Fills gaps of channels, and replays to connections what they have missed."""

    def __init__(self, read_changes: ReadChanges) -> None:
        self._read_changes = read_changes
        self._reading = asyncio.Semaphore(MAX_CONCURRENT_READS)
        self._pages: OrderedDict[tuple[int, int], asyncio.Task[EncodedChanges]] = OrderedDict()

    # A channel with a gap

    async def fill(self, channel: Channel, gap: Gap, user_ids: Callable[[], Collection[int]]) -> None:
        """Deliver the missing versions of a channel, until none is missing or it has no subscribers.

        `user_ids` returns the users who get the chat's events if they are members: the page of changes says
        whether they are.
        """
        await asyncio.sleep(REORDER_SECONDS)
        while _lacks_versions(channel, gap):
            changes = await self._read_with_members(channel, user_ids)
            if changes is None:
                return
            if changes.refreshed is not None:
                channel.compare_members(changes.refreshed)
            for event in changes.events:
                if event.version > channel.version:
                    channel.deliver(event)
            channel.version = max(channel.version, changes.version)
            if not changes.is_complete:
                gap.read_up_to(changes.newest_version)
            else:
                gap.forget_expected()
                # A replica may lag: the kept event is committed.
                if changes.newest_version < gap.newest_kept_version:
                    await asyncio.sleep(RETRY_SECONDS)

    async def _read_with_members(
        self, channel: Channel, user_ids: Callable[[], Collection[int]]
    ) -> Changes | None:
        """Read the next page, with the membership of all users who are subscribed or might be.

        If users subscribe during the read, it is repeated once. Returns None without subscribers.
        """
        asked = {*user_ids(), *channel.user_ids()}
        changes = await self._read_until_available(channel, channel.version, asked)
        if changes is not None and changes.refreshed is not None and channel.user_ids() - asked:
            asked = {*user_ids(), *channel.user_ids()}
            changes = await self._read_until_available(channel, channel.version, asked)
        return changes

    async def _read_until_available(
        self, channel: Channel, version: int, user_ids: Collection[int]
    ) -> Changes | None:
        """Read the changes after `version`, however long the database is away.

        Returns None once the channel has no subscribers.
        """
        while channel.has_subscribers:
            try:
                return await self._read_changes(channel.chat_id, version, user_ids)
            except Unavailable:
                await asyncio.sleep(RETRY_SECONDS)
        return None

    # A connection that resumes

    async def resume(
        self, channel: Channel, connection: Connection, version: int, limit: int
    ) -> int | None:
        """Send a connection the changes after `version`; return the version up to which it has all.

        Events that it got since it subscribed are not sent again, and events of the meantime are held back:
        none is sent twice, none is left out. Returns None if the connection has not subscribed to the chat,
        if it missed more than `limit` changes, or if the chat has never reached `version`.
        """
        await channel.released(connection)
        subscription = channel.subscription(connection)
        if subscription is None or subscription.since - version > limit:
            return None
        if channel.has_limited_history and version < subscription.joined_version:
            return (
                None  # it might have been a member before, and have messages that it may not see any more
            )
        channel.hold(connection)
        is_done = False
        try:
            if version > channel.version:
                is_done = await self._has_reached(channel, version)
            else:
                is_done = await self._send_missed(channel, connection, subscription, version)
        finally:
            held = channel.release(connection)
            if held is not None:  # it is still subscribed, and stays so after an error as well
                since = min(version, subscription.since) if is_done else subscription.since
                subscription = Subscription(subscription.joined_id, subscription.joined_version, since)
                channel.subscribe(connection, subscription)
                for event in held:
                    if not is_done or event.version > version:
                        channel.send_to(connection, subscription, event, wire.chat_event(event))
        if held is None or not is_done:
            return None
        if version > channel.version:
            channel.run_ahead(connection, version)
        return max(version, channel.version)

    async def _has_reached(self, channel: Channel, version: int) -> bool:
        """True if the chat is at a version of which the hub has no event yet."""
        changes, _ = await self._page(channel, version)
        return changes.newest_version >= version

    async def _send_missed(
        self, channel: Channel, connection: Connection, subscription: Subscription, version: int
    ) -> bool:
        """Send the changes after `version` that were made before the connection subscribed."""
        while version < subscription.since:
            changes, encoded = await self._page(channel, version)
            held = channel.held_back(connection)
            if held is None or _has_newer_chat_change(changes, subscription.since):
                return False
            for event, frame in zip(changes.events, encoded, strict=True):
                if event.version > subscription.since:
                    break  # it was sent, or is held back
                hidden = channel.has_limited_history and public_events.is_hidden_from(
                    event, subscription.joined_id
                )
                connection.send(wire.hidden(event) if hidden else frame)
            if len(held) > MAX_HELD_BACK:
                connection.close(Close.TRY_AGAIN, "too many events while catching up; connect again")
                return False
            version = max(version, changes.version)
            await connection.wait_for_room()
        return True

    async def _page(self, channel: Channel, version: int) -> EncodedChanges:
        """Return a page of changes and its frames; connections that resume together share it.

        A page is valid while nothing happens in the chat after it was read. So content that was edited or
        deleted later is never sent from this cache.
        """
        key = (channel.chat_id, version)
        page = self._pages.get(key)
        if page is None or (page.done() and not _is_valid(page, channel)):
            page = self._pages[key] = asyncio.create_task(self._load_page(channel.chat_id, version))
            if len(self._pages) > MAX_CACHED_PAGES:
                self._pages.popitem(last=False)
        return await asyncio.shield(page)

    async def _load_page(self, chat_id: int, version: int) -> EncodedChanges:
        async with self._reading:
            changes = await self._read_changes(chat_id, version, ())
        encoded = [wire.chat_event(event) for event in changes.events]
        if sum(map(len, encoded)) > MAX_CACHED_PAGE_BYTES:
            self._pages.pop((chat_id, version), None)
        return changes, encoded

    # A connection that attached late

    async def replay(self, channel: Channel, connection: Connection, position: ChatPosition) -> None:
        """Subscribe a held connection, after sending it what was delivered after its `position`."""
        since = channel.version
        try:
            missed = await self._missed_after(channel, connection, position)
        except BaseException:
            connection.close(Close.TRY_AGAIN, "catching up failed; connect again")
            raise
        finally:
            held = channel.release(connection)
        if missed is None or held is None:
            return
        joined_id, events = missed
        if connection.kind is Kind.MAIN:
            subscription = Subscription(joined_id, position.joined_version, since)
            channel.subscribe(connection, subscription)
            for event in held:
                channel.send_to(connection, subscription, event, wire.chat_event(event))
        elif joined_id > position.joined_id:  # it has left and joined again; an earlier part may be hidden
            connection.close(Close.TRY_AGAIN, "membership has changed; connect again")
        elif channel.chat_sockets is not None:
            messages = {e.message.id: e.message for e in (*held, *events) if isinstance(e, AboutMessage)}
            channel.chat_sockets.replay(connection, messages)

    async def _missed_after(
        self, channel: Channel, connection: Connection, position: ChatPosition
    ) -> tuple[int, list[ChatEvent]] | None:
        """Return the user's `joined_id`, and all changes after `position`.

        Returns None if the user is not a member any more, which the connection is sent, or if the
        connection has lost the chat meanwhile.
        """
        joined_id, version = position.joined_id, position.version
        events: list[ChatEvent] = []
        while True:
            changes = await self._read_until_available(channel, version, [connection.user_id])
            if changes is None or channel.held_back(connection) is None:
                return None
            if changes.refreshed is not None:
                state = changes.refreshed.member_states.get(connection.user_id)
                if state is None:
                    removed = MemberRemoved(channel.chat_id, changes.refreshed.version, connection.user_id)
                    channel.end(removed, [connection], Close.REMOVED)
                    return None
                joined_id = state.joined_id
            elif any(isinstance(event, ChatDeleted) for event in changes.events):
                channel.end(changes.events[0], [connection], Close.CHAT_GONE)
                return None
            events += changes.events
            version = changes.version
            if changes.is_complete:
                return joined_id, events


def _lacks_versions(channel: Channel, gap: Gap) -> bool:
    """Deliver the waiting events that are next in order; return True if versions are still missing."""
    channel.deliver_waiting()
    return channel.has_subscribers and gap.lacks_after(channel.version)


def _has_newer_chat_change(changes: Changes, since: int) -> bool:
    """True if the chat itself (name, members, settings) has changed after `since`.

    The database has one version for all changes of the chat itself. So changes before the newest one cannot
    be replayed any more.
    """
    return changes.refreshed is not None and changes.refreshed.version > since


def _is_valid(page: asyncio.Task[EncodedChanges], channel: Channel) -> bool:
    """True if a page that was read before still is what the database would return."""
    if page.cancelled() or page.exception() is not None:
        return False
    return page.result()[0].newest_version == channel.version
