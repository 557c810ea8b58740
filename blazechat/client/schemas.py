"""Public data types of the API: users, chats, messages, files, tokens and webhooks, over HTTP and sockets.

They mirror the server's types, and tests/clients/test_schemas.py compares the two. Times are in UTC, with
their time zone; ids are integers. Unknown fields, from a newer server, are ignored.
"""

from collections.abc import Iterator
from datetime import datetime
from typing import Generic, TypeVar

from msgspec import Struct

from blazechat.vocabulary import DirectoryScope, History, RegistrationPolicy, Role, Scope, Status

T = TypeVar("T")


class Author(Struct, frozen=True):
    """The author of a message, with the names at the time when the server sent it.

    `icon_url` is the picture that an incoming webhook chose for its message.
    """

    id: int
    username: str
    display_name: str
    icon_url: str | None = None


class User(Struct, frozen=True):
    """An account as other users see it. `last_seen` is None if the user was never online."""

    id: int
    username: str
    display_name: str
    created_at: datetime
    last_seen: datetime | None
    status: Status
    is_bot: bool


class Account(User, frozen=True):
    """An account as its owner sees it."""

    email: str | None
    is_admin: bool
    updated_at: datetime


class Member(User, frozen=True):
    """A user as a member of a chat."""

    role: Role


class Presence(Struct, frozen=True):
    """A user's online status, and when the user was last online."""

    user_id: int
    status: Status
    last_seen: datetime | None


class Reaction(Struct, frozen=True):
    """The users who reacted with an emoji. `user_ids` are the first of them, `count` is their number."""

    emoji: str
    count: int
    user_ids: list[int]


class Thumbnail(Struct, frozen=True):
    """A WebP image. `size` is `small` or `large`."""

    size: str
    width: int
    height: int
    url: str


class Attachment(Struct, frozen=True):
    """A file of a message. `media_type` is what its bytes are, `size` is in bytes, `duration` in seconds.

    `placeholder` of an image is a ThumbHash in base64. `client.files.download` accepts the attachment or a
    `url`.
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
    """A file that this account uploaded. Messages can contain it once it is `ready`.

    The server deletes it at `expires_at`, unless a message contains it.
    """

    received: int
    ready: bool
    created_at: datetime
    expires_at: datetime | None


class Message(Struct, frozen=True):
    """The current form of a message. The `content` of a deleted message is empty.

    `id` is its position in its chat (1, 2, 3, … without gaps). `version` is the chat's version that last
    changed it.
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
    """A chat as all its members see it. `users` are its first 100 members, `member_count` their number.

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
    """A chat as this account sees it, with its role, read cursor and number of unread messages."""

    role: Role
    read_id: int
    unread: int
    last_message: Message | None


class Overview(Struct, frozen=True):
    """This account and its chats, the ones with the latest messages first."""

    user: Account
    chats: list[MyChat]


class ReadStatus(Struct, frozen=True):
    """The ids of the users who have and have not read a message."""

    is_read: bool
    read_by: list[int]
    unread_by: list[int]


class ReadCursor(Struct, frozen=True):
    """This account's read cursor in a chat: the last message read, and the number of unread messages."""

    read_id: int
    unread: int


class Session(Struct, frozen=True):
    """A login on a device. `current` is true for the session that sent the request."""

    id: int
    device: str
    address: str
    created_at: datetime
    last_used_at: datetime
    expires_at: datetime
    current: bool


class Tokens(Struct, frozen=True):
    """The tokens of a login. The access token is valid for `expires_in` seconds, the refresh token once.

    `refresh_token` is empty if the server renewed only the access token.
    """

    access_token: str
    expires_in: int
    refresh_token: str = ""

    def __repr__(self) -> str:
        return "Tokens(…)"  # without tokens, since logs may contain it


class Invitation(Struct, frozen=True):
    """Permits one registration. `code` is returned once, when the invitation is created."""

    id: int
    created_at: datetime
    expires_at: datetime
    used_by: int | None
    code: str | None = None


class ServerInfo(Struct, frozen=True):
    """A server's public address, who may register, and whom a user can list."""

    url: str
    registration: RegistrationPolicy
    directory: DirectoryScope


class Bot(User, frozen=True):
    """An account without a password."""

    owner_id: int


class ApiToken(Struct, frozen=True):
    """A long-lived token for programs. `token` is returned once, when it is created."""

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
        return f"ApiToken({self.id!r}, {self.name!r})"  # without the token, since logs may contain it


class IncomingWebhook(Struct, frozen=True):
    """A secret URL that posts into a chat. `url` is returned once, when it is created.

    `template` makes messages from posts; `last_error` is its last failure since its last change.
    """

    id: int
    chat_id: int
    user_id: int
    name: str
    created_by: int
    created_at: datetime
    last_used_at: datetime | None
    template: str | None = None
    last_error: str | None = None
    last_error_at: datetime | None = None
    url: str | None = None

    def __repr__(self) -> str:
        # Without the URL, since logs may contain it.
        return f"IncomingWebhook({self.id!r}, {self.name!r})"


class TemplatePreview(Struct, frozen=True):
    """The message that a template makes of a payload; empty if it posts none."""

    content: str


class SlashCommand(Struct, frozen=True):
    """A command of a chat that an external program handles. `secret` is returned once, when it is created.

    `url` is None for members who may not change the command.
    """

    id: int
    chat_id: int
    user_id: int
    word: str
    description: str
    url: str | None
    created_at: datetime
    secret: str | None = None

    def __repr__(self) -> str:
        return f"SlashCommand({self.id!r}, {self.word!r})"  # without the secret, since logs may contain it


class CommandAnswer(Struct, frozen=True):
    """The response to a slash command. All fields are None if the program has sent no answer yet.

    `response_type` is `in_channel` (the answer is `message`) or `ephemeral` (the answer is `content`, for
    this account only).
    """

    response_type: str | None
    content: str | None
    message: Message | None


class Webhook(Struct, frozen=True):
    """A URL that receives the events of a chat; of all chats if `chat_id` is None.

    `secret` is returned once, when the webhook is created or its secret rotated.
    """

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
        return f"Webhook({self.id!r}, {self.url!r})"  # without the secret, since logs may contain it


class Attempt(Struct, frozen=True):
    """One attempt to deliver an event to a webhook, with the response, or the `error` if there was none."""

    number: int
    at: datetime
    seconds: float
    status: int | None
    error: str | None
    headers: dict[str, str]
    answer: str | None


class SentRequest(Struct, frozen=True):
    """The request that a webhook receives, without its timestamp and signature."""

    url: str
    headers: dict[str, str]
    body: str | None


class Delivery(Struct, frozen=True):
    """The delivery of an event to a webhook.

    `state` is `waiting` (for the attempt at `due_at`), `delivered`, or `dead` (no more attempts follow).
    """

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
    """The number of deliveries that are sent again."""

    count: int


class Page(Struct, Generic[T], frozen=True):
    """A page of a list. `older` and `newer` are the keys of the adjacent pages; None at an end."""

    items: list[T]
    older: int | None = None
    newer: int | None = None

    def __iter__(self) -> Iterator[T]:
        return iter(self.items)

    def __len__(self) -> int:
        return len(self.items)
