"""Sessions: one per login of a device, with refresh-token rotation and reuse detection.

A session is a family of refresh tokens. A token has two random parts: the one of its family, which finds
the session, and its own. Only the newest token is valid. An older one of the same family shows that two
parties hold tokens, and ends the session (RFC 9700 section 4.14.2). The database stores only hashes.
"""

import secrets
from datetime import UTC, datetime, timedelta

from sqlalchemy import delete, select, true, update
from sqlalchemy.ext.asyncio import AsyncSession

from blazechat.database import tables
from blazechat.database.engine import Database
from blazechat.domain.auth.access_tokens import AccessTokens, hash_secret
from blazechat.domain.events import SessionsEnded, emit
from blazechat.domain.schemas.users import AccessToken, Session, Tokens
from blazechat.errors import NotFound, RefreshTokenInvalid

TOKEN_PART_BYTES = 24
MAX_SESSIONS_PER_USER = 100
"""Valid logins of one user. A further login ends the least recently used one."""
MAX_DEVICE_CHARACTERS = 200
IS_LOGIN = tables.Session.scope.is_(None)
"""API tokens are in the same table, with a scope. Login and logout do not affect them."""


class Sessions:
    """Creates and refreshes sessions. A session expires if it is not refreshed for `lifetime`."""

    def __init__(self, tokens: AccessTokens, lifetime: timedelta) -> None:
        self._tokens = tokens
        self._lifetime = lifetime

    async def create(self, session: AsyncSession, user_id: int, *, device: str, address: str) -> Tokens:
        """Create a session for a login; return its first tokens. `device` is the device's own name."""
        await self._end_surplus(session, user_id)
        family, own = secrets.token_urlsafe(TOKEN_PART_BYTES), secrets.token_urlsafe(TOKEN_PART_BYTES)
        row = tables.Session(
            user_id=user_id,
            family_hash=hash_secret(family),
            token_hash=hash_secret(own),
            device=_printable(device)[:MAX_DEVICE_CHARACTERS],
            address=address,
            expires_at=datetime.now(UTC) + self._lifetime,
        )
        session.add(row)
        await session.flush()
        return self._tokens_for(user_id, row.id, f"{family}.{own}")

    async def refresh(self, database: Database, refresh_token: str) -> Tokens:
        """Return new tokens, and invalidate `refresh_token`. Raises RefreshTokenInvalid.

        A refresh token that was used before ends its session.
        """
        tokens = None
        async with database.transaction() as session:
            tokens = await self._rotate(session, refresh_token)
        if tokens is None:  # raised after the transaction, so that the end of the session is committed
            raise RefreshTokenInvalid
        return tokens

    def renew_access_token(self, user_id: int, session_id: int) -> AccessToken:
        """Return a new access token of a session that was authenticated."""
        token = self._tokens.issue(user_id, session_id)
        return AccessToken(token, "bearer", self._tokens.lifetime_seconds)

    async def _rotate(self, session: AsyncSession, refresh_token: str) -> Tokens | None:
        family, _, own = refresh_token.partition(".")
        row = await session.scalar(
            select(tables.Session)
            .where(tables.Session.family_hash == hash_secret(family), IS_LOGIN)
            .with_for_update()
        )
        now = datetime.now(UTC)
        if row is None or row.revoked_at is not None or row.expires_at <= now:
            return None
        if not secrets.compare_digest(row.token_hash, hash_secret(own)):
            await end(session, row.user_id, [row.id])
            return None
        next_own = secrets.token_urlsafe(TOKEN_PART_BYTES)
        row.token_hash, row.last_used_at = hash_secret(next_own), now
        row.expires_at = now + self._lifetime
        return self._tokens_for(row.user_id, row.id, f"{family}.{next_own}")

    def _tokens_for(self, user_id: int, session_id: int, refresh_token: str) -> Tokens:
        token = self._tokens.issue(user_id, session_id)
        return Tokens(token, "bearer", self._tokens.lifetime_seconds, refresh_token)

    async def _end_surplus(self, session: AsyncSession, user_id: int) -> None:
        """Delete ended sessions, and end valid ones so that a new one stays within the limit."""
        is_own = (tables.Session.user_id == user_id) & IS_LOGIN
        is_expired = tables.Session.expires_at <= datetime.now(UTC)
        has_ended = is_expired | tables.Session.revoked_at.is_not(None)
        await session.execute(delete(tables.Session).where(is_own, has_ended))
        by_last_use = select(tables.Session.id).where(is_own).order_by(tables.Session.last_used_at.desc())
        surplus = (await session.scalars(by_last_use.offset(MAX_SESSIONS_PER_USER - 1))).all()
        if surplus:
            await end(session, user_id, list(surplus))


async def listed(session: AsyncSession, user_id: int, current_id: int) -> list[Session]:
    """Return the user's valid sessions, the last used first. `current_id` is that of this request."""
    rows = await session.scalars(
        select(tables.Session)
        .where(
            tables.Session.user_id == user_id,
            IS_LOGIN,
            tables.Session.revoked_at.is_(None),
            tables.Session.expires_at > datetime.now(UTC),
        )
        .order_by(tables.Session.last_used_at.desc(), tables.Session.id.desc())
        .limit(MAX_SESSIONS_PER_USER)
    )
    return [
        Session(
            row.id,
            row.device,
            row.address,
            row.created_at,
            row.last_used_at,
            row.expires_at,
            current=row.id == current_id,
        )
        for row in rows
    ]


async def end(session: AsyncSession, user_id: int, session_ids: list[int]) -> None:
    """End sessions of the user. Raises NotFound if one is not theirs or has ended already."""
    ended = await session.scalars(
        update(tables.Session)
        .where(
            tables.Session.user_id == user_id,
            IS_LOGIN,
            tables.Session.id.in_(session_ids),
            tables.Session.revoked_at.is_(None),
        )
        .values(revoked_at=datetime.now(UTC))
        .returning(tables.Session.id)
    )
    ended_ids = frozenset(ended)
    if len(ended_ids) < len(set(session_ids)):
        raise NotFound("You have no such session.")
    emit(session, SessionsEnded(user_id, ended_ids))


async def end_all(
    session: AsyncSession, user_id: int, *, except_id: int | None = None, with_api_tokens: bool = False
) -> None:
    """End the user's sessions, except the one with the id `except_id`. `with_api_tokens` revokes those
    too."""
    ended = await session.scalars(
        update(tables.Session)
        .where(
            tables.Session.user_id == user_id,
            true() if with_api_tokens else IS_LOGIN,
            tables.Session.id != (except_id or 0),
            tables.Session.revoked_at.is_(None),
        )
        .values(revoked_at=datetime.now(UTC))
        .returning(tables.Session.id)
    )
    emit(session, SessionsEnded(user_id, frozenset(ended)))


def _printable(text: str) -> str:
    return "".join(c if c.isprintable() else "?" for c in text) or "unknown"
