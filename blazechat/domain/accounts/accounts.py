"""Accounts: registration, login, changes and deletion.

Hashing a password takes long and never happens inside a transaction. So most methods open their own short
transactions.
"""

from dataclasses import dataclass
from datetime import UTC, datetime

from sqlalchemy import select, text
from sqlalchemy.ext.asyncio import AsyncSession

from blazechat.database import tables
from blazechat.database.engine import Database
from blazechat.domain import validation
from blazechat.domain.accounts import invitations
from blazechat.domain.accounts.bots import Bots
from blazechat.domain.auth import users
from blazechat.domain.auth.access import Caller, authenticate
from blazechat.domain.auth.access_tokens import Claims
from blazechat.domain.auth.passwords import Passwords
from blazechat.domain.auth.sessions import Sessions, end_all
from blazechat.domain.chats.members import Members
from blazechat.domain.events import UserUpdated, emit
from blazechat.domain.rate_limits import AttemptLimiter
from blazechat.domain.schemas.users import Account, StatusOf, Tokens
from blazechat.errors import InvalidInput, RegistrationClosed, WrongCredentials, WrongPassword
from blazechat.vocabulary import RegistrationPolicy, Status

FIRST_ACCOUNT_LOCK_ID = 0x6669727374
"""The advisory lock of the first registration; the bytes spell "first"."""
DELETED_NAME = "deleted user"
MAX_LOGIN_NAME_CHARACTERS = 320
"""No user name or e-mail address is longer. Bounds the keys of the attempt limiters."""


@dataclass(frozen=True, slots=True, kw_only=True)
class AccountUpdate:
    """New values for an account, not validated yet. None leaves a field as it is."""

    username: str | None = None
    email: str | None = None
    display_name: str | None = None
    password: str | None = None
    current_password: str | None = None
    """Required with a new `password`."""


