"""Integration users: the accounts through which incoming webhooks and slash commands post in a chat.

Each is a member of one chat and can only send.
"""

import secrets
from dataclasses import dataclass

from sqlalchemy import func, text, update
from sqlalchemy.ext.asyncio import AsyncSession

from blazechat.database import tables
from blazechat.domain import validation
from blazechat.domain.accounts import api_tokens
from blazechat.domain.accounts.api_tokens import TokenDraft
from blazechat.domain.accounts.bots import Bots
from blazechat.domain.auth import sessions, users
from blazechat.domain.auth.access import Action, Caller, Membership, chat_for
from blazechat.domain.chats.members import Members
from blazechat.vocabulary import Scope

TOKEN_BYTES = 18

SELECT_USERS_OF_CHAT = text("""
SELECT user_id FROM incoming_webhooks WHERE chat_id = :chat_id
UNION ALL SELECT user_id FROM slash_commands WHERE chat_id = :chat_id
""")


@dataclass(frozen=True, slots=True)
class IntegrationUser:
    """A new integration user."""

    user_id: int
    session_id: int
    name: str
    token: str
    """Identifies the session; only its hash is stored. It is not accepted as an API token."""


class IntegrationUsers:
    """Creates and retires integration users."""

    def __init__(self, members: Members, bots: Bots) -> None:
        self._members = members
        self._bots = bots

    async def group_for(self, session: AsyncSession, caller: Caller, chat_id: int) -> Membership:
        """Return the group, locked, if the caller may manage its integrations.

        Raises NotFound, Forbidden, DirectChatFixed.
        """
        return await chat_for(session, caller.user_id, chat_id, Action.MANAGE_INTEGRATIONS)

    async def create(
        self, session: AsyncSession, caller: Caller, chat: tables.Chat, name: str
    ) -> IntegrationUser:
        """Create an integration user in a locked chat. Raises InvalidInput, ChatFull."""
        label = validation.label(name)
        user = tables.User(
            username=f"webhook-{secrets.token_hex(6)}",
            display_name=label,
            kind="hook",
            owner_id=caller.user_id,
        )
        user.username_key = validation.comparison_key(user.username)
        session.add(user)
        await users.flush_names(session)
        await self._members.insert(session, chat, [user.id])
        token = secrets.token_hex(TOKEN_BYTES)
        row = await api_tokens.insert(session, user.id, token, TokenDraft(label, Scope.WRITE, [chat.id]))
        return IntegrationUser(user.id, row.id, label, token)

    async def retire(self, session: AsyncSession, user_id: int) -> None:
        """Delete the account and its membership; its messages stay, under its name."""
        user = await session.get_one(tables.User, user_id, with_for_update=True)
        await self._bots.retire(session, user)


async def retire_users_of_chat(session: AsyncSession, chat_id: int) -> None:
    """End the sessions of a chat's integration users and delete their accounts.

    It does not remove them from the chat, which is deleted in the same transaction (`Chats.remove()`).
    """
    user_ids = (await session.scalars(SELECT_USERS_OF_CHAT, {"chat_id": chat_id})).all()
    for user_id in user_ids:
        await sessions.end_all(session, user_id, with_api_tokens=True)
    await session.execute(
        update(tables.User)
        .where(tables.User.id.in_(user_ids))
        .values(username_key=None, deleted_at=func.now())
    )
