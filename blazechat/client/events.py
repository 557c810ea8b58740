"""What happens: the events that a client hears, each a type of its own, to be told apart by `match`.

Those with a `version` come in its order, chat by chat, each once, however often the connection was lost.
"""

from datetime import datetime
from enum import StrEnum
from typing import TYPE_CHECKING

from msgspec import Struct

from blazechat.client.schemas import Author, Member, Message, MyChat, User
from blazechat.vocabulary import History, Role, Status

if TYPE_CHECKING:
    from blazechat.client.outbox import PendingMessage


class Event(Struct, frozen=True):
    """Base of all events."""


class ChatEvent(Event, frozen=True):
    """Something in a chat changed, which brought it to this version."""

    chat_id: int
    version: int


class MessageCreated(ChatEvent, tag="message.created", frozen=True):
    """A new message, one's own too. While one is online or comes back, each is told once."""

    message: Message


class MessageUpdated(ChatEvent, tag="message.updated", frozen=True):
    """A message as it is now: edited, reacted to, pinned or unpinned."""

    message: Message


class MessageDeleted(ChatEvent, tag="message.deleted", frozen=True):
    """A message has gone; its marker, without content."""

    message: Message


class ChatCreated(ChatEvent, tag="chat.created", frozen=True):
    """A chat that is new to one: made, or one was added."""

    chat: MyChat


class ChatInfo(Struct, frozen=True):
    """What `ChatUpdated` tells of a chat; `users` only where its members may have changed, too."""

    id: int
    name: str | None
    is_group_chat: bool
    history: History
    member_count: int
    users: list[Member] | None = None


class ChatUpdated(ChatEvent, tag="chat.updated", frozen=True):
    """A chat has another name, other settings, or other members."""

    chat: ChatInfo


class ChatDeleted(ChatEvent, tag="chat.deleted", frozen=True):
    """A chat is gone, with all that was said in it."""


class MembersAdded(ChatEvent, tag="member.added", frozen=True):
    """Others have joined."""

    members: list[Member]


class MemberRemoved(ChatEvent, tag="member.removed", frozen=True):
    """Somebody has left or was removed. If it is oneself, the chat is gone."""

    user_id: int


class MembersUpdated(ChatEvent, tag="member.updated", frozen=True):
    """They have other roles."""

    members: list[Member]


class ReadCursorMoved(Event, tag="read", frozen=True):
    """Somebody has read up to a message; `unread` is told of oneself."""

    chat_id: int
    user_id: int
    read_id: int
    unread: int | None = None


class Typing(Event, tag="typing", frozen=True):
    """Somebody writes, or has stopped, in a chat that one has open."""

    chat_id: int
    user_id: int
    typing: bool


class Notice(Event, tag="notice", frozen=True):
    """Words for oneself alone, from a slash command; they are stored nowhere."""

    chat_id: int
    user: Author
    content: str


class PresenceChanged(Event, tag="presence", frozen=True):
    """Somebody whom one watches is here, away or gone."""

    user_id: int
    status: Status
    last_seen: datetime | None


class UserUpdated(Event, tag="user.updated", frozen=True):
    """Somebody whom one watches has another name."""

    user: User


# What the client itself tells.


class ConnectionState(StrEnum):
    """How the live connection is."""

    OFFLINE = "offline"
    """Not connected; `retry_in` tells when it is tried again."""
    CONNECTING = "connecting"
    SYNCING = "syncing"
    """Connected; what was missed is being told."""
    ONLINE = "online"
    """All that is stored on the server is known here, as far as one keeps it."""
    ENDED = "ended"
    """Over: closed, or the session has ended and somebody has to log in again."""


class ConnectionChanged(Event, frozen=True):
    """The connection is as it says now; `reason` is a sentence, `retry_in` seconds to the next try."""

    state: ConnectionState
    reason: str = ""
    retry_in: float | None = None


class ChatReset(Event, frozen=True):
    """Too much changed to be told one by one; `chat` has been loaded anew and is right."""

    chat_id: int


class ChatGone(Event, frozen=True):
    """A chat is not there any more, or not for oneself; it turned out on coming back."""

    chat_id: int


class EventsDropped(Event, frozen=True):
    """Whoever reads these events did not keep up: some were left out. The state is right all the same."""

    count: int


class SendStateChanged(Event, frozen=True):
    """A message of one's own in the outbox is in another condition now."""

    message: "PendingMessage"


MessageEvent = MessageCreated | MessageUpdated | MessageDeleted
VersionedEvent = (
    MessageEvent | ChatCreated | ChatUpdated | ChatDeleted | MembersAdded | MemberRemoved | MembersUpdated
)

__all__ = [
    "MessageEvent",
    "ChatCreated",
    "ChatDeleted",
    "ChatInfo",
    "ChatEvent",
    "ChatGone",
    "ChatReset",
    "ChatUpdated",
    "ConnectionState",
    "Event",
    "EventsDropped",
    "ConnectionChanged",
    "MemberRemoved",
    "MembersAdded",
    "MembersUpdated",
    "MessageCreated",
    "MessageDeleted",
    "MessageUpdated",
    "Notice",
    "PresenceChanged",
    "ReadCursorMoved",
    "Role",
    "SendStateChanged",
    "Typing",
    "UserUpdated",
    "VersionedEvent",
]
