"""The live connection, kept up: connects again, catches up, renews the token, sends what waits.

How it comes back follows docs/protocol.md: at once after a random part of a second, then after random parts
of pauses that double up to half a minute; and not at all where the close code says so.
"""

import asyncio
import logging
import random
from collections.abc import Awaitable, Callable, Coroutine, Iterable
from typing import Any

from blazechat.client import events, frames
from blazechat.client.catch_up import CatchUp
from blazechat.client.errors import (
    ApiError,
    BlazeChatError,
    LoggedOut,
    NotConnected,
    OriginNotAllowed,
    SessionEnded,
    Unauthenticated,
    Unavailable,
    Unreachable,
)
from blazechat.client.events import MessageEvent, ChatEvent, ConnectionState, Event, ConnectionChanged
from blazechat.client.http import HttpClient
from blazechat.client.outbox import Outbox
from blazechat.client.resources import ChatsResource
from blazechat.client.socket import ConnectionClosed, Connection, open_connection
from blazechat.client.state import State

FIRST_PAUSE, LONGEST_PAUSE = 1.0, 30.0
LATER = 3.0
"""Seconds at least before coming back to a server that said: later."""
TRY_LATER = frozenset({1013, 4429})
SESSION_OVER = 4401
TOKEN_OVER = 4402
NEVER = frozenset({1002, 1003, 1007, 1010})
"""Close codes that mean that this program is wrong."""
RENEWAL_PAUSE = 10.0

log = logging.getLogger("blazechat.client")


