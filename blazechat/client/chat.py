"""The state of one chat on a client, and how events change it. No I/O.

The state has a window of messages: all messages from `loaded_from` up to the newest.
"""

import time
from collections.abc import Iterable, Mapping
from datetime import datetime

import msgspec

from blazechat.client import events
from blazechat.client.events import Event
from blazechat.client.frames import ChatFrame
from blazechat.client.schemas import Member, Message, MyChat, Page, User
from blazechat.vocabulary import Role


class ChatState:
    """One chat as this account sees it. Read-only for users of the SDK.

    All changes of the chat up to `version` are applied. `messages` are by id; all from `loaded_from` on are
    present. `members` are by user id: all of them if `has_all_members`, else the first 100 and those that
    events named. `read_cursors` are the other members' cursors by user id, while the chat is open.
    """

    def __init__(self, loaded: MyChat, my_id: int, kept_messages: int) -> None:
        self.id = loaded.id
        self.name = loaded.name
        self.is_group = loaded.is_group_chat
        self.history = loaded.history
        self.created_at = loaded.created_at
        self.member_count = loaded.member_count
        self.members = {member.id: member for member in loaded.users}
        self.role = loaded.role
        self.read_id = loaded.read_id
        self.last_message_id = loaded.last_message_id
        self.version = loaded.version
        self.messages: dict[int, Message] = {}
        self.loaded_from = loaded.last_message_id + 1
        self.read_cursors: dict[int, int] = {}
        self.typing_until: dict[int, float] = {}  # by user id, by the monotonic clock
        self.is_open = False
        self.needs_reload = False  # True if messages became visible that were not visible before
        self.is_role_known = True  # False if the role may have changed and has to be requested
        self._role_version = loaded.version  # the chat's version at which `role` was valid
        self.members_version = loaded.version  # the chat's version that last changed who is a member
        self.held_events: list[ChatFrame] | None = None  # a list while missed events are being received
        self.my_id = my_id
        self._kept_messages = kept_messages
        self._pages_loading = 0
        self._older_changes: dict[int, Message] = {}  # changes below the window while pages are loading
        self._is_releasing = False  # while True, messages may arrive out of the order of their ids
        self._last_seen_id = loaded.last_message_id  # greater ids are new when they first arrive
        if loaded.last_message is not None:
            self._put_message(loaded.last_message)
            self.loaded_from = loaded.last_message.id
        elif loaded.last_message_id == 0:
            self.loaded_from = 1

    # Queries

    @property
    def unread(self) -> int:
        """The number of messages after this account's read cursor."""
        return max(0, self.last_message_id - self.read_id)

    @property
    def last_message(self) -> Message | None:
        """The newest visible message, which may be a tombstone."""
        return self.messages.get(self.last_message_id)

    @property
    def last_activity_at(self) -> datetime:
        """When the newest message was created; without messages, when the chat was created."""
        return self.last_message.created_at if self.last_message else self.created_at

    @property
    def has_all_messages(self) -> bool:
        """True if the window starts at the first visible message."""
        return self.loaded_from <= 1

    @property
    def has_all_members(self) -> bool:
        return len(self.members) >= self.member_count

    @property
    def bot_count(self) -> int:
        """The number of known members that are bots; of all of them, if `has_all_members`."""
        return sum(member.is_bot for member in self.members.values())

    @property
    def people_count(self) -> int:
        """The number of members that are not known to be bots."""
        return self.member_count - self.bot_count

    @property
    def other_members(self) -> list[Member]:
        """The known members except this account."""
        return [member for user_id, member in self.members.items() if user_id != self.my_id]

    @property
    def typing_user_ids(self) -> list[int]:
        """The ids of the users who are typing now."""
        now = time.monotonic()
        return [user_id for user_id, until in self.typing_until.items() if until > now]

    def ordered_messages(self) -> list[Message]:
        """Return the messages of the window, the oldest first."""
        return [self.messages[message_id] for message_id in sorted(self.messages)]

    def readers_of(self, message_id: int) -> list[int]:
        """Return the ids of the other members known to have read up to a message."""
        return [user_id for user_id, read_id in self.read_cursors.items() if read_id >= message_id]

    # Recovery

    def hold(self) -> None:
        """Hold back events until `release()`."""
        self.held_events = []

    def hold_back(self, event: ChatFrame) -> None:
        if self.held_events is None:
            self.held_events = []
        self.held_events.append(event)

    def release(self, version: int) -> list[Event]:
        """Apply the held events, once all changes up to `version` have been received or loaded.

        Returns the events to publish. The held events may have versions below and above `version`.
        """
        held, self.held_events = self.held_events or [], None
        self._is_releasing = True
        published = [each for event in sorted(held, key=_by_version) for each in self._apply(event)]
        self._is_releasing = False
        self.version = max(self.version, version)
        self._mark_all_seen()
        return published

    def receive(self, event: ChatFrame) -> list[Event]:
        """Apply an event, or hold it back. Returns the events to publish."""
        if self.held_events is not None:
            self.held_events.append(event)
            return []
        return self._apply(event)

    def update_membership(self, loaded: MyChat) -> None:
        """Take this account's role and read cursor from an overview; events provide everything else."""
        self.advance_read_cursor(self.my_id, loaded.read_id)
        if loaded.version >= self._role_version:
            self.role, self.is_role_known, self._role_version = loaded.role, True, loaded.version

    def inherit(self, before: "ChatState") -> None:
        """Copy what a reload does not return from the state that this one replaces."""
        self.read_cursors, self.typing_until = before.read_cursors, before.typing_until
        self.read_id = max(self.read_id, before.read_id)

    # Messages

    def begin_page(self) -> None:
        """A page of older messages is requested. Changes of these messages are kept until it arrives."""
        self._pages_loading += 1

    def finish_page(self, page: Page[Message] | None) -> None:
        """Add the page of messages before `loaded_from`; None if the request failed."""
        self._pages_loading -= 1
        changes = self._older_changes
        if not self._pages_loading:
            self._older_changes = {}
        if page is None:
            return
        for message in page:
            self._put_message(message)
        self.loaded_from = page.items[-1].id if page.items and page.older is not None else 1
        for message in changes.values():
            if message.id >= self.loaded_from:
                self._put_message(message)

    def trim(self) -> None:
        """Drop the oldest messages of a chat that is not open."""
        if self.is_open or self._pages_loading or self._is_releasing:
            return
        if len(self.messages) <= 2 * self._kept_messages:
            return
        kept = sorted(self.messages)[-self._kept_messages :]
        self.messages = {message_id: self.messages[message_id] for message_id in kept}
        self.loaded_from = kept[0] if kept else self.last_message_id + 1

    def advance_read_cursor(self, user_id: int, read_id: int) -> bool:
        """Move a read cursor forward, never back. Returns True if it moved."""
        if user_id == self.my_id:
            before, self.read_id = self.read_id, max(self.read_id, read_id)
            return before < read_id
        before = self.read_cursors.get(user_id, 0)
        self.read_cursors[user_id] = max(before, read_id)
        return before < read_id

    def update_read_cursors(self, cursors: Mapping[int, int]) -> None:
        """Move read cursors forward, by user id."""
        for user_id, read_id in cursors.items():
            self.advance_read_cursor(user_id, read_id)

    def add_all_members(self, members: Iterable[Member], members_version: int) -> bool:
        """Add members that were loaded while `members_version` was the current one.

        Returns False, without adding them, if the members have changed since then.
        """
        if self.members_version != members_version:
            return False
        self._put_members(members)
        return True

    def rename_user(self, user: User) -> None:
        member = self.members.get(user.id)
        if member is not None:
            self.members[user.id] = msgspec.structs.replace(
                member, username=user.username, display_name=user.display_name
            )

    # Events

    def _apply(self, event: ChatFrame) -> list[Event]:
        if event.version <= self.version:
            return []
        self.version = event.version
        match event:
            case events.MessageCreated() | events.MessageUpdated() | events.MessageDeleted():
                return [self._apply_message(event, event.message)]
            case events.ChatUpdated():
                self._update_info(event.chat)
            case events.MembersAdded():
                self.member_count += len(event.members)
                self.members_version = event.version
                self._put_members(event.members)
            case events.MembersUpdated():
                self._put_members(event.members)
            case events.MemberRemoved():
                self.member_count -= 1
                self.members_version = event.version
                self.members.pop(event.user_id, None)
                self.read_cursors.pop(event.user_id, None)
                self.typing_until.pop(event.user_id, None)
            case _:  # Hidden
                return []
        return [event]

    def _apply_message(self, event: events.MessageEvent, message: Message) -> Event:
        is_new = message.id > self._last_seen_id and message.id not in self.messages
        self.typing_until.pop(message.user_id, None)
        if message.id >= self.loaded_from:
            self._put_message(message)
        elif self._pages_loading:
            self._older_changes[message.id] = message
        if message.user_id == self.my_id:
            self.read_id = max(self.read_id, message.id)
        if not self._is_releasing:
            self._mark_all_seen()
        if message.deleted_at is not None:
            return event
        # After a reconnect the server sends the current form of a message. Whether the message is new to
        # this client does not follow from the type of that event.
        kind = events.MessageCreated if is_new else events.MessageUpdated
        return kind(event.chat_id, event.version, message)

    def _mark_all_seen(self) -> None:
        self._last_seen_id = self.last_message_id
        self.trim()

    def _put_message(self, message: Message) -> None:
        known = self.messages.get(message.id)
        if known is None or known.version < message.version:
            self.messages[message.id] = message
        self.last_message_id = max(self.last_message_id, message.id)

    def _update_info(self, info: events.ChatInfo) -> None:
        self.needs_reload |= info.history is not self.history
        self.name, self.history, self.member_count = info.name, info.history, info.member_count
        if info.users is not None:
            self.members_version = self.version
            self.members = {member.id: member for member in info.users}
            if self.my_id not in self.members and self.version > self._role_version:
                self.is_role_known, self._role_version = False, self.version
            self._put_members(info.users)

    def _put_members(self, members: Iterable[Member]) -> None:
        for member in members:
            self.members[member.id] = member
            if member.id == self.my_id and self.version >= self._role_version:
                self.role, self.is_role_known = Role(member.role), True
                self._role_version = self.version


def _by_version(event: ChatFrame) -> int:
    return event.version
