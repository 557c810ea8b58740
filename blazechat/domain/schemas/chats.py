"""Public types of chats, as HTTP and sockets return them."""

from dataclasses import dataclass
from datetime import datetime

from blazechat.domain.schemas.messages import Message
from blazechat.domain.schemas.users import Account, Member
from blazechat.vocabulary import History, Role


@dataclass(frozen=True, slots=True)
class Chat:
    """The fields of a chat that are the same for all members.

    `users` are the first members in the order of their ids. `member_count` counts all members.
    """

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
    """A chat as one of its members sees it. `unread` counts the messages after the read cursor
    `read_id`."""

    role: Role
    read_id: int
    unread: int
    last_message: Message | None


@dataclass(frozen=True, slots=True)
class ChatInfo:
    """The fields of a chat that its owner and admins can change."""

    id: int
    name: str | None
    is_group_chat: bool
    history: History
    member_count: int


@dataclass(frozen=True, slots=True)
class Overview:
    """The initial state of a client: its account, and its chats, those with the latest message first."""

    user: Account
    chats: list[MyChat]
