"""Accounts: registering, proving who one is, changing and deleting.

Hashing a password takes long, so it never happens inside a transaction; hence these functions are
given the database and open their own, short ones.
"""

from datetime import UTC, datetime
from typing import Literal

from sqlalchemy import select, text
from sqlalchemy.ext.asyncio import AsyncSession

from blazechat.database import tables
from blazechat.database.engine import Database
from blazechat.domain import validation
from blazechat.domain.accounts import invitations
from blazechat.domain.accounts.bots import Bots
from blazechat.domain.auth import sessions, users
from blazechat.domain.auth.access import Caller, caller
from blazechat.domain.auth.access_tokens import Claims
from blazechat.domain.auth.passwords import Passwords
from blazechat.domain.chats.members import Members
from blazechat.domain.events import UserUpdated, emit
from blazechat.domain.rate_limits import Attempts
from blazechat.domain.schemas.users import Account, StatusOf, Tokens
from blazechat.errors import InvalidInput, RegistrationClosed, WrongCredentials, WrongPassword
from blazechat.vocabulary import Status

FIRST_ACCOUNT_LOCK = 0x6669727374  # "first": one at a time may find that there is no account yet
DELETED = "deleted user"

Registration = Literal["open", "invitation", "closed"]


class Accounts:
    def __init__(
        self,
        database: Database,
        passwords: Passwords,
        logins: sessions.Sessions,
        members: Members,
        bots: Bots,
        status_of: StatusOf,
        *,
        registration: Registration,
        per_user: Attempts,
        per_address: Attempts,
    ) -> None:
        self._database = database
        self._passwords = passwords
        self._logins = logins
        self._members = members
        self._bots = bots
        self._status_of = status_of
        self._registration = registration
        self._per_user = per_user
        self._per_address = per_address

    async def register(
        self, username: str, email: str, password: str, invitation: str | None = None
    ) -> Account:
        """A new account; the first of all becomes the administrator.

        Raises InvalidInput, UsernameTaken, EmailTaken, RegistrationClosed, InvitationInvalid.
        """
        name, address = validation.username(username), validation.email(email)
        hashed = await self._passwords.hash(password)
        async with self._database.transaction() as session:
            first = await _is_first(session)
            if not first and self._registration == "closed":
                raise RegistrationClosed
            user = tables.User(
                username=name,
                username_key=validation.key(name),
                email=address,
                email_key=validation.key(address),
                display_name=name,
                password_hash=hashed,
                is_admin=first,
            )
            session.add(user)
            await users.flush_names(session)
            if not first and self._registration == "invitation":
                await invitations.redeem(session, invitation, user.id)
            await session.refresh(user)
            return users.account(user, Status.OFFLINE)

    async def log_in(self, name: str, password: str, *, device: str, address: str) -> Tokens:
        """Begin a session for whoever knows the password of the user or e-mail `name`.

        A user that does not exist and a wrong password take the same time and give the same answer.
        Raises WrongCredentials or TooManyAttempts.
        """
        wanted = validation.key(name.strip())[:320]
        self._per_address.begin(address)
        self._per_user.begin(wanted)
        try:
            user_id, hashed = await self._password_of(wanted)
            right = await self._passwords.verify(password, hashed)
        except BaseException:  # whatever it was, it was not a wrong password
            self._per_address.take_back(address)
            self._per_user.take_back(wanted)
            raise
        if not right or user_id is None:
            raise WrongCredentials
        self._per_address.take_back(address)
        self._per_user.forget(wanted)
        async with self._database.transaction() as session:
            still = await session.scalar(
                select(tables.User.password_hash)
                .where(tables.User.id == user_id)
                .with_for_update(key_share=True)
            )
            if still != hashed:  # changed or deleted while we were hashing
                raise WrongCredentials
            return await self._logins.begin(session, user_id, device=device, address=address)

    async def change(
        self,
        asker: Caller,
        *,
        username: str | None = None,
        email: str | None = None,
        display_name: str | None = None,
        password: str | None = None,
        current_password: str | None = None,
    ) -> tables.User:
        """Change what is given. A new password needs the present one and ends all other sessions.

        Raises InvalidInput, UsernameTaken, EmailTaken, WrongPassword, TooManyAttempts.
        """
        hashed = verified = None
        if password is not None:
            verified, hashed = await self._new_password(asker, password, current_password)
        async with self._database.transaction() as session:
            user = await _still_there(session, asker)
            if verified is not None and user.password_hash != verified:
                raise WrongPassword
            if username is not None:
                user.username = validation.username(username)
                user.username_key = validation.key(user.username)
            if email is not None:
                user.email = validation.email(email)
                user.email_key = validation.key(user.email)
            if display_name is not None:
                user.display_name = validation.display_name(display_name)
            if hashed is not None:
                user.password_hash = hashed
                await sessions.end_all(session, asker.user_id, but=asker.session_id)
            user.updated_at = datetime.now(UTC)
            await users.flush_names(session)
            emit(session, UserUpdated(users.profile(user, self._status_of)))
            return user

    async def delete(self, session: AsyncSession, user_id: int) -> None:
        """Remove the person: name, e-mail, password, sessions, tokens, bots, places in groups.

        What they said stays, as said by a deleted user; so do their direct chats, for the other one.
        """
        user = await session.get_one(tables.User, user_id, with_for_update=True)
        await sessions.end_all(session, user_id, tokens=True)
        await self._bots.delete_all(session, user_id)
        await self._members.leave_all_groups(session, user_id)
        user.username = user.display_name = DELETED
        user.username_key = user.email = user.email_key = user.password_hash = None
        user.is_admin = False
        user.last_seen = None
        user.updated_at = user.deleted_at = datetime.now(UTC)
        await session.flush()
        emit(session, UserUpdated(users.profile(user, self._status_of)))

    async def _new_password(
        self, asker: Caller, password: str, current: str | None
    ) -> tuple[str | None, str]:
        """The present password's hash, once `current` has proved to be it, and the new one's."""
        if current is None:
            raise InvalidInput.of("current_password", "Changing the password needs the present one.")
        self._passwords.check(password)
        guard = f"#{asker.user_id}"
        self._per_user.begin(guard)
        async with self._database.transaction() as session:
            hashed = await session.scalar(
                select(tables.User.password_hash).where(tables.User.id == asker.user_id)
            )
        if not await self._passwords.verify(current, hashed):
            raise WrongPassword
        self._per_user.forget(guard)
        return hashed, await self._passwords.hash(password)

    async def _password_of(self, wanted: str) -> tuple[int | None, str | None]:
        which = tables.User.email_key if "@" in wanted else tables.User.username_key
        async with self._database.transaction() as session:
            row = (
                await session.execute(
                    select(tables.User.id, tables.User.password_hash).where(
                        which == wanted.replace("\0", "")
                    )
                )
            ).one_or_none()
        return (row.id, row.password_hash) if row is not None else (None, None)


async def _is_first(session: AsyncSession) -> bool:
    nobody = select(~select(tables.User.id).exists())
    if not await session.scalar(nobody):
        return False
    lock = {"lock": FIRST_ACCOUNT_LOCK}
    await session.execute(text("SELECT pg_advisory_xact_lock(:lock)"), lock)
    return bool(await session.scalar(nobody))


async def _still_there(session: AsyncSession, asker: Caller) -> tables.User:
    """The asker's row, locked, if account and session are as alive as when they were looked at.

    Hashing takes long; meanwhile the account may have been deleted, or the session ended by somebody
    who found it stolen. Raises Unauthenticated.
    """
    user = await session.get_one(tables.User, asker.user_id, with_for_update={"key_share": True})
    await session.execute(
        select(tables.Session.id).where(tables.Session.id == asker.session_id).with_for_update(read=True)
    )
    await caller(session, Claims(asker.user_id, asker.session_id, 0, asker.grant))
    return user
