"""Public types of bots, API tokens, webhooks and slash commands, as HTTP returns them."""

from dataclasses import dataclass
from datetime import datetime

from blazechat.domain.schemas.messages import Message
from blazechat.domain.schemas.users import User
from blazechat.vocabulary import Scope


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
