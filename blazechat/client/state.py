"""The client's state: its chats, messages, read cursors and presence. No I/O.

It applies the server's frames in their order, and then equals the server's state after any interruption.
Each method that applies something returns the events to publish: each change is published once.
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
"""Seconds after which a `Typing` event expires unless it is repeated."""


class State:
    """The state of one account. `me` is None until the first overview has been loaded.

    Chats that are not open keep their newest `kept_messages` messages, and up to twice as many.
    """

    def __init__(self, kept_messages: int) -> None:
        self.me: Account | None = None
        self.my_id = 0  # 0 until the first connection
        self.chats: dict[int, ChatState] = {}
        self.presence: dict[int, Presence] = {}
        self.open_chats: set[int] = set()  # chats whose typing and read events are subscribed
        self.watched_users: set[int] = set()  # users whose presence is subscribed
        self.pending_reads: dict[int, int] = {}  # read cursors that the server has not confirmed, by chat
        self._kept_messages = kept_messages
        self._unknown_chat_events: dict[
            int, list[ChatFrame]
        ] = {}  # events of chats that are not loaded yet
        self._ended_chats: set[int] = set()  # chats that ended since the last `begin_sync()`

    def chats_by_activity(self) -> list[ChatState]:
        """Return all chats, the ones with the latest messages first."""
        return sorted(self.chats.values(), key=lambda chat: chat.last_activity_at, reverse=True)

    # Recovery

    def begin_sync(self, user_id: int) -> dict[int, int]:
        """Start on a new connection: hold back each chat's events until its missed events have arrived.

        Returns the versions of all known chats, to resume from.
        """
        self.my_id = user_id
        self._unknown_chat_events, self._ended_chats = {}, set()
        for chat in self.chats.values():
            chat.hold()
        return {chat.id: chat.version for chat in self.chats.values()}

    def apply_overview(self, overview: Overview) -> list[Event]:
        """Add the chats of an overview that are not known yet, and update the others' memberships."""
        self.me = overview.user
        published: list[Event] = []
        for loaded in overview.chats:
            known = self.chats.get(loaded.id)
            if loaded.id in self._ended_chats and known is None:
                continue  # the event that ended the chat is newer than the overview
            if known is None:
                created = events.ChatCreated(loaded.id, loaded.version, loaded)
                published += [created, *self.put_chat(loaded)]
            else:
                known.update_membership(loaded)
        return published

    @property
    def unknown_chats(self) -> list[int]:
        """The ids of chats that have events but are not loaded."""
        return list(self._unknown_chat_events)

    def finish_sync(self, chat_id: int, version: int) -> list[Event]:
        """Release a chat's held events: all missed events up to `version` have arrived."""
        chat = self.chats.get(chat_id)
        return [] if chat is None else chat.release(version)

    def put_chat(self, loaded: MyChat) -> list[Event]:
        """Add or replace a chat, and apply the events that arrived while it was loading."""
        before = self.chats.get(loaded.id)
        held = self._unknown_chat_events.pop(loaded.id, [])
        chat = self.chats[loaded.id] = ChatState(loaded, self.my_id, self._kept_messages)
        chat.is_open = loaded.id in self.open_chats
        if before is not None:
            held = before.held_events or []
            chat.inherit(before)
        for event in held:
            chat.hold_back(event)
        return chat.release(loaded.version)

    def remove_chat(self, chat_id: int) -> list[Event]:
        """Remove a chat that the server no longer has for this account."""
        self._unknown_chat_events.pop(chat_id, None)
        if self.chats.pop(chat_id, None) is None:
            return []
        return [events.ChatGone(chat_id)]

    # Events

    def apply(self, event: ChatFrame) -> list[Event]:
        """Apply an event of a chat, or hold it back."""
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
            self._unknown_chat_events.pop(event.chat_id, None)
            self._ended_chats.add(event.chat_id)
            return [event] if chat is not None else []
        if chat is not None:
            return chat.receive(event)
        if event.chat_id not in self._ended_chats:
            self._unknown_chat_events.setdefault(event.chat_id, []).append(event)
        return []

    def apply_unversioned(self, event: UnversionedEvent) -> list[Event]:
        """Apply an event about read cursors, typing, presence or names."""
        match event:
            case events.ReadCursorMoved():
                chat = self.chats.get(event.chat_id)
                has_moved = chat is not None and chat.advance_read_cursor(event.user_id, event.read_id)
                return [event] if has_moved else []
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

    def update_presence(self, presences: Iterable[Presence]) -> None:
        self.presence |= {each.user_id: each for each in presences}

    def clear(self) -> None:
        """Forget everything, before another account logs in."""
        self.me, self.my_id = None, 0
        for known in (self.chats, self.presence, self.pending_reads, self._unknown_chat_events):
            known.clear()
        for wanted in (self.open_chats, self.watched_users, self._ended_chats):
            wanted.clear()

    def set_account(self, account: Account) -> None:
        """Replace this account's data, after it was changed."""
        self.me = account

    def confirm_read(self, chat_id: int, up_to: int, read_id: int | None) -> None:
        """The server has executed a `read` command up to `up_to`; its cursor is at `read_id` now."""
        if self.pending_reads.get(chat_id, 0) <= up_to:
            self.pending_reads.pop(chat_id, None)
        chat = self.chats.get(chat_id)
        if chat is not None:
            chat.advance_read_cursor(self.my_id, read_id or 0)

    def clear_ephemeral(self) -> None:
        """Forget presence and typing, which are unknown without a connection."""
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
