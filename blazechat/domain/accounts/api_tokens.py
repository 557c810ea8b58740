"""API tokens: long-lived credentials of programs, with a limited scope. The database stores only hashes.

A token is a row of `sessions`. So every check of a session also covers tokens, and revoking a token closes
its sockets. A token's grant never changes, so its claims are cached. Whether the token is still valid is
not cached: `access.authenticate()` checks that, as for every session.
"""

import secrets
import time
from collections import OrderedDict
from collections.abc import Sequence
from dataclasses import dataclass
from datetime import UTC, datetime, timedelta

from sqlalchemy import func, select, update
from sqlalchemy.ext.asyncio import AsyncSession

from blazechat.database import tables
from blazechat.database.engine import Database
from blazechat.domain import validation
from blazechat.domain.accounts import bots
from blazechat.domain.auth.access import Caller, chat_for
from blazechat.domain.auth.access_tokens import AccessTokens, Claims, hash_secret
from blazechat.domain.auth.scopes import grant_of
from blazechat.domain.events import SessionsEnded, emit
from blazechat.domain.schemas.integrations import ApiToken
from blazechat.errors import NotFound, TooManyTokens, Unauthenticated
from blazechat.vocabulary import Scope

PREFIX = "blz_"
"""Makes tokens recognisable for people and for secret scanners."""
TOKEN_BYTES = 32
MAX_TOKEN_CHARACTERS = 100
MAX_TOKENS_PER_ACCOUNT = 100
MAX_CHATS_PER_TOKEN = 100
NO_EXPIRY = datetime(9999, 1, 1, tzinfo=UTC)
CACHED_TOKENS = 10_000
LAST_USED_SECONDS = 60.0
"""Interval between updates of a token's `last_used_at`, which read the token again."""


@dataclass(frozen=True, slots=True)
class TokenDraft:
    """A token to be created."""

    name: str
    scope: Scope
    chat_ids: Sequence[int] | None = None
    """The only chats in which the token is valid; None for all chats of its user."""
    days: int | None = None
    """Its lifetime; None if it does not expire."""


class Credentials:
    """Verifies access tokens and API tokens."""

    def __init__(self, database: Database, tokens: AccessTokens) -> None:
        self._database = database
        self.tokens = tokens
        self._cache: OrderedDict[bytes, Claims] = OrderedDict()  # of API tokens, by the token's hash
        self._read_at: dict[int, float] = {}  # by session id: when the token was read, by time.monotonic()

    async def claims_of(self, token: str) -> Claims:
        """Return the claims of a token. Raises Unauthenticated, TokenExpired, Unavailable.

        The token's session might have ended: `access.authenticate()` checks it in the database.
        """
        claims = self.known_claims_of(token)
        return await self._read(hash_secret(token)) if claims is None else claims

    def known_claims_of(self, token: str) -> Claims | None:
        """Return the claims of a token; None if it is an API token that the database has to be asked for.

        Raises Unauthenticated, TokenExpired.
        """
        if not token.startswith(PREFIX):
            return self.tokens.verify(token)
        if len(token) > MAX_TOKEN_CHARACTERS:
            raise Unauthenticated
        return self._cached(hash_secret(token))

    async def claims_of_opaque(self, token: str) -> Claims:
        """Return the claims of an opaque token: an API token, or the token of an integration.

        Raises Unauthenticated, Unavailable.
        """
        key = hash_secret(token)
        claims = self._cached(key)
        return await self._read(key) if claims is None else claims

    def _cached(self, key: bytes) -> Claims | None:
        """Return the claims of a token, by its hash, if it was read recently."""
        claims = self._cache.get(key)
        if claims is None or time.monotonic() - self._read_at[claims.session_id] > LAST_USED_SECONDS:
            return None
        return claims

    async def _read(self, key: bytes) -> Claims:
        """Read a token by its hash, update its `last_used_at`, and cache its claims."""
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
            self._cache.pop(key, None)
            raise Unauthenticated("This API token is unknown, expired or revoked. Create a new one.")
        grant = grant_of(row.scope, row.chat_ids)
        claims = Claims(row.user_id, row.id, int(row.expires_at.timestamp()), grant)
        self._cache[key] = claims
        self._read_at[row.id] = time.monotonic()
        if len(self._cache) > CACHED_TOKENS:
            _, oldest = self._cache.popitem(last=False)
            self._read_at.pop(oldest.session_id, None)
        return claims


