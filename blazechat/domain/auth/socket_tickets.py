"""Tickets: one socket each, for programs that cannot set a header, and so that no token is in a URL."""

import secrets
from datetime import UTC, datetime, timedelta

from sqlalchemy import delete, select
from sqlalchemy.ext.asyncio import AsyncSession

from blazechat.database import tables
from blazechat.domain.auth.access import Caller
from blazechat.domain.auth.access_tokens import Claims, hashed
from blazechat.domain.auth.scopes import granted
from blazechat.domain.schemas.users import Ticket
from blazechat.errors import TicketInvalid

LIFETIME = 30
"""Seconds."""
BYTES = 24
LONGEST = 100


async def issue(session: AsyncSession, asker: Caller, expires_at: int) -> Ticket:
    """A ticket for the asker's session; its socket lives as long as the asker's token (`expires_at`)."""
    now = datetime.now(UTC)
    over = (tables.Ticket.session_id == asker.session_id) & (tables.Ticket.expires_at <= now)
    await session.execute(delete(tables.Ticket).where(over))
    ticket = f"{secrets.token_urlsafe(BYTES)}.{expires_at}"
    session.add(
        tables.Ticket(
            hash=hashed(ticket),
            session_id=asker.session_id,
            user_id=asker.user_id,
            expires_at=now + timedelta(seconds=LIFETIME),
        )
    )
    return Ticket(ticket, LIFETIME)


async def redeem(session: AsyncSession, ticket: str) -> Claims:
    """What the token said that the ticket was issued for; the ticket is used up. Raises TicketInvalid."""
    row = None
    if len(ticket) <= LONGEST:
        used = delete(tables.Ticket).where(tables.Ticket.hash == hashed(ticket))
        returning = used.returning(
            tables.Ticket.user_id, tables.Ticket.session_id, tables.Ticket.expires_at
        )
        row = (await session.execute(returning)).one_or_none()
    if row is None or row.expires_at <= datetime.now(UTC):
        raise TicketInvalid
    holder = select(tables.Session.scope, tables.Session.chat_ids)
    of_it = (await session.execute(holder.where(tables.Session.id == row.session_id))).one_or_none()
    if of_it is None:
        raise TicketInvalid
    expires_at = int(ticket.rpartition(".")[2])
    return Claims(row.user_id, row.session_id, expires_at, granted(of_it.scope, of_it.chat_ids))
