"""Public types of messages, as HTTP and sockets return them."""

from dataclasses import dataclass
from datetime import datetime

import msgspec

from blazechat.domain.schemas.files import Attachment
from blazechat.domain.schemas.users import Author


@dataclass(frozen=True, slots=True)
class OverriddenAuthor(Author):
    """The author of a message from an incoming webhook, with the name and icon that the message gave."""

    icon_url: str | None


@dataclass(frozen=True, slots=True)
class AuthorOverride:
    """The name and icon that a message gives for its author. Without a name, the author's own is used."""

    name: str | None
    icon_url: str | None

    def apply(self, author: Author) -> OverriddenAuthor:
        name = self.name or author.display_name
        return OverriddenAuthor(author.id, author.username, name, self.icon_url)

    def as_json(self) -> str:
        return msgspec.json.encode(self).decode()


@dataclass(frozen=True, slots=True)
class Reaction:
    """An emoji and the users who reacted with it. `user_ids` are the first of them, `count` counts all."""

    emoji: str
    count: int
    user_ids: list[int]


@dataclass(slots=True)  # not frozen, which makes its creation five times as fast; it is created per message
class Message:
    """A message. After its deletion `content` is empty and `deleted_at` is set. Objects are never
    modified."""

    id: int
    chat_id: int
    user_id: int
    user: Author
    content: str
    client_id: str
    reply_to: int | None
    version: int
    is_read: bool
    created_at: datetime
    updated_at: datetime
    edited_at: datetime | None
    deleted_at: datetime | None
    pinned_at: datetime | None
    reactions: list[Reaction]
    attachments: list[Attachment]


@dataclass(frozen=True, slots=True)
class ReadStatus:
    """Which members have read a message."""

    is_read: bool
    read_by: list[int]
    unread_by: list[int]


@dataclass(frozen=True, slots=True)
class ReadCursor:
    """How far the caller has read a chat, and how many messages are unread."""

    message: str
    read_id: int
    unread: int
