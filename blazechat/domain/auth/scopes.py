"""What a session may be used for: a log-in for everything, an API token for what it was made for.

`Grant` is decided once, when a token is made, and travels with whoever presents it: no look at the database
can widen it. RFC 6750 section 3.1 has the error.
"""

from collections.abc import Collection
from dataclasses import dataclass

from blazechat.errors import InsufficientScope, NoSuchChat
from blazechat.vocabulary import Scope

_RANK = {scope: rank for rank, scope in enumerate(Scope)}


@dataclass(frozen=True, slots=True)
class Grant:
    """`chat_ids` are the only chats that it is good for; None are all."""

    scope: Scope
    chat_ids: frozenset[int] | None = None

    def require(self, scope: Scope) -> None:
        """Raises InsufficientScope."""
        if _RANK[self.scope] < _RANK[scope]:
            raise InsufficientScope(f"This token has the scope {self.scope}; this needs {scope}.")

    def require_chat(self, chat_id: int) -> None:
        """Raises NotFound for chats that it is not good for, as if they were not there."""
        if not self.allows(chat_id):
            raise NoSuchChat

    def require_everywhere(self) -> None:
        """Raises InsufficientScope where it is good for some chats only."""
        if self.chat_ids is not None:
            raise InsufficientScope("This token is good for certain chats only.")

    def allows(self, chat_id: int) -> bool:
        return self.chat_ids is None or chat_id in self.chat_ids


EVERYTHING = Grant(Scope.LOGIN)


def granted(scope: str | None, chat_ids: Collection[int] | None) -> Grant:
    """What a session's row says; without a scope it is a log-in."""
    if scope is None:
        return EVERYTHING
    return Grant(Scope(scope), None if chat_ids is None else frozenset(chat_ids))
