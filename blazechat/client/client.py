"""The client: one account on one server, with everything that it can do there."""

import asyncio
import logging
from collections.abc import Iterable, Sequence
from datetime import datetime
from pathlib import Path
from types import TracebackType
from typing import Self

import httpx2

from blazechat.client.bots import BotsResource, TokensResource
from blazechat.client.catch_up import MAX_IDS
from blazechat.client.chat import ChatState
from blazechat.client.connection_loop import ConnectionLoop
from blazechat.client.errors import (
    ApiError,
    BlazeChatError,
    LoggedOut,
    NotConnected,
    NotFound,
    Problem,
)
from blazechat.client.event_stream import BACKLOG_EVENTS, EventStream
from blazechat.client.events import ConnectionState, Event, SendStateChanged
from blazechat.client.files import FilesResource
from blazechat.client.frames import Ack
from blazechat.client.http import USER_AGENT, HttpClient
from blazechat.client.login import Login, MemoryVault, Vault
from blazechat.client.older_pages import PAGE_MESSAGES, OlderPages
from blazechat.client.outbox import Outbox, PendingMessage
from blazechat.client.resources import (
    AccountResource,
    ChatsResource,
    InvitationsResource,
    MessagesResource,
    SessionsResource,
    UsersResource,
)
from blazechat.client.schemas import Account
from blazechat.client.server_url import DEFAULT_URL, server_url
from blazechat.client.state import State
from blazechat.client.webhooks import IncomingWebhooksResource, SlashCommandsResource, WebhooksResource
from blazechat.vocabulary import Status

KEPT_MESSAGES = 50
RETRY_SECONDS = 15.0

log = logging.getLogger("blazechat.client")


