"""Incoming webhooks: secret URLs that post into one chat.

Each has a user of its own, who is a member of the chat like others and can do nothing but send. So the
ledger, the access rules and what members are shown need no exception for it.
"""

from datetime import datetime

from sqlalchemy import func, select
from sqlalchemy.ext.asyncio import AsyncSession

from blazechat.database import tables
from blazechat.domain.accounts import api_tokens
from blazechat.domain.accounts.api_tokens import Credentials
from blazechat.domain.auth.access import Action, Caller, chat_for
from blazechat.domain.auth.access_tokens import hashed
from blazechat.domain.integrations.incoming_payloads import posting_of
from blazechat.domain.integrations.integration_users import IntegrationUsers
from blazechat.domain.messaging.ledger import Ledger
from blazechat.domain.messaging.sends import MessageDraft, Sender
from blazechat.domain.rate_limits import Pace
from blazechat.domain.schemas.integrations import IncomingWebhook
from blazechat.domain.schemas.messages import Message
from blazechat.errors import NotFound, TooManyWebhooks, Unauthenticated

WEBHOOKS_LIMIT = 50
"""Incoming webhooks of one chat."""
LONGEST = 64


class IncomingWebhooks:
    """`pace` says how many messages a webhook may post."""

    def __init__(
        self, credentials: Credentials, speakers: IntegrationUsers, ledger: Ledger, pace: Pace
    ) -> None:
        self._credentials = credentials
        self._speakers = speakers
        self._ledger = ledger
        self._pace = pace

    async def create(
        self, session: AsyncSession, asker: Caller, chat_id: int, name: str
    ) -> tuple[IncomingWebhook, str]:
        """A webhook of a group, and its token, which is told this once. Owner and admins.

        Raises InvalidInput, NotFound, Forbidden, DirectChatFixed, ChatFull, TooManyWebhooks.
        """
        membership = await self._speakers.group_for(session, asker, chat_id)
        of_chat = select(func.count()).where(tables.IncomingWebhook.chat_id == chat_id)
        if (await session.scalar(of_chat) or 0) >= WEBHOOKS_LIMIT:
            raise TooManyWebhooks
        speaker = await self._speakers.create(session, asker, membership.chat, name)
        webhook = tables.IncomingWebhook(
            chat_id=chat_id, user_id=speaker.user_id, session_id=speaker.session_id
        )
        session.add(webhook)
        await session.flush()
        await session.refresh(webhook)
        return _shown(webhook, speaker.name, asker.user_id, None), speaker.token

    async def listed(self, session: AsyncSession, asker: Caller, chat_id: int) -> list[IncomingWebhook]:
        """Those of the chat, the oldest first. Owner and admins."""
        (await chat_for(session, asker.user_id, chat_id)).require(Action.HOOK)
        rows = await session.execute(
            select(tables.IncomingWebhook, tables.User, tables.Session)
            .join(tables.User, tables.User.id == tables.IncomingWebhook.user_id)
            .join(tables.Session, tables.Session.id == tables.IncomingWebhook.session_id)
            .where(tables.IncomingWebhook.chat_id == chat_id)
            .order_by(tables.IncomingWebhook.id)
            .limit(WEBHOOKS_LIMIT)
        )
        return [
            _shown(webhook, user.display_name, user.owner_id or 0, api_tokens.used_at(token))
            for webhook, user, token in rows
        ]

    async def revoke(self, session: AsyncSession, asker: Caller, chat_id: int, webhook_id: int) -> None:
        """Its URL is worth nothing from now on; what it said stays. Owner and admins. Raises NotFound."""
        await chat_for(session, asker.user_id, chat_id, Action.HOOK)
        webhook = await session.get(tables.IncomingWebhook, (chat_id, webhook_id))
        if webhook is None:
            raise NotFound("There is no such webhook in this chat.")
        speaker_id = webhook.user_id
        await session.delete(webhook)
        await session.flush()
        await self._speakers.retire(session, speaker_id)

    async def post(self, token: str, content_type: str, body: bytes) -> Message:
        """Send what was posted to a webhook's URL.

        Raises NotFound for a token that is none, BadRequest, TooManyPosts, and what the ledger does.
        """
        if len(token) > LONGEST or token.startswith(api_tokens.PREFIX):
            raise NotFound
        try:
            claims = await self._credentials.look_up(token)
        except Unauthenticated:
            raise NotFound("There is no such webhook.") from None
        (chat_id,) = claims.grant.chat_ids or (0,)
        self._pace.admit(hashed(token))
        posting = posting_of(content_type, body)
        draft = MessageDraft(chat_id, posting.content, author_override=posting.author_override)
        try:
            return await self._ledger.send(Sender(claims.user_id, claims.session_id), draft)
        except Unauthenticated:
            raise NotFound("There is no such webhook.") from None


def _shown(
    webhook: tables.IncomingWebhook, name: str, created_by: int, used_at: datetime | None
) -> IncomingWebhook:
    return IncomingWebhook(
        webhook.id, webhook.chat_id, webhook.user_id, name, created_by, webhook.created_at, used_at
    )
