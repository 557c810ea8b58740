"""Bots: accounts without a password. Their owner makes tokens for them, and answers for what they do."""

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

BOTS_LIMIT = 100
"""Bots of one owner."""


class Bots:
    def __init__(self, members: Members, status_of: StatusOf) -> None:
        self._members = members
        self._status_of = status_of

    async def create(
        self, session: AsyncSession, asker: Caller, *, username: str, display_name: str | None
    ) -> Bot:
        """A new bot of the asker's. Raises InvalidInput, UsernameTaken, TooManyBots."""
        asker.grant.require(Scope.LOGIN)
        await users.hold(session, asker.user_id)
        theirs = select(func.count()).where(*_bots_of(asker.user_id))
        if (await session.scalar(theirs) or 0) >= BOTS_LIMIT:
            raise TooManyBots
        name = validation.username(username)
        bot = tables.User(
            username=name,
            username_key=validation.key(name),
            display_name=validation.display_name(display_name) if display_name is not None else name,
            kind="bot",
            owner_id=asker.user_id,
        )
        session.add(bot)
        await users.flush_names(session)
        await session.refresh(bot)
        return self._shown(bot)

    async def listed(self, session: AsyncSession, asker: Caller) -> list[Bot]:
        """The asker's bots, the oldest first."""
        asker.grant.require(Scope.LOGIN)
        wanted = select(tables.User).where(*_bots_of(asker.user_id)).order_by(tables.User.id)
        return [self._shown(bot) for bot in await session.scalars(wanted.limit(BOTS_LIMIT))]

    async def change(
        self,
        session: AsyncSession,
        asker: Caller,
        bot_id: int,
        *,
        username: str | None,
        display_name: str | None,
    ) -> Bot:
        """Raises InvalidInput, NotFound, UsernameTaken."""
        asker.grant.require(Scope.LOGIN)
        bot = await account_of(session, asker, bot_id)
        if username is not None:
            bot.username = validation.username(username)
            bot.username_key = validation.key(bot.username)
        if display_name is not None:
            bot.display_name = validation.display_name(display_name)
        bot.updated_at = datetime.now(UTC)
        await users.flush_names(session)
        emit(session, UserUpdated(users.profile(bot, self._status_of)))
        return self._shown(bot)

    async def delete(self, session: AsyncSession, asker: Caller, bot_id: int) -> None:
        """Its tokens end, and it leaves its groups. What it said stays, under its name. Raises NotFound."""
        asker.grant.require(Scope.LOGIN)
        await self.retire(session, await account_of(session, asker, bot_id))

    async def delete_all(self, session: AsyncSession, owner_id: int) -> None:
        """They go with the account that they belong to; webhooks belong to their chats, and stay."""
        for bot in (await session.scalars(select(tables.User).where(*_bots_of(owner_id)))).all():
            await self.retire(session, bot)

    async def retire(self, session: AsyncSession, bot: tables.User) -> None:
        """Take an account without a password out of use."""
        await sessions.end_all(session, bot.id, tokens=True)
        await self._members.leave_all_groups(session, bot.id)
        bot.username_key = None
        bot.updated_at = bot.deleted_at = datetime.now(UTC)
        await session.flush()
        emit(session, UserUpdated(users.profile(bot, self._status_of)))

    def _shown(self, bot: tables.User) -> Bot:
        shown = users.profile(bot, self._status_of)
        return Bot(
            shown.id,
            shown.username,
            shown.display_name,
            shown.created_at,
            shown.last_seen,
            shown.status,
            shown.is_bot,
            bot.owner_id or 0,
        )


async def account_of(session: AsyncSession, asker: Caller, bot_id: int | None) -> tables.User:
    """The bot of the asker's, locked; without one, their own account. Raises NotFound."""
    held = await users.hold(session, bot_id or asker.user_id)
    if bot_id is not None and (held is None or held.owner_id != asker.user_id or held.kind != "bot"):
        raise NotFound("There is no such bot of yours.")
    if held is None:
        raise NotFound
    return held


def _bots_of(owner_id: int) -> tuple[ColumnElement[bool], ...]:
    return (
        tables.User.owner_id == owner_id,
        tables.User.kind == "bot",
        tables.User.deleted_at.is_(None),
    )
