"""Public types of accounts: users, members, presence, sessions and tokens, as HTTP and sockets return
them."""

from collections.abc import Callable
from dataclasses import dataclass
from datetime import datetime

from blazechat.vocabulary import DirectoryScope, RegistrationPolicy, Role, Status

StatusOf = Callable[[int], Status]
"""Returns a user's presence, by user id. The process keeps it in memory, not in the database."""


@dataclass(frozen=True, slots=True)
class Author:
    """The author of a message."""

    id: int
    username: str
    display_name: str


@dataclass(frozen=True, slots=True)
class User:
    """A user as others see them."""

    id: int
    username: str
    display_name: str
    created_at: datetime
    last_seen: datetime | None
    status: Status
    is_bot: bool


@dataclass(frozen=True, slots=True)
class Account(User):
    """A user as they see themselves."""

    email: str | None
    is_admin: bool
    updated_at: datetime


@dataclass(frozen=True, slots=True)
class Member(User):
    """A user as a member of a chat."""

    role: Role


@dataclass(frozen=True, slots=True)
class Presence:
    """Whether a user is online, and when they were last."""

    user_id: int
    status: Status
    last_seen: datetime | None


@dataclass(frozen=True, slots=True)
class Session:
    """One login. `current` marks the session of this request."""

    id: int
    device: str
    address: str
    created_at: datetime
    last_used_at: datetime
    expires_at: datetime
    current: bool


@dataclass(frozen=True, slots=True)
class AccessToken:
    """A short-lived token. `expires_in` is its lifetime in seconds. `token_type` is `bearer` (RFC 6750)."""

    access_token: str
    token_type: str
    expires_in: int


@dataclass(frozen=True, slots=True)
class Tokens(AccessToken):
    """The tokens of a session. The refresh token can be used once."""

    refresh_token: str


@dataclass(frozen=True, slots=True)
class Ticket:
    """Opens one socket, as the query parameter `ticket`, within `expires_in` seconds."""

    ticket: str
    expires_in: int


@dataclass(frozen=True, slots=True)
class Invitation:
    """Permits one registration. `code` is returned once, on creation."""

    id: int
    created_at: datetime
    expires_at: datetime
    used_by: int | None
    code: str | None = None


@dataclass(frozen=True, slots=True)
class ServerInfo:
    """What a client has to know before it logs in. `url` is the server's public address."""

    url: str
    registration: RegistrationPolicy
    directory: DirectoryScope
