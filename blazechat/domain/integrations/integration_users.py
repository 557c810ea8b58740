"""Who speaks in a chat for a webhook or a slash command: a user of its own, a member that can only send."""

import secrets
from dataclasses import dataclass

from sqlalchemy.ext.asyncio import AsyncSession

from blazechat.database import tables
from blazechat.domain import validation
from blazechat.domain.accounts import api_tokens
from blazechat.domain.accounts.bots import Bots
from blazechat.domain.auth import users
from blazechat.domain.auth.access import Action, Caller, Membership, chat_for
from blazechat.domain.chats.members import Members
from blazechat.errors import DirectChatFixed
from blazechat.vocabulary import Scope

TOKEN_BYTES = 18


@dataclass(frozen=True, slots=True)
class IntegrationUser:
    """`token` finds its session; it is told once, and no API token."""

    user_id: int
    session_id: int
    name: str
    token: str


class IntegrationUsers:
    def __init__(self, members: Members, bots: Bots) -> None:
        self._members = members
        self._bots = bots

    async def group_for(self, session: AsyncSession, asker: Caller, chat_id: int) -> Membership:
        """The group in which the asker may make and remove them.

        Raises NotFound, Forbidden, DirectChatFixed.
        """
        membership = await chat_for(session, asker.user_id, chat_id, Action.HOOK)
        if membership.chat.kind == "direct":
            raise DirectChatFixed
        return membership

    async def create(
        self, session: AsyncSession, asker: Caller, chat: tables.Chat, name: str
    ) -> IntegrationUser:
        """One of a locked chat. Raises InvalidInput, ChatFull."""
        shown = validation.token_name(name)
        user = tables.User(
            username=f"webhook-{secrets.token_hex(6)}",
            display_name=shown,
            kind="hook",
            owner_id=asker.user_id,
        )
        user.username_key = validation.key(user.username)
        session.add(user)
        await users.flush_names(session)
        await self._members.seat(session, chat, [user.id])
        token = secrets.token_hex(TOKEN_BYTES)
        row = await api_tokens.add(session, user.id, token, shown, Scope.WRITE, [chat.id])
        return IntegrationUser(user.id, row.id, shown, token)

    async def retire(self, session: AsyncSession, user_id: int) -> None:
        """It leaves the chat; what it said stays, under its name."""
        user = await session.get_one(tables.User, user_id, with_for_update=True)
        await self._bots.retire(session, user)