async def create(
    session: AsyncSession, caller: Caller, draft: TokenDraft, *, bot_id: int | None
) -> ApiToken:
    """Create a token of the caller's account or of one of their bots; return it with its secret.

    Raises InsufficientScope, InvalidInput, NotFound (no such bot of the caller, no such chat of the
    account), TooManyTokens.
    """
    caller.grant.require(Scope.LOGIN)
    account = await bots.lock_account(session, caller, bot_id)
    count = select(func.count()).where(tables.Session.user_id == account.id, *_IS_VALID)
    if (await session.scalar(count) or 0) >= MAX_TOKENS_PER_ACCOUNT:
        raise TooManyTokens
    chat_ids = None if draft.chat_ids is None else sorted(set(draft.chat_ids))
    for chat_id in chat_ids or ():
        await chat_for(session, account.id, chat_id)
    token = f"{PREFIX}{secrets.token_urlsafe(TOKEN_BYTES)}"
    valid_draft = TokenDraft(validation.label(draft.name), draft.scope, chat_ids, draft.days)
    return _public_form(await insert(session, account.id, token, valid_draft), token)


async def insert(session: AsyncSession, user_id: int, token: str, draft: TokenDraft) -> tables.Session:
    """Insert the row of a new token of a user, without checks, and return it."""
    row = tables.Session(
        user_id=user_id,
        family_hash=hash_secret(token),
        token_hash=b"",
        device=draft.name,
        address="",
        scope=draft.scope,
        chat_ids=None if draft.chat_ids is None else list(draft.chat_ids),
        expires_at=NO_EXPIRY if draft.days is None else datetime.now(UTC) + timedelta(days=draft.days),
        last_used_at=func.to_timestamp(0),
    )
    session.add(row)
    await session.flush()
    await session.refresh(row)
    return row


async def listed(session: AsyncSession, caller: Caller, bot_id: int | None) -> list[ApiToken]:
    """Return the valid tokens of the caller or of one of their bots, the newest first. Raises NotFound."""
    caller.grant.require(Scope.LOGIN)
    account = await bots.lock_account(session, caller, bot_id)
    rows = await session.scalars(
        select(tables.Session)
        .where(tables.Session.user_id == account.id, *_IS_VALID)
        .order_by(tables.Session.id.desc())
        .limit(MAX_TOKENS_PER_ACCOUNT)
    )
    return [_public_form(row) for row in rows]


async def revoke(session: AsyncSession, caller: Caller, token_id: int) -> None:
    """Revoke a token of the caller or of one of their bots, which closes its sockets. Raises NotFound."""
    caller.grant.require(Scope.LOGIN)
    own_bots = select(tables.User.id).where(
        tables.User.owner_id == caller.user_id, tables.User.kind == "bot"
    )
    revoked = await session.scalars(
        update(tables.Session)
        .where(
            tables.Session.id == token_id,
            (tables.Session.user_id == caller.user_id) | tables.Session.user_id.in_(own_bots),
            *_IS_VALID,
        )
        .values(revoked_at=func.now())
        .returning(tables.Session.user_id)
    )
    user_id = revoked.one_or_none()
    if user_id is None:
        raise NotFound("You have no such API token.")
    emit(session, SessionsEnded(user_id, frozenset({token_id})))


_IS_VALID = (
    tables.Session.scope.is_not(None),
    tables.Session.revoked_at.is_(None),
    tables.Session.expires_at > func.now(),
)


def last_used_at(row: tables.Session) -> datetime | None:
    """Return when a token was last used, to the minute; None if never."""
    return row.last_used_at if row.last_used_at >= row.created_at else None


def _public_form(row: tables.Session, token: str | None = None) -> ApiToken:
    return ApiToken(
        id=row.id,
        user_id=row.user_id,
        name=row.device,
        scope=Scope(row.scope or ""),
        chat_ids=row.chat_ids,
        created_at=row.created_at,
        last_used_at=last_used_at(row),
        expires_at=row.expires_at if row.expires_at < NO_EXPIRY else None,
        token=token,
    )
