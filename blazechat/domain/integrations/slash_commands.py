"""Slash commands: words of a chat that another program answers, in the chat or to the caller alone."""

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
from blazechat.domain.auth.access_tokens import hashed
from blazechat.domain.integrations.integration_users import IntegrationUsers
from blazechat.domain.schemas.integrations import SlashCommand
from blazechat.domain.schemas.users import Author
from blazechat.domain.webhooks.webhooks import new_secret
from blazechat.errors import InvalidInput, NotFound, TooManyWebhooks, WordTaken

WORD = re.compile(r"/[a-z0-9][a-z0-9_\-]{0,31}")
COMMANDS_LIMIT = 50
"""Slash commands of one chat."""
REPLIES = 5
"""How often a command can be answered later."""
REPLY_WITHIN = timedelta(minutes=30)
REPLY_BYTES = 18
LONGEST = 100


@dataclass(frozen=True, slots=True)
class SlashCommandCall:
    """A command that somebody gave, and who is to be asked."""

    chat_id: int
    caller: Author
    word: str
    text: str
    url: str
    secret: str
    base_url: str
    speaker_id: int
    session_id: int
    reply_token: str


@dataclass(frozen=True, slots=True)
class SlashCommandReply:
    """Where a later answer goes."""

    chat_id: int
    caller_id: int
    speaker: Author
    session_id: int


class SlashCommands:
    """`check_url` gives a URL in its normal form, or raises InvalidInput."""

    def __init__(self, speakers: IntegrationUsers, check_url: Callable[[str], str]) -> None:
        self._speakers = speakers
        self._check_url = check_url

    async def create(
        self,
        session: AsyncSession,
        asker: Caller,
        chat_id: int,
        *,
        word: str,
        url: str,
        name: str,
        description: str,
        base_url: str,
    ) -> SlashCommand:
        """A command of a group; its secret is told this once. Owner and admins.

        `base_url` is how this server is reached, for whoever answers it later.
        Raises InvalidInput, NotFound, Forbidden, DirectChatFixed, ChatFull, TooManyWebhooks, WordTaken.
        """
        membership = await self._speakers.group_for(session, asker, chat_id)
        if not WORD.fullmatch(word):
            raise InvalidInput.of("word", "A command is / and 1 to 32 letters a to z, digits, _ or -.")
        of_chat = tables.SlashCommand.chat_id == chat_id
        words = set(await session.scalars(select(tables.SlashCommand.word).where(of_chat)))
        if word in words:
            raise WordTaken
        if len(words) >= COMMANDS_LIMIT:
            raise TooManyWebhooks
        speaker = await self._speakers.create(session, asker, membership.chat, name)
        row = tables.SlashCommand(
            chat_id=chat_id,
            word=word,
            url=self._check_url(url),
            description=validation.note(description),
            secret=new_secret(),
            base_url=base_url,
            user_id=speaker.user_id,
            session_id=speaker.session_id,
        )
        session.add(row)
        await session.flush()
        await session.refresh(row)
        return _shown(row, row.url, row.secret)

    async def listed(self, session: AsyncSession, asker: Caller, chat_id: int) -> list[SlashCommand]:
        """By their words, for everybody in the chat; where they lead, for who may change them."""
        membership = await chat_for(session, asker.user_id, chat_id)
        of_chat = select(tables.SlashCommand).where(tables.SlashCommand.chat_id == chat_id)
        rows = await session.scalars(of_chat.order_by(tables.SlashCommand.word).limit(COMMANDS_LIMIT))
        trusted = membership.may(Action.HOOK)
        return [_shown(row, row.url if trusted else None) for row in rows]

    async def delete(self, session: AsyncSession, asker: Caller, chat_id: int, command_id: int) -> None:
        """What it said stays. Owner and admins. Raises NotFound."""
        await self._speakers.group_for(session, asker, chat_id)
        row = await session.get(tables.SlashCommand, (chat_id, command_id))
        if row is None:
            raise NotFound("There is no such command in this chat.")
        speaker_id = row.user_id
        of_it = (tables.CommandReply.chat_id == chat_id, tables.CommandReply.command_id == command_id)
        await session.execute(delete(tables.CommandReply).where(*of_it))
        await session.delete(row)
        await session.flush()
        await self._speakers.retire(session, speaker_id)

    async def begin(
        self, session: AsyncSession, asker: Caller, chat_id: int, text: str
    ) -> SlashCommandCall:
        """Look up who answers `/word and the rest`. Raises InvalidInput, NotFound."""
        await chat_for(session, asker.user_id, chat_id, Action.SEND)
        word, *rest = validation.message(text).split(maxsplit=1) or [""]
        row = await session.scalar(
            select(tables.SlashCommand).where(
                tables.SlashCommand.chat_id == chat_id, tables.SlashCommand.word == word.casefold()
            )
        )
        if row is None:
            raise NotFound(f"There is no command {word[:LONGEST]} in this chat.")
        token = secrets.token_hex(REPLY_BYTES)
        session.add(
            tables.CommandReply(
                chat_id=chat_id,
                hash=hashed(token),
                command_id=row.id,
                caller_id=asker.user_id,
                left=REPLIES,
                expires_at=datetime.now(UTC) + REPLY_WITHIN,
            )
        )
        user = await session.get_one(tables.User, asker.user_id)
        return SlashCommandCall(
            chat_id,
            Author(user.id, user.username, user.display_name),
            row.word,
            "".join(rest).strip(),
            row.url,
            row.secret,
            row.base_url,
            row.user_id,
            row.session_id,
            f"{chat_id}-{token}",
        )

    async def take_reply(self, session: AsyncSession, token: str) -> SlashCommandReply:
        """Use up one of the later answers to a command. Raises NotFound."""
        chat, _, own = token.partition("-")
        found = None
        if chat.isdecimal() and len(chat) <= 15 and len(token) <= LONGEST:
            found = (
                await session.execute(
                    update(tables.CommandReply)
                    .where(
                        tables.CommandReply.chat_id == int(chat),
                        tables.CommandReply.hash == hashed(own),
                        tables.CommandReply.left > 0,
                        tables.CommandReply.expires_at > func.now(),
                    )
                    .values(left=tables.CommandReply.left - 1)
                    .returning(tables.CommandReply.command_id, tables.CommandReply.caller_id)
                )
            ).one_or_none()
        if found is None:
            raise NotFound("There is nothing to answer here, or not any more.")
        row = await session.get(tables.SlashCommand, (int(chat), found.command_id))
        if row is None:
            raise NotFound("This command is gone.")
        await chat_for(session, found.caller_id, int(chat))  # whoever has left is told nothing
        speaker = await session.get_one(tables.User, row.user_id)
        author = Author(speaker.id, speaker.username, speaker.display_name)
        return SlashCommandReply(int(chat), found.caller_id, author, row.session_id)


def _shown(row: tables.SlashCommand, url: str | None, secret: str | None = None) -> SlashCommand:
    return SlashCommand(
        row.id, row.chat_id, row.user_id, row.word, row.description, url, row.created_at, secret
    )
