"""Log-ins on devices: beginning, refreshing and ending them.

A session is a family of refresh tokens. A token is two random parts: the family's, which finds the
session, and its own. Only the newest is good; an older one of the same family means that two parties
hold it, and ends the session (RFC 9700 section 4.14.2). The database has hashes only.
"""

import secrets
from datetime import UTC, datetime, timedelta

from sqlalchemy import delete, select, true, update
from sqlalchemy.ext.asyncio import AsyncSession

from blazechat.database import tables
from blazechat.database.engine import Database
from blazechat.domain.auth.access_tokens import AccessTokens, hashed
from blazechat.domain.events import SessionsEnded, emit
from blazechat.domain.schemas.users import AccessToken, Session, Tokens
from blazechat.errors import NotFound, RefreshTokenInvalid

PART_BYTES = 24
SESSIONS_LIMIT = 100
"""Live sessions of one user; a further log-in ends the longest unused."""
DEVICE_LIMIT = 200
LOGIN = tables.Session.scope.is_(None)
"""What tells a log-in from an API token, which is in the same table and ends by itself."""


class Sessions:
    """`lifetime` is how long a session lives without being refreshed."""

    def __init__(self, tokens: AccessTokens, lifetime: timedelta) -> None:
        self._tokens = tokens
        self._lifetime = lifetime

    async def begin(self, session: AsyncSession, user_id: int, *, device: str, address: str) -> Tokens:
        """A new log-in of this user, on the device that calls itself `device`."""
        await self._make_room(session, user_id)
        family, own = secrets.token_urlsafe(PART_BYTES), secrets.token_urlsafe(PART_BYTES)
        row = tables.Session(
            user_id=user_id,
            family_hash=hashed(family),
            token_hash=hashed(own),
            device=_printable(device)[:DEVICE_LIMIT],
            address=address,
            expires_at=datetime.now(UTC) + self._lifetime,
        )
        session.add(row)
        await session.flush()
        return self._tokens_for(user_id, row.id, f"{family}.{own}")

    async def refresh(self, database: Database, refresh_token: str) -> Tokens:
        """New tokens for a refresh token, which is worth nothing from then on.

        One that was used before ends its session at once. Raises RefreshTokenInvalid.
        """
        tokens = None
        async with database.transaction() as session:
            tokens = await self._rotate(session, refresh_token)
        if tokens is None:  # raised only now: what was found out had to be committed
            raise RefreshTokenInvalid
        return tokens

    def renew(self, user_id: int, session_id: int) -> AccessToken:
        """Another access token of a session that was found alive."""
        token = self._tokens.issue(user_id, session_id)
        return AccessToken(token, "bearer", self._tokens.lifetime)

    async def _rotate(self, session: AsyncSession, refresh_token: str) -> Tokens | None:
        family, _, own = refresh_token.partition(".")
        row = await session.scalar(
            select(tables.Session)
            .where(tables.Session.family_hash == hashed(family), LOGIN)
            .with_for_update()
        )
        now = datetime.now(UTC)
        if row is None or row.revoked_at is not None or row.expires_at <= now:
            return None
        if not secrets.compare_digest(row.token_hash, hashed(own)):
            await end(session, row.user_id, [row.id])
            return None
        fresh = secrets.token_urlsafe(PART_BYTES)
        row.token_hash, row.last_used_at = hashed(fresh), now
        row.expires_at = now + self._lifetime
        return self._tokens_for(row.user_id, row.id, f"{family}.{fresh}")

    def _tokens_for(self, user_id: int, session_id: int, refresh_token: str) -> Tokens:
        token = self._tokens.issue(user_id, session_id)
        return Tokens(token, "bearer", self._tokens.lifetime, refresh_token)

    async def _make_room(self, session: AsyncSession, user_id: int) -> None:
        now = datetime.now(UTC)
        own = (tables.Session.user_id == user_id) & LOGIN
        over = (tables.Session.expires_at <= now) | tables.Session.revoked_at.is_not(None)
        await session.execute(delete(tables.Session).where(own, over))
        surplus = select(tables.Session.id).where(own).order_by(tables.Session.last_used_at.desc())
        too_many = (await session.scalars(surplus.offset(SESSIONS_LIMIT - 1))).all()
        if too_many:
            await end(session, user_id, list(too_many))


async def listed(session: AsyncSession, user_id: int, current: int) -> list[Session]:
    """The user's live sessions, the last used first. `current` is the id of the one that asks."""
    rows = await session.scalars(
        select(tables.Session)
        .where(
            tables.Session.user_id == user_id,
            LOGIN,
            tables.Session.revoked_at.is_(None),
            tables.Session.expires_at > datetime.now(UTC),
        )
        .order_by(tables.Session.last_used_at.desc(), tables.Session.id.desc())
        .limit(SESSIONS_LIMIT)
    )
    return [
        Session(
            row.id,
            row.device,
            row.address,
            row.created_at,
            row.last_used_at,
            row.expires_at,
            current=row.id == current,
        )
        for row in rows
    ]


async def end(session: AsyncSession, user_id: int, session_ids: list[int]) -> None:
    """End these sessions of the user. Raises NotFound if one is not theirs or has ended."""
    ended = await session.scalars(
        update(tables.Session)
        .where(
            tables.Session.user_id == user_id,
            LOGIN,
            tables.Session.id.in_(session_ids),
            tables.Session.revoked_at.is_(None),
        )
        .values(revoked_at=datetime.now(UTC))
        .returning(tables.Session.id)
    )
    found = frozenset(ended)
    if len(found) < len(set(session_ids)):
        raise NotFound("There is no such session of yours.")
    emit(session, SessionsEnded(user_id, found))


async def end_all(
    session: AsyncSession, user_id: int, *, but: int | None = None, tokens: bool = False
) -> None:
    """End all sessions of the user, except the one with the id `but`; with `tokens`, API tokens too."""
    ended = await session.scalars(
        update(tables.Session)
        .where(
            tables.Session.user_id == user_id,
            true() if tokens else LOGIN,
            tables.Session.id != (but or 0),
            tables.Session.revoked_at.is_(None),
        )
        .values(revoked_at=datetime.now(UTC))
        .returning(tables.Session.id)
    )
    emit(session, SessionsEnded(user_id, frozenset(ended)))


def _printable(text: str) -> str:
    return "".join(c if c.isprintable() else "?" for c in text) or "unknown"