class Client:
    """One account on one server. Use it as `async with Client(url) as client:`.

    `account`, `sessions`, `users`, `chats`, `messages`, `invitations`, `bots`, `tokens`,
    `webhooks`, `incoming_webhooks`, `slash_commands` and `files` have the HTTP API.
    `events()` and `connect()` begin the live connection, which is kept up from then on; `state` is what it
    knows.

    `vault` keeps the log-in (the default forgets it with the process), `outbox` is a file that keeps what
    is not sent yet. `keep` is how many messages are kept at least of a chat that is not open, `patience`
    for how many seconds requests are tried again, `device` how this log-in is shown among one's sessions.
    """

    def __init__(
        self,
        url: str = DEFAULT_URL,
        *,
        vault: Vault | None = None,
        outbox_path: Path | None = None,
        kept_messages: int = KEPT_MESSAGES,
        retry_seconds: float = RETRY_SECONDS,
        device: str = USER_AGENT,
        transport: httpx2.AsyncBaseTransport | None = None,
    ) -> None:
        self.url = server_url(url)
        self.state = State(kept_messages)
        self.outbox = Outbox(lambda draft: self._publish(SendStateChanged(draft)), outbox_path)
        self.http = HttpClient(
            self.url,
            vault or MemoryVault(),
            retry_seconds=retry_seconds,
            device=device,
            transport=transport,
        )
        self.account = AccountResource(self.http)
        self.sessions = SessionsResource(self.http)
        self.users = UsersResource(self.http)
        self.chats = ChatsResource(self.http)
        self.messages = MessagesResource(self.http)
        self.invitations = InvitationsResource(self.http)
        self.bots = BotsResource(self.http)
        self.tokens = TokensResource(self.http)
        self.incoming_webhooks = IncomingWebhooksResource(self.http)
        self.webhooks = WebhooksResource(self.http)
        self.slash_commands = SlashCommandsResource(self.http)
        self.files = FilesResource(self.http)
        self._older_pages = OlderPages(self.state, self.messages)
        self._connection_loop = self._new_connection_loop()
        self._connection_task: asyncio.Task[None] | None = None
        self._streams: list[EventStream] = []

    async def __aenter__(self) -> Self:
        return self

    async def __aexit__(
        self,
        kind: type[BaseException] | None,
        error: BaseException | None,
        traceback: TracebackType | None,
    ) -> None:
        await self.close()

    # Who one is

    @property
    def login(self) -> Login | None:
        """Who is logged in here."""
        return self.http.login

    @property
    def me(self) -> Account | None:
        """One's own account, once there was a live connection."""
        return self.state.me

    async def log_in(self, username: str, password: str) -> Login:
        """A new session. Raises WrongCredentials, TooManyAttempts or Unreachable."""
        await self.disconnect()
        return self._set_login(await self.http.log_in(username, password))

    async def use_token(self, token: str) -> Login:
        """Be whom an API token speaks for. Raises Unauthenticated or Unreachable."""
        await self.disconnect()
        return self._set_login(await self.http.use_token(token))

    async def register(
        self, username: str, email: str, password: str, *, invitation: str | None = None
    ) -> Login:
        """A new account, and a session of it."""
        await self.account.register(username, email, password, invitation=invitation)
        return await self.log_in(username, password)

    async def restore_login(self) -> Login:
        """Go on with the log-in of the vault. Raises LoggedOut if there is none."""
        await self.disconnect()
        login = await self.http.restore_login()
        if login is None:
            raise LoggedOut(f"Nobody is logged in at {self.url}.")
        return self._set_login(login)

    async def log_out(self) -> None:
        """End the session, here and on the server, if it can be reached."""
        await self.disconnect()
        try:
            await self.sessions.revoke_current()
        except BlazeChatError as error:
            log.info("the session could not be ended on the server: %s", error)
        finally:
            await self.http.forget_login()
            self._end_streams(LoggedOut("You have logged out."))

    @property
    def server_time(self) -> datetime:
        """What time it is by the server's clock, to a second or two."""
        return self.http.server_time

    # The live connection

    @property
    def connection_state(self) -> ConnectionState:
        """How the live connection is."""
        return self._connection_loop.connection_state

    @property
    def connection_reason(self) -> str:
        """Why it is not there, as a sentence; empty if there is nothing to say."""
        return self._connection_loop.reason

    def start(self) -> None:
        """Begin the live connection, without waiting for it."""
        if self._connection_task is None or self._connection_task.done():
            self._connection_loop = self._new_connection_loop()
            self._connection_task = asyncio.create_task(self._connection_loop.run())

    async def connect(self) -> None:
        """Begin the live connection and wait until all is known, however long the server is away.

        Raises LoggedOut, SessionEnded or whatever else ends it for good; NotConnected after `disconnect()`.
        """
        self.start()
        running, live = self._connection_task, self._connection_loop
        assert running is not None
        online = asyncio.create_task(live.online.wait())
        try:
            await asyncio.wait([online, running], return_when=asyncio.FIRST_COMPLETED)
        finally:
            online.cancel()
        if live.error is not None:
            raise live.error
        if running.done():
            raise NotConnected("The connection was ended before it was there.")

    def reconnect(self) -> None:
        """Try again now, instead of after the pause."""
        self._connection_loop.skip_pause()

    async def disconnect(self) -> None:
        """End the live connection; `start()` begins it again. Whoever iterates over events goes on then."""
        running, self._connection_task = self._connection_task, None
        self._connection_loop.is_stopping = True
        self._connection_loop.skip_pause()
        while running is not None and not running.done():
            running.cancel()
            await asyncio.wait([running], timeout=1)  # again, where the cancellation got lost

    async def close(self) -> None:
        """End everything. What is in the outbox of a file is sent the next time."""
        await self.disconnect()
        await self._older_pages.close()
        self._end_streams(None)
        self.outbox.fail_waiters(NotConnected("The client was closed before this was sent."))
        self.outbox.close()
        await self.http.close()

    def events(self, backlog: int = BACKLOG_EVENTS) -> EventStream:
        """All that happens from now on, in order: iterate over it with `async for`.

        Begins the live connection. It ends with the client; if the session ends, it raises that.
        At most `backlog` events wait to be taken.
        """
        self.start()
        listener = EventStream(self._remove_stream, backlog)
        self._streams.append(listener)
        return listener

    # Chatting

    async def send(
        self, chat_id: int, content: str, *, reply_to: int | None = None, attachments: Sequence[int] = ()
    ) -> int:
        """Send a message; its id, once it is stored for good. Raises the server's error if it is refused.

        It is kept through lost connections, and stored once. In one chat, messages are stored in the order
        in which they were sent. Without a live connection it goes over HTTP. `attachments` are ids of files
        that were uploaded; with some, the content may be empty.
        """
        if self._connection_loop.error is not None:
            raise self._connection_loop.error
        if self._connection_task is None:
            message = await self.messages.send(chat_id, content, reply_to=reply_to, attachments=attachments)
            return message.id
        return await self.enqueue(chat_id, content, reply_to=reply_to, attachments=attachments).wait_sent()

    def enqueue(
        self, chat_id: int, content: str, *, reply_to: int | None = None, attachments: Sequence[int] = ()
    ) -> PendingMessage:
        """Put a message into the outbox, and do not wait until it is sent."""
        draft = self.outbox.enqueue(chat_id, content, reply_to, attachments)
        self._connection_loop.wake_sender()
        return draft

    def retry(self, draft: PendingMessage) -> None:
        """Try a message again that was refused."""
        self.outbox.retry(draft)
        self._connection_loop.wake_sender()

    async def open_chat(self, chat_id: int, min_messages: int = PAGE_MESSAGES) -> ChatState:
        """Have a chat at hand: at least that many of its messages, who reads, and who types in it.

        Holds through reconnects. Raises NotFound.
        """
        chat = self._known_chat(chat_id)
        self.state.open_chats.add(chat_id)
        chat.is_open = True
        subscribing = asyncio.create_task(self._command_if_online("subscribe", chat_id=chat_id))
        try:
            while (missing := min_messages - len(chat.messages)) > 0 and not chat.has_all_messages:
                if not await self._older_pages.load(chat_id, min(missing, 100)):
                    break
                chat = self._known_chat(chat_id)  # it may have been loaded anew
            ack = await subscribing
            chat = self._known_chat(chat_id)
            chat.update_read_cursors((ack and ack.cursors) or {})
        finally:
            subscribing.cancel()
        return chat

    async def close_chat(self, chat_id: int) -> None:
        """Not to hear any more who types and reads there, and to keep but the newest messages."""
        self.state.open_chats.discard(chat_id)
        chat = self.state.chats.get(chat_id)
        if chat is not None:
            chat.is_open = False
            chat.trim()
        await self._command_if_online("unsubscribe", chat_id=chat_id)

    async def load_older(self, chat_id: int, limit: int = PAGE_MESSAGES) -> int:
        """Load older messages of a chat, at most 100; how many have come. 0 at its beginning."""
        return await self._older_pages.load(chat_id, limit)

    async def mark_read(self, chat_id: int, up_to: int | None = None) -> None:
        """One has read up to a message, or all. While there is no connection, it is told later."""
        chat = self.state.chats.get(chat_id)
        if chat is None:
            return
        up_to = chat.last_message_id if up_to is None else up_to
        if up_to > max(chat.read_id, self.state.pending_reads.get(chat_id, 0)):
            self.state.pending_reads[chat_id] = up_to
            ack = await self._command_if_online("read", chat_id=chat_id, up_to=up_to)
            if ack is not None:
                self.state.confirm_read(chat_id, up_to, ack.read_id)

    async def set_typing(self, chat_id: int, typing: bool = True) -> None:
        """Tell that one writes, every four seconds as long as it is so; or that one has stopped."""
        await self._command_if_online("typing", chat_id=chat_id, typing=typing)

    async def set_status(self, status: Status) -> None:
        """Choose how one is shown, until one leaves. Raises NotConnected."""
        await self._connection_loop.send_command("status", status=status)

    async def watch_users(self, user_ids: Iterable[int]) -> None:
        """Hear whether these people are here, as far as one shares a chat with them. Through reconnects."""
        new = sorted(set(user_ids) - self.state.watched_users)
        self.state.watched_users |= set(new)
        for begin in range(0, len(new), MAX_IDS):
            ack = await self._command_if_online("subscribe", users=new[begin : begin + MAX_IDS])
            self.state.update_presence((ack and ack.presence) or [])

    # How it is done

    def _new_connection_loop(self) -> ConnectionLoop:
        return ConnectionLoop(
            self.http,
            self.state,
            self.outbox,
            self.chats,
            self._older_pages.load,
            self._publish,
            self._end_streams,
        )

    def _known_chat(self, chat_id: int) -> ChatState:
        chat = self.state.chats.get(chat_id)
        if chat is None:
            raise NotFound(Problem("not_found", "There is no such chat, or you are not in it.", 404))
        return chat

    async def _command_if_online(self, kind: str, **fields: object) -> Ack | None:
        """The answer to what is done again after a reconnect, and so need not work now."""
        if not self._connection_loop.online.is_set():
            return None
        try:
            return await self._connection_loop.send_command(kind, **fields)
        except (NotConnected, ApiError) as error:
            log.debug("%s: %s", kind, error)
            return None

    def _remove_stream(self, listener: EventStream) -> None:
        if listener in self._streams:
            self._streams.remove(listener)

    def _publish(self, event: Event) -> None:
        for listener in self._streams:
            listener.put(event)

    def _set_login(self, login: Login) -> Login:
        """Somebody is logged in; if it is somebody else than before, nothing of that one's is theirs."""
        if self.outbox.author_id not in (0, login.user_id):
            self.state.clear()
        self.outbox.set_author(login.user_id)
        return login

    def _end_streams(self, error: BlazeChatError | None) -> None:
        if error is not None:
            self.outbox.fail_waiters(error)
        listeners, self._streams = self._streams, []
        for listener in listeners:
            listener.end(error)
