"""API tokens: what programs log in with. Long-lived, of limited scope; the database has hashes only.

A token is a row of `sessions`, so that everything that asks whether a session is alive asks it of tokens
too, and revoking one closes its sockets. What it may be used for never changes: so whoever presents one is
found in memory after the first time, and whether it still lives is asked where everybody is asked.
"""

import secrets
import time
from collections import OrderedDict
from collections.abc import Sequence
from datetime import UTC, datetime, timedelta

from sqlalchemy import func, select, update
from sqlalchemy.ext.asyncio import AsyncSession

from blazechat.database import tables
from blazechat.database.engine import Database
from blazechat.domain import validation
from blazechat.domain.accounts import bots
from blazechat.domain.auth.access import Caller, chat_for
from blazechat.domain.auth.access_tokens import AccessTokens, Claims, hashed
from blazechat.domain.auth.scopes import granted
from blazechat.domain.events import SessionsEnded, emit
from blazechat.domain.schemas.integrations import ApiToken
from blazechat.errors import NotFound, TooManyTokens, Unauthenticated
from blazechat.vocabulary import Scope

PREFIX = "blz_"
"""So that people and scanners for secrets know one when they see it."""
BYTES = 32
LONGEST = 100
TOKENS_LIMIT = 100
"""Live tokens of one account."""
CHATS_LIMIT = 100
"""Chats that a token can be limited to."""
NEVER = datetime(9999, 1, 1, tzinfo=UTC)
REMEMBERED = 10_000
NOTED_EVERY = 60.0
"""Seconds between two notes that a token was used."""


class Credentials:
    """Whom a token speaks for, be it an access token or an API token."""

    def __init__(self, database: Database, tokens: AccessTokens) -> None:
        self._database = database
        self.tokens = tokens
        self._known: OrderedDict[bytes, Claims] = OrderedDict()  # by the token's hash
        self._noted: dict[int, float] = {}  # when the use of a session was written down

    async def claims_of(self, token: str) -> Claims:
        """What the token says; whether its session still lives, `access.caller()` asks.

        Raises Unauthenticated, TokenExpired, Unavailable.
        """
        if not token.startswith(PREFIX):
            return self.tokens.verify(token)
        if len(token) > LONGEST:
            raise Unauthenticated
        return await self.look_up(token)

    async def look_up(self, token: str) -> Claims:
        """The same of a token that is known to be none of ours with a signature: also of a webhook's."""
        key = hashed(token)
        claims = self._known.get(key)
        if claims is None or time.monotonic() - self._noted[claims.session_id] > NOTED_EVERY:
            claims = await self._find(key)
        return claims

    async def _find(self, key: bytes) -> Claims:
        """Find a token, and note that it is used."""
        async with self._database.transaction() as session:
            row = (
                await session.execute(
                    update(tables.Session)
                    .where(
                        tables.Session.family_hash == key,
                        tables.Session.scope.is_not(None),
                        tables.Session.revoked_at.is_(None),
                        tables.Session.expires_at > func.now(),
                    )
                    .values(last_used_at=func.now())
                    .returning(
                        tables.Session.id,
                        tables.Session.user_id,
                        tables.Session.expires_at,
                        tables.Session.scope,
                        tables.Session.chat_ids,
                    )
                )
            ).one_or_none()
        if row is None:
            self._known.pop(key, None)
            raise Unauthenticated("This API token is unknown, expired or revoked.")
        grant = granted(row.scope, row.chat_ids)
        claims = Claims(row.user_id, row.id, int(row.expires_at.timestamp()), grant)
        self._known[key] = claims
        self._noted[row.id] = time.monotonic()
        if len(self._known) > REMEMBERED:
            _, oldest = self._known.popitem(last=False)
            self._noted.pop(oldest.session_id, None)
        return claims


async def create(
    session: AsyncSession,
    asker: Caller,
    *,
    name: str,
    scope: Scope,
    chat_ids: Sequence[int] | None,
    days: int | None,
    bot_id: int | None,
) -> ApiToken:
    """A token for the asker's account, or for a bot of theirs; it is told this once.

    Raises InvalidInput, NotFound (no such bot of theirs, no such chat of the account), TooManyTokens.
    """
    asker.grant.require(Scope.LOGIN)
    holder = await bots.account_of(session, asker, bot_id)
    live = select(func.count()).where(tables.Session.user_id == holder.id, *_LIVE)
    if (await session.scalar(live) or 0) >= TOKENS_LIMIT:
        raise TooManyTokens
    wanted = None if chat_ids is None else sorted(set(chat_ids))
    for chat_id in wanted or ():
        await chat_for(session, holder.id, chat_id)
    token = f"{PREFIX}{secrets.token_urlsafe(BYTES)}"
    row = await add(session, holder.id, token, validation.token_name(name), scope, wanted, days)
    return _shown(row, token)


async def add(
    session: AsyncSession,
    user_id: int,
    token: str,
    name: str,
    scope: Scope,
    chat_ids: list[int] | None = None,
    days: int | None = None,
) -> tables.Session:
    """The row of a new token of a user."""
    row = tables.Session(
        user_id=user_id,
        family_hash=hashed(token),
        token_hash=b"",
        device=name,
        address="",
        scope=scope,
        chat_ids=chat_ids,
        expires_at=NEVER if days is None else datetime.now(UTC) + timedelta(days=days),
        last_used_at=func.to_timestamp(0),
    )
    session.add(row)
    await session.flush()
    await session.refresh(row)
    return row


async def listed(session: AsyncSession, asker: Caller, bot_id: int | None) -> list[ApiToken]:
    """The live tokens of the asker, or of a bot of theirs, the newest first. Raises NotFound."""
    asker.grant.require(Scope.LOGIN)
    holder = await bots.account_of(session, asker, bot_id)
    rows = await session.scalars(
        select(tables.Session)
        .where(tables.Session.user_id == holder.id, *_LIVE)
        .order_by(tables.Session.id.desc())
        .limit(TOKENS_LIMIT)
    )
    return [_shown(row) for row in rows]


async def revoke(session: AsyncSession, asker: Caller, token_id: int) -> None:
    """End a token of the asker's or of a bot of theirs; its sockets are closed. Raises NotFound."""
    asker.grant.require(Scope.LOGIN)
    theirs = select(tables.User.id).where(tables.User.owner_id == asker.user_id, tables.User.kind == "bot")
    ended = await session.scalars(
        update(tables.Session)
        .where(
            tables.Session.id == token_id,
            (tables.Session.user_id == asker.user_id) | tables.Session.user_id.in_(theirs),
            *_LIVE,
        )
        .values(revoked_at=func.now())
        .returning(tables.Session.user_id)
    )
    holder = ended.one_or_none()
    if holder is None:
        raise NotFound("There is no such API token of yours.")
    emit(session, SessionsEnded(holder, frozenset({token_id})))


_LIVE = (
    tables.Session.scope.is_not(None),
    tables.Session.revoked_at.is_(None),
    tables.Session.expires_at > func.now(),
)


def used_at(row: tables.Session) -> datetime | None:
    """When a token was last used, to the minute."""
    return row.last_used_at if row.last_used_at >= row.created_at else None


def _shown(row: tables.Session, token: str | None = None) -> ApiToken:
    return ApiToken(
        id=row.id,
        user_id=row.user_id,
        name=row.device,
        scope=Scope(row.scope or ""),
        chat_ids=row.chat_ids,
        created_at=row.created_at,
        last_used_at=used_at(row),
        expires_at=row.expires_at if row.expires_at < NEVER else None,
        token=token,
    )
