"""Public types of bots, API tokens, webhooks and slash commands, as HTTP returns them."""

from dataclasses import dataclass
from datetime import datetime

from blazechat.domain.schemas.messages import Message
from blazechat.domain.schemas.users import User
from blazechat.vocabulary import Scope


@dataclass(frozen=True, slots=True)
class Bot(User):
    """An account without a password. Its owner creates API tokens for it."""

    owner_id: int


@dataclass(frozen=True, slots=True)
class ApiToken:
    """A long-lived token. It permits `scope`, and if `chat_ids` is set, only in these chats.

    `token` is returned once, on creation. Without `expires_at`, the token is valid until it is revoked.
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
    """A secret URL that posts into a chat as the user `user_id`. `url` is returned once, on creation.

    `last_error` is the last failure of `template`, since its last change.
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


@dataclass(frozen=True, slots=True)
class SlashCommand:
    """A word of a chat that another program answers.

    `secret` is returned once, on creation. `url` is returned only to members who may change the command.
    """

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
    """The answer of a slash command.

    The `response_type` is `in_channel` for a message, `ephemeral` for a text that only the caller receives,
    and null if there is no answer yet.
    """

    response_type: str | None
    content: str | None
    message: Message | None


@dataclass(frozen=True, slots=True)
class Webhook:
    """Receives the events of a chat, or without `chat_id` of all chats. `secret` is returned once, on
    creation."""

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
    """One attempt to deliver an event: the response, or in `error` the reason why there was none."""

    number: int
    at: datetime
    seconds: float
    status: int | None
    error: str | None
    headers: dict[str, str]
    answer: str | None


@dataclass(frozen=True, slots=True)
class SentRequest:
    """The request of a delivery, without timestamp and signature. `body` has the current content."""

    url: str
    headers: dict[str, str]
    body: str | None


@dataclass(frozen=True, slots=True)
class Delivery:
    """The delivery of an event to a webhook.

    `state` is `waiting` (for the attempt at `due_at`), `delivered`, or `dead`: there are no more attempts.
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


@dataclass(frozen=True, slots=True)
class TemplatePreview:
    """The message that a template makes of a payload; empty if it posts none."""

    content: str
