"""Coming back: what was missed is asked for, and what cannot be told is loaded anew."""

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
from blazechat.client.socket import Connection
from blazechat.client.state import State

MAX_IDS = 1000
"""Chats that one command or one page of the overview can name."""

log = logging.getLogger("blazechat.client")


class CatchUp:
    """Of one connection. Its tasks live in `group`, and end with the connection."""

    def __init__(
        self,
        connection: Connection,
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
        self._loading_roles: set[int] = set()  # chats in which one's own role is being asked for
        self._subscribed_chats: set[int] = (
            set()
        )  # of the chats that are open, those that this connection knows of
        self._subscribed_users: set[int] = set()

    async def run(self, versions: dict[int, int]) -> None:
        """Until all is known that happened since these versions of the chats."""
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

    async def _load_overview(self) -> None:
        first, skip = self._state.me is None, 0
        while True:
            overview = await self._chats.overview(limit=MAX_IDS, skip=skip)
            happened = self._state.apply_overview(overview)
            if first:  # what one has is no news to who begins
                happened = [event for event in happened if not isinstance(event, events.ChatCreated)]
            self._on_events(happened)
            if len(overview.chats) < MAX_IDS:
                break
            skip += MAX_IDS
        for chat_id in [*self._state.chats, *self._state.unknown_chats]:
            self.load_missing(chat_id)

    def load_missing(self, chat_id: int) -> None:
        """After something was told of a chat: ask for what could not be."""
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
        """Forget what is known of a chat, and load it anew; what is heard of it meanwhile waits."""
        chat = self._state.chats.get(chat_id)
        if chat_id in self._reloading or (chat is None and chat_id not in self._state.unknown_chats):
            return
        if chat is not None and chat.held_events is None:
            chat.hold()
        self._reloading[chat_id] = self._group.create_task(self._reload(chat_id))

    def is_reloading(self, chat_id: int) -> bool:
        """Whether a chat is being loaded, and so told newer than what was asked for before."""
        return chat_id in self._reloading

    def subscribe_soon(self, chat_id: int) -> None:
        """A chat that one had open has come back."""
        self._group.create_task(self.subscribe(chat_id))

    def _has_pending_commands(self) -> bool:
        """Whether one wants to hear, or to tell, what this connection does not know of yet."""
        state = self._state
        opened = (state.open_chats & state.chats.keys()) - self._subscribed_chats
        return bool(
            opened
            or state.watched_users - self._subscribed_users
            or state.pending_reads.keys() & state.chats.keys()
        )

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

    async def subscribe(self, chat_id: int) -> None:
        """Hear who writes and reads in a chat."""
        self._subscribed_chats.add(chat_id)
        ack = await self._try_command("subscribe", chat_id=chat_id)
        chat = self._state.chats.get(chat_id)
        if chat is not None:
            chat.update_read_cursors((ack and ack.cursors) or {})

    async def _try_command(self, kind: str, **fields: object) -> Ack | None:
        """The answer to what one can do without: the chat may be gone, or one wants to hear too much."""
        try:
            return await self._connection.send_command(kind, **fields)
        except ApiError as error:
            if error.retry_after is not None:
                raise
            log.info("%s was refused: %s", kind, error)
            return None

    async def _reload(self, chat_id: int) -> None:
        try:
            while await self._load_once(chat_id):
                pass
        finally:
            del self._reloading[chat_id]
        self.load_missing(chat_id)

    async def _load_once(self, chat_id: int) -> bool:
        """Load a chat once; whether it has to be done again."""
        before = self._state.chats.get(chat_id)
        if before is not None and before.held_events is None:
            before.hold()
        try:
            told = await self._chats.get(chat_id)
        except NotFound:
            told = None
        is_news = before is None and chat_id in self._state.unknown_chats
        if self._state.chats.get(chat_id) is not before or (before is None and not is_news):
            return self._needs_reload(chat_id)  # it has ended meanwhile, or come anew, as we were told
        if told is None:
            self._outbox.confirm_up_to(chat_id, None)
            self._on_events(self._state.remove_chat(chat_id))
            return False
        if before is None:
            self._on_events([events.ChatCreated(chat_id, told.version, told)])
        happened = self._state.put_chat(told)
        self._outbox.confirm_up_to(chat_id, told.last_message_id)
        self._on_events(happened if before is None else [events.ChatReset(chat_id), *happened])
        chat = self._state.chats[chat_id]
        if chat.is_open and not chat.needs_reload:
            with suppress(NotFound):  # which is told otherwise
                await self._load_older(chat_id)
        return self._needs_reload(chat_id)

    def _needs_reload(self, chat_id: int) -> bool:
        chat = self._state.chats.get(chat_id)
        return chat is not None and chat.needs_reload

    async def _load_role(self, chat_id: int) -> None:
        try:
            told = await self._chats.get(chat_id)
        except NotFound:
            return  # which is told otherwise
        finally:
            self._loading_roles.discard(chat_id)
        chat = self._state.chats.get(chat_id)
        if chat is not None:
            chat.update_membership(told)
            self.load_missing(chat_id)  # it may be in doubt again
