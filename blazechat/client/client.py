"""The client: one account on one server, with HTTP API, live connection, state and outbox."""

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

    The HTTP API is in `account`, `sessions`, `users`, `chats`, `messages`, `invitations`, `bots`, `tokens`,
    `webhooks`, `incoming_webhooks`, `slash_commands` and `files`. `connect()` and `events()` start the live
    connection, which reconnects by itself and keeps `state` equal to the server's.

    `vault` stores the login; by default it is lost with the process. `outbox_path` is a file for unsent
    messages, which the next start sends. Chats that are not open keep at least `kept_messages` messages.
    While the server is unreachable, requests are retried for `retry_seconds`. `device` names this client in
    the account's list of sessions. Raises InvalidServerUrl.
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
        self.outbox = Outbox(lambda message: self._publish(SendStateChanged(message)), outbox_path)
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

    # The login

    @property
    def login(self) -> Login | None:
        """The login in use; None if the client is not logged in."""
        return self.http.login

    @property
    def me(self) -> Account | None:
        """This account; None before the first live connection."""
        return self.state.me

    async def log_in(self, username: str, password: str) -> Login:
        """Create a session. Raises WrongCredentials, TooManyAttempts or Unreachable."""
        await self.disconnect()
        return self._set_login(await self.http.log_in(username, password))

    async def use_token(self, token: str) -> Login:
        """Log in with an API token, as a bot or as its owner. Raises Unauthenticated or Unreachable."""
        await self.disconnect()
        return self._set_login(await self.http.use_token(token))

    async def register(
        self, username: str, email: str, password: str, *, invitation: str | None = None
    ) -> Login:
        """Create an account, and log in to it."""
        await self.account.register(username, email, password, invitation=invitation)
        return await self.log_in(username, password)

    async def restore_login(self) -> Login:
        """Use the login that the vault has. Raises LoggedOut if it has none for this server."""
        await self.disconnect()
        login = await self.http.restore_login()
        if login is None:
            raise LoggedOut(f"There is no saved login for {self.url}. Log in first.")
        return self._set_login(login)

    async def log_out(self) -> None:
        """Delete the login and end its session.

        If the server is unreachable, only the login is deleted, and the session lasts until it expires.
        """
        await self.disconnect()
        try:
            await self.sessions.revoke_current()
        except BlazeChatError as error:
            log.info("could not end the session on the server: %s", error)
        finally:
            await self.http.forget_login()
            self._end_streams(LoggedOut("You have logged out. Log in again to continue."))

    @property
    def server_time(self) -> datetime:
        """The time by the server's clock, accurate to about two seconds."""
        return self.http.server_time

    # The live connection

    @property
    def connection_state(self) -> ConnectionState:
        return self._connection_loop.connection_state

    @property
    def connection_reason(self) -> str:
        """Why the client is not connected, as a sentence; empty if there is no reason to report."""
        return self._connection_loop.reason

    def start(self) -> None:
        """Start the live connection, without waiting for it."""
        if self._connection_task is None or self._connection_task.done():
            self._connection_loop = self._new_connection_loop()
            self._connection_task = asyncio.create_task(self._connection_loop.run())

    async def connect(self) -> None:
        """Start the live connection, and wait until `state` is complete, however long the server is away.

        Raises LoggedOut, SessionEnded or another error that ends the connection for good; NotConnected if
        `disconnect()` is called meanwhile.
        """
        self.start()
        task, loop = self._connection_task, self._connection_loop
        assert task is not None
        online = asyncio.create_task(loop.online.wait())
        try:
            await asyncio.wait([online, task], return_when=asyncio.FIRST_COMPLETED)
        finally:
            online.cancel()
        if loop.error is not None:
            raise loop.error
        if task.done():
            raise NotConnected("The client was disconnected before it was online. Connect again.")

    def reconnect(self) -> None:
        """Connect now, without waiting for the end of the pause."""
        self._connection_loop.skip_pause()

    async def disconnect(self) -> None:
        """End the live connection. Event streams stay, and continue after the next `start()`."""
        task, self._connection_task = self._connection_task, None
        self._connection_loop.is_stopping = True
        self._connection_loop.skip_pause()
        while task is not None and not task.done():
            task.cancel()
            await asyncio.wait([task], timeout=1)  # repeated, since a cancellation may get lost

    async def close(self) -> None:
        """Disconnect, end all event streams, and close the client. Unsent messages stay in the outbox."""
        await self.disconnect()
        await self._older_pages.close()
        self._end_streams(None)
        detail = "The client was closed before the message was sent. Without an outbox file, send it again."
        self.outbox.fail_waiters(NotConnected(detail))
        self.outbox.close()
        await self.http.close()

    def events(self, backlog: int = BACKLOG_EVENTS) -> EventStream:
        """Start the live connection, and return a stream of all events from now on, for `async for`.

        The stream ends with the client. If the session ends, iterating raises that error. At most `backlog`
        events are queued.
        """
        self.start()
        stream = EventStream(self._remove_stream, backlog)
        self._streams.append(stream)
        return stream

    # Chatting

    async def send(
        self, chat_id: int, content: str, *, reply_to: int | None = None, attachments: Sequence[int] = ()
    ) -> int:
        """Send a message, and return its id once the server has stored it.

        The message survives lost connections, and is stored once. The messages of a chat are stored in the
        order of the calls. If the live connection was not started, the message is sent over HTTP.
        `attachments` are the ids of uploads; with attachments, the content may be empty. Raises the
        server's error if it rejects the message.
        """
        if self._connection_loop.error is not None:
            raise self._connection_loop.error
        if self._connection_task is None:
            message = await self.messages.send(chat_id, content, reply_to=reply_to, attachments=attachments)
            return message.id
        pending = self.enqueue(chat_id, content, reply_to=reply_to, attachments=attachments)
        return await pending.wait_sent()

    def enqueue(
        self, chat_id: int, content: str, *, reply_to: int | None = None, attachments: Sequence[int] = ()
    ) -> PendingMessage:
        """Add a message to the outbox, without waiting until it is sent."""
        message = self.outbox.enqueue(chat_id, content, reply_to, attachments)
        self._connection_loop.wake_sender()
        return message

    def retry(self, message: PendingMessage) -> None:
        """Send a message again that the server has rejected."""
        self.outbox.retry(message)
        self._connection_loop.wake_sender()

    async def open_chat(self, chat_id: int, min_messages: int = PAGE_MESSAGES) -> ChatState:
        """Load at least `min_messages` messages of a chat, and subscribe to its typing and read events.

        The subscription survives reconnects. Raises NotFound.
        """
        chat = self._known_chat(chat_id)
        self.state.open_chats.add(chat_id)
        chat.is_open = True
        subscribing = asyncio.create_task(self._command_if_online("subscribe", chat_id=chat_id))
        try:
            while (missing := min_messages - len(chat.messages)) > 0 and not chat.has_all_messages:
                if not await self._older_pages.load(chat_id, min(missing, 100)):
                    break
                chat = self._known_chat(chat_id)  # a reload may have replaced it
            ack = await subscribing
            chat = self._known_chat(chat_id)
            chat.update_read_cursors((ack and ack.cursors) or {})
        finally:
            subscribing.cancel()
        return chat

    async def close_chat(self, chat_id: int) -> None:
        """End the subscription to a chat, and keep only its newest messages."""
        self.state.open_chats.discard(chat_id)
        chat = self.state.chats.get(chat_id)
        if chat is not None:
            chat.is_open = False
            chat.trim()
        await self._command_if_online("unsubscribe", chat_id=chat_id)

    async def load_older(self, chat_id: int, limit: int = PAGE_MESSAGES) -> int:
        """Load up to `limit` older messages, at most 100. Returns their number: 0 at the chat's start."""
        return await self._older_pages.load(chat_id, limit)

    async def mark_read(self, chat_id: int, up_to: int | None = None) -> None:
        """Move the read cursor to a message, or to the newest. Without a connection, this is sent later."""
        chat = self.state.chats.get(chat_id)
        if chat is None:
            return
        up_to = chat.last_message_id if up_to is None else up_to
        if up_to > max(chat.read_id, self.state.pending_reads.get(chat_id, 0)):
            self.state.pending_reads[chat_id] = up_to
            ack = await self._command_if_online("read", chat_id=chat_id, up_to=up_to)
            if ack is not None:
                self.state.confirm_read(chat_id, up_to, ack.read_id)

    async def set_typing(self, chat_id: int, is_typing: bool = True) -> None:
        """Report that this account types, or has stopped. Repeat it every four seconds while typing."""
        await self._command_if_online("typing", chat_id=chat_id, typing=is_typing)

    async def set_status(self, status: Status) -> None:
        """Set the status that other users see, until this account goes offline. Raises NotConnected."""
        await self._connection_loop.send_command("status", status=status)

    async def watch_users(self, user_ids: Iterable[int]) -> None:
        """Subscribe to the presence and names of users who share a chat with this account.

        The subscription survives reconnects.
        """
        new = sorted(set(user_ids) - self.state.watched_users)
        self.state.watched_users |= set(new)
        for begin in range(0, len(new), MAX_IDS):
            ack = await self._command_if_online("subscribe", users=new[begin : begin + MAX_IDS])
            self.state.update_presence((ack and ack.presence) or [])

    def _new_connection_loop(self) -> ConnectionLoop:
        return ConnectionLoop(
            http=self.http,
            state=self.state,
            outbox=self.outbox,
            chats=self.chats,
            load_older=self._older_pages.load,
            on_event=self._publish,
            on_end=self._end_streams,
        )

    def _known_chat(self, chat_id: int) -> ChatState:
        chat = self.state.chats.get(chat_id)
        if chat is None:
            detail = "There is no such chat, or you are not a member of it."
            raise NotFound(Problem("not_found", detail, 404))
        return chat

    async def _command_if_online(self, kind: str, **fields: object) -> Ack | None:
        """Send a command that every new connection repeats, so that it may fail now."""
        if not self._connection_loop.online.is_set():
            return None
        try:
            return await self._connection_loop.send_command(kind, **fields)
        except (NotConnected, ApiError) as error:
            log.debug("could not send %s: %s", kind, error)
            return None

    def _publish(self, event: Event) -> None:
        for stream in self._streams:
            stream.put(event)

    def _remove_stream(self, stream: EventStream) -> None:
        if stream in self._streams:
            self._streams.remove(stream)

    def _end_streams(self, error: BlazeChatError | None) -> None:
        if error is not None:
            self.outbox.fail_waiters(error)
        streams, self._streams = self._streams, []
        for stream in streams:
            stream.end(error)

    def _set_login(self, login: Login) -> Login:
        """Take over a login. If it is another account's, forget the state of the previous account."""
        if self.outbox.author_id not in (0, login.user_id):
            self.state.clear()
        self.outbox.set_author(login.user_id)
        return login
