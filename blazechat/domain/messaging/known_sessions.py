"""Caches the sessions that send, with their authors' names, and the version at which they were valid.

`auth_version` is raised by every transaction that ends a session or renames a user, in that transaction.
A session that was valid at a version is valid at that version until it expires. So a statement that reads
the same version as before, in its own snapshot, need not look at sessions and users. That a session has
ended is thus known from the database, on every node, and not from an event that might be lost.
"""

from collections.abc import Iterable
from datetime import datetime

from blazechat.domain.schemas.users import Author

MAX_KNOWN_SESSIONS = 50_000
"""The sessions that were known first are evicted; each takes some 300 bytes."""


class KnownSession:
    """A session that was valid at `auth_version`, with the author's names of that version."""

    __slots__ = ("auth_version", "author", "expires_at")

    def __init__(self, author: Author, expires_at: datetime, auth_version: int) -> None:
        self.author = author
        self.expires_at = expires_at
        self.auth_version = auth_version


class KnownSessions:
    """The cache. `version` is the newest `auth_version` that a statement has returned."""

    def __init__(self, max_sessions: int = MAX_KNOWN_SESSIONS) -> None:
        self._max_sessions = max_sessions
        self._sessions: dict[int, KnownSession] = {}
        self.version = 0

    def of(self, session_id: int, user_id: int) -> KnownSession | None:
        """Return the session if it is known as this user's."""
        session = self._sessions.get(session_id)
        return session if session is not None and session.author.id == user_id else None

    def known_at(self, sessions: Iterable[KnownSession]) -> int:
        """Return the version at which all of the sessions are known to be valid; -1 if there is none."""
        version = self.version
        for session in sessions:
            if session.auth_version != version:
                return -1
        return version

    def learn(self, session_id: int, session: KnownSession) -> None:
        """Cache a session that a statement has found valid."""
        if session.auth_version > self.version:
            self.version = session.auth_version
        if session_id not in self._sessions and len(self._sessions) >= self._max_sessions:
            del self._sessions[next(iter(self._sessions))]
        self._sessions[session_id] = session

    def confirm(self, sessions: Iterable[KnownSession], version: int, expires_at: datetime) -> None:
        """A statement has found these cached sessions valid at a version; none expires before
        `expires_at`."""
        if version > self.version:
            self.version = version
        for session in sessions:
            session.auth_version, session.expires_at = version, expires_at

    def forget(self, session_id: int) -> None:
        self._sessions.pop(session_id, None)
