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
from blazechat.client.resources import ChatCalls
from blazechat.client.socket import Connection
from blazechat.client.state import State

AT_ONCE = 1000
"""Chats that one command or one page of the overview can name."""

log = logging.getLogger("blazechat.client")


class CatchUp:
    """Of one connection. Its tasks live in `group`, and end with the connection."""

    def __init__(
        self,
        connection: Connection,
        state: State,
        outbox: Outbox,
        chats: ChatCalls,
        tell: Callable[[Iterable[Event]], None],
        load_older: Callable[[int], Awaitable[int]],
        group: asyncio.TaskGroup,
    ) -> None:
        self._connection, self._state, self._outbox, self._chats = connection, state, outbox, chats
        self._tell = tell
        self._load_older = load_older
        self._group = group
        self._reloading: dict[int, asyncio.Task[None]] = {}
        self._asking: set[int] = set()  # chats in which one's own role is being asked for
        self._opened: set[int] = set()  # of the chats that are open, those that this connection knows of
        self._watched: set[int] = set()

    async def run(self, versions: dict[int, int]) -> None:
        """Until all is known that happened since these versions of the chats."""
        known = list(versions.items())
        resumes = [
            self._group.create_task(
                self._connection.ask("resume", chats=dict(known[begin : begin + AT_ONCE]))
            )
            for begin in range(0, len(known), AT_ONCE)
        ]
        await self._overview()
        for resume in resumes:
            await resume
        while self._reloading or self._has_wishes():
            if self._reloading:
                await asyncio.wait(self._reloading.values())
            await self._wishes()

    async def _overview(self) -> None:
        first, skip = self._state.me is None, 0
        while True:
            overview = await self._chats.overview(limit=AT_ONCE, skip=skip)
            happened = self._state.take_overview(overview)
            if first:  # what one has is no news to who begins
                happened = [event for event in happened if not isinstance(event, events.ChatCreated)]
            self._tell(happened)
            if len(overview.chats) < AT_ONCE:
                break
            skip += AT_ONCE
        for chat_id in [*self._state.chats, *self._state.unknown]:
            self.look_after(chat_id)

    def look_after(self, chat_id: int) -> None:
        """After something was told of a chat: ask for what could not be."""
        chat = self._state.chats.get(chat_id)
        self._outbox.seen(chat_id, None if chat is None else chat.last_message_id)
        if chat is None and chat_id in self._state.unknown:
            self.reload(chat_id)
        if chat is None or chat.held is not None:
            return
        if chat.must_reload:
            self.reload(chat_id)
        elif not chat.role_is_known and chat_id not in self._asking:
            self._asking.add(chat_id)
            self._group.create_task(self._ask_role(chat_id))

    def reload(self, chat_id: int) -> None:
        """Forget what is known of a chat, and load it anew; what is heard of it meanwhile waits."""
        chat = self._state.chats.get(chat_id)
        if chat_id in self._reloading or (chat is None and chat_id not in self._state.unknown):
            return
        if chat is not None and chat.held is None:
            chat.hold()
        self._reloading[chat_id] = self._group.create_task(self._reload(chat_id))

    def is_reloading(self, chat_id: int) -> bool:
        """Whether a chat is being loaded, and so told newer than what was asked for before."""
        return chat_id in self._reloading

    def open_soon(self, chat_id: int) -> None:
        """A chat that one had open has come back."""
        self._group.create_task(self.open(chat_id))

    def _has_wishes(self) -> bool:
        """Whether one wants to hear, or to tell, what this connection does not know of yet."""
        state = self._state
        opened = (state.opened & state.chats.keys()) - self._opened
        return bool(opened or state.watched - self._watched or state.marks.keys() & state.chats.keys())

    async def _wishes(self) -> None:
        for chat_id in sorted((self._state.opened & self._state.chats.keys()) - self._opened):
            await self.open(chat_id)
        users = sorted(self._state.watched - self._watched)
        for begin in range(0, len(users), AT_ONCE):
            ack = await self._ask("subscribe", users=users[begin : begin + AT_ONCE])
            self._state.take_presence((ack and ack.presence) or [])
        self._watched.update(users)
        for chat_id, up_to in list(self._state.marks.items()):
            ack = await self._ask("read", chat_id=chat_id, up_to=up_to)
            self._state.marked(chat_id, up_to, ack.read_id if ack else None)

    async def open(self, chat_id: int) -> None:
        """Hear who writes and reads in a chat."""
        self._opened.add(chat_id)
        ack = await self._ask("subscribe", chat_id=chat_id)
        chat = self._state.chats.get(chat_id)
        if chat is not None:
            chat.take_cursors((ack and ack.cursors) or {})

    async def _ask(self, kind: str, **fields: object) -> Ack | None:
        """The answer to what one can do without: the chat may be gone, or one wants to hear too much."""
        try:
            return await self._connection.ask(kind, **fields)
        except ApiError as error:
            if error.retry_after is not None:
                raise
            log.info("%s was refused: %s", kind, error)
            return None

    async def _reload(self, chat_id: int) -> None:
        try:
            while await self._load(chat_id):
                pass
        finally:
            del self._reloading[chat_id]
        self.look_after(chat_id)

    async def _load(self, chat_id: int) -> bool:
        """Load a chat once; whether it has to be done again."""
        before = self._state.chats.get(chat_id)
        if before is not None and before.held is None:
            before.hold()
        try:
            told = await self._chats.show(chat_id)
        except NotFound:
            told = None
        is_news = before is None and chat_id in self._state.unknown
        if self._state.chats.get(chat_id) is not before or (before is None and not is_news):
            return self._must_reload(chat_id)  # it has ended meanwhile, or come anew, as we were told
        if told is None:
            self._outbox.seen(chat_id, None)
            self._tell(self._state.gone(chat_id))
            return False
        if before is None:
            self._tell([events.ChatCreated(chat_id, told.version, told)])
        happened = self._state.put(told)
        self._outbox.seen(chat_id, told.last_message_id)
        chat = self._state.chats[chat_id]
        self._tell(happened if before is None else [events.ChatReset(chat_id, chat), *happened])
        if chat.is_open and not chat.must_reload:
            with suppress(NotFound):  # which is told otherwise
                await self._load_older(chat_id)
        return self._must_reload(chat_id)

    def _must_reload(self, chat_id: int) -> bool:
        chat = self._state.chats.get(chat_id)
        return chat is not None and chat.must_reload

    async def _ask_role(self, chat_id: int) -> None:
        try:
            told = await self._chats.show(chat_id)
        except NotFound:
            return  # which is told otherwise
        finally:
            self._asking.discard(chat_id)
        chat = self._state.chats.get(chat_id)
        if chat is not None:
            chat.take_seat(told)
            self.look_after(chat_id)  # it may be in doubt again
