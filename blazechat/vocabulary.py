"""Enumerations of the public API that the server and the Python SDK share.

Their values are the strings that HTTP, the sockets and the database use.
"""

from enum import StrEnum


class Status(StrEnum):
    """The presence of a user."""

    ONLINE = "online"
    AWAY = "away"
    OFFLINE = "offline"


class Role(StrEnum):
    """The role of a member in a chat; docs/api.md has the table of rights."""

    OWNER = "owner"
    ADMIN = "admin"
    MEMBER = "member"


class History(StrEnum):
    """Which messages a new member may read: all of them, or those after they joined."""

    ALL = "all"
    JOINED = "joined"


class Scope(StrEnum):
    """What a token permits. Each scope includes the ones before it."""

    READ = "read"
    """Read chats, messages, files and users."""
    WRITE = "write"
    """Send, edit, react, upload and create chats."""
    ADMIN = "admin"
    """Change chats (names, members, webhooks), and the server where the account is an administrator."""
    LOGIN = "login"
    """Change the account itself: password, sessions, tokens and bots. No API token has this scope."""


class RegistrationPolicy(StrEnum):
    """Who may create an account."""

    OPEN = "open"
    INVITATION = "invitation"
    CLOSED = "closed"


class DirectoryScope(StrEnum):
    """Whom a user can list: all users, users with whom they share a chat, or only themselves."""

    EVERYONE = "everyone"
    SHARED_CHATS = "shared_chats"
    NOBODY = "nobody"
