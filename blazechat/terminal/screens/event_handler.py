"""Receives the client's events and collects what the chat screen has to redraw for them."""

import asyncio
from functools import partial

from blazechat.client import (
    BlazeChatError,
    ChatCreated,
    ChatDeleted,
    ChatGone,
    ChatReset,
    ConnectionChanged,
    ConnectionState,
    Event,
    LoggedOut,
    MemberRemoved,
    Message,
    MessageCreated,
    Notice,
    ReadCursorMoved,
    SendStateChanged,
    UserUpdated,
)
from blazechat.client.events import ChatEvent, MessageEvent
from blazechat.terminal import notifications
from blazechat.terminal.commands.view import ChatView
from blazechat.terminal.widgets.status_bar import Outage

EVENTS_PER_TURN = 50
"""Events handled in a row before other tasks, such as key handling, run."""
MAX_WATCHED_USERS = 500
"""Users of direct chats whose presence is watched."""


class EventHandler:
    """The event handler of one screen. The screen reads and resets the public attributes."""

    def __init__(self, view: ChatView) -> None:
        self.changed_ids: set[int] = set()
        """Ids of messages of the open chat that were created or changed since the last redraw."""
        self.needs_rebuild = False
        """True if all messages of the open chat must be drawn again."""
        self.new_below_count = 0
        """New messages of other users below the visible part of the open chat."""
        self.has_focus = True
        """False while the user works in another window."""
        self._outage_reason: str | None = None  # None while there is a connection, and before the first
        self._retry_at: float | None = None  # loop time of the next attempt to connect
        self._view = view
        self._client = view.client

    async def listen(self) -> None:
        """Handle events until the session ends."""
        handled = 0
        try:
            async for event in self._client.events():
                self._handle(event)
                handled += 1
                if handled % EVENTS_PER_TURN == 0:
                    await asyncio.sleep(0)
        except LoggedOut as error:
            self._view.save_draft()
            self._view.end_session(str(error))
        except BlazeChatError as error:
            self._handle_connection(ConnectionChanged(ConnectionState.ENDED, str(error)))

    @property
    def outage(self) -> Outage | None:
        """The interruption of the connection; None while there is none."""
        if self._outage_reason is None:
            return None
        if self._retry_at is None:
            return Outage(self._outage_reason, None)
        return Outage(self._outage_reason, max(0.0, self._retry_at - asyncio.get_running_loop().time()))

    def _handle(self, event: Event) -> None:
        view = self._view
        open_id = view.chat.id if view.chat is not None else None
        match event:
            case ConnectionChanged():
                self._handle_connection(event)
            case SendStateChanged(message=message) if message.chat_id == open_id:
                view.message_list.update_pending()
            case ReadCursorMoved(chat_id=chat_id) if chat_id == open_id:
                view.message_list.update_read_marks()
            case UserUpdated():
                self.needs_rebuild = True
            case Notice(user=user, content=content):
                view.show_response(f"{user.display_name} (only you see this)", content)
            case ChatReset(chat_id=chat_id) if chat_id == open_id and self._has_chat(chat_id):
                view.chat = view.message_list.chat = self._client.state.chats[chat_id]
                self.needs_rebuild = True
            case ChatDeleted(chat_id=chat_id) | ChatGone(chat_id=chat_id) if chat_id == open_id:
                view.mark_gone("This chat was deleted, or you are no longer a member of it.")
            case MemberRemoved(chat_id=chat_id) if chat_id == open_id and not self._has_chat(chat_id):
                view.mark_gone("You are no longer a member of this chat.")
            case ChatEvent(chat_id=chat_id):
                self._handle_chat_event(event, chat_id == open_id)
        view.schedule_refresh()

    def _has_chat(self, chat_id: int) -> bool:
        return chat_id in self._client.state.chats

    def _handle_chat_event(self, event: ChatEvent, is_open: bool) -> None:
        if isinstance(event, MessageEvent):
            if is_open:
                self.changed_ids.add(event.message.id)
            if isinstance(event, MessageCreated):
                self._count_and_notify(event.chat_id, event.message, is_open)
        elif is_open and self._has_chat(event.chat_id):
            self._view.replace_chat(self._client.state.chats[event.chat_id])
        elif isinstance(event, ChatCreated):
            self._watch_presence()
            if self._view.chat is None:
                self._view.open_chat(event.chat_id)

    def _count_and_notify(self, chat_id: int, message: Message, is_open: bool) -> None:
        chat, state = self._client.state.chats.get(chat_id), self._client.state
        if is_open and not self._view.message_list.is_at_end and message.user_id != state.my_id:
            self.new_below_count += 1
        if chat is not None and not self.has_focus and notifications.should_notify(chat, message, state):
            self._view.notify_message(chat, message)

    def _handle_connection(self, event: ConnectionChanged) -> None:
        loop = asyncio.get_running_loop()
        self._retry_at = loop.time() + event.retry_in if event.retry_in is not None else None
        if event.state is ConnectionState.OFFLINE:
            self._outage_reason = event.reason
        elif event.state is not ConnectionState.CONNECTING:  # an attempt alone does not end an outage
            self._outage_reason = None
        if event.state is ConnectionState.ONLINE:
            self._handle_online()

    def _handle_online(self) -> None:
        chats = self._client.state.chats_by_activity()
        if self._view.chat is None and chats:
            self._view.open_chat(chats[0].id)
        if any(not self._has_chat(pending.chat_id) for pending in self._client.outbox.messages()):
            self._view.show_notice("You have unsent messages for chats that are gone. /unsent lists them.")
        self._watch_presence()
        self._view.refresh_welcome()
        self._view.run_in_background(self._load_mentions, group="mentions", exclusive=True)

    async def _load_mentions(self) -> None:
        await self._view.chat_list.mentions.load()
        self._view.schedule_refresh()

    def _watch_presence(self) -> None:
        """Subscribe to the presence of the users of direct chats."""
        chats = self._client.state.chats_by_activity()
        user_ids = [chat.other_members[0].id for chat in chats if not chat.is_group and chat.other_members]
        watch = partial(self._client.watch_users, user_ids[:MAX_WATCHED_USERS])
        self._view.run_in_background(watch, group="watch")
