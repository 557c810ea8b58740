"""Incoming webhooks: secret URLs that post into one chat.

Each has an integration user, a member of the chat that can only send. So the ledger, the access rules and
the public form of members need no exception for webhooks.
"""

from dataclasses import dataclass
from datetime import datetime
from typing import Any

import msgspec
from sqlalchemy import func, select, update
from sqlalchemy.ext.asyncio import AsyncSession

from blazechat.database import tables
from blazechat.database.engine import Database
from blazechat.domain.accounts import api_tokens
from blazechat.domain.accounts.api_tokens import Credentials
from blazechat.domain.auth.access import Action, Caller, chat_for
from blazechat.domain.auth.access_tokens import hash_secret
from blazechat.domain.integrations.incoming_payloads import (
    INVALID_PAYLOAD,
    IncomingPost,
    parse_any_post,
    parse_payload,
    valid_content,
)
from blazechat.domain.integrations.incoming_templates import IncomingTemplates
from blazechat.domain.integrations.integration_users import IntegrationUsers
from blazechat.domain.messaging.ledger import Ledger
from blazechat.domain.messaging.sends import MessageDraft, Sender
from blazechat.domain.rate_limits import RateLimiter
from blazechat.domain.schemas.integrations import IncomingWebhook
from blazechat.domain.schemas.messages import Message
from blazechat.errors import (
    BadRequest,
    InvalidInput,
    NotFound,
    TemplateFailed,
    TooManyWebhooks,
    Unauthenticated,
)

MAX_INCOMING_WEBHOOKS = 50
"""Incoming webhooks of one chat."""
MAX_TOKEN_CHARACTERS = 64
MAX_EVENT_CHARACTERS = 100
NO_SUCH_WEBHOOK = "There is no such webhook in this chat."


@dataclass(frozen=True, slots=True)
class HookRequest:
    """A request to a webhook's URL."""

    content_type: str
    body: bytes
    event: str | None = None
    """The type of the payload, where its sender names it in a header."""


