"""Opening a chat: loading its messages as they are wanted, and telling how far one has read."""

import time
from functools import partial
from typing import TYPE_CHECKING

from blazechat.client import BlazeChatError, Client

if TYPE_CHECKING:
    from blazechat.terminal.screens.chat import ChatScreen

PAGE_MESSAGES = 50
CONTEXT_MESSAGES = 10
"""Messages before the first unread one that are loaded with it."""
RETRY_PAUSE_SECONDS = 3.0
"""Seconds in which it is not tried again by itself."""
MARK_READ_SECONDS = 0.5


class ChatLoader:
    """Of one screen."""

    def __init__(self, screen: "ChatScreen", client: Client) -> None:
        self._view = screen
        self._client = client
        self._failed_at = 0.0
        self._marked_at = 0.0
        self.is_loading = False  # whether what is new in the open chat has not been seen yet

    def open(self, chat_id: int, before: int | None) -> None:
        """Load what is new in a chat, and let go of the one that was open `before`."""
        if before is not None and before != chat_id:
            self._view.run_in_background(partial(self._client.close_chat, before), group="close")
        self.is_loading = True
        self._view.run_in_background(partial(self._load, chat_id), group="open", exclusive=True)

    def load_older(self) -> None:
        """The next page of older messages, unless that has just failed."""
        if time.monotonic() - self._failed_at > RETRY_PAUSE_SECONDS:
            self._view.run_in_background(self._load_older, group="older", exclusive=True)

    def mark_read(self) -> None:
        """Tell that one has read the open chat to its end."""
        chat = self._view.chat
        if chat is not None and chat.unread and time.monotonic() - self._marked_at > MARK_READ_SECONDS:
            self._marked_at = time.monotonic()
            self._view.set_timer(MARK_READ_SECONDS + 0.05, self._view.schedule_refresh)  # for what comes until then
            self._view.run_in_background(partial(self._mark_read, chat.id, chat.last_message_id), group="read")

    async def _load(self, chat_id: int) -> None:
        try:
            unread = self._client.state.chats[chat_id].unread
            await self._client.open_chat(chat_id, min_messages=min(max(PAGE_MESSAGES, unread + CONTEXT_MESSAGES), 2 * PAGE_MESSAGES))
        except BlazeChatError as error:
            self._loading_failed(error)
            return
        finally:
            if self._is_open(chat_id):
                self.is_loading = False
        if self._is_open(chat_id):
            self._view.message_list.show_first_page()
            self._after_loading()

    async def _load_older(self) -> None:
        chat, conversation = self._view.chat, self._view.message_list
        if chat is None or chat.has_all_messages or self._view.gone_reason:
            return
        conversation.set_notice("loading older messages …")
        try:
            await self._client.load_older(chat.id, PAGE_MESSAGES)
        except BlazeChatError as error:
            self._loading_failed(error)
            return
        if self._is_open(chat.id):
            conversation.rebuild_in_place()
            self._after_loading()

    async def _mark_read(self, chat_id: int, up_to: int) -> None:
        await self._client.mark_read(chat_id, up_to)
        self._view.schedule_refresh()

    def _is_open(self, chat_id: int) -> bool:
        return self._view.chat is not None and self._view.chat.id == chat_id

    def _after_loading(self) -> None:
        chat = self._view.chat
        is_all = chat is not None and chat.has_all_messages
        self._view.message_list.set_notice("the beginning of this chat" if is_all else "")
        self._view.schedule_refresh()

    def _loading_failed(self, error: BlazeChatError) -> None:
        self._failed_at = time.monotonic()
        if not self._view.gone_reason:
            self._view.message_list.set_notice(f"older messages cannot be loaded right now: {error}")
