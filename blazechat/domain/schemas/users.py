"""Public types of accounts: users, members, presence, sessions and tokens, as HTTP and sockets return
them."""

from collections.abc import Callable
from dataclasses import dataclass
from datetime import datetime

from blazechat.vocabulary import Role, Status

StatusOf = Callable[[int], Status]
"""Returns a user's online status, which the process keeps in memory and not in the database."""


@dataclass(frozen=True, slots=True)
class Author:
    id: int
    username: str
    display_name: str


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
class Invitation:
    """`code` is shown once, to its maker."""

    id: int
    created_at: datetime
    expires_at: datetime
    used_by: int | None
    code: str | None = None
