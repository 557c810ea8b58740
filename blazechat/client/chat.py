"""One chat as a client knows it, and how what is told of it changes that. No I/O."""

import time
from collections.abc import Iterable, Mapping
from datetime import datetime

import msgspec

from blazechat.client import events
from blazechat.client.events import Event
from blazechat.client.frames import OfChat
from blazechat.client.schemas import Member, Message, MyChat, Page, User
from blazechat.vocabulary import Role


class ChatState:
    """`version` is how far all of it is known; `messages` are by id, whole from `whole_from` on.

    `members` are by user id: all of them where `knows_all_members`, else the first and who was heard of.
    `cursors` tell how far others have read while it is open, `me` is one's own user id. All is to be read
    only.
    """

    def __init__(self, told: MyChat, me: int, keep: int) -> None:
        self.id = told.id
        self.name = told.name
        self.is_group = told.is_group_chat
        self.history = told.history
        self.created_at = told.created_at
        self.member_count = told.member_count
        self.members = {member.id: member for member in told.users}
        self.role = told.role
        self.read_id = told.read_id
        self.last_message_id = told.last_message_id
        self.version = told.version
        self.messages: dict[int, Message] = {}
        self.whole_from = told.last_message_id + 1
        self.cursors: dict[int, int] = {}
        self.typing: dict[int, float] = {}  # until when, by the monotonic clock
        self.is_open = False
        self.must_reload = False  # whether messages came to light that one could not see before
        self.role_is_known = True  # False where it may have changed, and has to be asked for
        self._role_version = told.version  # how new what is known of the role is
        self.held: list[OfChat] | None = None  # while what was missed is being told
        self.me = me
        self._keep = keep
        self._loading = 0
        self._overheard: dict[int, Message] = {}  # below the window, while older ones are loaded
        self._settling = False  # while it does, messages need not come in the order of their ids
        self._known_id = told.last_message_id  # messages behind it are new when first heard of
        if told.last_message is not None:
            self._put(told.last_message)
            self.whole_from = told.last_message.id
        elif told.last_message_id == 0:
            self.whole_from = 1

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
    def active_at(self) -> datetime:
        """When something was last said in it, else when it was made."""
        return self.last_message.created_at if self.last_message else self.created_at

    @property
    def has_all(self) -> bool:
        """Whether the window reaches to the first message that one may see."""
        return self.whole_from <= 1

    @property
    def knows_all_members(self) -> bool:
        return len(self.members) >= self.member_count

    @property
    def others(self) -> list[Member]:
        """Its members without oneself, as far as they are known."""
        return [member for user_id, member in self.members.items() if user_id != self.me]

    @property
    def who_types(self) -> list[int]:
        """Ids of those who are writing right now."""
        now = time.monotonic()
        return [user_id for user_id, until in self.typing.items() if until > now]

    def ordered(self) -> list[Message]:
        """The window's messages, oldest first."""
        return [self.messages[message_id] for message_id in sorted(self.messages)]

    def read_by(self, message_id: int) -> list[int]:
        """Ids of the others who have read up to a message, as far as one is told."""
        return [user_id for user_id, read_id in self.cursors.items() if read_id >= message_id]

    # Catching up

    def hold(self) -> None:
        """Hold back what comes until `settle`."""
        self.held = []

    def held_back(self, event: OfChat) -> None:
        if self.held is None:
            self.held = []
        self.held.append(event)

    def settle(self, version: int) -> list[Event]:
        """All up to a version is known: what was held back may lie before it and behind it."""
        held, self.held = self.held or [], None
        self._settling = True
        told = [each for event in sorted(held, key=_by_version) for each in self._apply(event)]
        self._settling = False
        self.version = max(self.version, version)
        self._heard_up_to_here()
        return told

    def take(self, event: OfChat) -> list[Event]:
        """What is news in an event, once it has been taken in."""
        if self.held is not None:
            self.held.append(event)
            return []
        return self._apply(event)

    def take_seat(self, told: MyChat) -> None:
        """One's own place in the chat, from an overview; the rest is told by events."""
        self.reads(self.me, told.read_id)
        if told.version >= self._role_version:
            self.role, self.role_is_known, self._role_version = told.role, True, told.version

    def take_over(self, before: "ChatState") -> None:
        """Go on where another copy of the same chat is replaced by this one."""
        self.cursors, self.typing = before.cursors, before.typing
        self.read_id = max(self.read_id, before.read_id)

    # Messages

    def began_loading(self) -> None:
        """Older messages were asked for; what is heard of those meanwhile is kept for when they come."""
        self._loading += 1

    def loaded(self, page: Page[Message] | None) -> None:
        """Older messages have come: the page before `whole_from`. None if they have not."""
        self._loading -= 1
        overheard = self._overheard
        if not self._loading:
            self._overheard = {}
        if page is None:
            return
        for message in page:
            self._put(message)
        self.whole_from = page.items[-1].id if page.items and page.older is not None else 1
        for message in overheard.values():
            if message.id >= self.whole_from:
                self._put(message)

    def trim(self) -> None:
        """Let go of the oldest messages of a chat that is not open."""
        if self.is_open or self._loading or self._settling or len(self.messages) <= 2 * self._keep:
            return
        kept = sorted(self.messages)[-self._keep :]
        self.messages = {message_id: self.messages[message_id] for message_id in kept}
        self.whole_from = kept[0] if kept else self.last_message_id + 1

    def reads(self, user_id: int, read_id: int) -> bool:
        """Whether that is further than it was known."""
        if user_id == self.me:
            before, self.read_id = self.read_id, max(self.read_id, read_id)
            return before < read_id
        before = self.cursors.get(user_id, 0)
        self.cursors[user_id] = max(before, read_id)
        return before < read_id

    def take_cursors(self, cursors: Mapping[int, int]) -> None:
        """How far others have read, by user id."""
        for user_id, read_id in cursors.items():
            self.reads(user_id, read_id)

    def rename(self, user: User) -> None:
        member = self.members.get(user.id)
        if member is not None:
            self.members[user.id] = msgspec.structs.replace(
                member, username=user.username, display_name=user.display_name
            )

    # Events

    def _apply(self, event: OfChat) -> list[Event]:
        if event.version <= self.version:
            return []
        self.version = event.version
        match event:
            case events.MessageCreated() | events.MessageUpdated() | events.MessageDeleted():
                return [self._hear(event, event.message)]
            case events.ChatUpdated():
                self._update(event.chat)
            case events.MembersAdded():
                self.member_count += len(event.members)
                self._seat(event.members)
            case events.MembersUpdated():
                self._seat(event.members)
            case events.MemberRemoved():
                self.member_count -= 1
                self.members.pop(event.user_id, None)
                self.cursors.pop(event.user_id, None)
                self.typing.pop(event.user_id, None)
            case _:  # hidden
                return []
        return [event]

    def _hear(self, event: events.AboutMessage, message: Message) -> Event:
        is_new = message.id > self._known_id and message.id not in self.messages
        self.typing.pop(message.user_id, None)
        if message.id >= self.whole_from:
            self._put(message)
        elif self._loading:
            self._overheard[message.id] = message
        if message.user_id == self.me:
            self.read_id = max(self.read_id, message.id)
        if not self._settling:
            self._heard_up_to_here()
        if message.deleted_at is not None:
            return event
        # Whoever comes back is told what is: it need not be said there whether that is new to one.
        kind = events.MessageCreated if is_new else events.MessageUpdated
        return kind(event.chat_id, event.version, message)

    def _heard_up_to_here(self) -> None:
        self._known_id = self.last_message_id
        self.trim()

    def _put(self, message: Message) -> None:
        known = self.messages.get(message.id)
        if known is None or known.version < message.version:
            self.messages[message.id] = message
        self.last_message_id = max(self.last_message_id, message.id)

    def _update(self, told: events.ChatDetails) -> None:
        self.must_reload |= told.history is not self.history
        self.name, self.history, self.member_count = told.name, told.history, told.member_count
        if told.users is not None:
            self.members = {member.id: member for member in told.users}
            if self.me not in self.members and self.version > self._role_version:
                self.role_is_known, self._role_version = False, self.version
            self._seat(told.users)

    def _seat(self, members: Iterable[Member]) -> None:
        for member in members:
            self.members[member.id] = member
            if member.id == self.me and self.version >= self._role_version:
                self.role, self.role_is_known = Role(member.role), True
                self._role_version = self.version


def _by_version(event: OfChat) -> int:
    return event.version
