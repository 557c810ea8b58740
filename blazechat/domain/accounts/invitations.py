"""Invitations: each code permits one registration while registration is by invitation."""

import secrets
from datetime import UTC, datetime, timedelta

from sqlalchemy import delete, select, update
from sqlalchemy.ext.asyncio import AsyncSession

from blazechat.database import tables
from blazechat.domain.auth.access import Caller, require_admin
from blazechat.domain.auth.access_tokens import hash_secret
from blazechat.domain.schemas.users import Invitation
from blazechat.errors import InvitationInvalid, NotFound

CODE_BYTES = 18


async def create(session: AsyncSession, caller: Caller, days: int) -> Invitation:
    """Create an invitation that is valid for `days`; return it with its code. Raises Forbidden."""
    require_admin(caller)
    code = secrets.token_urlsafe(CODE_BYTES)
    row = tables.Invitation(
        code_hash=hash_secret(code),
        created_by=caller.user_id,
        expires_at=datetime.now(UTC) + timedelta(days=days),
    )
    session.add(row)
    await session.flush()
    await session.refresh(row)
    return Invitation(row.id, row.created_at, row.expires_at, row.used_by, code)


async def listed(
    session: AsyncSession, caller: Caller, *, limit: int, before: int | None
) -> list[Invitation]:
    """Return invitations with ids less than `before`, the newest first, without codes. Raises Forbidden."""
    require_admin(caller)
    wanted = select(tables.Invitation).order_by(tables.Invitation.id.desc()).limit(limit)
    if before is not None:
        wanted = wanted.where(tables.Invitation.id < before)
    rows = await session.scalars(wanted)
    return [Invitation(row.id, row.created_at, row.expires_at, row.used_by) for row in rows]


async def revoke(session: AsyncSession, caller: Caller, invitation_id: int) -> None:
    """Delete an unused invitation. Raises NotFound, Forbidden."""
    require_admin(caller)
    deleted = await session.scalars(
        delete(tables.Invitation)
        .where(tables.Invitation.id == invitation_id, tables.Invitation.used_at.is_(None))
        .returning(tables.Invitation.id)
    )
    if deleted.one_or_none() is None:
        raise NotFound("There is no such unused invitation.")


async def redeem(session: AsyncSession, code: str | None, user_id: int) -> None:
    """Mark an invitation as used by a new user. Raises InvitationInvalid."""
    now = datetime.now(UTC)
    used = await session.scalars(
        update(tables.Invitation)
        .where(
            tables.Invitation.code_hash == hash_secret(code or ""),
            tables.Invitation.used_at.is_(None),
            tables.Invitation.expires_at > now,
        )
        .values(used_at=now, used_by=user_id)
        .returning(tables.Invitation.id)
    )
    if used.one_or_none() is None:
        raise InvitationInvalid
