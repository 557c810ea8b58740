"""Opening a chat: loading its messages as they are wanted, and telling how far one has read."""

import time
from functools import partial
from typing import TYPE_CHECKING

from blazechat.client import BlazeChatError, Client

if TYPE_CHECKING:
    from blazechat.terminal.screens.chat import ChatScreen

PAGE = 50
AROUND = 10
"""Messages before the first unread one that are loaded with it."""
AFTER_FAILURE = 3.0
"""Seconds in which it is not tried again by itself."""
MARKED_EVERY = 0.5


class ChatLoader:
    """Of one screen."""

    def __init__(self, screen: "ChatScreen", client: Client) -> None:
        self._screen = screen
        self._client = client
        self._failed_at = 0.0
        self._marked_at = 0.0
        self.is_loading = False  # whether what is new in the open chat has not been seen yet

    def begin(self, chat_id: int, before: int | None) -> None:
        """Load what is new in a chat, and let go of the one that was open `before`."""
        if before is not None and before != chat_id:
            self._screen.background(partial(self._client.close_chat, before), group="close")
        self.is_loading = True
        self._screen.background(partial(self._open, chat_id), group="open", exclusive=True)

    def load_older(self) -> None:
        """The next page of older messages, unless that has just failed."""
        if time.monotonic() - self._failed_at > AFTER_FAILURE:
            self._screen.background(self._load_older, group="older", exclusive=True)

    def mark_read(self) -> None:
        """Tell that one has read the open chat to its end."""
        chat = self._screen.chat
        if chat is not None and chat.unread and time.monotonic() - self._marked_at > MARKED_EVERY:
            self._marked_at = time.monotonic()
            self._screen.set_timer(MARKED_EVERY + 0.05, self._screen.show_soon)  # for what comes until then
            self._screen.background(partial(self._mark_read, chat.id, chat.last_message_id), group="read")

    async def _open(self, chat_id: int) -> None:
        try:
            unread = self._client.state.chats[chat_id].unread
            await self._client.open(chat_id, messages=min(max(PAGE, unread + AROUND), 2 * PAGE))
        except BlazeChatError as error:
            self._cannot_load(error)
            return
        finally:
            if self._is_open(chat_id):
                self.is_loading = False
        if self._is_open(chat_id):
            self._screen.conversation.loaded_first()
            self._after_loading()

    async def _load_older(self) -> None:
        chat, conversation = self._screen.chat, self._screen.conversation
        if chat is None or chat.has_all or self._screen.gone:
            return
        conversation.set_notice("loading older messages …")
        try:
            await self._client.load_older(chat.id, PAGE)
        except BlazeChatError as error:
            self._cannot_load(error)
            return
        if self._is_open(chat.id):
            conversation.older_came()
            self._after_loading()

    async def _mark_read(self, chat_id: int, up_to: int) -> None:
        await self._client.mark_read(chat_id, up_to)
        self._screen.show_soon()

    def _is_open(self, chat_id: int) -> bool:
        return self._screen.chat is not None and self._screen.chat.id == chat_id

    def _after_loading(self) -> None:
        chat = self._screen.chat
        is_all = chat is not None and chat.has_all
        self._screen.conversation.set_notice("the beginning of this chat" if is_all else "")
        self._screen.show_soon()

    def _cannot_load(self, error: BlazeChatError) -> None:
        self._failed_at = time.monotonic()
        if not self._screen.gone:
            self._screen.conversation.set_notice(f"older messages cannot be loaded right now: {error}")
