"""Domain events: what a transaction has changed, published on the bus after the commit.

A subclass of `ChatEvent` is a change of a chat. It carries the chat's version after the change, and the hub
delivers the events of a chat in the order of their versions. All other events have no version: they are
delivered in the order of publication, and a lost one is not recovered.

The bus delivers at most once. So a `ChatEvent` is never the only record of a change: a consumer that missed
one reads the current state from PostgreSQL (`chats/changes.py`).
"""

from datetime import datetime

from msgspec import Struct
from sqlalchemy.ext.asyncio import AsyncSession

from blazechat.domain.schemas.chats import Chat, ChatInfo
from blazechat.domain.schemas.messages import Message
from blazechat.domain.schemas.users import Author, Member, User
from blazechat.vocabulary import Role, Status


class ChatEvent(Struct, frozen=True):
    """A change of a chat. Every change raises the chat's version by one."""

    chat_id: int
    version: int
    """The chat's version after this change."""

    def in_doubt(self) -> "ChatInDoubt":
        """Return the event to publish instead if the outcome of the COMMIT is unknown."""
        return ChatInDoubt(self.chat_id)


class MessageCreated(ChatEvent, frozen=True):
    """A message was stored."""

    message: Message


class MessageUpdated(ChatEvent, frozen=True):
    """A message was edited, reacted to, pinned or unpinned. `message` is its complete new state."""

    message: Message


class MessageDeleted(ChatEvent, frozen=True):
    """A message was deleted. `message` is its tombstone, which has no content."""

    message: Message


class MemberState(Struct, frozen=True):
    """The fields of a chat that differ per member."""

    role: Role
    read_id: int
    """The read cursor: the newest message that the member has read."""
    joined_id: int
    """The chat's newest message when the member joined. An exclusive lower bound: where the chat's history
    is `joined`, the member sees messages with greater ids."""


class ChatCreated(ChatEvent, frozen=True):
    """A chat was created with its first members."""

    chat: Chat
    member_states: dict[int, MemberState]
    """All members, by user id."""


class ChatUpdated(ChatEvent, frozen=True):
    """The chat's name or settings changed."""

    chat: ChatInfo


class MembersAdded(ChatEvent, frozen=True):
    """Users became members. The new members receive `chat` and `last_message`, the others `members`."""

    members: list[Member]
    new_member_state: MemberState
    """The state of each new member: it is the same for all of them."""
    chat: Chat
    last_message: Message | None


class MemberRemoved(ChatEvent, frozen=True):
    """A member left or was removed."""

    user_id: int


class MembersUpdated(ChatEvent, frozen=True):
    """Members have new roles. `members` are those members."""

    members: list[Member]


class ChatRefreshed(ChatEvent, frozen=True):
    """The current state of a chat, without its messages, for a consumer that missed events.

    It replaces all changes of name, settings and members up to `version`.
    """

    chat: Chat
    last_message: Message | None
    member_states: dict[int, MemberState]
    """By user id, for those of the checked users who are members. The other checked users are not."""
    checked_user_ids: frozenset[int]


class ChatDeleted(ChatEvent, frozen=True):
    """The chat was deleted, with everything in it."""


class ChatInDoubt(Struct, frozen=True):
    """A chat might have changed: the connection broke during a COMMIT. Consumers read its current state."""

    chat_id: int


class WebhooksChanged(Struct, frozen=True):
    """A webhook was added or changed, or a delivery was queued that belongs to no event of a chat."""

    def in_doubt(self) -> "WebhooksChanged":
        """Return the event itself: its consumers read the database, so a false alarm does no harm."""
        return self


class SessionsEnded(Struct, frozen=True):
    """Sessions of a user ended by logout, revocation or deletion. Their sockets are closed."""

    user_id: int
    session_ids: frozenset[int]

    def in_doubt(self) -> "SessionsEnded":
        """Return the event itself: a client whose session is still valid reconnects."""
        return self


class ReadCursorMoved(Struct, frozen=True):
    """A member has read up to a newer message."""

    chat_id: int
    user_id: int
    read_id: int
    unread: int


class Typing(Struct, frozen=True):
    """A member has started or stopped to type a message."""

    chat_id: int
    user_id: int
    typing: bool


class EphemeralNotice(Struct, frozen=True):
    """A text in a chat for one member only. It is not stored."""

    chat_id: int
    user_id: int
    author: Author
    content: str


class PresenceChanged(Struct, frozen=True):
    """A user went online, away or offline."""

    user_id: int
    status: Status
    last_seen: datetime | None


class UserUpdated(Struct, frozen=True):
    """A user changed their name, or the account was deleted. `user` is the new state."""

    user: User


BusEvent = (
    ChatEvent
    | ChatInDoubt
    | WebhooksChanged
    | SessionsEnded
    | ReadCursorMoved
    | Typing
    | EphemeralNotice
    | PresenceChanged
    | UserUpdated
)
"""Everything that the bus carries."""


def emit(session: AsyncSession, event: BusEvent) -> None:
    """Publish `event` after the commit of the session's transaction; a rollback discards it."""
    session.info.setdefault("events", []).append(event)
