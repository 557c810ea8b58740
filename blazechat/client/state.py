"""What a client knows: chats, messages, read cursors, who is here. No I/O.

Fed with what the server says, in its order, it equals the server's state after any interruption. Whatever
comes is told on, once, as an event.

Of each chat it keeps a window: all messages from some id up to the newest. It begins with the last message
and grows downwards as older ones are loaded.
"""

import time
from collections.abc import Iterable

import msgspec

from blazechat.client import events
from blazechat.client.chat import ChatState
from blazechat.client.events import Event
from blazechat.client.frames import ChatFrame, UnversionedEvent
from blazechat.client.schemas import Account, MyChat, Overview, Presence, User

TYPING_SECONDS = 6.0
"""Seconds after which somebody who said that they write is not taken to be at it any more."""


class State:
    """`me` is None until one is logged in; `keep` is how many messages a chat keeps that is not open."""

    def __init__(self, kept_messages: int) -> None:
        self.me: Account | None = None
        self.chats: dict[int, ChatState] = {}
        self.presence: dict[int, Presence] = {}
        self.open_chats: set[int] = set()  # chats of which one hears who reads and types
        self.watched_users: set[int] = set()  # users of whom one hears whether they are here
        self.pending_reads: dict[
            int, int
        ] = {}  # how far one has read, by chat, where the server does not know it yet
        self._kept_messages = kept_messages
        self.my_id = 0  # nobody's, until one is connected
        self._unknown_events: dict[int, list[ChatFrame]] = {}  # of chats that are not known yet
        self._ended_chats: set[int] = set()  # chats that ended since one is back

    def by_activity(self) -> list[ChatState]:
        """All chats, the latest first."""
        return sorted(self.chats.values(), key=lambda chat: chat.last_activity_at, reverse=True)

    # Coming back

    def begin_sync(self, user_id: int) -> dict[int, int]:
        """A new connection: what comes is held back until all that was missed is known.

        Returns the versions of all known chats, to resume from.
        """
        self.my_id = user_id
        self._unknown_events, self._ended_chats = {}, set()
        for chat in self.chats.values():
            chat.hold()
        return {chat.id: chat.version for chat in self.chats.values()}

    def apply_overview(self, overview: Overview) -> list[Event]:
        """Who one is and which chats one has. Chats that are new begin with it."""
        self.me = overview.user
        found: list[Event] = []
        for each in overview.chats:
            known = self.chats.get(each.id)
            if each.id in self._ended_chats and known is None:
                continue  # what is told is newer than the overview
            if known is None:
                found += [events.ChatCreated(each.id, each.version, each), *self.put_chat(each)]
            else:
                known.update_membership(each)
        return found

    @property
    def unknown_chats(self) -> list[int]:
        """Ids of chats of which one has heard, and knows nothing else."""
        return list(self._unknown_events)

    def finish_sync(self, chat_id: int, version: int) -> list[Event]:
        """All up to a version has been told."""
        chat = self.chats.get(chat_id)
        return [] if chat is None else chat.release(version)

    def put_chat(self, told: MyChat) -> list[Event]:
        """A chat that was loaded anew, and what was heard of it meanwhile."""
        before = self.chats.get(told.id)
        early = self._unknown_events.pop(told.id, [])
        chat = self.chats[told.id] = ChatState(told, self.my_id, self._kept_messages)
        chat.is_open = told.id in self.open_chats
        if before is not None:
            early = before.held_events or []
            chat.inherit(before)
        for event in early:
            chat.hold_back(event)
        return chat.release(told.version)

    def remove_chat(self, chat_id: int) -> list[Event]:
        """A chat turned out not to be there any more."""
        self._unknown_events.pop(chat_id, None)
        if self.chats.pop(chat_id, None) is None:
            return []
        return [events.ChatGone(chat_id)]

    # What is heard

    def apply(self, event: ChatFrame) -> list[Event]:
        """An event of a chat; what is news in it, if it is not held back for now."""
        if isinstance(event, events.ChatCreated):
            known = self.chats.get(event.chat_id)
            if known is not None and known.version >= event.version:
                return []
            self.chats.pop(event.chat_id, None)
            self._ended_chats.discard(event.chat_id)
            return [event, *self.put_chat(event.chat)]
        chat = self.chats.get(event.chat_id)
        if self._ends_chat(event):
            self.chats.pop(event.chat_id, None)
            self._unknown_events.pop(event.chat_id, None)
            self._ended_chats.add(event.chat_id)
            return [event] if chat is not None else []
        if chat is not None:
            return chat.receive(event)
        if event.chat_id not in self._ended_chats:
            self._unknown_events.setdefault(event.chat_id, []).append(event)
        return []

    def apply_unversioned(self, event: UnversionedEvent) -> list[Event]:
        """Who reads, writes, is here, or has another name."""
        match event:
            case events.ReadCursorMoved():
                chat = self.chats.get(event.chat_id)
                return (
                    [event]
                    if chat is not None and chat.advance_read_cursor(event.user_id, event.read_id)
                    else []
                )
            case events.Typing():
                chat = self.chats.get(event.chat_id)
                if chat is not None:
                    chat.typing_until.pop(event.user_id, None)
                    if event.typing:
                        chat.typing_until[event.user_id] = time.monotonic() + TYPING_SECONDS
            case events.PresenceChanged():
                self.update_presence([Presence(event.user_id, event.status, event.last_seen)])
            case events.UserUpdated():
                self._rename_user(event.user)
        return [event]

    def update_presence(self, told: Iterable[Presence]) -> None:
        """Who is here and who is not."""
        self.presence |= {each.user_id: each for each in told}

    def clear(self) -> None:
        """Know nothing any more, as for somebody else."""
        self.me, self.my_id = None, 0
        for known in (self.chats, self.presence, self.pending_reads, self._unknown_events):
            known.clear()
        for wanted in (self.open_chats, self.watched_users, self._ended_chats):
            wanted.clear()

    def set_account(self, account: Account) -> None:
        """One's own account as it is now."""
        self.me = account

    def confirm_read(self, chat_id: int, up_to: int, read_id: int | None) -> None:
        """The server was told that one has read up to there, and its cursor is at `read_id` now."""
        if self.pending_reads.get(chat_id, 0) <= up_to:
            self.pending_reads.pop(chat_id, None)
        chat = self.chats.get(chat_id)
        if chat is not None:
            chat.advance_read_cursor(self.my_id, read_id or 0)

    def clear_ephemeral(self) -> None:
        """What is known of who is here and who writes does not hold any more."""
        self.presence.clear()
        for chat in self.chats.values():
            chat.typing_until.clear()

    def _rename_user(self, user: User) -> None:
        if self.me is not None and user.id == self.me.id:
            self.me = msgspec.structs.replace(
                self.me, username=user.username, display_name=user.display_name
            )
        for chat in self.chats.values():
            chat.rename_user(user)

    def _ends_chat(self, event: ChatFrame) -> bool:
        return isinstance(event, events.ChatDeleted) or (
            isinstance(event, events.MemberRemoved) and event.user_id == self.my_id
        )
