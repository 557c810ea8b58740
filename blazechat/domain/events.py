"""What has happened: told after the commit, to whoever listens.

Events of a chat carry the version that they brought it to, and the hub delivers them in that order;
the others are about people and go out as they come.
"""

from dataclasses import dataclass
from datetime import datetime

from sqlalchemy.ext.asyncio import AsyncSession

from blazechat.domain.schemas.chats import Chat, ChatInfo
from blazechat.domain.schemas.messages import Message
from blazechat.domain.schemas.users import Author, Member, User
from blazechat.vocabulary import Role, Status


@dataclass(frozen=True, slots=True)
class ChatEvent:
    chat_id: int
    version: int
    """The chat's version that this event brought about."""

    def in_doubt(self) -> "ChatInDoubt":
        """What is told instead where nobody knows whether the transaction was committed."""
        return ChatInDoubt(self.chat_id)


@dataclass(frozen=True, slots=True)
class MessageCreated(ChatEvent):
    message: Message


@dataclass(frozen=True, slots=True)
class MessageUpdated(ChatEvent):
    """Edited, reacted to, pinned or unpinned: the whole message as it is now."""

    message: Message


@dataclass(frozen=True, slots=True)
class MessageDeleted(ChatEvent):
    """The marker that is left, without content."""

    message: Message


@dataclass(frozen=True, slots=True)
class Seat:
    """A member's own side of a chat."""

    role: Role
    read_id: int
    joined_id: int


@dataclass(frozen=True, slots=True)
class ChatCreated(ChatEvent):
    chat: Chat
    seats: dict[int, Seat]
    """All members, by user id."""


@dataclass(frozen=True, slots=True)
class ChatUpdated(ChatEvent):
    """Its name or its settings changed."""

    chat: ChatInfo


@dataclass(frozen=True, slots=True)
class MembersAdded(ChatEvent):
    """`chat` and `last_message` are for the new members, who see the chat for the first time."""

    members: list[Member]
    seat: Seat
    """The same for each of them."""
    chat: Chat
    last_message: Message | None


@dataclass(frozen=True, slots=True)
class MemberRemoved(ChatEvent):
    """Removed, or has left."""

    user_id: int


@dataclass(frozen=True, slots=True)
class MembersUpdated(ChatEvent):
    """They have other roles now."""

    members: list[Member]


@dataclass(frozen=True, slots=True)
class ChatRefreshed(ChatEvent):
    """What the chat itself is now, where it is not known what happened to it in between."""

    chat: Chat
    last_message: Message | None
    seats: dict[int, Seat]
    """Of the users that were asked for, by id: whoever is missing is not a member."""


@dataclass(frozen=True, slots=True)
class ChatDeleted(ChatEvent):
    pass


@dataclass(frozen=True, slots=True)
class ChatInDoubt:
    """Something may have happened in this chat: whoever cares should look."""

    chat_id: int


@dataclass(frozen=True, slots=True)
class WebhooksChanged:
    """There is another webhook, or something to deliver that is no event."""

    def in_doubt(self) -> "WebhooksChanged":
        """The same: whoever hears of it looks for themselves."""
        return self


@dataclass(frozen=True, slots=True)
class SessionsEnded:
    user_id: int
    session_ids: frozenset[int]

    def in_doubt(self) -> "SessionsEnded":
        """The same: a socket that is closed in vain comes back."""
        return self


@dataclass(frozen=True, slots=True)
class CursorMoved:
    """A member has read further."""

    chat_id: int
    user_id: int
    read_id: int
    unread: int


@dataclass(frozen=True, slots=True)
class Typing:
    """A member writes, or has stopped."""

    chat_id: int
    user_id: int
    typing: bool


@dataclass(frozen=True, slots=True)
class EphemeralNotice:
    """Words for one member of a chat, that nobody else sees and nobody stores."""

    chat_id: int
    user_id: int
    author: Author
    content: str


@dataclass(frozen=True, slots=True)
class PresenceChanged:
    user_id: int
    status: Status
    last_seen: datetime | None


@dataclass(frozen=True, slots=True)
class UserUpdated:
    """Somebody has another name now, or is gone."""

    user: User


BusEvent = (
    ChatEvent
    | ChatInDoubt
    | WebhooksChanged
    | SessionsEnded
    | CursorMoved
    | Typing
    | EphemeralNotice
    | PresenceChanged
    | UserUpdated
)


def emit(session: AsyncSession, event: BusEvent) -> None:
    """Have `event` published when the transaction of `session` has committed; not if it rolls back."""
    session.info.setdefault("events", []).append(event)
