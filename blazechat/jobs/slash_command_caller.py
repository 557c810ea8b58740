"""Calls the program behind a slash command, and gives its answer to the chat or to the caller alone."""

import secrets
import time
from collections.abc import Callable

import msgspec

from blazechat import signing
from blazechat.database.engine import Database
from blazechat.domain.auth.access import Caller as Asker
from blazechat.domain.events import EphemeralNotice
from blazechat.domain.integrations.incoming_payloads import EMPTY, IN_CHANNEL, posting_of
from blazechat.domain.integrations.slash_commands import SlashCommandCall, SlashCommands
from blazechat.domain.messaging.ledger import Ledger
from blazechat.domain.messaging.sends import MessageDraft, Sender
from blazechat.domain.rate_limits import Pace
from blazechat.domain.schemas.integrations import CommandAnswer
from blazechat.domain.schemas.users import Author
from blazechat.errors import BadRequest, CommandFailed, NotFound, Unauthenticated
from blazechat.jobs.http_caller import Failed, HttpCaller

TIMEOUT = 3.0
"""Seconds within which a command is answered, or later by its response URL."""
ANSWER_BYTES = 65_536
PER_MINUTE = 60
"""Commands that one user may give."""
REPLIES_PER_MINUTE = 20
"""To one response URL, those that cannot be read among them."""
EPHEMERAL = "ephemeral"
NO_ANSWER = (202, 204)


class SlashCommandCaller:
    """`calls` has the patience of TIMEOUT. `publish` is told of answers that only the caller sees.

    `public_url` is how this server is reached, where that is known.
    """

    def __init__(
        self,
        database: Database,
        commands: SlashCommands,
        ledger: Ledger,
        http: HttpCaller,
        publish: Callable[[EphemeralNotice], None],
        public_url: str,
    ) -> None:
        self._database = database
        self._commands = commands
        self._ledger = ledger
        self._http = http
        self._publish = publish
        self._public_url = public_url
        self._pace = Pace(PER_MINUTE)
        self._replies = Pace(REPLIES_PER_MINUTE)

    async def invoke(self, asker: Asker, chat_id: int, text: str) -> CommandAnswer:
        """Have a command carried out that somebody gave.

        Raises InvalidInput, NotFound, CommandFailed, TooManyPosts.
        """
        self._pace.admit(asker.user_id.to_bytes(8))
        async with self._database.transaction() as session:
            call = await self._commands.begin(session, asker, chat_id, text)
        base_url = self._public_url or call.base_url
        body = msgspec.json.encode(
            {
                "type": "command",
                "chat_id": call.chat_id,
                "command": call.word,
                "text": call.text,
                "user": call.caller,
                "response_url": f"{base_url}/hooks/reply/{call.reply_token}" if base_url else None,
            }
        )
        name = f"cmd_{secrets.token_hex(12)}"
        headers = signing.headers(name, int(time.time()), body, [call.secret])
        answer = await self._http.post(call.url, body, headers)
        if isinstance(answer, Failed):
            raise CommandFailed(f"{call.word} failed: {answer.reason}")
        if not 200 <= answer.status < 300:
            raise CommandFailed(f"{call.word} failed: its receiver answered {answer.status}.")
        if answer.status in NO_ANSWER or not answer.body.strip():
            return CommandAnswer(None, None, None)
        return await self._answered(call, answer.body)

    async def reply(self, token: str, content_type: str, body: bytes) -> None:
        """A later answer has come to a response URL.

        Raises NotFound, TooManyPosts, BadRequest (then it does not count), and what the ledger does.
        """
        async with self._database.transaction() as session:
            reply = await self._commands.take_reply(session, token)
            self._replies.admit(token.partition("-")[2].encode())  # what is before it has many spellings
            posting = posting_of(content_type, body)
        override = posting.author_override
        if posting.is_for_all:
            sender = Sender(reply.speaker.id, reply.session_id)
            draft = MessageDraft(reply.chat_id, posting.content, author_override=override)
            try:
                await self._ledger.send(sender, draft)
            except Unauthenticated:
                raise NotFound from None
            return
        author: Author = override.apply(reply.speaker) if override is not None else reply.speaker
        self._publish(EphemeralNotice(reply.chat_id, reply.caller_id, author, posting.content))

    async def close(self) -> None:
        await self._http.close()

    async def _answered(self, call: SlashCommandCall, text: str) -> CommandAnswer:
        body = text.encode()
        if not text.lstrip().startswith("{"):  # Slack's other way: text, for the caller
            body = msgspec.json.encode({"text": text})
        try:
            posting = posting_of("application/json", body)
        except BadRequest as error:
            if error.detail == EMPTY:
                return CommandAnswer(None, None, None)
            raise CommandFailed(f"{call.word} failed: its receiver's answer cannot be read.") from None
        if not posting.is_for_all:
            return CommandAnswer(EPHEMERAL, posting.content, None)
        draft = MessageDraft(call.chat_id, posting.content, author_override=posting.author_override)
        try:
            message = await self._ledger.send(Sender(call.speaker_id, call.session_id), draft)
        except (NotFound, Unauthenticated):
            raise CommandFailed(f"{call.word} may not speak here any more.") from None
        return CommandAnswer(IN_CHANNEL, None, message)