class ConnectionLoop:
    """`tell` is called with everything that happens, in order."""

    def __init__(
        self,
        http: HttpClient,
        state: State,
        outbox: Outbox,
        chats: ChatsResource,
        load_older: Callable[[int], Awaitable[int]],
        tell: Callable[[Event], None],
        ended: Callable[[BlazeChatError], None],
    ) -> None:
        self.connection_state = ConnectionState.OFFLINE
        self.reason = ""
        self.retry_in: float | None = None
        self.error: BlazeChatError | None = None  # what it was that ended it for good
        self.connection: Connection | None = None
        self.online = asyncio.Event()
        self.is_stopping = (
            False  # a cancellation may get lost: Python 3.11's TaskGroup keeps those that come late
        )
        self._http, self._state, self._outbox, self._chats = http, state, outbox, chats
        self._load_older = load_older
        self._tell_one = tell
        self._ended = ended
        self._hurry = asyncio.Event()
        self._written = asyncio.Event()
        self._tries = 0
        self._refused = 0  # tokens in a row

    async def run(self) -> None:
        """Be connected, again and again, until cancelled or the session has ended."""
        try:
            while self.connection_state is not ConnectionState.ENDED and not self.is_stopping:
                self._set(ConnectionState.CONNECTING)
                try:
                    await self._connect()
                except BlazeChatError as error:
                    if not self.is_stopping:
                        await self._after(error)
        except Exception as error:
            log.exception("the live connection has ended by an error of this program")
            self._end(BlazeChatError(f"The live connection has failed: {error!r}."))
        finally:
            if self.connection_state is not ConnectionState.ENDED:
                self._set(ConnectionState.OFFLINE)

    async def send_command(self, kind: str, **fields: object) -> frames.Ack:
        """The answer to a command. Raises NotConnected or the server's error."""
        if self.connection is None:
            raise NotConnected("There is no connection right now.")
        return await self.connection.send_command(kind, **fields)

    def skip_pause(self) -> None:
        """Do not wait for the end of the pause."""
        self._hurry.set()

    def wake_sender(self) -> None:
        """There is something in the outbox."""
        self._written.set()

    # One connection after the other

    async def _connect(self) -> None:
        login = self._http.login
        if login is None:
            raise LoggedOut("Nobody is logged in.")
        try:
            await self._be_connected(login.access_token)
        except Unauthenticated:
            self._refused += 1
            if self._refused > 2:
                raise  # new tokens are refused as well
            await self._http.renew_token(login.access_token)

    async def _be_connected(self, token: str) -> None:
        async with open_connection(self._http.url, token, self._http.device) as connection:
            versions = self._state.begin_sync(connection.ready.user_id)
            self.connection = connection
            self._refused = 0
            self._set(ConnectionState.SYNCING)
            try:
                await self._live_on(connection, versions)
            finally:
                self.connection = None
                self.online.clear()
                self._state.clear_ephemeral()

    async def _live_on(self, connection: Connection, versions: dict[int, int]) -> None:
        try:
            async with asyncio.TaskGroup() as group:
                catch_up = CatchUp(
                    connection,
                    self._state,
                    self._outbox,
                    self._chats,
                    self._tell,
                    self._load_older,
                    group,
                )
                group.create_task(self._listen(connection, catch_up))
                group.create_task(self._come_online(catch_up, versions))
                group.create_task(self._keep_renewed(connection))
                group.create_task(self._send_waiting(connection, group.create_task))
        except BaseExceptionGroup as raised:
            ours, others = raised.split(BlazeChatError)
            if others is not None:
                raise others from None
            assert ours is not None
            raise _gravest(ours) from None

    async def _listen(self, connection: Connection, catch_up: CatchUp) -> None:
        async for frame in connection:
            match frame:
                case frames.Synced(chats=chats):
                    for chat_id, version in chats.items():
                        if catch_up.is_reloading(chat_id):
                            continue  # what is being loaded is newer
                        self._tell(self._state.finish_sync(chat_id, version))
                        catch_up.load_missing(chat_id)
                case frames.Reset(chat_id=chat_id):
                    catch_up.reload(chat_id)
                case ChatEvent():
                    self._tell(self._state.apply(frame))
                    catch_up.load_missing(frame.chat_id)
                    if isinstance(frame, events.ChatCreated) and frame.chat_id in self._state.open_chats:
                        catch_up.subscribe_soon(frame.chat_id)
                case _ if isinstance(frame, frames.UnversionedEvent):
                    self._tell(self._state.apply_unversioned(frame))

    async def _come_online(self, catch_up: CatchUp, versions: dict[int, int]) -> None:
        await catch_up.run(versions)
        self._tries = 0
        self._set(ConnectionState.ONLINE)
        self.online.set()

    async def _keep_renewed(self, connection: Connection) -> None:
        """Before the token runs out, get another and tell the server."""
        loop = asyncio.get_running_loop()
        while True:
            await asyncio.sleep(max(0.0, (self._http.renew_token_at or 0.0) - loop.time()))
            try:
                await connection.send_command("auth", token=await self._http.renew_token())
            except (Unreachable, Unavailable) as error:
                log.info("the token could not be renewed, and is tried again: %s", error)
                await asyncio.sleep(RENEWAL_PAUSE)

    async def _send_waiting(
        self, connection: Connection, spawn: Callable[[Coroutine[Any, Any, None]], object]
    ) -> None:
        """Send what waits: in order and one at a time in each chat, all chats at once."""
        busy: set[int] = set()
        while True:
            self._written.clear()
            for chat_id in self._outbox.unsent_by_chat().keys() - busy:
                busy.add(chat_id)
                spawn(self._send_all(connection, chat_id, busy))
            await self._written.wait()

    async def _send_all(self, connection: Connection, chat_id: int, busy: set[int]) -> None:
        while (draft := self._outbox.next_for(chat_id)) is not None:
            self._outbox.mark_sending(draft)
            try:
                ack = await connection.send_command(
                    "send",
                    chat_id=chat_id,
                    content=draft.content,
                    client_id=draft.client_id,
                    reply_to=draft.reply_to,
                    attachments=list(draft.attachments),
                )
            except ApiError as error:
                if error.retry_after is None:
                    self._outbox.mark_failed(draft, error)
                    continue
                await asyncio.sleep(error.retry_after * random.uniform(1, 1.5))  # noqa: S311
            else:
                assert ack.message_id is not None
                self._outbox.mark_sent(draft, ack.message_id)
                chat = self._state.chats.get(chat_id)
                if chat is not None and chat.held_events is None:
                    self._outbox.confirm_up_to(chat_id, chat.last_message_id)
            finally:
                self._outbox.mark_waiting(draft)  # where nothing came of it
        busy.discard(chat_id)

    # What to do about errors

    async def _after(self, error: BlazeChatError) -> None:
        if isinstance(error, ConnectionClosed) and error.code in (SESSION_OVER, TOKEN_OVER):
            error = await self._renewed_after(error)
        if _is_final(error):
            self._end(error)
            return
        await self._pause(error)

    def _end(self, error: BlazeChatError) -> None:
        self.error = error
        self._set(ConnectionState.ENDED, str(error))
        self._ended(error)

    async def _renewed_after(self, closed: ConnectionClosed) -> BlazeChatError:
        """Get another token, as the close code asks for; what became of that."""
        try:
            if self._http.login is None:
                raise LoggedOut("Nobody is logged in.")
            await self._http.renew_token(self._http.login.access_token)
        except BlazeChatError as error:
            return error
        return closed

    async def _pause(self, error: BlazeChatError) -> None:
        longest = min(FIRST_PAUSE * 2**self._tries, LONGEST_PAUSE)
        pause = random.uniform(0, longest)  # noqa: S311
        if isinstance(error, ConnectionClosed) and error.code in TRY_LATER:
            pause += LATER
        pause = max(pause, getattr(error, "retry_after", None) or 0.0)
        self._tries += 1
        self._set(ConnectionState.OFFLINE, str(error), pause)
        self._hurry.clear()
        try:
            async with asyncio.timeout(pause):
                await self._hurry.wait()
        except TimeoutError:
            pass

    def _set(self, link: ConnectionState, reason: str = "", retry_in: float | None = None) -> None:
        self.connection_state, self.reason, self.retry_in = link, reason, retry_in
        log.info("%s %s", link.value, reason)
        self._tell_one(ConnectionChanged(link, reason, retry_in))

    def _tell(self, happened: Iterable[Event]) -> None:
        for event in happened:
            if isinstance(event, MessageEvent) and event.message.user_id == self._state.my_id:
                self._outbox.confirm(event.message)
            self._tell_one(event)


def _is_final(error: BlazeChatError) -> bool:
    if isinstance(error, ConnectionClosed):
        return error.code in NEVER
    return isinstance(error, LoggedOut | SessionEnded | Unauthenticated | OriginNotAllowed)


def _gravest(raised: BaseExceptionGroup[BlazeChatError]) -> BlazeChatError:
    """Of several errors that came at once, the one that says most."""
    found = [_gravest(each) if isinstance(each, BaseExceptionGroup) else each for each in raised.exceptions]

    def rank(error: BlazeChatError) -> int:
        order = (LoggedOut, Unauthenticated, ConnectionClosed, ApiError, BlazeChatError)
        return next(i for i, kind in enumerate(order) if isinstance(error, kind))

    return min(found, key=rank)
