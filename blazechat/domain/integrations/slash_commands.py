"""Slash commands: words of a chat that an external receiver answers, in the chat or to the caller alone."""

import re
import secrets
from collections.abc import Callable
from dataclasses import dataclass
from datetime import UTC, datetime, timedelta

from sqlalchemy import delete, func, select, update
from sqlalchemy.ext.asyncio import AsyncSession

from blazechat.database import tables
from blazechat.domain import validation
from blazechat.domain.auth.access import Action, Caller, chat_for
from blazechat.domain.auth.access_tokens import hash_secret
from blazechat.domain.integrations.integration_users import IntegrationUsers
from blazechat.domain.schemas.integrations import SlashCommand
from blazechat.domain.schemas.users import Author
from blazechat.domain.webhooks.webhooks import new_secret
from blazechat.errors import InvalidInput, NotFound, TooManyWebhooks, WordTaken

WORD_PATTERN = re.compile(r"/[a-z0-9][a-z0-9_\-]{0,31}")
MAX_COMMANDS = 50
"""Slash commands of one chat."""
MAX_REPLIES = 5
"""Later answers to one call of a command."""
REPLY_LIFETIME = timedelta(minutes=30)
REPLY_TOKEN_BYTES = 18
MAX_TOKEN_CHARACTERS = 100
MAX_CHAT_ID_DIGITS = 15
MAX_QUOTED_CHARACTERS = 100
"""Characters of an unknown command that the error quotes."""
UNKNOWN_REPLY = "This response URL is unknown, has expired, or was used too often."


@dataclass(frozen=True, slots=True)
class CommandDraft:
    """A slash command as its creator gave it, not validated yet."""

    word: str
    url: str
    name: str
    """The display name of the command's user."""
    description: str
    base_url: str
    """The address of this server, for the URLs of later answers."""


@dataclass(frozen=True, slots=True)
class SlashCommandCall:
    """A call of a command, and the receiver that answers it."""

    chat_id: int
    caller: Author
    word: str
    text: str
    """What follows the word."""
    url: str
    secret: str
    base_url: str
    integration_user_id: int
    session_id: int
    """The session of the integration user, which posts answers in the chat."""
    reply_token: str


@dataclass(frozen=True, slots=True)
class SlashCommandReply:
    """The destination of a later answer."""

    chat_id: int
    caller_id: int
    integration_user: Author
    session_id: int


