"""What has happened: told after the commit, to whoever listens.

Events of a chat carry its version, and the hub delivers them in that order; the others are about
people and go out as they come.
"""

from dataclasses import dataclass
from datetime import datetime
from typing import ClassVar

from sqlalchemy.ext.asyncio import AsyncSession

from blazechat.domain.shapes import Chat, Message, Role, Status


@dataclass(frozen=True, slots=True)
class ChatEvent:
    chat_id: int
    version: int
    """The chat's version that this event brought about."""


@dataclass(frozen=True, slots=True)
class MessageCreated(ChatEvent):
    message: Message


@dataclass(frozen=True, slots=True)
class MessageUpdated(ChatEvent):
    message: Message


@dataclass(frozen=True, slots=True)
class MessageDeleted(ChatEvent):
    message: Message
    """The marker that is left, without content."""


@dataclass(frozen=True, slots=True)
class Seat:
    """A member's own side of a chat."""

    role: Role
    read_id: int
    joined_id: int


@dataclass(frozen=True, slots=True)
class ChatUpdated(ChatEvent):
    """The chat came to be, or its name, settings or members changed.

    It carries the whole new state, so that one event makes up for any that was lost before it.
    """

    chat: Chat
    last_message: Message | None
    seats: dict[int, Seat]
    """All members by user id: whoever is not among them is out."""


@dataclass(frozen=True, slots=True)
class ChatDeleted(ChatEvent):
    pass


@dataclass(frozen=True, slots=True)
class SessionsEnded:
    told_when_unsure: ClassVar[bool] = True
    """Published even if the commit was cut off; a socket that is closed in vain comes back."""

    user_id: int
    session_ids: frozenset[int]


@dataclass(frozen=True, slots=True)
class PresenceChanged:
    user_id: int
    status: Status
    last_seen: datetime | None


Event = ChatEvent | SessionsEnded | PresenceChanged


def emit(session: AsyncSession, event: Event) -> None:
    """Have `event` published when the transaction of `session` has committed; not if it rolls back."""
    session.info.setdefault("events", []).append(event)