class IncomingWebhooks:
    """Manages incoming webhooks and accepts their posts. `rate_limiter` limits the posts of each."""

    def __init__(
        self,
        *,
        database: Database,
        credentials: Credentials,
        integration_users: IntegrationUsers,
        templates: IncomingTemplates,
        ledger: Ledger,
        rate_limiter: RateLimiter,
    ) -> None:
        self._database = database
        self._credentials = credentials
        self._integration_users = integration_users
        self._templates = templates
        self._ledger = ledger
        self._rate_limiter = rate_limiter

    async def create(
        self, caller: Caller, chat_id: int, name: str, template: str | None
    ) -> tuple[IncomingWebhook, str]:
        """Create a webhook of a group, for its owner and admins; return it and its token.

        Only a hash of the token is stored, so this call alone can return it.
        Raises InvalidInput, NotFound, Forbidden, DirectChatFixed, ChatFull, TooManyWebhooks, Busy.
        """
        valid_template = await self._checked_template(caller, chat_id, template)
        async with self._database.transaction() as session:
            return await self._insert(session, caller, chat_id, name, valid_template)

    async def _insert(
        self, session: AsyncSession, caller: Caller, chat_id: int, name: str, template: str | None
    ) -> tuple[IncomingWebhook, str]:
        membership = await self._integration_users.group_for(session, caller, chat_id)
        count = select(func.count()).where(tables.IncomingWebhook.chat_id == chat_id)
        if (await session.scalar(count) or 0) >= MAX_INCOMING_WEBHOOKS:
            raise TooManyWebhooks
        user = await self._integration_users.create(session, caller, membership.chat, name)
        webhook = tables.IncomingWebhook(
            chat_id=chat_id, user_id=user.user_id, session_id=user.session_id, template=template
        )
        session.add(webhook)
        await session.flush()
        await session.refresh(webhook)
        return _public_form(webhook, user.name, caller.user_id, None), user.token

    async def list_all(self, session: AsyncSession, caller: Caller, chat_id: int) -> list[IncomingWebhook]:
        """Return the chat's webhooks, oldest first. Raises NotFound, Forbidden, DirectChatFixed."""
        (await chat_for(session, caller.user_id, chat_id)).require(Action.MANAGE_INTEGRATIONS)
        rows = await session.execute(
            _SELECT_WEBHOOKS.where(tables.IncomingWebhook.chat_id == chat_id)
            .order_by(tables.IncomingWebhook.id)
            .limit(MAX_INCOMING_WEBHOOKS)
        )
        return [_listed_form(*row) for row in rows]

    async def change_template(
        self, caller: Caller, chat_id: int, webhook_id: int, template: str | None
    ) -> IncomingWebhook:
        """Replace a webhook's template, or remove it (None), for the chat's owner and admins.

        Raises NotFound, Forbidden, DirectChatFixed, InvalidInput, Busy.
        """
        valid_template = await self._checked_template(caller, chat_id, template)
        async with self._database.transaction() as session:
            await chat_for(session, caller.user_id, chat_id, Action.MANAGE_INTEGRATIONS)
            webhook = tables.IncomingWebhook
            query = _SELECT_WEBHOOKS.where(webhook.chat_id == chat_id, webhook.id == webhook_id)
            found = (await session.execute(query)).one_or_none()
            if found is None:
                raise NotFound(NO_SUCH_WEBHOOK)
            row: tables.IncomingWebhook = found[0]
            row.template, row.last_error, row.last_error_at = valid_template, None, None
            return _listed_form(*found)

    async def preview(
        self, caller: Caller, chat_id: int, template: str, payload: Any, event: str | None
    ) -> str:
        """Return the message that a template makes of a payload; empty if it posts none.

        Raises NotFound, Forbidden, DirectChatFixed, InvalidInput, Busy.
        """
        await self._require_manager(caller, chat_id)
        template = await self._templates.check(template, caller.user_id)
        try:
            return await self._content(template, payload, event, caller.user_id)
        except TemplateFailed as error:
            raise InvalidInput.of("template", error.detail) from None

    async def revoke(self, session: AsyncSession, caller: Caller, chat_id: int, webhook_id: int) -> None:
        """Make a webhook's URL invalid, for the chat's owner and admins; its messages stay.

        Raises NotFound, Forbidden, DirectChatFixed.
        """
        await chat_for(session, caller.user_id, chat_id, Action.MANAGE_INTEGRATIONS)
        webhook = await session.get(tables.IncomingWebhook, (chat_id, webhook_id))
        if webhook is None:
            raise NotFound(NO_SUCH_WEBHOOK)
        user_id = webhook.user_id
        await session.delete(webhook)
        await session.flush()
        await self._integration_users.retire(session, user_id)

    async def post(self, token: str, request: HookRequest) -> Message | None:
        """Send the message in a request to a webhook's URL, whose last part is `token`.

        Returns None if its template displays nothing. Raises NotFound if there is no such webhook,
        BadRequest, TemplateFailed, TooManyPosts, Busy, and errors of the ledger.
        """
        if len(token) > MAX_TOKEN_CHARACTERS or token.startswith(api_tokens.PREFIX):
            raise NotFound
        try:
            claims = await self._credentials.claims_of_opaque(token)
        except Unauthenticated:
            raise NotFound("There is no such webhook.") from None
        (chat_id,) = claims.grant.chat_ids or (0,)
        self._rate_limiter.admit(hash_secret(token))
        post = await self._parse(chat_id, claims.session_id, request)
        if post is None:
            return None
        draft = MessageDraft(chat_id, post.content, author_override=post.author_override)
        try:
            return await self._ledger.send(Sender(claims.user_id, claims.session_id), draft)
        except Unauthenticated:
            raise NotFound("There is no such webhook.") from None

    async def close(self) -> None:
        """End the workers that render templates. Posts that wait for one raise ShuttingDown."""
        await self._templates.close()

    async def _parse(self, chat_id: int, session_id: int, request: HookRequest) -> IncomingPost | None:
        """Return the post in a request, made by the webhook's template if it has one; None for no post."""
        is_webhook = (
            tables.IncomingWebhook.chat_id == chat_id,
            tables.IncomingWebhook.session_id == session_id,
        )
        query = select(tables.IncomingWebhook.template, tables.User.owner_id).join(
            tables.User, tables.User.id == tables.IncomingWebhook.user_id
        )
        async with self._database.transaction() as session:
            found = (await session.execute(query.where(*is_webhook))).one_or_none()
        if found is None or found.template is None:
            return parse_any_post(request.content_type, request.body)
        payload = parse_payload(request.content_type, request.body)
        try:
            content = await self._content(found.template, payload, request.event, found.owner_id or 0)
        except TemplateFailed as error:
            values = {"last_error": error.detail, "last_error_at": func.now()}
            async with self._database.transaction() as session:
                await session.execute(update(tables.IncomingWebhook).where(*is_webhook).values(values))
            raise TemplateFailed(f"The template of this webhook failed. {error.detail}") from None
        return IncomingPost(content, None, None) if content else None

    async def _content(self, template: str, payload: Any, event: str | None, owner_id: int) -> str:
        """Return the message that a template makes of a payload; empty for none."""
        if not isinstance(payload, dict | list):
            raise BadRequest(INVALID_PAYLOAD)
        name = event and event[:MAX_EVENT_CHARACTERS]
        text = await self._templates.render(template, _encoded(payload), name, owner_id)
        try:
            return valid_content(text)
        except BadRequest:
            return ""

    async def _checked_template(self, caller: Caller, chat_id: int, template: str | None) -> str | None:
        """Check a template outside of transactions, since it needs a worker process."""
        if template is None:
            return None
        await self._require_manager(caller, chat_id)
        return await self._templates.check(template, caller.user_id)

    async def _require_manager(self, caller: Caller, chat_id: int) -> None:
        async with self._database.transaction() as session:
            (await chat_for(session, caller.user_id, chat_id)).require(Action.MANAGE_INTEGRATIONS)


def _encoded(payload: Any) -> bytes:
    """Return the payload as JSON for a worker. Raises InvalidInput."""
    try:
        return msgspec.json.encode(payload)
    except (UnicodeEncodeError, RecursionError):
        raise InvalidInput.of(
            "payload", "This has a lone surrogate, which is no valid Unicode, or is nested too deeply."
        ) from None


_SELECT_WEBHOOKS = (
    select(tables.IncomingWebhook, tables.User, tables.Session)
    .join(tables.User, tables.User.id == tables.IncomingWebhook.user_id)
    .join(tables.Session, tables.Session.id == tables.IncomingWebhook.session_id)
)


def _listed_form(
    webhook: tables.IncomingWebhook, user: tables.User, token: tables.Session
) -> IncomingWebhook:
    return _public_form(webhook, user.display_name, user.owner_id or 0, api_tokens.last_used_at(token))


def _public_form(
    webhook: tables.IncomingWebhook, name: str, created_by: int, used_at: datetime | None
) -> IncomingWebhook:
    return IncomingWebhook(
        id=webhook.id,
        chat_id=webhook.chat_id,
        user_id=webhook.user_id,
        name=name,
        created_by=created_by,
        created_at=webhook.created_at,
        last_used_at=used_at,
        template=webhook.template,
        last_error=webhook.last_error,
        last_error_at=webhook.last_error_at,
    )
