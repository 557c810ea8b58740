"""The client: one account on one server, with everything that it can do there."""

import asyncio
import logging
from collections.abc import Iterable, Sequence
from datetime import datetime
from pathlib import Path
from types import TracebackType
from typing import Self

import httpx2

from blazechat.client.bots import BotCalls, TokenCalls
from blazechat.client.catch_up import AT_ONCE
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
from blazechat.client.event_stream import BACKLOG, EventStream
from blazechat.client.events import ConnectionState, Event, Sending
from blazechat.client.files import Files
from blazechat.client.frames import Ack
from blazechat.client.http import USER_AGENT, Http
from blazechat.client.login import Login, MemoryVault, Vault
from blazechat.client.older_pages import PAGE, Windows
from blazechat.client.outbox import Outbox, PendingMessage
from blazechat.client.resources import (
    AccountCalls,
    ChatCalls,
    InvitationCalls,
    MessageCalls,
    SessionCalls,
    UserCalls,
)
from blazechat.client.schemas import Account
from blazechat.client.server_url import DEFAULT, server_url
from blazechat.client.state import State
from blazechat.client.webhooks import IncomingWebhookCalls, SlashCommandCalls, WebhookCalls
from blazechat.vocabulary import Status

KEEP = 50
PATIENCE = 15.0

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
        url: str = DEFAULT,
        *,
        vault: Vault | None = None,
        outbox: Path | None = None,
        keep: int = KEEP,
        patience: float = PATIENCE,
        device: str = USER_AGENT,
        transport: httpx2.AsyncBaseTransport | None = None,
    ) -> None:
        self.url = server_url(url)
        self.state = State(keep)
        self.outbox = Outbox(lambda draft: self._tell(Sending(draft)), outbox)
        self.http = Http(
            self.url, vault or MemoryVault(), patience=patience, device=device, transport=transport
        )
        self.account = AccountCalls(self.http)
        self.sessions = SessionCalls(self.http)
        self.users = UserCalls(self.http)
        self.chats = ChatCalls(self.http)
        self.messages = MessageCalls(self.http)
        self.invitations = InvitationCalls(self.http)
        self.bots = BotCalls(self.http)
        self.tokens = TokenCalls(self.http)
        self.incoming_webhooks = IncomingWebhookCalls(self.http)
        self.webhooks = WebhookCalls(self.http)
        self.slash_commands = SlashCommandCalls(self.http)
        self.files = Files(self.http)
        self._windows = Windows(self.state, self.messages)
        self._live = self._new_live()
        self._running: asyncio.Task[None] | None = None
        self._listeners: list[EventStream] = []

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
        return self._is(await self.http.log_in(username, password))

    async def use_token(self, token: str) -> Login:
        """Be whom an API token speaks for. Raises Unauthenticated or Unreachable."""
        await self.disconnect()
        return self._is(await self.http.use_token(token))

    async def register(
        self, username: str, email: str, password: str, *, invitation: str | None = None
    ) -> Login:
        """A new account, and a session of it."""
        await self.account.register(username, email, password, invitation=invitation)
        return await self.log_in(username, password)

    async def resume(self) -> Login:
        """Go on with the log-in of the vault. Raises LoggedOut if there is none."""
        await self.disconnect()
        login = await self.http.remembered()
        if login is None:
            raise LoggedOut(f"Nobody is logged in at {self.url}.")
        return self._is(login)

    async def log_out(self) -> None:
        """End the session, here and on the server, if it can be reached."""
        await self.disconnect()
        try:
            await self.sessions.end_this()
        except BlazeChatError as error:
            log.info("the session could not be ended on the server: %s", error)
        finally:
            await self.http.forget()
            self._end(LoggedOut("You have logged out."))

    @property
    def server_time(self) -> datetime:
        """What time it is by the server's clock, to a second or two."""
        return self.http.server_time

    # The live connection

    @property
    def link(self) -> ConnectionState:
        """How the live connection is."""
        return self._live.link

    @property
    def link_reason(self) -> str:
        """Why it is not there, as a sentence; empty if there is nothing to say."""
        return self._live.reason

    def start(self) -> None:
        """Begin the live connection, without waiting for it."""
        if self._running is None or self._running.done():
            self._live = self._new_live()
            self._running = asyncio.create_task(self._live.run())

    async def connect(self) -> None:
        """Begin the live connection and wait until all is known, however long the server is away.

        Raises LoggedOut, SessionEnded or whatever else ends it for good; NotConnected after `disconnect()`.
        """
        self.start()
        running, live = self._running, self._live
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
        self._live.hurry()

    async def disconnect(self) -> None:
        """End the live connection; `start()` begins it again. Whoever iterates over events goes on then."""
        running, self._running = self._running, None
        self._live.stopping = True
        self._live.hurry()
        while running is not None and not running.done():
            running.cancel()
            await asyncio.wait([running], timeout=1)  # again, where the cancellation got lost

    async def close(self) -> None:
        """End everything. What is in the outbox of a file is sent the next time."""
        await self.disconnect()
        await self._windows.close()
        self._end(None)
        self.outbox.give_up_waiting(NotConnected("The client was closed before this was sent."))
        self.outbox.close()
        await self.http.close()

    def events(self, backlog: int = BACKLOG) -> EventStream:
        """All that happens from now on, in order: iterate over it with `async for`.

        Begins the live connection. It ends with the client; if the session ends, it raises that.
        At most `backlog` events wait to be taken.
        """
        self.start()
        listener = EventStream(self._forget_listener, backlog)
        self._listeners.append(listener)
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
        if self._live.error is not None:
            raise self._live.error
        if self._running is None:
            message = await self.messages.send(chat_id, content, reply_to=reply_to, attachments=attachments)
            return message.id
        return await self.write(chat_id, content, reply_to=reply_to, attachments=attachments).sent()

    def write(
        self, chat_id: int, content: str, *, reply_to: int | None = None, attachments: Sequence[int] = ()
    ) -> PendingMessage:
        """Put a message into the outbox, and do not wait until it is sent."""
        draft = self.outbox.write(chat_id, content, reply_to, attachments)
        self._live.wake()
        return draft

    def retry(self, draft: PendingMessage) -> None:
        """Try a message again that was refused."""
        self.outbox.retry(draft)
        self._live.wake()

    async def open(self, chat_id: int, messages: int = PAGE) -> ChatState:
        """Have a chat at hand: at least that many of its messages, who reads, and who types in it.

        Holds through reconnects. Raises NotFound.
        """
        chat = self._chat(chat_id)
        self.state.opened.add(chat_id)
        chat.is_open = True
        subscribing = asyncio.create_task(self._if_online("subscribe", chat_id=chat_id))
        try:
            while (missing := messages - len(chat.messages)) > 0 and not chat.has_all:
                if not await self._windows.older(chat_id, min(missing, 100)):
                    break
                chat = self._chat(chat_id)  # it may have been loaded anew
            ack = await subscribing
            chat = self._chat(chat_id)
            chat.take_cursors((ack and ack.cursors) or {})
        finally:
            subscribing.cancel()
        return chat

    async def close_chat(self, chat_id: int) -> None:
        """Not to hear any more who types and reads there, and to keep but the newest messages."""
        self.state.opened.discard(chat_id)
        chat = self.state.chats.get(chat_id)
        if chat is not None:
            chat.is_open = False
            chat.trim()
        await self._if_online("unsubscribe", chat_id=chat_id)

    async def load_older(self, chat_id: int, limit: int = PAGE) -> int:
        """Load older messages of a chat, at most 100; how many have come. 0 at its beginning."""
        return await self._windows.older(chat_id, limit)

    async def mark_read(self, chat_id: int, up_to: int | None = None) -> None:
        """One has read up to a message, or all. While there is no connection, it is told later."""
        chat = self.state.chats.get(chat_id)
        if chat is None:
            return
        up_to = chat.last_message_id if up_to is None else up_to
        if up_to > max(chat.read_id, self.state.marks.get(chat_id, 0)):
            self.state.marks[chat_id] = up_to
            ack = await self._if_online("read", chat_id=chat_id, up_to=up_to)
            if ack is not None:
                self.state.marked(chat_id, up_to, ack.read_id)

    async def typing(self, chat_id: int, typing: bool = True) -> None:
        """Tell that one writes, every four seconds as long as it is so; or that one has stopped."""
        await self._if_online("typing", chat_id=chat_id, typing=typing)

    async def set_status(self, status: Status) -> None:
        """Choose how one is shown, until one leaves. Raises NotConnected."""
        await self._live.ask("status", status=status)

    async def watch(self, user_ids: Iterable[int]) -> None:
        """Hear whether these people are here, as far as one shares a chat with them. Through reconnects."""
        new = sorted(set(user_ids) - self.state.watched)
        self.state.watched |= set(new)
        for begin in range(0, len(new), AT_ONCE):
            ack = await self._if_online("subscribe", users=new[begin : begin + AT_ONCE])
            self.state.take_presence((ack and ack.presence) or [])

    # How it is done

    def _new_live(self) -> ConnectionLoop:
        return ConnectionLoop(
            self.http, self.state, self.outbox, self.chats, self._windows.older, self._tell, self._end
        )

    def _chat(self, chat_id: int) -> ChatState:
        chat = self.state.chats.get(chat_id)
        if chat is None:
            raise NotFound(Problem("not_found", "There is no such chat, or you are not in it.", 404))
        return chat

    async def _if_online(self, kind: str, **fields: object) -> Ack | None:
        """The answer to what is done again after a reconnect, and so need not work now."""
        if not self._live.online.is_set():
            return None
        try:
            return await self._live.ask(kind, **fields)
        except (NotConnected, ApiError) as error:
            log.debug("%s: %s", kind, error)
            return None

    def _forget_listener(self, listener: EventStream) -> None:
        if listener in self._listeners:
            self._listeners.remove(listener)

    def _tell(self, event: Event) -> None:
        for listener in self._listeners:
            listener.put(event)

    def _is(self, login: Login) -> Login:
        """Somebody is logged in; if it is somebody else than before, nothing of that one's is theirs."""
        if self.outbox.author_id not in (0, login.user_id):
            self.state.clear()
        self.outbox.belongs_to(login.user_id)
        return login

    def _end(self, error: BlazeChatError | None) -> None:
        if error is not None:
            self.outbox.give_up_waiting(error)
        listeners, self._listeners = self._listeners, []
        for listener in listeners:
            listener.end(error)
