"""What users, chats and messages look like to the world: the same objects over HTTP and sockets."""

from collections.abc import Callable
from dataclasses import dataclass
from datetime import datetime
from enum import StrEnum

import msgspec

from blazechat.domain.file_shapes import Attachment
from blazechat.domain.grants import Scope


class Status(StrEnum):
    ONLINE = "online"
    AWAY = "away"
    OFFLINE = "offline"


class Role(StrEnum):
    OWNER = "owner"
    ADMIN = "admin"
    MEMBER = "member"


class History(StrEnum):
    """Who may read what was said before they joined."""

    ALL = "all"
    JOINED = "joined"


StatusOf = Callable[[int], Status]
"""Tells whether a user is here; presence lives in memory, not in the database."""


@dataclass(frozen=True, slots=True)
class Author:
    id: int
    username: str
    display_name: str


@dataclass(frozen=True, slots=True)
class DisguisedAuthor(Author):
    """An incoming webhook under the name, and with the picture, that one of its messages came with."""

    icon_url: str | None


@dataclass(frozen=True, slots=True)
class Guise:
    """How a message wants its author to be shown."""

    name: str | None
    icon_url: str | None

    def of(self, author: Author) -> DisguisedAuthor:
        name = self.name or author.display_name
        return DisguisedAuthor(author.id, author.username, name, self.icon_url)

    def as_json(self) -> str:
        return msgspec.json.encode(self).decode()


@dataclass(frozen=True, slots=True)
class User:
    id: int
    username: str
    display_name: str
    created_at: datetime
    last_seen: datetime | None
    status: Status
    is_bot: bool


@dataclass(frozen=True, slots=True)
class Account(User):
    """A user to themselves."""

    email: str | None
    is_admin: bool
    updated_at: datetime


@dataclass(frozen=True, slots=True)
class Member(User):
    """A user as one of a chat."""

    role: Role


@dataclass(frozen=True, slots=True)
class Presence:
    user_id: int
    status: Status
    last_seen: datetime | None


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
class Chat:
    """A chat as it is for everybody in it. `users` are its first members, `member_count` all."""

    id: int
    name: str | None
    is_group_chat: bool
    history: History
    created_at: datetime
    users: list[Member]
    member_count: int
    last_message_id: int
    version: int


@dataclass(frozen=True, slots=True)
class MyChat(Chat):
    """A chat as one of its members sees it."""

    role: Role
    read_id: int
    unread: int
    last_message: Message | None


@dataclass(frozen=True, slots=True)
class ChatInfo:
    """What of a chat its owner and admins can change."""

    id: int
    name: str | None
    is_group_chat: bool
    history: History
    member_count: int


@dataclass(frozen=True, slots=True)
class Overview:
    """What a client begins with: who it is, and its chats, those with the latest message first."""

    user: Account
    chats: list[MyChat]


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


@dataclass(frozen=True, slots=True)
class Session:
    """One log-in. `current` marks the one that asks."""

    id: int
    device: str
    address: str
    created_at: datetime
    last_used_at: datetime
    expires_at: datetime
    current: bool


@dataclass(frozen=True, slots=True)
class AccessToken:
    """`expires_in` is its life in seconds, `token_type` always `bearer` (RFC 6750)."""

    access_token: str
    token_type: str
    expires_in: int


@dataclass(frozen=True, slots=True)
class Tokens(AccessToken):
    """What a log-in gives; the refresh token is good once."""

    refresh_token: str


@dataclass(frozen=True, slots=True)
class Ticket:
    """Opens one socket, as `?ticket=`, within `expires_in` seconds."""

    ticket: str
    expires_in: int


@dataclass(frozen=True, slots=True)
class Bot(User):
    """An account without a password, which its owner makes tokens for."""

    owner_id: int


@dataclass(frozen=True, slots=True)
class ApiToken:
    """A token of a long life, good for `scope` and, if there are `chat_ids`, for these chats alone.

    `token` is shown once, to its maker. Without `expires_at` it is good until it is revoked.
    """

    id: int
    user_id: int
    name: str
    scope: Scope
    chat_ids: list[int] | None
    created_at: datetime
    last_used_at: datetime | None
    expires_at: datetime | None
    token: str | None = None


@dataclass(frozen=True, slots=True)
class IncomingWebhook:
    """A secret URL that posts into a chat as the user `user_id`. `url` is shown once, to its maker."""

    id: int
    chat_id: int
    user_id: int
    name: str
    created_by: int
    created_at: datetime
    last_used_at: datetime | None
    url: str | None = None


@dataclass(frozen=True, slots=True)
class SlashCommand:
    """A word of a chat that another program answers. `secret` is shown once, `url` to who may change it."""

    id: int
    chat_id: int
    user_id: int
    word: str
    description: str
    url: str | None
    created_at: datetime
    secret: str | None = None


@dataclass(frozen=True, slots=True)
class CommandAnswer:
    """What a command answered: `in_channel` a message, `ephemeral` words for the caller; or nothing yet."""

    response_type: str | None
    content: str | None
    message: Message | None


@dataclass(frozen=True, slots=True)
class Webhook:
    """Is told of events of a chat, or without `chat_id` of all. `secret` is shown once, to its maker."""

    id: int
    chat_id: int | None
    owner_id: int
    url: str
    events: list[str]
    enabled: bool
    disabled_at: datetime | None
    disabled_because: str | None
    failing_since: datetime | None
    created_at: datetime
    secret: str | None = None


@dataclass(frozen=True, slots=True)
class Attempt:
    """One try to tell a webhook of an event: the answer, or in `error` why there was none."""

    number: int
    at: datetime
    seconds: float
    status: int | None
    error: str | None
    headers: dict[str, str]
    answer: str | None


@dataclass(frozen=True, slots=True)
class SentRequest:
    """What a webhook is sent, but for when and how it is signed. `body` is of how things are now."""

    url: str
    headers: dict[str, str]
    body: str | None


@dataclass(frozen=True, slots=True)
class Delivery:
    """An event and a webhook. `state` is `waiting` (until `due_at`), `delivered`, or `dead`: given up."""

    id: int
    webhook_id: int
    chat_id: int | None
    version: int | None
    type: str
    state: str
    tries: int
    created_at: datetime
    due_at: datetime | None
    finished_at: datetime | None
    attempts: list[Attempt]
    request: SentRequest | None = None


@dataclass(frozen=True, slots=True)
class Invitation:
    """`code` is shown once, to its maker."""

    id: int
    created_at: datetime
    expires_at: datetime
    used_by: int | None
    code: str | None = None
