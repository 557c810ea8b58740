"""Users, chats and messages as the server tells of them: the same objects over HTTP and sockets.

Times are aware and in UTC, ids are integers. Fields that a later server adds are passed over.
"""

from collections.abc import Iterator
from datetime import datetime
from typing import Generic, TypeVar

from msgspec import Struct

from blazechat.vocabulary import History, Role, Scope, Status

T = TypeVar("T")


class Author(Struct, frozen=True):
    """Whoever wrote a message, as they were called when it was told.

    `icon_url` is the picture that a webhook wants its message to be shown with.
    """

    id: int
    username: str
    display_name: str
    icon_url: str | None = None


class User(Struct, frozen=True):
    """Somebody with an account. `last_seen` is None for who was never here."""

    id: int
    username: str
    display_name: str
    created_at: datetime
    last_seen: datetime | None
    status: Status
    is_bot: bool


class Account(User, frozen=True):
    """A user to themselves."""

    email: str | None
    is_admin: bool
    updated_at: datetime


class Member(User, frozen=True):
    """A user as one of a chat."""

    role: Role


class Presence(Struct, frozen=True):
    """Whether a user is here, and when they last were."""

    user_id: int
    status: Status
    last_seen: datetime | None


class Reaction(Struct, frozen=True):
    """`user_ids` are the first of those who reacted with this emoji, `count` all."""

    emoji: str
    count: int
    user_ids: list[int]


class Thumbnail(Struct, frozen=True):
    """A WebP image; `size` is `small` or `large`."""

    size: str
    width: int
    height: int
    url: str


class Attachment(Struct, frozen=True):
    """A file of a message. `media_type` is what its bytes say, `size` in bytes, `duration` in seconds.

    `placeholder` of an image is a ThumbHash in base64. `client.files.download` takes it, or a `url`.
    """

    id: int
    name: str
    media_type: str
    size: int
    width: int | None
    height: int | None
    duration: float | None
    placeholder: str | None
    url: str
    thumbnails: list[Thumbnail]


class Upload(Attachment, frozen=True):
    """A file of one's own; it can be attached once it is `ready`, and disappears at `expires_at`."""

    received: int
    ready: bool
    created_at: datetime
    expires_at: datetime | None


class Message(Struct, frozen=True):
    """One message as it is now. The `content` of a deleted one is empty.

    `id` is its place in its chat (1, 2, 3, … without holes), `version` the chat's that last touched it.
    """

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
    attachments: list[Attachment] = []


class Chat(Struct, frozen=True):
    """A chat as its members see it. `users` are its first hundred members, `member_count` all.

    `name` is None for direct chats and unnamed groups.
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


class MyChat(Chat, frozen=True):
    """A chat as the one who asks sees it: with their role, and how far they have read."""

    role: Role
    read_id: int
    unread: int
    last_message: Message | None


class Overview(Struct, frozen=True):
    """Who one is, and one's chats, those with the latest message first."""

    user: Account
    chats: list[MyChat]


class ReadStatus(Struct, frozen=True):
    """Who has read a message, by user id."""

    is_read: bool
    read_by: list[int]
    unread_by: list[int]


class ReadCursor(Struct, frozen=True):
    """How far one has read in a chat, and how many messages are left."""

    read_id: int
    unread: int


class Session(Struct, frozen=True):
    """One log-in on a device. `current` marks the one that asks."""

    id: int
    device: str
    address: str
    created_at: datetime
    last_used_at: datetime
    expires_at: datetime
    current: bool


class Tokens(Struct, frozen=True):
    """What a log-in gives: an access token for `expires_in` seconds, and a refresh token, good once."""

    access_token: str
    expires_in: int
    refresh_token: str = ""

    def __repr__(self) -> str:
        return "Tokens(…)"  # they are not for logs


class Invitation(Struct, frozen=True):
    """Lets one person register. `code` is told once, to its maker."""

    id: int
    created_at: datetime
    expires_at: datetime
    used_by: int | None
    code: str | None = None


class Bot(User, frozen=True):
    """An account without a password."""

    owner_id: int


class ApiToken(Struct, frozen=True):
    """What a program logs in with. `token` is told once, when it is made."""

    id: int
    user_id: int
    name: str
    scope: Scope
    chat_ids: list[int] | None
    created_at: datetime
    last_used_at: datetime | None
    expires_at: datetime | None
    token: str | None = None

    def __repr__(self) -> str:
        return f"ApiToken({self.id!r}, {self.name!r})"  # without the token: this may come into a log


class IncomingWebhook(Struct, frozen=True):
    """A secret URL that posts into a chat. `url` is told once, when it is made."""

    id: int
    chat_id: int
    user_id: int
    name: str
    created_by: int
    created_at: datetime
    last_used_at: datetime | None
    url: str | None = None

    def __repr__(self) -> str:
        return f"IncomingWebhook({self.id!r}, {self.name!r})"  # without the URL: this may come into a log


class SlashCommand(Struct, frozen=True):
    """A word of a chat that another program answers. `secret` is told once, when it is made."""

    id: int
    chat_id: int
    user_id: int
    word: str
    description: str
    url: str | None
    created_at: datetime
    secret: str | None = None

    def __repr__(self) -> str:
        return f"SlashCommand({self.id!r}, {self.word!r})"  # without the secret: this may come into a log


class CommandAnswer(Struct, frozen=True):
    """What a command answered: `in_channel` a message, `ephemeral` words for oneself; or nothing yet."""

    response_type: str | None
    content: str | None
    message: Message | None


class Webhook(Struct, frozen=True):
    """Is told of events of a chat, or without `chat_id` of all. `secret` is told once, when it is made."""

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

    def __repr__(self) -> str:
        return f"Webhook({self.id!r}, {self.url!r})"  # without the secret: this may come into a log


class Attempt(Struct, frozen=True):
    """One try to tell a webhook of an event: the answer, or in `error` why there was none."""

    number: int
    at: datetime
    seconds: float
    status: int | None
    error: str | None
    headers: dict[str, str]
    answer: str | None


class SentRequest(Struct, frozen=True):
    """What a webhook is sent, but for when and how it is signed."""

    url: str
    headers: dict[str, str]
    body: str | None


class Delivery(Struct, frozen=True):
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


class Redelivered(Struct, frozen=True):
    count: int


class Page(Struct, Generic[T], frozen=True):
    """Some of a list. `older` and `newer` are the ids to ask on with, None where nothing follows."""

    items: list[T]
    older: int | None = None
    newer: int | None = None

    def __iter__(self) -> Iterator[T]:
        return iter(self.items)

    def __len__(self) -> int:
        return len(self.items)
