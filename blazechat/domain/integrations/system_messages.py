"""What the server itself has to say to somebody: a message in a direct chat with it."""

import secrets

from sqlalchemy import select, text
from sqlalchemy.ext.asyncio import AsyncSession

from blazechat.database import tables
from blazechat.database.engine import Database
from blazechat.domain import validation
from blazechat.domain.accounts import api_tokens
from blazechat.domain.accounts.api_tokens import NEVER
from blazechat.domain.auth.access import Caller, caller
from blazechat.domain.auth.access_tokens import Claims
from blazechat.domain.auth.scopes import Grant
from blazechat.domain.chats.chats import Chats
from blazechat.domain.messaging.ledger import Ledger
from blazechat.domain.messaging.sends import MessageDraft, Sender
from blazechat.errors import NotFound
from blazechat.vocabulary import Scope

NAME = "BlazeChat"
FIRST_NOTICE_LOCK = 0x6E6F74696365  # "notice": one at a time may find that the server has no account yet


class SystemMessages:
    def __init__(self, database: Database, chats: Chats, ledger: Ledger) -> None:
        self._database = database
        self._chats = chats
        self._ledger = ledger

    async def send(self, user_id: int, content: str, client_id: str) -> None:
        """Send somebody a message from the server; under the same `client_id`, once.

        Nothing happens if they have no account any more. Raises what the ledger does.
        """
        async with self._database.transaction() as session:
            server = await self._account(session)
            try:
                chat, _ = await self._chats.create(
                    session, server, name=None, is_group_chat=False, user_ids=[user_id]
                )
            except NotFound:
                return
        sender = Sender(server.user_id, server.session_id)
        await self._ledger.send(sender, MessageDraft(chat.id, content, client_id))

    async def _account(self, session: AsyncSession) -> Caller:
        """The server's own account and its session, made when they are first needed."""
        await session.execute(text("SELECT pg_advisory_xact_lock(:lock)"), {"lock": FIRST_NOTICE_LOCK})
        found = (
            await session.execute(
                select(tables.User.id, tables.Session.id.label("session_id"))
                .join(tables.Session, tables.Session.user_id == tables.User.id)
                .where(tables.User.kind == "system")
            )
        ).first()
        grant = Grant(Scope.WRITE)
        if found is not None:
            return await caller(session, Claims(found.id, found.session_id, 0, grant))
        name = f"blazechat-{secrets.token_hex(3)}"
        server = tables.User(
            username=name, username_key=validation.key(name), display_name=NAME, kind="system"
        )
        session.add(server)
        await session.flush()
        token = await api_tokens.add(session, server.id, secrets.token_urlsafe(32), "notices", Scope.WRITE)
        return Caller(server.id, token.id, False, NEVER, grant)
