"""Public types of messages, as HTTP and sockets return them."""

from dataclasses import dataclass
from datetime import datetime

import msgspec

from blazechat.domain.schemas.files import Attachment
from blazechat.domain.schemas.users import Author


@dataclass(frozen=True, slots=True)
class OverriddenAuthor(Author):
    """An incoming webhook under the name, and with the picture, that one of its messages came with."""

    icon_url: str | None


@dataclass(frozen=True, slots=True)
class AuthorOverride:
    """How a message wants its author to be shown."""

    name: str | None
    icon_url: str | None

    def apply(self, author: Author) -> OverriddenAuthor:
        name = self.name or author.display_name
        return OverriddenAuthor(author.id, author.username, name, self.icon_url)

    def as_json(self) -> str:
        return msgspec.json.encode(self).decode()


@dataclass(frozen=True, slots=True)
class Reaction:
    """`user_ids` are the first of those who reacted with this emoji, `count` all."""

    emoji: str
    count: int
    user_ids: list[int]


@dataclass(slots=True)  # a frozen one takes five times as long to make, and is made for every message
class Message:
    """`content` of a deleted message is empty, and `deleted_at` says when it went. Never changed later."""

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
    is_read: bool
    read_by: list[int]
    unread_by: list[int]


@dataclass(frozen=True, slots=True)
class ReadCursor:
    message: str
    read_id: int
    unread: int