class Accounts:
    """Registers, authenticates, changes and deletes accounts. Limits failed logins per user and address."""

    def __init__(
        self,
        *,
        database: Database,
        passwords: Passwords,
        sessions: Sessions,
        members: Members,
        bots: Bots,
        status_of: StatusOf,
        registration: str,
        attempts_per_user: AttemptLimiter,
        attempts_per_address: AttemptLimiter,
    ) -> None:
        self._database = database
        self._passwords = passwords
        self._sessions = sessions
        self._members = members
        self._bots = bots
        self._status_of = status_of
        self._registration = RegistrationPolicy(registration)
        self._attempts_per_user = attempts_per_user
        self._attempts_per_address = attempts_per_address

    def check_password(self, password: str) -> None:
        """Raises InvalidInput unless `password` is acceptable as a new password."""
        self._passwords.check(password)

    async def register(
        self, username: str, email: str, password: str, invitation: str | None = None
    ) -> Account:
        """Create an account. The first account of the server becomes an administrator.

        Raises InvalidInput, UsernameTaken, EmailTaken, RegistrationClosed, InvitationInvalid.
        """
        name, address = validation.username(username), validation.email(email)
        hashed = await self._passwords.hash(password)
        async with self._database.transaction() as session:
            is_first = await _is_first(session)
            if not is_first and self._registration is RegistrationPolicy.CLOSED:
                raise RegistrationClosed
            user = tables.User(
                username=name,
                username_key=validation.comparison_key(name),
                email=address,
                email_key=validation.comparison_key(address),
                display_name=name,
                password_hash=hashed,
                is_admin=is_first,
            )
            session.add(user)
            await users.flush_names(session)
            if not is_first and self._registration is RegistrationPolicy.INVITATION:
                await invitations.redeem(session, invitation, user.id)
            await session.refresh(user)
            return users.account_of(user, Status.OFFLINE)

    async def log_in(self, name: str, password: str, *, device: str, address: str) -> Tokens:
        """Verify a password, create a session and return its tokens.

        `name` is a user name or an e-mail address. `device` is the device's own name, `address` its IP
        address. A user that does not exist and a wrong password take the same time and raise the same
        error. Raises WrongCredentials, TooManyAttempts, Busy.
        """
        user_key = validation.comparison_key(name.strip())[:MAX_LOGIN_NAME_CHARACTERS]
        self._attempts_per_address.admit(address)
        self._attempts_per_user.admit(user_key)
        try:
            user_id, hashed = await self._password_of(user_key)
            is_match = await self._passwords.verify(password, hashed)
        except BaseException:  # the attempt failed for another reason than a wrong password
            self._attempts_per_address.undo(address)
            self._attempts_per_user.undo(user_key)
            raise
        if not is_match or user_id is None:
            raise WrongCredentials
        self._attempts_per_address.undo(address)
        self._attempts_per_user.reset(user_key)
        async with self._database.transaction() as session:
            current_hash = await session.scalar(
                select(tables.User.password_hash)
                .where(tables.User.id == user_id)
                .with_for_update(key_share=True)
            )
            if current_hash != hashed:  # changed or deleted during the hashing
                raise WrongCredentials
            return await self._sessions.create(session, user_id, device=device, address=address)

    async def change(self, caller: Caller, update: AccountUpdate) -> tables.User:
        """Change the caller's account. A new password ends all other sessions; the present one, without
        `current_password`, changes nothing.

        Raises InvalidInput, UsernameTaken, EmailTaken, WrongPassword, TooManyAttempts, SessionEnded, Busy.
        """
        old_hash = new_hash = None
        if update.password is not None:
            old_hash, new_hash = await self._password_change(
                caller, update.password, update.current_password
            )
        async with self._database.transaction() as session:
            user = await _lock_caller(session, caller)
            if old_hash is not None and user.password_hash != old_hash:
                raise WrongPassword
            _apply_names(user, update)
            if new_hash is not None:
                user.password_hash = new_hash
                await end_all(session, caller.user_id, except_id=caller.session_id)
            user.updated_at = datetime.now(UTC)
            await users.flush_names(session)
            emit(session, UserUpdated(users.profile_of(user, self._status_of)))
            return user

    async def delete(self, session: AsyncSession, user_id: int) -> None:
        """Delete an account: names, e-mail address, password, sessions, tokens, bots and group memberships.

        The messages stay, with the author "deleted user". Direct chats stay for their other member.
        """
        user = await session.get_one(tables.User, user_id, with_for_update=True)
        await end_all(session, user_id, with_api_tokens=True)
        await self._bots.delete_all(session, user_id)
        await self._members.leave_all_groups(session, user_id)
        user.username = user.display_name = DELETED_NAME
        user.username_key = user.email = user.email_key = user.password_hash = None
        user.is_admin = False
        user.last_seen = None
        user.updated_at = user.deleted_at = datetime.now(UTC)
        await session.flush()
        emit(session, UserUpdated(users.profile_of(user, self._status_of)))

    async def _password_change(
        self, caller: Caller, password: str, current: str | None
    ) -> tuple[str | None, str | None]:
        """Verify the current password; return its hash, and the hash of a new one, None without one.

        Clients of the original API send the current password as `password` with every change. Without
        `current`, another one is refused: a stolen session must not be enough to set it. Refusals count as
        failed attempts, since they tell whether a guess is right.
        """
        if current is not None:
            self._passwords.check(password)
        attempt_key = f"#{caller.user_id}"
        self._attempts_per_user.admit(attempt_key)
        async with self._database.transaction() as session:
            hashed = await session.scalar(
                select(tables.User.password_hash).where(tables.User.id == caller.user_id)
            )
        try:
            is_match = await self._passwords.verify(password if current is None else current, hashed)
        except BaseException:  # the attempt failed for another reason than a wrong password
            self._attempts_per_user.undo(attempt_key)
            raise
        if not is_match and current is None:
            raise InvalidInput.of(
                "current_password",
                "This is not your current password. A new one needs the current one as `current_password`.",
            )
        if not is_match:
            raise WrongPassword
        self._attempts_per_user.reset(attempt_key)
        return hashed, None if current is None else await self._passwords.hash(password)

    async def _password_of(self, user_key: str) -> tuple[int | None, str | None]:
        """Return the id and the password hash of a user; None if there is none."""
        column = tables.User.email_key if "@" in user_key else tables.User.username_key
        async with self._database.transaction() as session:
            found = await session.execute(
                select(tables.User.id, tables.User.password_hash).where(
                    column == user_key.replace("\0", "")
                )
            )
            row = found.one_or_none()
        return (row.id, row.password_hash) if row is not None else (None, None)


async def _is_first(session: AsyncSession) -> bool:
    """Return whether there is no account yet. If so, other transactions wait here until this one ends."""
    if await users.exist(session):
        return False
    lock = {"lock": FIRST_ACCOUNT_LOCK_ID}
    await session.execute(text("SELECT pg_advisory_xact_lock(:lock)"), lock)
    return not await users.exist(session)


def _apply_names(user: tables.User, update: AccountUpdate) -> None:
    """Validate and set the names and the e-mail address of an account. Raises InvalidInput."""
    if update.username is not None:
        user.username = validation.username(update.username)
        user.username_key = validation.comparison_key(user.username)
    if update.email is not None:
        user.email = validation.email(update.email)
        user.email_key = validation.comparison_key(user.email)
    if update.display_name is not None:
        user.display_name = validation.display_name(update.display_name)


async def _lock_caller(session: AsyncSession, caller: Caller) -> tables.User:
    """Lock the caller's row and session, authenticate the caller again, and return the row.

    During the hashing the account might have been deleted, or the session revoked because it was stolen.
    Raises SessionEnded.
    """
    user = await session.get_one(tables.User, caller.user_id, with_for_update={"key_share": True})
    await session.execute(
        select(tables.Session.id).where(tables.Session.id == caller.session_id).with_for_update(read=True)
    )
    await authenticate(session, Claims(caller.user_id, caller.session_id, 0, caller.grant))
    return user
