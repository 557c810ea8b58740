"""One chat as a client knows it, and how what is told of it changes that. No I/O."""

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
    """`version` is how far all of it is known; `messages` are by id, whole from `whole_from` on.

    `members` are by user id: all of them where `knows_all_members`, else the first and who was heard of.
    `cursors` tell how far others have read while it is open, `me` is one's own user id. All is to be read
    only.
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
        self.typing_until: dict[int, float] = {}  # until when, by the monotonic clock
        self.is_open = False
        self.needs_reload = False  # whether messages came to light that one could not see before
        self.is_role_known = True  # False where it may have changed, and has to be asked for
        self._role_version = loaded.version  # how new what is known of the role is
        self.held_events: list[ChatFrame] | None = None  # while what was missed is being told
        self.my_id = my_id
        self._kept_messages = kept_messages
        self._pages_loading = 0
        self._older_changes: dict[int, Message] = {}  # below the window, while older ones are loaded
        self._is_releasing = False  # while it does, messages need not come in the order of their ids
        self._last_seen_id = loaded.last_message_id  # messages behind it are new when first heard of
        if loaded.last_message is not None:
            self._put_message(loaded.last_message)
            self.loaded_from = loaded.last_message.id
        elif loaded.last_message_id == 0:
            self.loaded_from = 1

    # What it tells

    @property
    def unread(self) -> int:
        """Messages behind one's read cursor."""
        return max(0, self.last_message_id - self.read_id)

    @property
    def last_message(self) -> Message | None:
        """The newest that one may see, deleted ones included."""
        return self.messages.get(self.last_message_id)

    @property
    def last_activity_at(self) -> datetime:
        """When something was last said in it, else when it was made."""
        return self.last_message.created_at if self.last_message else self.created_at

    @property
    def has_all_messages(self) -> bool:
        """Whether the window reaches to the first message that one may see."""
        return self.loaded_from <= 1

    @property
    def has_all_members(self) -> bool:
        return len(self.members) >= self.member_count

    @property
    def other_members(self) -> list[Member]:
        """Its members without oneself, as far as they are known."""
        return [member for user_id, member in self.members.items() if user_id != self.my_id]

    @property
    def typing_user_ids(self) -> list[int]:
        """Ids of those who are writing right now."""
        now = time.monotonic()
        return [user_id for user_id, until in self.typing_until.items() if until > now]

    def ordered_messages(self) -> list[Message]:
        """The window's messages, oldest first."""
        return [self.messages[message_id] for message_id in sorted(self.messages)]

    def readers_of(self, message_id: int) -> list[int]:
        """Ids of the others who have read up to a message, as far as one is told."""
        return [user_id for user_id, read_id in self.read_cursors.items() if read_id >= message_id]

    # Catching up

    def hold(self) -> None:
        """Hold back what comes until `settle`."""
        self.held_events = []

    def hold_back(self, event: ChatFrame) -> None:
        if self.held_events is None:
            self.held_events = []
        self.held_events.append(event)

    def release(self, version: int) -> list[Event]:
        """All up to a version is known: what was held back may lie before it and behind it."""
        held, self.held_events = self.held_events or [], None
        self._is_releasing = True
        told = [each for event in sorted(held, key=_by_version) for each in self._apply(event)]
        self._is_releasing = False
        self.version = max(self.version, version)
        self._mark_all_seen()
        return told

    def receive(self, event: ChatFrame) -> list[Event]:
        """What is news in an event, once it has been taken in."""
        if self.held_events is not None:
            self.held_events.append(event)
            return []
        return self._apply(event)

    def update_membership(self, told: MyChat) -> None:
        """One's own place in the chat, from an overview; the rest is told by events."""
        self.advance_read_cursor(self.my_id, told.read_id)
        if told.version >= self._role_version:
            self.role, self.is_role_known, self._role_version = told.role, True, told.version

    def inherit(self, before: "ChatState") -> None:
        """Go on where another copy of the same chat is replaced by this one."""
        self.read_cursors, self.typing_until = before.read_cursors, before.typing_until
        self.read_id = max(self.read_id, before.read_id)

    # Messages

    def begin_page(self) -> None:
        """Older messages were asked for; what is heard of those meanwhile is kept for when they come."""
        self._pages_loading += 1

    def finish_page(self, page: Page[Message] | None) -> None:
        """Older messages have come: the page before `whole_from`. None if they have not."""
        self._pages_loading -= 1
        overheard = self._older_changes
        if not self._pages_loading:
            self._older_changes = {}
        if page is None:
            return
        for message in page:
            self._put_message(message)
        self.loaded_from = page.items[-1].id if page.items and page.older is not None else 1
        for message in overheard.values():
            if message.id >= self.loaded_from:
                self._put_message(message)

    def trim(self) -> None:
        """Let go of the oldest messages of a chat that is not open."""
        if (
            self.is_open
            or self._pages_loading
            or self._is_releasing
            or len(self.messages) <= 2 * self._kept_messages
        ):
            return
        kept = sorted(self.messages)[-self._kept_messages :]
        self.messages = {message_id: self.messages[message_id] for message_id in kept}
        self.loaded_from = kept[0] if kept else self.last_message_id + 1

    def advance_read_cursor(self, user_id: int, read_id: int) -> bool:
        """Whether that is further than it was known."""
        if user_id == self.my_id:
            before, self.read_id = self.read_id, max(self.read_id, read_id)
            return before < read_id
        before = self.read_cursors.get(user_id, 0)
        self.read_cursors[user_id] = max(before, read_id)
        return before < read_id

    def update_read_cursors(self, cursors: Mapping[int, int]) -> None:
        """How far others have read, by user id."""
        for user_id, read_id in cursors.items():
            self.advance_read_cursor(user_id, read_id)

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
                self._put_members(event.members)
            case events.MembersUpdated():
                self._put_members(event.members)
            case events.MemberRemoved():
                self.member_count -= 1
                self.members.pop(event.user_id, None)
                self.read_cursors.pop(event.user_id, None)
                self.typing_until.pop(event.user_id, None)
            case _:  # hidden
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
        # Whoever comes back is told what is: it need not be said there whether that is new to one.
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

    def _update_info(self, told: events.ChatInfo) -> None:
        self.needs_reload |= told.history is not self.history
        self.name, self.history, self.member_count = told.name, told.history, told.member_count
        if told.users is not None:
            self.members = {member.id: member for member in told.users}
            if self.my_id not in self.members and self.version > self._role_version:
                self.is_role_known, self._role_version = False, self.version
            self._put_members(told.users)

    def _put_members(self, members: Iterable[Member]) -> None:
        for member in members:
            self.members[member.id] = member
            if member.id == self.my_id and self.version >= self._role_version:
                self.role, self.is_role_known = Role(member.role), True
                self._role_version = self.version


def _by_version(event: ChatFrame) -> int:
    return event.version
