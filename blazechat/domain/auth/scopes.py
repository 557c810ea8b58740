"""Grants: what a session permits. A login permits everything, an API token its scope in its chats.

A grant is set when its token is created and never changes. It is part of the token's claims, so no later
database query can widen it. The error is that of RFC 6750 section 3.1.
"""

from collections.abc import Collection
from dataclasses import dataclass

from blazechat.errors import InsufficientScope, NoSuchChat
from blazechat.vocabulary import Scope

_RANK = {scope: rank for rank, scope in enumerate(Scope)}


@dataclass(frozen=True, slots=True)
class Grant:
    """A scope, in the chats `chat_ids` only, or if that is None, in all chats of the user."""

    scope: Scope
    chat_ids: frozenset[int] | None = None

    def require(self, scope: Scope) -> None:
        """Raises InsufficientScope unless the grant includes `scope`."""
        if _RANK[self.scope] < _RANK[scope]:
            raise InsufficientScope(
                f"This token has the scope {self.scope}. Use one with the scope {scope}."
            )

    def require_chat(self, chat_id: int) -> None:
        """Raises NoSuchChat if the grant excludes the chat, as for a chat that does not exist."""
        if not self.permits_chat(chat_id):
            raise NoSuchChat

    def require_all_chats(self) -> None:
        """Raises InsufficientScope if the grant is limited to certain chats."""
        if self.chat_ids is not None:
            raise InsufficientScope("This token is limited to certain chats. Use one that is not.")

    def permits_chat(self, chat_id: int) -> bool:
        return self.chat_ids is None or chat_id in self.chat_ids


FULL_GRANT = Grant(Scope.LOGIN)


def grant_of(scope: str | None, chat_ids: Collection[int] | None) -> Grant:
    """Return the grant of a session from the columns of its row. A login has no `scope` there."""
    if scope is None:
        return FULL_GRANT
    return Grant(Scope(scope), None if chat_ids is None else frozenset(chat_ids))
