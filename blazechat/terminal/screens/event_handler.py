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
    LinkChanged,
    LoggedOut,
    MemberRemoved,
    Message,
    MessageCreated,
    Notice,
    ReadMoved,
    Sending,
    UserUpdated,
)
from blazechat.client.events import AboutMessage, ChatEvent
from blazechat.terminal import notifications

if TYPE_CHECKING:
    from blazechat.terminal.screens.chat import ChatScreen

AT_ONCE = 50
"""Events that are taken before the keyboard has its turn again."""
WATCHED = 500
"""People of direct chats of whom is shown whether they are here."""


class EventHandler:
    """Of one screen. `changed` are messages of the open chat, `renew` whether all of it has changed."""

    def __init__(self, screen: "ChatScreen", client: Client) -> None:
        self.changed: set[int] = set()
        self.renew = False
        self.retry_at: float | None = None  # loop time of the next try to connect
        self.new_below = 0  # new messages further down than one looks
        self.has_focus = True  # whether one looks at this terminal at all
        self._screen = screen
        self._client = client

    async def listen(self) -> None:
        """Until the session ends."""
        taken = 0
        try:
            async for event in self._client.events():
                self._take(event)
                taken += 1
                if taken % AT_ONCE == 0:
                    await asyncio.sleep(0)
        except LoggedOut as error:
            self._screen.keep_draft()
            self._screen.post_message(self._screen.Ended(str(error)))
        except BlazeChatError as error:
            self._link_changed(LinkChanged(ConnectionState.ENDED, str(error)))

    @property
    def retry_in(self) -> float | None:
        """Seconds to the next try to connect."""
        if self.retry_at is None:
            return None
        return max(0.0, self.retry_at - asyncio.get_running_loop().time())

    def _take(self, event: Event) -> None:
        screen = self._screen
        here = screen.chat.id if screen.chat is not None else None
        match event:
            case LinkChanged():
                self._link_changed(event)
            case Sending(draft=draft) if draft.chat_id == here:
                screen.conversation.update_drafts()
            case ReadMoved(chat_id=chat_id) if chat_id == here:
                screen.conversation.update_cursors()
            case UserUpdated():
                self.renew = True
            case Notice(user=user, content=content):
                screen.hand(f"{user.display_name} (only you see this)", content)
            case ChatReset(chat_id=chat_id, chat=chat) if chat_id == here:
                screen.chat = screen.conversation.chat = chat
                self.renew = True
            case ChatDeleted(chat_id=chat_id) | ChatGone(chat_id=chat_id) if chat_id == here:
                screen.lose("This chat was deleted, or you are not in it any more.")
            case MemberRemoved(chat_id=chat_id) if chat_id == here and not self._knows(chat_id):
                screen.lose("You are not in this chat any more.")
            case ChatEvent(chat_id=chat_id):
                self._take_chat_event(event, chat_id == here)
        screen.show_soon()

    def _knows(self, chat_id: int) -> bool:
        return chat_id in self._client.state.chats

    def _take_chat_event(self, event: ChatEvent, is_here: bool) -> None:
        if isinstance(event, AboutMessage):
            if is_here:
                self.changed.add(event.message.id)
            if isinstance(event, MessageCreated):
                self._call(event.chat_id, event.message, is_here)
        elif is_here and self._knows(event.chat_id):
            self._screen.take_chat(self._client.state.chats[event.chat_id])
        elif isinstance(event, ChatCreated):
            self._watch()
            if self._screen.chat is None:
                self._screen.open_chat(event.chat_id)

    def _call(self, chat_id: int, message: Message, is_here: bool) -> None:
        chat, state = self._client.state.chats.get(chat_id), self._client.state
        if is_here and not self._screen.conversation.at_end and message.user_id != state.my_id:
            self.new_below += 1
        if chat is not None and not self.has_focus and notifications.is_worth_it(chat, message, state):
            self._screen.call(chat, message)

    def _link_changed(self, event: LinkChanged) -> None:
        loop = asyncio.get_running_loop()
        self.retry_at = loop.time() + event.retry_in if event.retry_in is not None else None
        if event.link is ConnectionState.ONLINE:
            self._came_online()

    def _came_online(self) -> None:
        chats = self._client.state.by_activity()
        if self._screen.chat is None and chats:
            self._screen.open_chat(chats[0].id)
        if any(not self._knows(draft.chat_id) for draft in self._client.outbox.all()):
            self._screen.say("Some of what you wrote is for chats that are gone: /unsent shows it.")
        self._watch()

    def _watch(self) -> None:
        """Hear whether those are here with whom one has a direct chat."""
        chats = self._client.state.by_activity()
        people = [chat.others[0].id for chat in chats if not chat.is_group and chat.others]
        self._screen.background(partial(self._client.watch, people[:WATCHED]), group="watch")
