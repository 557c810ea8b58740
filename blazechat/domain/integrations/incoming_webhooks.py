"""Incoming webhooks: secret URLs that post into one chat.

Each has an integration user, a member of the chat that can only send. So the ledger, the access rules and
the public form of members need no exception for webhooks.
"""

from datetime import datetime

from sqlalchemy import func, select
from sqlalchemy.ext.asyncio import AsyncSession

from blazechat.database import tables
from blazechat.domain.accounts import api_tokens
from blazechat.domain.accounts.api_tokens import Credentials
from blazechat.domain.auth.access import Action, Caller, chat_for
from blazechat.domain.auth.access_tokens import hash_secret
from blazechat.domain.integrations.incoming_payloads import parse_post
from blazechat.domain.integrations.integration_users import IntegrationUsers
from blazechat.domain.messaging.ledger import Ledger
from blazechat.domain.messaging.sends import MessageDraft, Sender
from blazechat.domain.rate_limits import RateLimiter
from blazechat.domain.schemas.integrations import IncomingWebhook
from blazechat.domain.schemas.messages import Message
from blazechat.errors import NotFound, TooManyWebhooks, Unauthenticated

MAX_INCOMING_WEBHOOKS = 50
"""Incoming webhooks of one chat."""
MAX_TOKEN_CHARACTERS = 64


class IncomingWebhooks:
    """Manages incoming webhooks and accepts their posts. `rate_limiter` limits the posts of each."""

    def __init__(
        self,
        credentials: Credentials,
        integration_users: IntegrationUsers,
        ledger: Ledger,
        rate_limiter: RateLimiter,
    ) -> None:
        self._credentials = credentials
        self._integration_users = integration_users
        self._ledger = ledger
        self._rate_limiter = rate_limiter

    async def create(
        self, session: AsyncSession, caller: Caller, chat_id: int, name: str
    ) -> tuple[IncomingWebhook, str]:
        """Create a webhook of a group, for its owner and admins; return it and its token.

        Only a hash of the token is stored, so this call alone can return it.
        Raises InvalidInput, NotFound, Forbidden, DirectChatFixed, ChatFull, TooManyWebhooks.
        """
        membership = await self._integration_users.group_for(session, caller, chat_id)
        count = select(func.count()).where(tables.IncomingWebhook.chat_id == chat_id)
        if (await session.scalar(count) or 0) >= MAX_INCOMING_WEBHOOKS:
            raise TooManyWebhooks
        user = await self._integration_users.create(session, caller, membership.chat, name)
        webhook = tables.IncomingWebhook(chat_id=chat_id, user_id=user.user_id, session_id=user.session_id)
        session.add(webhook)
        await session.flush()
        await session.refresh(webhook)
        return _public_form(webhook, user.name, caller.user_id, None), user.token

    async def list_all(self, session: AsyncSession, caller: Caller, chat_id: int) -> list[IncomingWebhook]:
        """Return the chat's webhooks, oldest first. Raises NotFound, Forbidden unless owner or admin."""
        (await chat_for(session, caller.user_id, chat_id)).require(Action.MANAGE_WEBHOOKS)
        rows = await session.execute(
            select(tables.IncomingWebhook, tables.User, tables.Session)
            .join(tables.User, tables.User.id == tables.IncomingWebhook.user_id)
            .join(tables.Session, tables.Session.id == tables.IncomingWebhook.session_id)
            .where(tables.IncomingWebhook.chat_id == chat_id)
            .order_by(tables.IncomingWebhook.id)
            .limit(MAX_INCOMING_WEBHOOKS)
        )
        return [
            _public_form(webhook, user.display_name, user.owner_id or 0, api_tokens.last_used_at(token))
            for webhook, user, token in rows
        ]

    async def revoke(self, session: AsyncSession, caller: Caller, chat_id: int, webhook_id: int) -> None:
        """Make a webhook's URL invalid, for the chat's owner and admins; its messages stay.

        Raises NotFound, Forbidden.
        """
        await chat_for(session, caller.user_id, chat_id, Action.MANAGE_WEBHOOKS)
        webhook = await session.get(tables.IncomingWebhook, (chat_id, webhook_id))
        if webhook is None:
            raise NotFound("There is no such webhook in this chat.")
        user_id = webhook.user_id
        await session.delete(webhook)
        await session.flush()
        await self._integration_users.retire(session, user_id)

    async def post(self, token: str, content_type: str, body: bytes) -> Message:
        """Send the message in a post to a webhook's URL, whose last part is `token`.

        Raises NotFound if there is no such webhook, BadRequest, TooManyPosts, and errors of the ledger.
        """
        if len(token) > MAX_TOKEN_CHARACTERS or token.startswith(api_tokens.PREFIX):
            raise NotFound
        try:
            claims = await self._credentials.claims_of_opaque(token)
        except Unauthenticated:
            raise NotFound("There is no such webhook.") from None
        (chat_id,) = claims.grant.chat_ids or (0,)
        self._rate_limiter.admit(hash_secret(token))
        post = parse_post(content_type, body)
        draft = MessageDraft(chat_id, post.content, author_override=post.author_override)
        try:
            return await self._ledger.send(Sender(claims.user_id, claims.session_id), draft)
        except Unauthenticated:
            raise NotFound("There is no such webhook.") from None


def _public_form(
    webhook: tables.IncomingWebhook, name: str, created_by: int, used_at: datetime | None
) -> IncomingWebhook:
    return IncomingWebhook(
        webhook.id, webhook.chat_id, webhook.user_id, name, created_by, webhook.created_at, used_at
    )
