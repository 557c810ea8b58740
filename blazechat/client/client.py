"""The client: one account on one server, with HTTP API, live connection, state and outbox."""

import asyncio
import logging
from datetime import datetime
from pathlib import Path
from types import TracebackType
from typing import Self

import httpx2

from blazechat.client.bots import BotsResource, TokensResource
from blazechat.client.chatting import Chatting
from blazechat.client.connection_loop import ConnectionLoop
from blazechat.client.errors import (
    BlazeChatError,
    LoggedOut,
    NotConnected,
)
from blazechat.client.event_stream import BACKLOG_EVENTS, EventStream
from blazechat.client.events import ConnectionState, Event, SendStateChanged
from blazechat.client.files import FilesResource
from blazechat.client.http import USER_AGENT, HttpClient
from blazechat.client.login import Login, MemoryVault, Vault
from blazechat.client.older_pages import OlderPages
from blazechat.client.outbox import Outbox
from blazechat.client.resources import (
    AccountResource,
    ChatsResource,
    InvitationsResource,
    MessagesResource,
    ServerResource,
    SessionsResource,
    UsersResource,
)
from blazechat.client.schemas import Account
from blazechat.client.server_url import DEFAULT_URL, server_url
from blazechat.client.state import State
from blazechat.client.webhooks import IncomingWebhooksResource, SlashCommandsResource, WebhooksResource

KEPT_MESSAGES = 50
RETRY_SECONDS = 15.0
"""Long enough for a restart of the server."""

log = logging.getLogger("blazechat.client")


class Client(Chatting):
    """One account on one server. Use it as `async with Client(url) as client:`.

    The HTTP API is in `account`, `sessions`, `users`, `chats`, `messages`, `invitations`, `server`, `bots`,
    `tokens`, `webhooks`, `incoming_webhooks`, `slash_commands` and `files`. `connect()` and `events()`
    start the live connection, which reconnects by itself and keeps `state` equal to the server's.

    Args:
        url: The server's address. Without a scheme, `https` is used, and `http` for this machine.
        vault: Stores the login. By default it is in memory, and lost with the process.
        outbox_path: A file for unsent messages, which the next start sends. By default they are lost.
        kept_messages: How many messages a chat that is not open keeps at least. Default: 50.
        retry_seconds: How long an HTTP request is retried while the server is away, in seconds, from its
            first attempt on. It applies to all methods of the resources, to `log_in()`, `use_token()`
            and `register()`, and to `send()` without a live connection. Requests that must not be executed
            twice are retried only if they did not reach the server. 0 means a single attempt. Default: 15.
        device: Names this client in the account's list of sessions.
        transport: Sends the HTTP requests in place of the default transport.

    Raises InvalidServerUrl.
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
        self.server = ServerResource(self.http)
        self.bots = BotsResource(self.http)
        self.tokens = TokensResource(self.http)
        self.incoming_webhooks = IncomingWebhooksResource(self.http)
        self.webhooks = WebhooksResource(self.http)
        self.slash_commands = SlashCommandsResource(self.http)
        self.files = FilesResource(self.http)
        self._older_pages = OlderPages(self.state, self.messages)
        # True if a BlazeChat server was there before: if something else answers now, it might be a proxy's
        # error page, and the server comes back.
        self._is_known_address = False
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

    async def log_in(self, username: str, password: str, *, wait_for_server: bool = False) -> Login:
        """Create a session. `username` may be the e-mail address.

        With `wait_for_server`, waits until the server is there, however long that takes, and logs that it
        does. Without it, raises Unreachable or Unavailable after `retry_seconds`. Raises at once
        WrongCredentials, TooManyAttempts, and NotBlazeChat if another program answers at the address or
        its certificate is not valid.
        """
        await self.disconnect()
        login = await self.http.log_in(username, password, wait_for_server=wait_for_server)
        return self._set_login(login)

    async def use_token(self, token: str, *, wait_for_server: bool = False) -> Login:
        """Log in with an API token, as a bot or as its owner.

        `wait_for_server` is as in `log_in()`. Raises Unauthenticated if the token is not valid.
        """
        await self.disconnect()
        return self._set_login(await self.http.use_token(token, wait_for_server=wait_for_server))

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
        self._is_known_address = True
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

    def start(self, *, wait_for_server: bool = True) -> None:
        """Start the live connection, without waiting for it. It reconnects by itself.

        `wait_for_server` applies until it is online for the first time. With it, the client waits however
        long the server is away, and logs that it does. Without it, the connection ends with Unreachable
        after `retry_seconds`. An error of the address, such as a certificate that is not valid, ends
        it in both cases, unless the login was restored from the vault.
        """
        if self._connection_task is None or self._connection_task.done():
            self._is_known_address |= self._connection_loop.was_online
            self._connection_loop = self._new_connection_loop()
            self._connection_task = asyncio.create_task(self._connection_loop.run())
        self._connection_loop.wait_for_server = wait_for_server

    async def connect(self, *, wait_for_server: bool = True) -> None:
        """Start the live connection, and wait until `state` is complete.

        `wait_for_server` is as in `start()`. Raises LoggedOut, SessionEnded or another error that ends the
        connection for good; NotConnected if `disconnect()` is called meanwhile.
        """
        self.start(wait_for_server=wait_for_server)
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

    def events(self, backlog: int = BACKLOG_EVENTS, *, wait_for_server: bool = True) -> EventStream:
        """Start the live connection, and return a stream of all events from now on, for `async for`.

        `wait_for_server` is as in `start()`. The stream ends with the client. If the connection ends for
        good, as when the session ends, iterating raises that error. At most `backlog` events are queued
        (default: 100,000); if the reader is slower, the oldest are dropped, and `EventsDropped` says so.
        """
        self.start(wait_for_server=wait_for_server)
        stream = EventStream(self._remove_stream, backlog)
        self._streams.append(stream)
        return stream

    def _new_connection_loop(self) -> ConnectionLoop:
        return ConnectionLoop(
            is_known_address=self._is_known_address,
            first_timeout=self.http.retry_seconds,
            http=self.http,
            state=self.state,
            outbox=self.outbox,
            chats=self.chats,
            load_older=self._older_pages.load,
            on_event=self._publish,
            on_end=self._end_streams,
        )

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
