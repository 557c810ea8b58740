"""Calls the receiver of a slash command and returns its answer, to the chat or to the caller alone."""

import secrets
import time
from collections.abc import Callable

import msgspec

from blazechat import signing
from blazechat.database.engine import Database
from blazechat.domain.auth.access import Caller
from blazechat.domain.events import EphemeralNotice
from blazechat.domain.integrations.incoming_payloads import IN_CHANNEL, NO_TEXT, parse_post
from blazechat.domain.integrations.slash_commands import SlashCommandCall, SlashCommands
from blazechat.domain.messaging.ledger import Ledger
from blazechat.domain.messaging.sends import MessageDraft, Sender
from blazechat.domain.rate_limits import RateLimiter
from blazechat.domain.schemas.integrations import CommandAnswer
from blazechat.domain.schemas.users import Author
from blazechat.errors import BadRequest, CommandFailed, NotFound, Unauthenticated
from blazechat.jobs.http_caller import HttpCaller, HttpFailure

TIMEOUT_SECONDS = 3.0
"""A receiver that needs longer answers later, by the response URL."""
MAX_RESPONSE_BYTES = 65_536
COMMANDS_PER_MINUTE = 60
"""Commands of one user."""
REPLIES_PER_MINUTE = 20
"""Requests to one response URL, invalid ones included."""
EPHEMERAL = "ephemeral"
NO_ANSWER_STATUSES = (202, 204)
NO_ANSWER = CommandAnswer(None, None, None)


class SlashCommandCaller:
    """Calls receivers through `http`, whose timeout is TIMEOUT_SECONDS.

    `publish` gets the later answers that only the caller may see. `public_url` is the address of this
    server in response URLs; if it is empty, each command's `base_url` is.
    """

    def __init__(
        self,
        *,
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
        self._command_limiter = RateLimiter(COMMANDS_PER_MINUTE)
        self._reply_limiter = RateLimiter(REPLIES_PER_MINUTE)

    async def invoke(self, caller: Caller, chat_id: int, text: str) -> CommandAnswer:
        """Call the receiver of the command in `text`; return its answer, or no answer if it comes later.

        Raises InvalidInput, NotFound, CommandFailed, TooManyPosts.
        """
        self._command_limiter.admit(caller.user_id.to_bytes(8))
        async with self._database.transaction() as session:
            call = await self._commands.begin(session, caller, chat_id, text)
        body = self._request_body(call)
        event_id = f"cmd_{secrets.token_hex(12)}"
        headers = signing.signed_headers(event_id, int(time.time()), body, [call.secret])
        response = await self._http.post(call.url, body, headers)
        if isinstance(response, HttpFailure):
            raise CommandFailed(f"{call.word} failed: {response.reason}")
        if not 200 <= response.status < 300:
            raise CommandFailed(f"{call.word} failed: the receiver answered {response.status}.")
        if response.status in NO_ANSWER_STATUSES or not response.body.strip():
            return NO_ANSWER
        return await self._answer(call, response.body)

    async def reply(self, token: str, content_type: str, body: bytes) -> None:
        """Deliver a later answer, posted to a response URL, to the chat or to the caller's sockets.

        Raises NotFound, TooManyPosts, BadRequest (the reply then does not count), and errors of the ledger.
        """
        async with self._database.transaction() as session:
            reply = await self._commands.take_reply(session, token)
            # By the secret part alone: the chat id before it can be written in many ways (`7`, `07`).
            self._reply_limiter.admit(token.partition("-")[2].encode())
            post = parse_post(content_type, body)
        author, override = reply.integration_user, post.author_override
        if post.is_in_channel:
            draft = MessageDraft(reply.chat_id, post.content, author_override=override)
            try:
                await self._ledger.send(Sender(author.id, reply.session_id), draft)
            except Unauthenticated:
                raise NotFound from None
            return
        shown_author: Author = author if override is None else override.apply(author)
        self._publish(EphemeralNotice(reply.chat_id, reply.caller_id, shown_author, post.content))

    async def close(self) -> None:
        """Close the connections to receivers."""
        await self._http.close()

    def _request_body(self, call: SlashCommandCall) -> bytes:
        base_url = self._public_url or call.base_url
        return msgspec.json.encode(
            {
                "type": "command",
                "chat_id": call.chat_id,
                "command": call.word,
                "text": call.text,
                "user": call.caller,
                "response_url": f"{base_url}/hooks/reply/{call.reply_token}" if base_url else None,
            }
        )

    async def _answer(self, call: SlashCommandCall, text: str) -> CommandAnswer:
        """Return the answer in the receiver's response; send it first if it is for the chat."""
        body = text.encode()
        if not text.lstrip().startswith("{"):  # plain text for the caller, as Slack accepts it too
            body = msgspec.json.encode({"text": text})
        try:
            post = parse_post("application/json", body)
        except BadRequest as error:
            if error.detail == NO_TEXT:
                return NO_ANSWER
            raise CommandFailed(f"{call.word} failed: the receiver's response cannot be read.") from None
        if not post.is_in_channel:
            return CommandAnswer(EPHEMERAL, post.content, None)
        draft = MessageDraft(call.chat_id, post.content, author_override=post.author_override)
        try:
            message = await self._ledger.send(Sender(call.integration_user_id, call.session_id), draft)
        except (NotFound, Unauthenticated):
            raise CommandFailed(f"{call.word} can no longer post in this chat.") from None
        return CommandAnswer(IN_CHANNEL, None, message)
