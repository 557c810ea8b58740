"""Bots: accounts without a password. Their owner is responsible for them and creates their API tokens."""

from datetime import UTC, datetime

from sqlalchemy import ColumnElement, func, select
from sqlalchemy.ext.asyncio import AsyncSession

from blazechat.database import tables
from blazechat.domain import validation
from blazechat.domain.auth import sessions, users
from blazechat.domain.auth.access import Caller
from blazechat.domain.chats.members import Members
from blazechat.domain.events import UserUpdated, emit
from blazechat.domain.schemas.integrations import Bot
from blazechat.domain.schemas.users import StatusOf
from blazechat.errors import NotFound, TooManyBots
from blazechat.vocabulary import Scope

MAX_BOTS_PER_OWNER = 100


class Bots:
    """Creates, changes and deletes bots. Only a login of the owner may do that, no API token."""

    def __init__(self, members: Members, status_of: StatusOf) -> None:
        self._members = members
        self._status_of = status_of

    async def create(
        self, session: AsyncSession, caller: Caller, *, username: str, display_name: str | None
    ) -> Bot:
        """Create a bot that the caller owns.

        Raises InvalidInput, UsernameTaken, TooManyBots, InsufficientScope.
        """
        caller.grant.require(Scope.LOGIN)
        await users.lock(session, caller.user_id)
        count = select(func.count()).where(*_bots_of(caller.user_id))
        if (await session.scalar(count) or 0) >= MAX_BOTS_PER_OWNER:
            raise TooManyBots
        name = validation.username(username)
        bot = tables.User(
            username=name,
            username_key=validation.comparison_key(name),
            display_name=validation.display_name(display_name) if display_name is not None else name,
            kind="bot",
            owner_id=caller.user_id,
        )
        session.add(bot)
        await users.flush_names(session)
        await session.refresh(bot)
        return users.bot_of(bot, self._status_of)

    async def listed(self, session: AsyncSession, caller: Caller) -> list[Bot]:
        """Return the caller's bots, the oldest first. Raises InsufficientScope."""
        caller.grant.require(Scope.LOGIN)
        wanted = select(tables.User).where(*_bots_of(caller.user_id)).order_by(tables.User.id)
        bots = await session.scalars(wanted.limit(MAX_BOTS_PER_OWNER))
        return [users.bot_of(bot, self._status_of) for bot in bots]

    async def change(
        self,
        session: AsyncSession,
        caller: Caller,
        bot_id: int,
        *,
        username: str | None,
        display_name: str | None,
    ) -> Bot:
        """Rename a bot of the caller; None leaves a name as it is.

        Raises InvalidInput, NotFound, UsernameTaken, InsufficientScope.
        """
        caller.grant.require(Scope.LOGIN)
        bot = await lock_account(session, caller, bot_id)
        if username is not None:
            bot.username = validation.username(username)
            bot.username_key = validation.comparison_key(bot.username)
        if display_name is not None:
            bot.display_name = validation.display_name(display_name)
        bot.updated_at = datetime.now(UTC)
        await users.flush_names(session)
        emit(session, UserUpdated(users.profile_of(bot, self._status_of)))
        return users.bot_of(bot, self._status_of)

    async def delete(self, session: AsyncSession, caller: Caller, bot_id: int) -> None:
        """Delete a bot of the caller. Raises NotFound, InsufficientScope."""
        caller.grant.require(Scope.LOGIN)
        await self.retire(session, await lock_account(session, caller, bot_id))

    async def delete_all(self, session: AsyncSession, owner_id: int) -> None:
        """Delete the bots of a deleted account. Webhooks belong to their chats, and stay."""
        for bot in (await session.scalars(select(tables.User).where(*_bots_of(owner_id)))).all():
            await self.retire(session, bot)

    async def retire(self, session: AsyncSession, bot: tables.User) -> None:
        """Delete an account without a password: revoke its tokens and remove it from its groups.

        Its messages and its name stay.
        """
        await sessions.end_all(session, bot.id, with_api_tokens=True)
        await self._members.leave_all_groups(session, bot.id)
        bot.username_key = None
        bot.updated_at = bot.deleted_at = datetime.now(UTC)
        await session.flush()
        emit(session, UserUpdated(users.profile_of(bot, self._status_of)))


async def lock_account(session: AsyncSession, caller: Caller, bot_id: int | None) -> tables.User:
    """Lock a bot of the caller, or without `bot_id` their own account. Raises NotFound."""
    account = await users.lock(session, bot_id or caller.user_id)
    if bot_id is not None and (
        account is None or account.owner_id != caller.user_id or account.kind != "bot"
    ):
        raise NotFound("You have no such bot.")
    if account is None:
        raise NotFound
    return account


def _bots_of(owner_id: int) -> tuple[ColumnElement[bool], ...]:
    return (
        tables.User.owner_id == owner_id,
        tables.User.kind == "bot",
        tables.User.deleted_at.is_(None),
    )
