"""Socket tickets: each opens one socket, for clients that cannot set headers. They keep tokens out of
URLs."""

import secrets
from datetime import UTC, datetime, timedelta

from sqlalchemy import delete, select
from sqlalchemy.ext.asyncio import AsyncSession

from blazechat.database import tables
from blazechat.domain.auth.access import Caller
from blazechat.domain.auth.access_tokens import Claims, hash_secret
from blazechat.domain.auth.scopes import grant_of
from blazechat.domain.schemas.users import Ticket
from blazechat.errors import TicketInvalid

LIFETIME_SECONDS = 30
TICKET_BYTES = 24
MAX_TICKET_CHARACTERS = 100


async def issue(session: AsyncSession, caller: Caller, expires_at: int) -> Ticket:
    """Return a new ticket of the caller's session.

    `expires_at` is the expiry of the caller's token, in Unix seconds. The socket is closed then.
    """
    now = datetime.now(UTC)
    is_expired = (tables.Ticket.session_id == caller.session_id) & (tables.Ticket.expires_at <= now)
    await session.execute(delete(tables.Ticket).where(is_expired))
    ticket = f"{secrets.token_urlsafe(TICKET_BYTES)}.{expires_at}"
    session.add(
        tables.Ticket(
            hash=hash_secret(ticket),
            session_id=caller.session_id,
            user_id=caller.user_id,
            expires_at=now + timedelta(seconds=LIFETIME_SECONDS),
        )
    )
    return Ticket(ticket, LIFETIME_SECONDS)


async def redeem(session: AsyncSession, ticket: str) -> Claims:
    """Delete the ticket; return the claims of the token that it was issued for. Raises TicketInvalid."""
    row = None
    if len(ticket) <= MAX_TICKET_CHARACTERS:
        deleted = await session.execute(
            delete(tables.Ticket)
            .where(tables.Ticket.hash == hash_secret(ticket))
            .returning(tables.Ticket.user_id, tables.Ticket.session_id, tables.Ticket.expires_at)
        )
        row = deleted.one_or_none()
    if row is None or row.expires_at <= datetime.now(UTC):
        raise TicketInvalid
    grant_columns = select(tables.Session.scope, tables.Session.chat_ids)
    found = await session.execute(grant_columns.where(tables.Session.id == row.session_id))
    grant_row = found.one_or_none()
    if grant_row is None:
        raise TicketInvalid
    expires_at = int(ticket.rpartition(".")[2])
    return Claims(row.user_id, row.session_id, expires_at, grant_of(grant_row.scope, grant_row.chat_ids))
