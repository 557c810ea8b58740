"""Loads the messages of the open chat, page by page, and marks them as read."""

import time
from functools import partial

from blazechat.client import BlazeChatError, ConnectionState
from blazechat.terminal.commands.view import ChatView

PAGE_MESSAGES = 50
MAX_PAGE_MESSAGES = 100
"""The server's limit for one page."""
CONTEXT_MESSAGES = 10
"""Messages before the first unread one that are loaded with it."""
MAX_LOADED_MEMBERS = 500
"""Larger chats show the number of all members, bots included."""
RETRY_PAUSE_SECONDS = 3.0
"""Pause after a failure before older messages are requested again."""
MARK_READ_SECONDS = 0.5
"""The read cursor is sent at most once per this time."""


class ChatLoader:
    """The loader of one screen.

    `is_loading` is True from the opening of a chat until its first page has arrived.
    """

    def __init__(self, view: ChatView) -> None:
        self.is_loading = False
        self._view = view
        self._client = view.client
        self._failed_at = 0.0
        self._marked_at = 0.0
        self._members_wanted: tuple[int, int] | None = None  # the chat and version that were requested last

    def open(self, chat_id: int, previous_chat_id: int | None) -> None:
        """Load the newest page of a chat, and close the chat that was open before."""
        if previous_chat_id is not None and previous_chat_id != chat_id:
            close = partial(self._client.close_chat, previous_chat_id)
            self._view.run_in_background(close, group="close")
        self.is_loading = True
        self._members_wanted = None
        self._view.run_in_background(partial(self._load, chat_id), group="open", exclusive=True)

    def load_older(self) -> None:
        """Load the next page of older messages, unless an attempt has just failed."""
        if time.monotonic() - self._failed_at > RETRY_PAUSE_SECONDS:
            self._view.run_in_background(self._load_older, group="older", exclusive=True)

    async def load_back_to(self, message_id: int) -> bool:
        """Load older messages of the open chat until this one is loaded; the list says how many are loaded.

        Returns False if the chat has no such message, or if the user opened another chat.
        """
        chat, message_list = self._view.chat, self._view.message_list
        if chat is None or message_id in chat.messages:
            return chat is not None
        while message_id not in chat.messages and not chat.has_all_messages:
            message_list.set_notice(f"loading older messages … {len(chat.messages):,}")
            await self._client.load_older(chat.id, MAX_PAGE_MESSAGES)
            if not self._is_open(chat.id):
                return False
        message_list.rebuild_in_place()
        self._after_loading()
        return message_id in chat.messages

    def load_members(self) -> None:
        """Load all members of the open chat once, unless they are too many."""
        chat = self._view.chat
        if chat is None or chat.has_all_members or chat.member_count > MAX_LOADED_MEMBERS:
            return
        if self._client.connection_state is not ConnectionState.ONLINE:
            return
        wanted = (chat.id, chat.members_version)
        if wanted != self._members_wanted:
            self._members_wanted = wanted
            load = partial(self._load_members, chat.id)
            self._view.run_in_background(load, group="members", exclusive=True)

    def mark_read(self) -> None:
        """Set the read cursor of the open chat to its last message."""
        chat = self._view.chat
        if chat is not None and chat.unread and time.monotonic() - self._marked_at > MARK_READ_SECONDS:
            self._marked_at = time.monotonic()
            # The refresh calls this method again, for messages that arrive until then.
            self._view.set_timer(MARK_READ_SECONDS + 0.05, self._view.schedule_refresh)
            mark = partial(self._mark_read, chat.id, chat.last_message_id)
            self._view.run_in_background(mark, group="read")

    async def _load(self, chat_id: int) -> None:
        try:
            unread = self._client.state.chats[chat_id].unread
            count = min(max(PAGE_MESSAGES, unread + CONTEXT_MESSAGES), 2 * PAGE_MESSAGES)
            await self._client.open_chat(chat_id, min_messages=count)
        except BlazeChatError as error:
            self._show_failure(error)
            return
        finally:
            if self._is_open(chat_id):
                self.is_loading = False
        if self._is_open(chat_id):
            self._view.message_list.show_first_page()
            self._after_loading()

    async def _load_older(self) -> None:
        chat, message_list = self._view.chat, self._view.message_list
        if chat is None or chat.has_all_messages or self._view.gone_reason:
            return
        message_list.set_notice("loading older messages …")
        try:
            await self._client.load_older(chat.id, PAGE_MESSAGES)
        except BlazeChatError as error:
            self._show_failure(error)
            return
        if self._is_open(chat.id):
            message_list.rebuild_in_place()
            self._after_loading()

    async def _load_members(self, chat_id: int) -> None:
        try:
            await self._client.load_members(chat_id)
        except BlazeChatError:
            return  # requested again when the chat is opened again, or its members change
        self._view.schedule_refresh()

    async def _mark_read(self, chat_id: int, message_id: int) -> None:
        await self._client.mark_read(chat_id, message_id)
        self._view.schedule_refresh()

    def _is_open(self, chat_id: int) -> bool:
        return self._view.chat is not None and self._view.chat.id == chat_id

    def _after_loading(self) -> None:
        chat = self._view.chat
        is_complete = chat is not None and chat.has_all_messages
        self._view.message_list.set_notice("the beginning of this chat" if is_complete else "")
        self._view.schedule_refresh()

    def _show_failure(self, error: BlazeChatError) -> None:
        self._failed_at = time.monotonic()
        if not self._view.gone_reason:
            self._view.message_list.set_notice(f"older messages cannot be loaded: {error}")
