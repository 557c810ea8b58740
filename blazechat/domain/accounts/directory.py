"""The directory: which users a caller can list, search and look up."""

import re
from collections.abc import Sequence
from dataclasses import dataclass, replace

from sqlalchemy import ColumnElement, Select, Subquery, func, literal_column, select, true, union
from sqlalchemy.ext.asyncio import AsyncSession
from sqlalchemy.orm import aliased

from blazechat.database import tables
from blazechat.domain import validation
from blazechat.domain.auth import users
from blazechat.domain.auth.access import Caller
from blazechat.domain.chats.members import known_to
from blazechat.domain.schemas.users import Account, Presence, StatusOf, User
from blazechat.errors import NotFound
from blazechat.vocabulary import DirectoryScope, Status

MAX_SKIP = 100_000
"""Larger values of `skip` count as this one."""
_NAME_WORD = re.compile(r"[\w.\-'’]+")
_TSQUERY_WORD = re.compile(r"\w+")


@dataclass(frozen=True, slots=True)
class DirectoryPage:
    """A page of users, by id. `search` is the beginning of a user name or of words of a display name.

    `username` is a whole user name: with it, the user is found whatever the setting is.
    """

    limit: int
    skip: int = 0
    after: int = 0
    search: str = ""
    username: str = ""


class Directory:
    """Lists and finds users, as the server's setting allows. `scope` is a value of `DirectoryScope`.

    Except under `everyone`, profiles and online status of users without a shared chat are hidden as well.
    """

    def __init__(self, scope: str, status_of: StatusOf) -> None:
        self._scope = DirectoryScope(scope)
        self._status_of = status_of

    async def listed(self, session: AsyncSession, caller: Caller, page: DirectoryPage) -> list[User]:
        """Return the users of a page. Raises InvalidInput."""
        is_visible = true() if page.username else self._is_listed(caller)
        found = (await session.scalars(select_page(page).where(is_visible))).all()
        return await self._profiles(session, caller, found)

    async def profile(self, session: AsyncSession, caller: Caller, user_id: int) -> User | Account:
        """Return a user as the caller sees them; their own is an `Account`. Raises NotFound."""
        user = await self._find(session, caller, user_id)
        if user_id == caller.user_id:
            return users.account_of(user, self._status_of(user_id))
        return users.profile_of(user, self._status_of)

    async def presence(self, session: AsyncSession, caller: Caller, user_id: int) -> Presence:
        """Return a user's online status. Raises NotFound."""
        user = await self._find(session, caller, user_id)
        return Presence(user.id, self._status_of(user.id), user.last_seen)

    async def _find(self, session: AsyncSession, caller: Caller, user_id: int) -> tables.User:
        user = await users.find(session, user_id)
        if self._scope is not DirectoryScope.EVERYONE and not await known_to(
            session, caller.user_id, [user_id]
        ):
            raise NotFound(f"There is no user {user_id}.")
        return user

    def _is_listed(self, caller: Caller) -> ColumnElement[bool]:
        if self._scope is DirectoryScope.EVERYONE:
            return true()
        is_self = tables.User.id == caller.user_id
        return is_self if self._scope is DirectoryScope.NOBODY else is_self | _shares_chat(caller)

    async def _profiles(
        self, session: AsyncSession, caller: Caller, found: Sequence[tables.User]
    ) -> list[User]:
        """Return public forms. Who found a stranger by name does not learn when they were online."""
        profiles = [users.profile_of(user, self._status_of) for user in found]
        if self._scope is DirectoryScope.EVERYONE or not found:
            return profiles
        known = await known_to(session, caller.user_id, [user.id for user in found])
        return [
            user if user.id in known else replace(user, status=Status.OFFLINE, last_seen=None)
            for user in profiles
        ]


def select_page(page: DirectoryPage) -> Select[tables.User]:
    """Return a statement that selects the users of a page. Raises InvalidInput."""
    user = tables.User
    wanted = (
        select(user)
        .where(
            user.deleted_at.is_(None),
            user.kind.in_(("person", "bot")),  # users of integrations are listed by their chats only
            user.id > page.after,
        )
        .order_by(user.id)
        .offset(min(page.skip, MAX_SKIP))
        .limit(page.limit)
    )
    if page.username:
        wanted = wanted.where(user.username_key == _key(page.username, "username"))
    if page.search.strip():
        matches = _matches(page.search.strip())
        wanted = wanted.join(matches, matches.c.id == user.id)
    return wanted


def _matches(search: str) -> Subquery:
    """Return the ids of users whose user name begins with `search`, or whose display name has words that
    begin with its words.

    A union and not an `or`: the planner would read all users by id until a page is full.
    """
    user = tables.User
    by_username = select(user.id).where(user.username_key.startswith(_key(search, "q"), autoescape=True))
    words = search.split()
    prefixes = [f"{part}:*" for word in words for part in _TSQUERY_WORD.findall(word)]
    if not prefixes or not all(_NAME_WORD.fullmatch(word) for word in words):
        return by_username.subquery()
    query = func.to_tsquery(literal_column("'simple'::regconfig"), " & ".join(prefixes))
    by_display_name = select(user.id).where(tables.DISPLAY_NAME_WORDS.bool_op("@@")(query))
    return union(by_username, by_display_name).subquery()


def _key(name: str, field: str) -> str:
    return validation.comparison_key(validation.storable(name.removeprefix("@"), field))


def _shares_chat(caller: Caller) -> ColumnElement[bool]:
    own, other = aliased(tables.Member), aliased(tables.Member)
    return (
        select(other.chat_id)
        .join(own, own.chat_id == other.chat_id)
        .where(other.user_id == tables.User.id, own.user_id == caller.user_id)
        .correlate(tables.User)
        .exists()
    )
