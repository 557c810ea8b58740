"""System messages: the server writes to a user in their direct chat with the server's own account."""

import secrets

from sqlalchemy import select, text
from sqlalchemy.ext.asyncio import AsyncSession

from blazechat.database import tables
from blazechat.database.engine import Database
from blazechat.domain import validation
from blazechat.domain.accounts import api_tokens
from blazechat.domain.accounts.api_tokens import NO_EXPIRY, TokenDraft
from blazechat.domain.auth.access import Caller, authenticate
from blazechat.domain.auth.access_tokens import Claims
from blazechat.domain.auth.scopes import Grant
from blazechat.domain.chats.chats import ChatDraft, Chats
from blazechat.domain.messaging.ledger import Ledger
from blazechat.domain.messaging.sends import MessageDraft, Sender
from blazechat.errors import NotFound
from blazechat.vocabulary import Scope

DISPLAY_NAME = "BlazeChat"
ACCOUNT_LOCK_KEY = 0x6E6F74696365
"""Advisory lock, so that only one transaction creates the account. The bytes spell "notice"."""


class SystemMessages:
    def __init__(self, database: Database, chats: Chats, ledger: Ledger) -> None:
        self._database = database
        self._chats = chats
        self._ledger = ledger

    async def send(self, user_id: int, content: str, client_id: str) -> None:
        """Send a message to a user; `client_id` is its idempotency key.

        Does nothing if the account was deleted. Raises errors of the ledger.
        """
        async with self._database.transaction() as session:
            server = await self._account(session)
            try:
                draft = ChatDraft([user_id], is_group_chat=False)
                chat, _ = await self._chats.create(session, server, draft)
            except NotFound:
                return
        sender = Sender(server.user_id, server.session_id)
        await self._ledger.send(sender, MessageDraft(chat.id, content, client_id))

    async def _account(self, session: AsyncSession) -> Caller:
        """Return the server's own account and session; the first call creates them."""
        await session.execute(text("SELECT pg_advisory_xact_lock(:lock)"), {"lock": ACCOUNT_LOCK_KEY})
        found = (
            await session.execute(
                select(tables.User.id, tables.Session.id.label("session_id"))
                .join(tables.Session, tables.Session.user_id == tables.User.id)
                .where(tables.User.kind == "system")
            )
        ).first()
        grant = Grant(Scope.WRITE)
        if found is not None:
            return await authenticate(session, Claims(found.id, found.session_id, 0, grant))
        name = f"blazechat-{secrets.token_hex(3)}"
        server = tables.User(
            username=name,
            username_key=validation.comparison_key(name),
            display_name=DISPLAY_NAME,
            kind="system",
        )
        session.add(server)
        await session.flush()
        draft = TokenDraft("notices", Scope.WRITE)
        token = await api_tokens.insert(session, server.id, secrets.token_urlsafe(32), draft)
        return Caller(server.id, token.id, False, NO_EXPIRY, grant)
