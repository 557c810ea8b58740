"""Invitations: codes that let one person each register while registration is by invitation."""

import secrets
from collections.abc import Sequence
from datetime import UTC, datetime, timedelta

from sqlalchemy import delete, select, update
from sqlalchemy.ext.asyncio import AsyncSession

from blazechat.database import tables
from blazechat.domain.auth.access import Caller, require_admin
from blazechat.domain.auth.access_tokens import hashed
from blazechat.domain.schemas.users import Invitation
from blazechat.errors import InvitationInvalid, NotFound

CODE_BYTES = 18


async def create(session: AsyncSession, asker: Caller, days: int) -> Invitation:
    """An invitation good for `days`, with its code, which is told this once. Administrators only."""
    require_admin(asker)
    code = secrets.token_urlsafe(CODE_BYTES)
    row = tables.Invitation(
        code_hash=hashed(code),
        created_by=asker.user_id,
        expires_at=datetime.now(UTC) + timedelta(days=days),
    )
    session.add(row)
    await session.flush()
    await session.refresh(row)
    return Invitation(row.id, row.created_at, row.expires_at, row.used_by, code)


async def listed(
    session: AsyncSession, asker: Caller, *, limit: int, before: int | None
) -> list[Invitation]:
    """Invitations, the newest first, without their codes. Administrators only."""
    require_admin(asker)
    wanted = select(tables.Invitation).order_by(tables.Invitation.id.desc()).limit(limit)
    if before is not None:
        wanted = wanted.where(tables.Invitation.id < before)
    rows: Sequence[tables.Invitation] = (await session.scalars(wanted)).all()
    return [Invitation(row.id, row.created_at, row.expires_at, row.used_by) for row in rows]


async def revoke(session: AsyncSession, asker: Caller, invitation_id: int) -> None:
    """Take back an invitation that nobody has used. Raises NotFound. Administrators only."""
    require_admin(asker)
    gone = await session.scalars(
        delete(tables.Invitation)
        .where(tables.Invitation.id == invitation_id, tables.Invitation.used_at.is_(None))
        .returning(tables.Invitation.id)
    )
    if gone.one_or_none() is None:
        raise NotFound("There is no such unused invitation.")


async def redeem(session: AsyncSession, code: str | None, user_id: int) -> None:
    """Use up the invitation for this new user. Raises InvitationInvalid."""
    now = datetime.now(UTC)
    used = await session.scalars(
        update(tables.Invitation)
        .where(
            tables.Invitation.code_hash == hashed(code or ""),
            tables.Invitation.used_at.is_(None),
            tables.Invitation.expires_at > now,
        )
        .values(used_at=now, used_by=user_id)
        .returning(tables.Invitation.id)
    )
    if used.one_or_none() is None:
        raise InvitationInvalid
