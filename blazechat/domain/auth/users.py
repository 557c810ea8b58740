"""Users: queries, and their public forms."""

from collections.abc import Collection
from datetime import datetime
from typing import TypedDict

from sqlalchemy import ARRAY, BigInteger, func, literal, select, update
from sqlalchemy.exc import IntegrityError
from sqlalchemy.ext.asyncio import AsyncSession

from blazechat.database import tables
from blazechat.domain.schemas.integrations import Bot
from blazechat.domain.schemas.users import Account, Member, StatusOf, User
from blazechat.errors import EmailTaken, NotFound, UsernameTaken
from blazechat.vocabulary import Role, Status


async def find(session: AsyncSession, user_id: int) -> tables.User:
    """Return the user. Raises NotFound if there is none, or if the account was deleted."""
    user = await session.get(tables.User, user_id)
    if user is None or user.deleted_at is not None:
        raise NotFound(f"There is no user {user_id}.")
    return user


async def exist(session: AsyncSession) -> bool:
    """Return whether there is any account, deleted ones included."""
    return bool(await session.scalar(select(select(tables.User.id).exists())))


async def lock(session: AsyncSession, user_id: int) -> tables.User | None:
    """Lock the user's row and return it; None if the account was deleted.

    The lock makes it safe to count and change what the user owns.
    """
    user = await session.get(
        tables.User, user_id, with_for_update={"key_share": True}, populate_existing=True
    )
    return user if user is not None and user.deleted_at is None else None


async def record_last_seen(session: AsyncSession, user_ids: Collection[int]) -> dict[int, datetime]:
    """Set `last_seen` to now; return it per user, without users whose accounts were deleted."""
    rows = await session.execute(
        update(tables.User)
        .where(
            tables.User.id == func.any(literal(list(user_ids), ARRAY(BigInteger))),
            tables.User.deleted_at.is_(None),
        )
        .values(last_seen=func.now())
        .returning(tables.User.id, tables.User.last_seen)
    )
    return {row.id: row.last_seen for row in rows}


async def last_seen(session: AsyncSession, user_ids: Collection[int]) -> dict[int, datetime | None]:
    """Return when each of the users was last online."""
    rows = await session.execute(
        select(tables.User.id, tables.User.last_seen).where(tables.User.id.in_(user_ids))
    )
    return {row.id: row.last_seen for row in rows}


class UserFields(TypedDict):
    """The fields of the public type `User`, which `Account`, `Member` and `Bot` extend."""

    id: int
    username: str
    display_name: str
    created_at: datetime
    last_seen: datetime | None
    status: Status
    is_bot: bool


def fields_of(user: tables.User, status: Status) -> UserFields:
    """Return the fields of a user that every user can see."""
    return {
        "id": user.id,
        "username": user.username,
        "display_name": user.display_name,
        "created_at": user.created_at,
        "last_seen": user.last_seen,
        "status": status,
        "is_bot": user.kind != "person",
    }


def account_of(user: tables.User, status: Status) -> Account:
    """Return a user as they see themselves."""
    return Account(
        **fields_of(user, status), email=user.email, is_admin=user.is_admin, updated_at=user.updated_at
    )


def profile_of(user: tables.User, status_of: StatusOf) -> User:
    """Return a user as others see them."""
    return User(**fields_of(user, status_of(user.id)))


def member_of(user: tables.User, role: Role, status_of: StatusOf) -> Member:
    """Return a user as a member of a chat."""
    return Member(**fields_of(user, status_of(user.id)), role=role)


def bot_of(user: tables.User, status_of: StatusOf) -> Bot:
    """Return a bot as its owner sees it."""
    return Bot(**fields_of(user, status_of(user.id)), owner_id=user.owner_id or 0)


async def flush_names(session: AsyncSession) -> None:
    """Flush new and changed users. Raises UsernameTaken, EmailTaken."""
    try:
        await session.flush()
    except IntegrityError as error:
        if "uq_users_username_key" in str(error.orig):
            raise UsernameTaken from error
        if "uq_users_email_key" in str(error.orig):
            raise EmailTaken from error
        raise
