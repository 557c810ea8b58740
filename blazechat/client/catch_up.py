"""Recovery on a new connection: requests missed events, and reloads chats whose events cannot be sent."""

import asyncio
import logging
from collections.abc import Awaitable, Callable, Iterable
from contextlib import suppress

from blazechat.client import events
from blazechat.client.errors import ApiError, NotFound
from blazechat.client.events import Event
from blazechat.client.frames import Ack
from blazechat.client.outbox import Outbox
from blazechat.client.resources import ChatsResource
from blazechat.client.socket import LiveConnection
from blazechat.client.state import State

MAX_IDS = 1000
"""Maximum chats or users in one command, and chats in one page of the overview."""

log = logging.getLogger("blazechat.client")


class CatchUp:
    """Recovery on one connection. Its tasks belong to `group`, and end with the connection.

    `on_events` is called with the events to publish.
    """

    def __init__(
        self,
        *,
        connection: LiveConnection,
        state: State,
        outbox: Outbox,
        chats: ChatsResource,
        on_events: Callable[[Iterable[Event]], None],
        load_older: Callable[[int], Awaitable[int]],
        group: asyncio.TaskGroup,
    ) -> None:
        self._connection, self._state, self._outbox, self._chats = connection, state, outbox, chats
        self._on_events = on_events
        self._load_older = load_older
        self._group = group
        self._reloading: dict[int, asyncio.Task[None]] = {}
        self._loading_roles: set[int] = set()  # chats in which this account's role is being requested
        self._subscribed_chats: set[int] = set()
        self._subscribed_users: set[int] = set()

    async def run(self, versions: dict[int, int]) -> None:
        """Return once the state has all changes since these versions, and all subscriptions are renewed."""
        known = list(versions.items())
        resumes = [
            self._group.create_task(
                self._connection.send_command("resume", chats=dict(known[begin : begin + MAX_IDS]))
            )
            for begin in range(0, len(known), MAX_IDS)
        ]
        await self._load_overview()
        for resume in resumes:
            await resume
        while self._reloading or self._has_pending_commands():
            if self._reloading:
                await asyncio.wait(self._reloading.values())
            await self._send_pending_commands()

    def load_missing(self, chat_id: int) -> None:
        """Load what the events of a chat do not provide. Call this after each change of the chat.

        That is an unknown chat, messages that became visible, or a role that may have changed.
        """
        chat = self._state.chats.get(chat_id)
        self._outbox.confirm_up_to(chat_id, None if chat is None else chat.last_message_id)
        if chat is None and chat_id in self._state.unknown_chats:
            self.reload(chat_id)
        if chat is None or chat.held_events is not None:
            return
        if chat.needs_reload:
            self.reload(chat_id)
        elif not chat.is_role_known and chat_id not in self._loading_roles:
            self._loading_roles.add(chat_id)
            self._group.create_task(self._load_role(chat_id))

    def reload(self, chat_id: int) -> None:
        """Start to replace a chat by its current form on the server. Its events are held back meanwhile."""
        chat = self._state.chats.get(chat_id)
        if chat_id in self._reloading or (chat is None and chat_id not in self._state.unknown_chats):
            return
        if chat is not None and chat.held_events is None:
            chat.hold()
        self._reloading[chat_id] = self._group.create_task(self._reload(chat_id))

    def is_reloading(self, chat_id: int) -> bool:
        """Return True if a chat is being loaded. The result is newer than what `resume` returns."""
        return chat_id in self._reloading

    def subscribe_soon(self, chat_id: int) -> None:
        """Start to subscribe to a chat that was open and became available again."""
        self._group.create_task(self.subscribe(chat_id))

    async def subscribe(self, chat_id: int) -> None:
        """Subscribe to typing and read events of a chat."""
        self._subscribed_chats.add(chat_id)
        ack = await self._try_command("subscribe", chat_id=chat_id)
        chat = self._state.chats.get(chat_id)
        if chat is not None:
            chat.update_read_cursors((ack and ack.cursors) or {})

    async def _load_overview(self) -> None:
        is_first, skip = self._state.me is None, 0
        while True:
            overview = await self._chats.overview(limit=MAX_IDS, skip=skip)
            published = self._state.apply_overview(overview)
            if is_first:  # existing chats are not new to a client that has just started
                published = [event for event in published if not isinstance(event, events.ChatCreated)]
            self._on_events(published)
            if len(overview.chats) < MAX_IDS:
                break
            skip += MAX_IDS
        for chat_id in [*self._state.chats, *self._state.unknown_chats]:
            self.load_missing(chat_id)

    def _has_pending_commands(self) -> bool:
        """Return True if the server lacks subscriptions or read cursors that the state has."""
        state = self._state
        chats = (state.open_chats & state.chats.keys()) - self._subscribed_chats
        users = state.watched_users - self._subscribed_users
        return bool(chats or users or state.pending_reads.keys() & state.chats.keys())

    async def _send_pending_commands(self) -> None:
        for chat_id in sorted((self._state.open_chats & self._state.chats.keys()) - self._subscribed_chats):
            await self.subscribe(chat_id)
        users = sorted(self._state.watched_users - self._subscribed_users)
        for begin in range(0, len(users), MAX_IDS):
            ack = await self._try_command("subscribe", users=users[begin : begin + MAX_IDS])
            self._state.update_presence((ack and ack.presence) or [])
        self._subscribed_users.update(users)
        for chat_id, up_to in list(self._state.pending_reads.items()):
            ack = await self._try_command("read", chat_id=chat_id, up_to=up_to)
            self._state.confirm_read(chat_id, up_to, ack.read_id if ack else None)

    async def _try_command(self, kind: str, **fields: object) -> Ack | None:
        """Send a command that may fail: the chat may be gone, or the socket's maximum reached."""
        try:
            return await self._connection.send_command(kind, **fields)
        except ApiError as error:
            if error.retry_after is not None:
                raise
            log.info("the server rejected %s: %s", kind, error)
            return None

    async def _reload(self, chat_id: int) -> None:
        try:
            while await self._load_once(chat_id):
                pass
        finally:
            del self._reloading[chat_id]
        self.load_missing(chat_id)

    async def _load_once(self, chat_id: int) -> bool:
        """Load a chat. Returns True if that has to be repeated."""
        before = self._state.chats.get(chat_id)
        if before is not None and before.held_events is None:
            before.hold()
        try:
            loaded = await self._chats.get(chat_id)
        except NotFound:
            loaded = None
        is_unknown = before is None and chat_id in self._state.unknown_chats
        if self._state.chats.get(chat_id) is not before or (before is None and not is_unknown):
            return self._needs_reload(chat_id)  # events have removed or replaced the chat meanwhile
        if loaded is None:
            self._outbox.confirm_up_to(chat_id, None)
            self._on_events(self._state.remove_chat(chat_id))
            return False
        if before is None:
            self._on_events([events.ChatCreated(chat_id, loaded.version, loaded)])
        published = self._state.put_chat(loaded)
        self._outbox.confirm_up_to(chat_id, loaded.last_message_id)
        self._on_events(published if before is None else [events.ChatReset(chat_id), *published])
        chat = self._state.chats[chat_id]
        if chat.is_open and not chat.needs_reload:
            with suppress(NotFound):  # an event reports that the chat is gone
                await self._load_older(chat_id)
        return self._needs_reload(chat_id)

    def _needs_reload(self, chat_id: int) -> bool:
        chat = self._state.chats.get(chat_id)
        return chat is not None and chat.needs_reload

    async def _load_role(self, chat_id: int) -> None:
        try:
            loaded = await self._chats.get(chat_id)
        except NotFound:
            return  # an event reports that the chat is gone
        finally:
            self._loading_roles.discard(chat_id)
        chat = self._state.chats.get(chat_id)
        if chat is not None:
            chat.update_membership(loaded)
            self.load_missing(chat_id)  # the role may have changed again
