"""Public types of chats, as HTTP and sockets return them."""

from dataclasses import dataclass
from datetime import datetime

from blazechat.domain.schemas.messages import Message
from blazechat.domain.schemas.users import Account, Member
from blazechat.vocabulary import History, Role


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
