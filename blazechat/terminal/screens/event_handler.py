"""What happens is heard here: it is noted for the screen, which shows it a moment later, all together."""

import asyncio
from functools import partial
from typing import TYPE_CHECKING

from blazechat.client import (
    BlazeChatError,
    ChatCreated,
    ChatDeleted,
    ChatGone,
    ChatReset,
    Client,
    ConnectionState,
    Event,
    ConnectionChanged,
    LoggedOut,
    MemberRemoved,
    Message,
    MessageCreated,
    Notice,
    ReadCursorMoved,
    SendStateChanged,
    UserUpdated,
)
from blazechat.client.events import MessageEvent, ChatEvent
from blazechat.terminal import notifications

if TYPE_CHECKING:
    from blazechat.terminal.screens.chat import ChatScreen

EVENTS_PER_TURN = 50
"""Events that are taken before the keyboard has its turn again."""
MAX_WATCHED_USERS = 500
"""People of direct chats of whom is shown whether they are here."""


class EventHandler:
    """Of one screen. `changed` are messages of the open chat, `renew` whether all of it has changed."""

    def __init__(self, screen: "ChatScreen", client: Client) -> None:
        self.changed_ids: set[int] = set()
        self.needs_rebuild = False
        self.retry_at: float | None = None  # loop time of the next try to connect
        self.new_below_count = 0  # new messages further down than one looks
        self.has_focus = True  # whether one looks at this terminal at all
        self._view = screen
        self._client = client

    async def listen(self) -> None:
        """Until the session ends."""
        taken = 0
        try:
            async for event in self._client.events():
                self._handle(event)
                taken += 1
                if taken % EVENTS_PER_TURN == 0:
                    await asyncio.sleep(0)
        except LoggedOut as error:
            self._view.save_draft()
            self._view.post_message(self._view.SessionOver(str(error)))
        except BlazeChatError as error:
            self._link_changed(ConnectionChanged(ConnectionState.ENDED, str(error)))

    @property
    def retry_in(self) -> float | None:
        """Seconds to the next try to connect."""
        if self.retry_at is None:
            return None
        return max(0.0, self.retry_at - asyncio.get_running_loop().time())

    def _handle(self, event: Event) -> None:
        screen = self._view
        here = screen.chat.id if screen.chat is not None else None
        match event:
            case ConnectionChanged():
                self._link_changed(event)
            case SendStateChanged(message=draft) if draft.chat_id == here:
                screen.message_list.update_pending()
            case ReadCursorMoved(chat_id=chat_id) if chat_id == here:
                screen.message_list.update_read_marks()
            case UserUpdated():
                self.needs_rebuild = True
            case Notice(user=user, content=content):
                screen.show_notice(f"{user.display_name} (only you see this)", content)
            case ChatReset(chat_id=chat_id) if chat_id == here and self._has_chat(chat_id):
                screen.chat = screen.message_list.chat = self._client.state.chats[chat_id]
                self.needs_rebuild = True
            case ChatDeleted(chat_id=chat_id) | ChatGone(chat_id=chat_id) if chat_id == here:
                screen.mark_gone("This chat was deleted, or you are not in it any more.")
            case MemberRemoved(chat_id=chat_id) if chat_id == here and not self._has_chat(chat_id):
                screen.mark_gone("You are not in this chat any more.")
            case ChatEvent(chat_id=chat_id):
                self._handle_chat_event(event, chat_id == here)
        screen.schedule_refresh()

    def _has_chat(self, chat_id: int) -> bool:
        return chat_id in self._client.state.chats

    def _handle_chat_event(self, event: ChatEvent, is_here: bool) -> None:
        if isinstance(event, MessageEvent):
            if is_here:
                self.changed_ids.add(event.message.id)
            if isinstance(event, MessageCreated):
                self._count_and_notify(event.chat_id, event.message, is_here)
        elif is_here and self._has_chat(event.chat_id):
            self._view.replace_chat(self._client.state.chats[event.chat_id])
        elif isinstance(event, ChatCreated):
            self._watch_presence()
            if self._view.chat is None:
                self._view.open_chat(event.chat_id)

    def _count_and_notify(self, chat_id: int, message: Message, is_here: bool) -> None:
        chat, state = self._client.state.chats.get(chat_id), self._client.state
        if is_here and not self._view.message_list.is_at_end and message.user_id != state.my_id:
            self.new_below_count += 1
        if chat is not None and not self.has_focus and notifications.should_notify(chat, message, state):
            self._view.notify_message(chat, message)

    def _link_changed(self, event: ConnectionChanged) -> None:
        loop = asyncio.get_running_loop()
        self.retry_at = loop.time() + event.retry_in if event.retry_in is not None else None
        if event.state is ConnectionState.ONLINE:
            self._handle_online()

    def _handle_online(self) -> None:
        chats = self._client.state.by_activity()
        if self._view.chat is None and chats:
            self._view.open_chat(chats[0].id)
        if any(not self._has_chat(draft.chat_id) for draft in self._client.outbox.messages()):
            self._view.show_toast("Some of what you wrote is for chats that are gone: /unsent shows it.")
        self._watch_presence()

    def _watch_presence(self) -> None:
        """Hear whether those are here with whom one has a direct chat."""
        chats = self._client.state.by_activity()
        people = [chat.other_members[0].id for chat in chats if not chat.is_group and chat.other_members]
        self._view.run_in_background(partial(self._client.watch_users, people[:MAX_WATCHED_USERS]), group="watch")
