"""The events of a client: one type per kind of event, made for `match`.

Events with a `version` belong to a chat. The client delivers them in the order of versions, and each one
once, however often the connection is lost.
"""

from datetime import datetime
from enum import StrEnum
from typing import TYPE_CHECKING

from msgspec import Struct

from blazechat.client.schemas import Author, Member, Message, MyChat, User
from blazechat.vocabulary import History, Status

if TYPE_CHECKING:
    from blazechat.client.outbox import PendingMessage


class Event(Struct, frozen=True):
    """Base of all events."""


class ChatEvent(Event, frozen=True):
    """A change in a chat. `version` is the chat's version after the change."""

    chat_id: int
    version: int


class MessageCreated(ChatEvent, tag="message.created", frozen=True):
    """A new message, including messages of this account. Each message is delivered as new once."""

    message: Message


class MessageUpdated(ChatEvent, tag="message.updated", frozen=True):
    """The current form of a message that was edited, reacted to, pinned or unpinned."""

    message: Message


class MessageDeleted(ChatEvent, tag="message.deleted", frozen=True):
    """A message was deleted. `message` is its tombstone, without content."""

    message: Message


class ChatCreated(ChatEvent, tag="chat.created", frozen=True):
    """A chat that is new to this account: it was created, or the account was added."""

    chat: MyChat


class ChatInfo(Struct, frozen=True):
    """The settings of a chat in `ChatUpdated`. `users` is None unless the members may have changed too."""

    id: int
    name: str | None
    is_group_chat: bool
    history: History
    member_count: int
    users: list[Member] | None = None


class ChatUpdated(ChatEvent, tag="chat.updated", frozen=True):
    """The name, the settings or the members of a chat changed."""

    chat: ChatInfo


class ChatDeleted(ChatEvent, tag="chat.deleted", frozen=True):
    """A chat was deleted, with all its messages."""


class MembersAdded(ChatEvent, tag="member.added", frozen=True):
    """Users joined a chat."""

    members: list[Member]


class MemberRemoved(ChatEvent, tag="member.removed", frozen=True):
    """A member left or was removed. If it is this account, the chat is removed from the state."""

    user_id: int


class MembersUpdated(ChatEvent, tag="member.updated", frozen=True):
    """Members have new roles."""

    members: list[Member]


class ReadCursorMoved(Event, tag="read", frozen=True):
    """A read cursor moved: this account's own (with `unread`), or a member's in an open chat."""

    chat_id: int
    user_id: int
    read_id: int
    unread: int | None = None


class Typing(Event, tag="typing", frozen=True):
    """A member of an open chat started or stopped typing."""

    chat_id: int
    user_id: int
    typing: bool


class Notice(Event, tag="notice", frozen=True):
    """A slash command's response that only this account receives. It is not stored."""

    chat_id: int
    user: Author
    content: str


class PresenceChanged(Event, tag="presence", frozen=True):
    """A watched user is online, away or offline."""

    user_id: int
    status: Status
    last_seen: datetime | None


class UserUpdated(Event, tag="user.updated", frozen=True):
    """A watched user has a new name."""

    user: User


# Events of the client itself


class ConnectionState(StrEnum):
    """The state of the live connection."""

    OFFLINE = "offline"
    """Not connected. `retry_in` is the time until the next attempt."""
    CONNECTING = "connecting"
    SYNCING = "syncing"
    """Connected. Missed events are being delivered."""
    ONLINE = "online"
    """Connected, and the client's state equals the server's."""
    ENDED = "ended"
    """Ended for good: the session has ended, or the server rejects this client. `reason` says which."""


class ConnectionChanged(Event, frozen=True):
    """The connection has a new state. `reason` is a sentence, `retry_in` the pause in seconds, if any."""

    state: ConnectionState
    reason: str = ""
    retry_in: float | None = None


class ChatReset(Event, frozen=True):
    """The missed events of a chat could not be delivered. `client.state` has its current state."""

    chat_id: int


class ChatGone(Event, frozen=True):
    """After a reconnect, a chat no longer exists or this account is no longer a member of it."""

    chat_id: int


class EventsDropped(Event, frozen=True):
    """The reader of a stream was too slow, so its oldest `count` events are lost. The state is right."""

    count: int


class SendStateChanged(Event, frozen=True):
    """A message in the outbox has a new state."""

    message: "PendingMessage"


MessageEvent = MessageCreated | MessageUpdated | MessageDeleted
ChatChange = ChatCreated | ChatUpdated | ChatDeleted | MembersAdded | MemberRemoved | MembersUpdated
VersionedEvent = MessageEvent | ChatChange

__all__ = [
    "ChatChange",
    "ChatCreated",
    "ChatDeleted",
    "ChatEvent",
    "ChatGone",
    "ChatInfo",
    "ChatReset",
    "ChatUpdated",
    "ConnectionChanged",
    "ConnectionState",
    "Event",
    "EventsDropped",
    "MemberRemoved",
    "MembersAdded",
    "MembersUpdated",
    "MessageCreated",
    "MessageDeleted",
    "MessageEvent",
    "MessageUpdated",
    "Notice",
    "PresenceChanged",
    "ReadCursorMoved",
    "SendStateChanged",
    "Typing",
    "UserUpdated",
    "VersionedEvent",
]