class SlashCommands:
    """Manages slash commands. `check_url` returns a URL in its normal form, or raises InvalidInput."""

    def __init__(self, integration_users: IntegrationUsers, check_url: Callable[[str], str]) -> None:
        self._integration_users = integration_users
        self._check_url = check_url

    async def create(
        self, session: AsyncSession, caller: Caller, chat_id: int, draft: CommandDraft
    ) -> SlashCommand:
        """Create a command of a group, for its owner and admins. Only this call returns its secret.

        Raises InvalidInput, NotFound, Forbidden, DirectChatFixed, ChatFull, TooManyWebhooks, WordTaken.
        """
        membership = await self._integration_users.group_for(session, caller, chat_id)
        await _require_free_word(session, chat_id, draft.word)
        user = await self._integration_users.create(session, caller, membership.chat, draft.name)
        row = tables.SlashCommand(
            chat_id=chat_id,
            word=draft.word,
            url=self._check_url(draft.url),
            description=validation.description(draft.description),
            secret=new_secret(),
            base_url=draft.base_url,
            user_id=user.user_id,
            session_id=user.session_id,
        )
        session.add(row)
        await session.flush()
        await session.refresh(row)
        return _public_form(row, row.url, row.secret)

    async def list_all(self, session: AsyncSession, caller: Caller, chat_id: int) -> list[SlashCommand]:
        """Return the chat's commands in the order of their words; with URLs for its owner and admins.

        Raises NotFound if the caller is not a member.
        """
        membership = await chat_for(session, caller.user_id, chat_id)
        query = select(tables.SlashCommand).where(tables.SlashCommand.chat_id == chat_id)
        rows = await session.scalars(query.order_by(tables.SlashCommand.word).limit(MAX_COMMANDS))
        is_manager = membership.permits(Action.MANAGE_INTEGRATIONS)
        return [_public_form(row, row.url if is_manager else None) for row in rows]

    async def delete(self, session: AsyncSession, caller: Caller, chat_id: int, command_id: int) -> None:
        """Delete a command, for the chat's owner and admins; its messages stay.

        Raises NotFound, Forbidden, DirectChatFixed.
        """
        await self._integration_users.group_for(session, caller, chat_id)
        row = await session.get(tables.SlashCommand, (chat_id, command_id))
        if row is None:
            raise NotFound("There is no such command in this chat.")
        user_id = row.user_id
        replies = (tables.CommandReply.chat_id == chat_id, tables.CommandReply.command_id == command_id)
        await session.execute(delete(tables.CommandReply).where(*replies))
        await session.delete(row)
        await session.flush()
        await self._integration_users.retire(session, user_id)

    async def begin(
        self, session: AsyncSession, caller: Caller, chat_id: int, text: str
    ) -> SlashCommandCall:
        """Find the receiver of `/word and text`, and create a token for its later answers.

        Raises InvalidInput, NotFound.
        """
        await chat_for(session, caller.user_id, chat_id, Action.SEND)
        word, *rest = validation.message(text).split(maxsplit=1) or [""]
        row = await session.scalar(
            select(tables.SlashCommand).where(
                tables.SlashCommand.chat_id == chat_id, tables.SlashCommand.word == word.casefold()
            )
        )
        if row is None:
            raise NotFound(f"There is no command {word[:MAX_QUOTED_CHARACTERS]} in this chat.")
        token = secrets.token_hex(REPLY_TOKEN_BYTES)
        session.add(
            tables.CommandReply(
                chat_id=chat_id,
                hash=hash_secret(token),
                command_id=row.id,
                caller_id=caller.user_id,
                left=MAX_REPLIES,
                expires_at=datetime.now(UTC) + REPLY_LIFETIME,
            )
        )
        user = await session.get_one(tables.User, caller.user_id)
        return SlashCommandCall(
            chat_id=chat_id,
            caller=Author(user.id, user.username, user.display_name),
            word=row.word,
            text="".join(rest).strip(),
            url=row.url,
            secret=row.secret,
            base_url=row.base_url,
            integration_user_id=row.user_id,
            session_id=row.session_id,
            reply_token=f"{chat_id}-{token}",
        )

    async def take_reply(self, session: AsyncSession, token: str) -> SlashCommandReply:
        """Use one later answer of a call. Raises NotFound, also if the call's author has left the chat."""
        chat, _, secret = token.partition("-")
        if not chat.isdecimal() or len(chat) > MAX_CHAT_ID_DIGITS or len(token) > MAX_TOKEN_CHARACTERS:
            raise NotFound(UNKNOWN_REPLY)
        chat_id = int(chat)
        found = await session.execute(
            update(tables.CommandReply)
            .where(
                tables.CommandReply.chat_id == chat_id,
                tables.CommandReply.hash == hash_secret(secret),
                tables.CommandReply.left > 0,
                tables.CommandReply.expires_at > func.now(),
            )
            .values(left=tables.CommandReply.left - 1)
            .returning(tables.CommandReply.command_id, tables.CommandReply.caller_id)
        )
        reply = found.one_or_none()
        if reply is None:
            raise NotFound(UNKNOWN_REPLY)
        row = await session.get(tables.SlashCommand, (chat_id, reply.command_id))
        if row is None:
            raise NotFound("This command was deleted.")
        await chat_for(session, reply.caller_id, chat_id)
        user = await session.get_one(tables.User, row.user_id)
        author = Author(user.id, user.username, user.display_name)
        return SlashCommandReply(chat_id, reply.caller_id, author, row.session_id)


def check_word(word: str) -> None:
    """Raises InvalidInput if no command can have this word."""
    if not WORD_PATTERN.fullmatch(word):
        raise InvalidInput.of("word", "A command is / followed by 1 to 32 letters a to z, digits, _ or -.")


async def _require_free_word(session: AsyncSession, chat_id: int, word: str) -> None:
    """Raises InvalidInput, WordTaken, TooManyWebhooks. The chat must be locked."""
    check_word(word)
    query = select(tables.SlashCommand.word).where(tables.SlashCommand.chat_id == chat_id)
    words = set(await session.scalars(query))
    if word in words:
        raise WordTaken
    if len(words) >= MAX_COMMANDS:
        raise TooManyWebhooks


def _public_form(row: tables.SlashCommand, url: str | None, secret: str | None = None) -> SlashCommand:
    return SlashCommand(
        row.id, row.chat_id, row.user_id, row.word, row.description, url, row.created_at, secret
    )


async def delete_expired_replies(session: AsyncSession) -> None:
    """Delete the reply URLs that have expired."""
    await session.execute(delete(tables.CommandReply).where(tables.CommandReply.expires_at < func.now()))
