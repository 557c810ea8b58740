"""Coming back: what was missed is asked for, and what cannot be told is loaded anew."""

import asyncio
from collections.abc import Awaitable, Callable, Iterable

from blazechat.client import events
from blazechat.client.calls import ChatCalls
from blazechat.client.errors import InvalidInput, NotFound
from blazechat.client.events import Event
from blazechat.client.outbox import Condition, Outbox
from blazechat.client.socket import Connection
from blazechat.client.state import State

AT_ONCE = 1000
"""Chats that one command or one page of the overview can name."""


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
        for chat_id in sorted(self._state.opened & self._state.chats.keys()):
            await self.open(chat_id)
        await self._watch()
        await self._mark()
        while self._reloading:
            await asyncio.wait(self._reloading.values())

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
        self._state.overview_is_whole()
        for chat_id in list(self._state.chats):
            self.look_after(chat_id)

    def look_after(self, chat_id: int) -> None:
        """After something was told of a chat: ask for what could not be."""
        chat = self._state.chats.get(chat_id)
        if chat is None or chat.held is not None:
            return
        if chat.must_reload:
            self.reload(chat_id)
        elif not chat.role_is_known:
            chat.role_is_known = True
            self._group.create_task(self._ask_role(chat_id))

    def reload(self, chat_id: int) -> None:
        """Forget what is known of a chat, and load it anew; what is heard of it meanwhile waits."""
        chat = self._state.chats.get(chat_id)
        if chat is None or chat_id in self._reloading:
            return
        chat.must_reload = False
        if chat.held is None:
            chat.hold()
        task = self._group.create_task(self._reload(chat_id))
        self._reloading[chat_id] = task
        task.add_done_callback(lambda _: self._reloading.pop(chat_id, None))

    def open_soon(self, chat_id: int) -> None:
        """A chat that one had open has come back."""
        self._group.create_task(self.open(chat_id))

    async def open(self, chat_id: int) -> None:
        """Hear who writes and reads in a chat; it may be gone by now."""
        try:
            ack = await self._connection.ask("subscribe", chat_id=chat_id)
        except NotFound:
            return
        chat = self._state.chats.get(chat_id)
        if chat is not None:
            chat.take_cursors(ack.cursors or {})

    async def _watch(self) -> None:
        users = sorted(self._state.watched)
        for begin in range(0, len(users), AT_ONCE):
            ack = await self._connection.ask("subscribe", users=users[begin : begin + AT_ONCE])
            self._state.take_presence(ack.presence or [])

    async def _mark(self) -> None:
        for chat_id, up_to in list(self._state.marks.items()):
            try:
                ack = await self._connection.ask("read", chat_id=chat_id, up_to=up_to)
            except (NotFound, InvalidInput):
                self._state.marks.pop(chat_id, None)
            else:
                self._state.marked(chat_id, up_to, ack.read_id)

    async def _reload(self, chat_id: int) -> None:
        while True:
            before = self._state.chats.get(chat_id)
            try:
                told = await self._chats.show(chat_id)
            except NotFound:
                told = None
            if before is None or self._state.chats.get(chat_id) is not before:
                return  # it has ended meanwhile, or come anew, as we were told
            if told is None:
                self._forget_sent(chat_id, None)
                self._tell(self._state.gone(chat_id))
                return
            happened = self._state.put(told)
            self._forget_sent(chat_id, told.last_message_id)
            chat = self._state.chats[chat_id]
            self._tell([events.ChatReset(chat_id, chat), *happened])
            if chat.is_open:
                await self._load_older(chat_id)
            if not chat.must_reload:
                return
            chat.must_reload = False

    async def _ask_role(self, chat_id: int) -> None:
        try:
            told = await self._chats.show(chat_id)
        except NotFound:
            return  # which is told otherwise
        chat = self._state.chats.get(chat_id)
        if chat is not None:
            chat.take_seat(told)

    def _forget_sent(self, chat_id: int, newest: int | None) -> None:
        for draft in self._outbox.of(chat_id):
            if draft.condition is Condition.SENT and (newest is None or (draft.message_id or 0) <= newest):
                self._outbox.forget(draft)
