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
from blazechat.client.frames import OfChat, OfPeople
from blazechat.client.schemas import Account, MyChat, Overview, Presence, User

TYPING_LASTS = 6.0
"""Seconds after which somebody who said that they write is not taken to be at it any more."""


class State:
    """`me` is None until one is logged in; `keep` is how many messages a chat keeps that is not open."""

    def __init__(self, keep: int) -> None:
        self.me: Account | None = None
        self.chats: dict[int, ChatState] = {}
        self.presence: dict[int, Presence] = {}
        self.opened: set[int] = set()  # chats of which one hears who reads and types
        self.watched: set[int] = set()  # users of whom one hears whether they are here
        self.marks: dict[
            int, int
        ] = {}  # how far one has read, by chat, where the server does not know it yet
        self._keep = keep
        self.my_id = 0  # nobody's, until one is connected
        self._early: dict[int, list[OfChat]] = {}  # of chats that are not known yet
        self._ended: set[int] = set()  # chats that ended since one is back

    def by_activity(self) -> list[ChatState]:
        """All chats, the latest first."""
        return sorted(self.chats.values(), key=lambda chat: chat.active_at, reverse=True)

    # Coming back

    def begin(self, user_id: int) -> dict[int, int]:
        """A new connection: what comes is held back until all that was missed is known.

        Returns the versions of all known chats, to resume from.
        """
        self.my_id = user_id
        self._early, self._ended = {}, set()
        for chat in self.chats.values():
            chat.hold()
        return {chat.id: chat.version for chat in self.chats.values()}

    def take_overview(self, overview: Overview) -> list[Event]:
        """Who one is and which chats one has. Chats that are new begin with it."""
        self.me = overview.user
        found: list[Event] = []
        for each in overview.chats:
            known = self.chats.get(each.id)
            if each.id in self._ended and known is None:
                continue  # what is told is newer than the overview
            if known is None:
                found += [events.ChatCreated(each.id, each.version, each), *self.put(each)]
            else:
                known.take_seat(each)
        return found

    @property
    def unknown(self) -> list[int]:
        """Ids of chats of which one has heard, and knows nothing else."""
        return list(self._early)

    def synced(self, chat_id: int, version: int) -> list[Event]:
        """All up to a version has been told."""
        chat = self.chats.get(chat_id)
        return [] if chat is None else chat.settle(version)

    def put(self, told: MyChat) -> list[Event]:
        """A chat that was loaded anew, and what was heard of it meanwhile."""
        before = self.chats.get(told.id)
        early = self._early.pop(told.id, [])
        chat = self.chats[told.id] = ChatState(told, self.my_id, self._keep)
        chat.is_open = told.id in self.opened
        if before is not None:
            early = before.held or []
            chat.take_over(before)
        for event in early:
            chat.held_back(event)
        return chat.settle(told.version)

    def gone(self, chat_id: int) -> list[Event]:
        """A chat turned out not to be there any more."""
        self._early.pop(chat_id, None)
        if self.chats.pop(chat_id, None) is None:
            return []
        return [events.ChatGone(chat_id)]

    # What is heard

    def take(self, event: OfChat) -> list[Event]:
        """An event of a chat; what is news in it, if it is not held back for now."""
        if isinstance(event, events.ChatCreated):
            known = self.chats.get(event.chat_id)
            if known is not None and known.version >= event.version:
                return []
            self.chats.pop(event.chat_id, None)
            self._ended.discard(event.chat_id)
            return [event, *self.put(event.chat)]
        chat = self.chats.get(event.chat_id)
        if self._is_the_end(event):
            self.chats.pop(event.chat_id, None)
            self._early.pop(event.chat_id, None)
            self._ended.add(event.chat_id)
            return [event] if chat is not None else []
        if chat is not None:
            return chat.take(event)
        if event.chat_id not in self._ended:
            self._early.setdefault(event.chat_id, []).append(event)
        return []

    def take_people(self, event: OfPeople) -> list[Event]:
        """Who reads, writes, is here, or has another name."""
        match event:
            case events.ReadMoved():
                chat = self.chats.get(event.chat_id)
                return [event] if chat is not None and chat.reads(event.user_id, event.read_id) else []
            case events.Typing():
                chat = self.chats.get(event.chat_id)
                if chat is not None:
                    chat.typing.pop(event.user_id, None)
                    if event.typing:
                        chat.typing[event.user_id] = time.monotonic() + TYPING_LASTS
            case events.PresenceChanged():
                self.take_presence([Presence(event.user_id, event.status, event.last_seen)])
            case events.UserUpdated():
                self._rename(event.user)
        return [event]

    def take_presence(self, told: Iterable[Presence]) -> None:
        """Who is here and who is not."""
        self.presence |= {each.user_id: each for each in told}

    def clear(self) -> None:
        """Know nothing any more, as for somebody else."""
        self.me, self.my_id = None, 0
        for known in (self.chats, self.presence, self.marks, self._early):
            known.clear()
        for wanted in (self.opened, self.watched, self._ended):
            wanted.clear()

    def take_account(self, account: Account) -> None:
        """One's own account as it is now."""
        self.me = account

    def marked(self, chat_id: int, up_to: int, read_id: int | None) -> None:
        """The server was told that one has read up to there, and its cursor is at `read_id` now."""
        if self.marks.get(chat_id, 0) <= up_to:
            self.marks.pop(chat_id, None)
        chat = self.chats.get(chat_id)
        if chat is not None:
            chat.reads(self.my_id, read_id or 0)

    def disconnected(self) -> None:
        """What is known of who is here and who writes does not hold any more."""
        self.presence.clear()
        for chat in self.chats.values():
            chat.typing.clear()

    def _rename(self, user: User) -> None:
        if self.me is not None and user.id == self.me.id:
            self.me = msgspec.structs.replace(
                self.me, username=user.username, display_name=user.display_name
            )
        for chat in self.chats.values():
            chat.rename(user)

    def _is_the_end(self, event: OfChat) -> bool:
        return isinstance(event, events.ChatDeleted) or (
            isinstance(event, events.MemberRemoved) and event.user_id == self.my_id
        )
