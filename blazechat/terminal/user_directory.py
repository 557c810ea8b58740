"""Finds users for the completion of names: members of the chat, or the server's directory.

Searches of the directory start after a short pause in typing, run in the background, and are cached.
"""

import asyncio
import time
from collections.abc import Iterable
from functools import partial

from blazechat.client import BlazeChatError, User
from blazechat.terminal.commands.view import ChatView
from blazechat.terminal.widgets.completion import matches

DIRECTORY_COMMANDS = frozenset({"dm", "group", "add"})
"""Slash commands whose users might not be members of the open chat."""
PAUSE_SECONDS = 0.12
"""A search starts if no further key was pressed for this time."""
PAGE_USERS = 50
CACHE_SECONDS = 60.0
MAX_CACHED_SEARCHES = 200


class UserDirectory:
    """The users whom the account of one screen can name."""

    def __init__(self, view: ChatView) -> None:
        self._view = view
        self._client = view.client
        self._found: dict[str, tuple[float, list[User]]] = {}  # by the beginning of a name
        self._searching: str | None = None  # what the search that runs looks for

    def complete(self, typed: str, command: str | None) -> Iterable[User]:
        """Return the known users that fit in after `@`, the best first. More might be found later.

        `typed` is the beginning of a name. `command` is the slash command that the line starts with.
        """
        chat = self._view.chat
        members = chat.other_members if chat is not None else []
        if command not in DIRECTORY_COMMANDS:
            return members
        found = self._search(typed.casefold())
        member_ids = {member.id for member in members} if command == "add" else set()
        users = [
            user for user in found if user.id != self._client.state.my_id and user.id not in member_ids
        ]
        return sorted(users, key=lambda user: self._rank(user, typed.casefold()))

    def _rank(self, user: User, typed: str) -> tuple[bool, bool, str]:
        """People before bots, then user names before display names."""
        return user.is_bot, not user.username.casefold().startswith(typed), user.username.casefold()

    def _search(self, typed: str) -> list[User]:
        """Return what earlier searches found, and start one if they do not suffice."""
        now = time.monotonic()
        for length in range(len(typed), -1, -1):
            at, users = self._found.get(typed[:length], (0.0, []))
            if now - at > CACHE_SECONDS:
                continue
            if length == len(typed):
                return users
            if len(users) == PAGE_USERS:  # there are more with the shorter beginning
                self._start(typed)
            return [user for user in users if matches(user, typed)]
        self._start(typed)
        return self._known(typed)

    def _known(self, typed: str) -> list[User]:
        """Return the users of this account's chats whose names begin with `typed`."""
        users = {m.id: m for chat in self._client.state.chats.values() for m in chat.other_members}
        return [user for user in users.values() if matches(user, typed)]

    def _start(self, typed: str) -> None:
        if typed != self._searching:
            self._searching = typed
            self._view.run_in_background(partial(self._find, typed), group="directory", exclusive=True)

    async def _find(self, typed: str) -> None:
        try:
            await asyncio.sleep(PAUSE_SECONDS)
            users = await self._client.users.page(prefix=typed, limit=PAGE_USERS)
        except BlazeChatError:
            return  # completion needs no error: the command itself reports it
        finally:
            if self._searching == typed:
                self._searching = None
        if len(self._found) >= MAX_CACHED_SEARCHES:
            self._found.clear()
        self._found[typed] = time.monotonic(), users
        if self._view.is_mounted:
            self._view.composer.refresh_candidates()
