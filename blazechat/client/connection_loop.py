"""The connection loop: connects, recovers missed events, renews the token, sends the outbox, reconnects."""

import asyncio
import logging
from collections.abc import Awaitable, Callable, Iterable

from blazechat.client import events, frames, reconnect
from blazechat.client.catch_up import CatchUp
from blazechat.client.errors import (
    BlazeChatError,
    LoggedOut,
    NotConnected,
    Unauthenticated,
    Unavailable,
    Unreachable,
)
from blazechat.client.events import ChatEvent, ConnectionChanged, ConnectionState, Event, MessageEvent
from blazechat.client.http import HttpClient
from blazechat.client.outbox import Outbox
from blazechat.client.resources import ChatsResource
from blazechat.client.sender import OutboxSender
from blazechat.client.socket import LiveConnection, open_connection
from blazechat.client.state import State

MAX_REJECTED_TOKENS = 2
"""How often in a row a rejected token is renewed. After that, the rejection is final."""
RENEWAL_PAUSE_SECONDS = 10.0
"""The pause after a failed renewal of the token."""

log = logging.getLogger("blazechat.client")


class ConnectionLoop:
    """Keeps the state equal to the server's while `run()` runs.

    `on_event` is called with every event, in order. `on_end` is called once, if an error ends the
    connection for good. Until the first connection is online, an error of a wrong address does so, unless
    `is_known_address`; and after `first_timeout` seconds all other errors, unless `wait_for_server`.
    """

    def __init__(
        self,
        *,
        http: HttpClient,
        state: State,
        outbox: Outbox,
        chats: ChatsResource,
        load_older: Callable[[int], Awaitable[int]],
        on_event: Callable[[Event], None],
        on_end: Callable[[BlazeChatError], None],
        is_known_address: bool,
        first_timeout: float,
    ) -> None:
        self.wait_for_server = True
        self.was_online = False
        self.connection_state = ConnectionState.OFFLINE
        self.reason = ""
        self.error: BlazeChatError | None = None  # what ended the connection for good
        self.online = asyncio.Event()
        # Checked in addition to cancelling, since Python 3.11's TaskGroup may swallow a late cancellation.
        self.is_stopping = False
        self._connection: LiveConnection | None = None
        self._http, self._state, self._outbox, self._chats = http, state, outbox, chats
        self._load_older = load_older
        self._on_event = on_event
        self._on_end = on_end
        self._sender = OutboxSender(outbox, state)
        self._pause_skipped = asyncio.Event()
        self._is_known_address, self._first_timeout = is_known_address, first_timeout
        self._started_at = 0.0  # by the event loop's clock
        self._is_wait_logged = False
        self._backoff = reconnect.Backoff()
        self._rejected_tokens = 0  # in a row

    async def run(self) -> None:
        """Connect and reconnect, until cancelled or until an error is final."""
        self._started_at = asyncio.get_running_loop().time()
        try:
            while self.connection_state is not ConnectionState.ENDED and not self.is_stopping:
                self._set_state(ConnectionState.CONNECTING)
                try:
                    await self._connect()
                except BlazeChatError as error:
                    if not self.is_stopping:
                        await self._handle_error(error)
        except Exception as error:
            log.exception("the connection loop has failed")
            self._end(BlazeChatError(f"The client has failed: {error!r}. Report this, and connect again."))
        finally:
            if self.connection_state is not ConnectionState.ENDED:
                self._set_state(ConnectionState.OFFLINE)

    async def send_command(self, kind: str, **fields: object) -> frames.Ack:
        """Send a command, and return its acknowledgement. Raises NotConnected or the server's error."""
        if self._connection is None:
            raise NotConnected("There is no connection to the server. Try again once it is back.")
        return await self._connection.send_command(kind, **fields)

    def skip_pause(self) -> None:
        """End the pause before the next attempt."""
        self._pause_skipped.set()

    def wake_sender(self) -> None:
        """Call this after adding a message to the outbox."""
        self._sender.wake()

    # One connection

    async def _connect(self) -> None:
        login = self._http.login
        if login is None:
            raise LoggedOut
        try:
            await self._use_connection(login.access_token)
        except Unauthenticated:
            self._rejected_tokens += 1
            if self._rejected_tokens > MAX_REJECTED_TOKENS:
                raise
            await self._http.renew_token(login.access_token)

    async def _use_connection(self, token: str) -> None:
        async with open_connection(self._http.url, token, self._http.device) as connection:
            versions = self._state.begin_sync(connection.ready.user_id)
            self._connection = connection
            self._rejected_tokens = 0
            self._set_state(ConnectionState.SYNCING)
            try:
                await self._run_tasks(connection, versions)
            finally:
                self._connection = None
                self.online.clear()
                self._state.clear_ephemeral()

    async def _run_tasks(self, connection: LiveConnection, versions: dict[int, int]) -> None:
        """Run the tasks of a connection until one of them fails."""
        this = asyncio.current_task()
        assert this is not None
        cancel_requests = this.cancelling()
        try:
            async with asyncio.TaskGroup() as group:
                catch_up = CatchUp(
                    connection=connection,
                    state=self._state,
                    outbox=self._outbox,
                    chats=self._chats,
                    on_events=self._publish,
                    load_older=self._load_older,
                    group=group,
                )
                group.create_task(self._receive(connection, catch_up))
                group.create_task(self._catch_up(catch_up, versions))
                group.create_task(self._keep_token_valid(connection))
                group.create_task(self._sender.run(connection, group))
        except BaseExceptionGroup as raised:
            while this.cancelling() > cancel_requests:
                # The group cancels this task if one of its tasks fails, and does not take that back if it
                # was waiting for them. In Python 3.11.2, asyncio.timeout() then raises CancelledError.
                this.uncancel()
            ours, others = raised.split(BlazeChatError)
            if others is not None:
                raise others from None
            assert ours is not None
            raise reconnect.most_severe(ours) from None

    async def _receive(self, connection: LiveConnection, catch_up: CatchUp) -> None:
        async for frame in connection:
            match frame:
                case frames.Synced(chats=chats):
                    for chat_id, version in chats.items():
                        if catch_up.is_reloading(chat_id):
                            continue  # the reload returns a newer version
                        self._publish(self._state.finish_sync(chat_id, version))
                        catch_up.load_missing(chat_id)
                case frames.Reset(chat_id=chat_id):
                    catch_up.reload(chat_id)
                case ChatEvent():
                    self._publish(self._state.apply(frame))
                    catch_up.load_missing(frame.chat_id)
                    if isinstance(frame, events.ChatCreated) and frame.chat_id in self._state.open_chats:
                        catch_up.subscribe_soon(frame.chat_id)
                case _ if isinstance(frame, frames.UnversionedEvent):
                    self._publish(self._state.apply_unversioned(frame))

    async def _catch_up(self, catch_up: CatchUp, versions: dict[int, int]) -> None:
        await catch_up.run(versions)
        self.was_online = True
        self._backoff.reset()
        self._set_state(ConnectionState.ONLINE)
        self.online.set()

    async def _keep_token_valid(self, connection: LiveConnection) -> None:
        """Renew the token before it expires, and send the new one to the server."""
        loop = asyncio.get_running_loop()
        while True:
            await asyncio.sleep(max(0.0, (self._http.renew_token_at or 0.0) - loop.time()))
            try:
                await connection.send_command("auth", token=await self._http.renew_token())
            except (Unreachable, Unavailable) as error:
                log.info("could not renew the token, retrying in %.0f s: %s", RENEWAL_PAUSE_SECONDS, error)
                await asyncio.sleep(RENEWAL_PAUSE_SECONDS)

    # Errors

    async def _handle_error(self, error: BlazeChatError) -> None:
        """Wait before the next attempt; or end for good."""
        if reconnect.needs_new_token(error):
            error = await self._renew_after(error)
        if reconnect.is_final(error) or not (self.was_online or self._can_wait(error)):
            self._end(error)
            return
        await self._pause(error)

    def _can_wait(self, error: BlazeChatError) -> bool:
        """Return True if the first connection can be tried again after this error."""
        if reconnect.is_wrong_address(error):
            return self._is_known_address
        if not self.wait_for_server:
            return asyncio.get_running_loop().time() < self._started_at + self._first_timeout
        if not self._is_wait_logged:
            self._is_wait_logged = True
            log.warning("%s Waiting for the server.", error)
        return True

    def _end(self, error: BlazeChatError) -> None:
        self.error = error
        self._set_state(ConnectionState.ENDED, str(error))
        self._on_end(error)

    async def _renew_after(self, closed: BlazeChatError) -> BlazeChatError:
        """Renew the token. Returns the error of that if it fails, else `closed`."""
        try:
            if self._http.login is None:
                raise LoggedOut
            await self._http.renew_token(self._http.login.access_token)
        except BlazeChatError as error:
            return error
        return closed

    async def _pause(self, error: BlazeChatError) -> None:
        seconds = self._backoff.pause_after(error)
        self._set_state(ConnectionState.OFFLINE, str(error), seconds)
        self._pause_skipped.clear()
        try:
            async with asyncio.timeout(seconds):
                await self._pause_skipped.wait()
        except TimeoutError:
            pass

    def _set_state(self, state: ConnectionState, reason: str = "", retry_in: float | None = None) -> None:
        self.connection_state, self.reason = state, reason
        log.info("connection %s %s", state.value, reason)
        self._on_event(ConnectionChanged(state, reason, retry_in))

    def _publish(self, published: Iterable[Event]) -> None:
        for event in published:
            if isinstance(event, MessageEvent) and event.message.user_id == self._state.my_id:
                self._outbox.confirm(event.message)
            self._on_event(event)
