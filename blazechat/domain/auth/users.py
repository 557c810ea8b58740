"""Users as they are found and shown."""

from collections.abc import Collection, Sequence
from datetime import datetime

from sqlalchemy import ARRAY, BigInteger, func, literal, select, update
from sqlalchemy.exc import IntegrityError
from sqlalchemy.ext.asyncio import AsyncSession

from blazechat.database import tables
from blazechat.domain import validation
from blazechat.domain.auth.access import Caller
from blazechat.domain.schemas.users import Account, StatusOf, User
from blazechat.errors import EmailTaken, NotFound, UsernameTaken
from blazechat.vocabulary import Status

SKIP_LIMIT = 100_000


async def find(session: AsyncSession, user_id: int) -> tables.User:
    """Raises NotFound for nobody and for the deleted."""
    user = await session.get(tables.User, user_id)
    if user is None or user.deleted_at is not None:
        raise NotFound(f"There is no user {user_id}.")
    return user


async def hold(session: AsyncSession, user_id: int) -> tables.User | None:
    """The user's row, locked, unless they are deleted: what they own is counted and changed under it."""
    user = await session.get(
        tables.User, user_id, with_for_update={"key_share": True}, populate_existing=True
    )
    return user if user is not None and user.deleted_at is None else None


async def listed(
    session: AsyncSession, *, limit: int, skip: int = 0, after: int = 0, prefix: str = ""
) -> Sequence[tables.User]:
    """Users in the order of their ids, from behind the id `after`; names beginning with `prefix`."""
    wanted = (
        select(tables.User)
        .where(
            tables.User.deleted_at.is_(None),
            tables.User.kind.in_(("person", "bot")),  # who speaks for a webhook is known to its chat
            tables.User.id > after,
        )
        .order_by(tables.User.id)
        .offset(min(skip, SKIP_LIMIT))
        .limit(limit)
    )
    if prefix:
        wanted = wanted.where(
            tables.User.username_key.startswith(
                validation.key(validation.storable(prefix, "q")), autoescape=True
            )
        )
    return (await session.scalars(wanted)).all()


async def seen(session: AsyncSession, user_ids: Collection[int]) -> dict[int, datetime]:
    """Note that these users were here just now; when that was, of those who still have an account."""
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


def account(user: tables.User, status: Status) -> Account:
    """A user as they see themselves."""
    return Account(
        id=user.id,
        username=user.username,
        display_name=user.display_name,
        created_at=user.created_at,
        last_seen=user.last_seen,
        status=status,
        is_bot=user.kind != "person",
        email=user.email,
        is_admin=user.is_admin,
        updated_at=user.updated_at,
    )


def profile(user: tables.User, status_of: StatusOf) -> User:
    """A user as others see them."""
    return User(
        id=user.id,
        username=user.username,
        display_name=user.display_name,
        created_at=user.created_at,
        last_seen=user.last_seen,
        status=status_of(user.id),
        is_bot=user.kind != "person",
    )


async def shown(session: AsyncSession, asker: Caller, user_id: int, status_of: StatusOf) -> User | Account:
    """A user as the asker sees them. Raises NotFound."""
    user = await find(session, user_id)
    if user_id == asker.user_id:
        return account(user, status_of(user_id))
    return profile(user, status_of)


async def flush_names(session: AsyncSession) -> None:
    """Write users. Raises UsernameTaken, EmailTaken."""
    try:
        await session.flush()
    except IntegrityError as error:
        if "uq_users_username_key" in str(error.orig):
            raise UsernameTaken from error
        if "uq_users_email_key" in str(error.orig):
            raise EmailTaken from error
        raise
