"""The ledger: the only way a message comes into being. Group commit.

Sends of all sockets and requests queue up while the batch before them commits; then the queue goes to
PostgreSQL as one statement: `EXTEND`, where all of the chats and authors are known from batches before
(tails.py), else `APPEND`, which checks sessions and membership, finds retries and takes ids and versions
from the chats' rows (append.py). There is no timer: an idle ledger costs a send one round trip, a busy
one makes its batches larger by itself. docs/decisions/0002-group-commit.md has the alternatives.

- Authors take turns (turns.py), so that whoever sends much waits behind themselves alone.
- Neither statement waits for a chat whose row somebody holds, so that no chat waits for another. After
  a few rounds such a chat is waited for, aside from the others.
- Every message has a `client_id`, its sender's or one made here. So when the connection breaks in the
  middle of a commit, sending the same batch again is safe.
"""

import asyncio
import itertools
import secrets
import time
from collections import deque
from collections.abc import Awaitable, Callable, Iterable
from contextlib import suppress
from dataclasses import dataclass
from typing import Any

import asyncpg
import structlog

from blazechat.database import tables
from blazechat.database.direct import INDEXES_ONLY
from blazechat.database.engine import OVERTAKEN, Database, is_away
from blazechat.domain import validation
from blazechat.domain.events import MessageCreated
from blazechat.domain.messaging.append import (
    OnResult,
    QueuedSend,
    Rejected,
    SendResult,
    Stored,
    append,
    digest_of,
    message_of,
)
from blazechat.domain.messaging.chat_heads import ChatHeads, FastAppend
from blazechat.domain.messaging.fair_queue import FairQueue
from blazechat.domain.messaging.message_query import find
from blazechat.domain.schemas.messages import Guise, Message
from blazechat.errors import (
    Busy,
    ClientIdConflict,
    Error,
    InternalError,
    InvalidInput,
    NoSuchChat,
    ShuttingDown,
    Unauthenticated,
    Unavailable,
)

log = structlog.get_logger("blazechat.ledger")

BATCH_ROWS = 500
MIN_BATCH_ROWS = 16
"""What is not worth halving."""
BATCH_CHARACTERS = 2_000_000
MAX_QUEUED_CHARACTERS = 64_000_000
"""What may wait in memory, beside the limit on how many."""
MAX_SKIPPED_ROUNDS = 3
"""How often a chat whose row is taken is skipped before it is waited for."""
MAX_LOCK_WAITS = 4
"""Chats that are waited for at once, each with a connection of its own."""
RETRY_PAUSES = (0.02, 0.05, 0.1, 0.2, 0.5)
"""Seconds between attempts to reach a database that is away; the last one repeats."""


@dataclass(slots=True)
class StoredBatch:
    """A batch that is committed, and what became of each of its sends."""

    batch: list[QueuedSend]
    outcomes: list[SendResult]

    @property
    def has_leftovers(self) -> bool:
        """Whether some of it has to go again."""
        return any(isinstance(outcome, Rejected) and outcome.should_retry for outcome in self.outcomes)


class Ledger:
    """Takes sends from `start()` to `drain()`. `publish` is told of each message, in order a chat.

    At most `max_queued` sends wait; each waits for an absent database for `timeout` seconds.
    """

    def __init__(
        self,
        database: Database,
        publish: Callable[[MessageCreated], None],
        *,
        max_queued: int,
        timeout: float,
    ) -> None:
        self._database = database
        self._publish = publish
        self._max_queued = max_queued
        self._timeout = timeout
        self._queue = FairQueue()
        self._open: dict[tuple[int, int, str], QueuedSend] = {}  # all that was not answered yet
        self._characters = 0  # of all that was not answered yet
        self._last_deadline = 0.0
        self._locked_chats: dict[int, deque[QueuedSend]] = {}  # chats that are being waited for
        self._lock_wait_slots = asyncio.Semaphore(MAX_LOCK_WAITS)
        self._waiting_tasks: set[asyncio.Task[None]] = set()
        self._wake = asyncio.Event()
        self._idle = asyncio.Event()
        self._idle.set()
        self._closing = False
        self._prefix = f"{secrets.token_urlsafe(9)}."  # of the client_ids that are made here
        self._serial = itertools.count(1)
        self._connection: asyncpg.Connection | None = None  # set while it works
        self._chat_heads = ChatHeads()
        self._task: asyncio.Task[None] | None = None  # set while started

    def handle(self, event: object) -> None:
        """Take an event from the bus: what others change in the chats."""
        self._chat_heads.handle(event)

    @property
    def last_send(self) -> float:
        """When the last one came, by `time.monotonic()`."""
        return self._last_deadline - self._timeout

    def start(self) -> None:
        self._task = asyncio.create_task(self._run(), name="ledger")

    def send(
        self,
        *,
        chat_id: int,
        author_id: int,
        session_id: int,
        content: Any,
        client_id: Any = None,
        reply_to: Any = None,
        attachments: Any = None,
        guise: Guise | None = None,
    ) -> asyncio.Future[Message]:
        """Queue a message; the future is done when it is committed, with the message as stored.

        Raises at once what `submit()` does. The future may raise NotFound (no such chat for this author),
        InvalidInput (`reply_to`, `attachments`), Unauthenticated, ClientIdConflict, or Unavailable, after
        which the message may or may not be stored: sending it again under its `client_id` tells.
        """
        stored: asyncio.Future[Message] = asyncio.get_running_loop().create_future()

        def settle(outcome: Message | Error) -> None:
            if stored.done():  # nobody waits any more
                return
            if isinstance(outcome, Error):
                stored.set_exception(outcome)
            else:
                stored.set_result(outcome)

        self.submit(
            chat_id, author_id, session_id, content, client_id, reply_to, attachments, settle, guise
        )
        return stored

    def submit(
        self,
        chat_id: int,
        author_id: int,
        session_id: int,
        content: Any,
        client_id: Any,
        reply_to: Any,
        attachments: Any,
        tell: OnResult,
        guise: Guise | None = None,
    ) -> None:
        """Queue a message; `tell` is called once, with the committed message or an error.

        Messages of one caller to one chat are stored in the order of their calls. A `client_id` that
        this author used in this chat before gives the first message again. Raises at once InvalidInput,
        ClientIdConflict, Busy or ShuttingDown.
        """
        files = validation.attachments(attachments) if attachments else ()
        send = QueuedSend(
            chat_id,
            author_id,
            session_id,
            validation.client_id(client_id) or f"{self._prefix}{next(self._serial)}",
            validation.caption(content) if files else validation.message(content),
            validation.reply_to(reply_to),
            None if client_id is None else digest_of(content, reply_to, files),
            files,
            guise,
            time.monotonic() + self._timeout,
            [tell],
        )
        key = send.key
        twin = self._open.get(key)
        if twin is not None:
            if twin.digest != send.digest:
                raise ClientIdConflict
            twin.on_results.append(tell)
            return
        self._admit(send)
        self._open[key] = send
        self._queue.append(send)
        if not self._wake.is_set():
            self._wake.set()

    async def drain(self) -> None:
        """Take no more sends, see those in flight through, and stop."""
        self._closing = True
        if self._task is None:
            return
        await self._idle.wait()
        self._task.cancel()
        with suppress(asyncio.CancelledError):
            await self._task
        if self._connection is not None:
            self._connection.terminate()
        self._task = self._connection = None

    def _admit(self, send: QueuedSend) -> None:
        if self._closing:
            raise ShuttingDown
        size = self._characters + len(send.content)
        if len(self._open) >= self._max_queued or size > MAX_QUEUED_CHARACTERS:
            raise Busy(retry_after=1)
        self._characters = size
        self._last_deadline = send.deadline
        self._idle.clear()

    async def _run(self) -> None:
        stored: StoredBatch | None = None  # what was committed and is not told yet
        while True:
            batch = self._next_batch(0 if stored is None else len(stored.batch))
            if not batch:
                if stored is not None:
                    await self._report(stored)
                    stored = None
                else:
                    await self._wake.wait()
                    self._wake.clear()
                continue
            # The database works on this batch while the one before it is told.
            storing = self._begin(batch)
            await asyncio.sleep(0)
            if stored is not None:
                await self._report(stored)
            stored = await self._store(batch, storing)
            if stored is not None and stored.has_leftovers:
                # They have to be in the queue again before anything behind them goes.
                await self._report(stored)
                stored = None

    async def _report(self, stored: StoredBatch) -> None:
        try:
            await self._settle(stored.batch, stored.outcomes)
        except Exception:
            log.exception("batch failed", sends=len(stored.batch))
            self._fail(filter(self._is_open, stored.batch), InternalError())

    def _next_batch(self, untold: int) -> list[QueuedSend]:
        """The head of the queue, without the chats that are being waited for.

        Who waits for an answer before sending on sends again once it is told. So of all that are about,
        the `untold` of the batch before included, half is stored while the other half is told: else
        one of the two sides waits for a large batch while the other has a small one.
        """
        batch: list[QueuedSend] = []
        limit = min(max((len(self._queue) + untold + 1) // 2, MIN_BATCH_ROWS), BATCH_ROWS)
        room = BATCH_CHARACTERS
        while self._queue and len(batch) < limit and room > 0:
            send = self._queue.pop()
            aside = self._locked_chats.get(send.chat_id)
            if aside is not None:
                aside.append(send)
                continue
            batch.append(send)
            room -= len(send.content)
        return batch

    async def _store(
        self, batch: list[QueuedSend], storing: Awaitable[list[SendResult]]
    ) -> StoredBatch | None:
        """See a batch through, however often the database has to be reached; `storing` is the first try.

        None if all of it was told already.
        """
        attempt = 0
        while True:
            try:
                return StoredBatch(batch, await storing)
            except Exception as error:
                self._chat_heads.forget({send.chat_id for send in batch})
                if is_away(error) or isinstance(error, (*OVERTAKEN, Unavailable)):
                    attempt += 1
                    batch = await self._after_failure(batch, error, attempt)
                    if not batch:
                        return None
                    storing = self._begin(batch)
                elif len(batch) == 1:
                    log.exception("send failed", chat_id=batch[0].chat_id)
                    self._fail(batch, InternalError())
                    return None
                else:
                    await self._store_halves(batch)
                    return None

    async def _store_halves(self, batch: list[QueuedSend]) -> None:
        """Something in the batch cannot be stored. Halve until it fails alone, in order."""
        batch = list(filter(self._is_open, batch))
        middle = len(batch) // 2
        for half in (batch[:middle], batch[middle:]):
            stored = await self._store(half, self._begin(half))
            if stored is not None:
                await self._report(stored)

    def _begin(self, batch: list[QueuedSend]) -> asyncio.Task[list[SendResult]]:
        return asyncio.create_task(self._attempt(batch), name="ledger batch")

    async def _attempt(self, batch: list[QueuedSend]) -> list[SendResult]:
        connection = await self._connected()
        extension = self._chat_heads.plan(batch)
        if extension is not None:
            try:
                return await self._extend(connection, extension)
            except asyncpg.UniqueViolationError:  # a retry: that is for APPEND to find
                self._chat_heads.forget({send.chat_id for send in batch})
        outcomes = await append(connection, batch)
        self._chat_heads.learn(batch, outcomes)
        return outcomes

    async def _extend(self, connection: asyncpg.Connection, extension: FastAppend) -> list[SendResult]:
        outcomes = await extension.store(connection)
        self._chat_heads.forget(
            send.chat_id
            for send, outcome in zip(extension.batch, outcomes, strict=True)
            if isinstance(outcome, Rejected)
        )
        return outcomes

    async def _connected(self) -> asyncpg.Connection:
        if self._connection is None or self._connection.is_closed():
            self._connection = await self._database.connect(**INDEXES_ONLY)
        return self._connection

    async def _after_failure(
        self, batch: list[QueuedSend], error: Exception, attempt: int
    ) -> list[QueuedSend]:
        """Wait a little; return what of the batch is still worth another attempt."""
        if attempt == 1:
            log.warning("database away, trying again", reason=str(error) or type(error).__name__)
        if self._connection is not None and not isinstance(error, (*OVERTAKEN, Unavailable)):
            self._connection.terminate()
            self._connection = None
            await self._database.forget_connections()
        self._fail_expired(batch, Unavailable())
        self._fail_expired(self._queue, Unavailable())
        self._queue.keep(self._is_open)
        await asyncio.sleep(RETRY_PAUSES[min(attempt, len(RETRY_PAUSES)) - 1])
        return list(filter(self._is_open, batch))

    async def _settle(self, batch: list[QueuedSend], outcomes: list[SendResult]) -> None:
        """Answer each send. Those whose chat was taken go back to the head of the queue."""
        again: list[QueuedSend] = []
        for send, outcome in zip(batch, outcomes, strict=True):
            if isinstance(outcome, Stored):
                message = message_of(send, outcome)
                self._publish(MessageCreated(send.chat_id, message.version, message))
                self._close(send)
                send.report(message)
            elif outcome.should_retry:
                send.skipped_rounds += outcome.verdict == "again"
                again.append(send)
            elif outcome.verdict == "old":
                await self._answer_retry(send, outcome)
            else:
                self._fail([send], _refusal(outcome.verdict))
        if again:
            self._try_again(again)

    async def _answer_retry(self, send: QueuedSend, outcome: Rejected) -> None:
        """The message is stored already: by an earlier call, or by a batch that was cut off."""
        if outcome.old_digest is not None and outcome.old_digest != send.digest:
            self._fail([send], ClientIdConflict())
            return
        async with self._database.transaction() as session:
            found = await find(
                session,
                tables.Message.chat_id == send.chat_id,
                tables.Message.id == outcome.old_id,
            )
        if not found:  # the chat was deleted a moment ago
            self._fail([send], NoSuchChat())
            return
        (message,) = found
        if message.edited_at is None and message.deleted_at is None:
            # Whoever stored it may not have lived to tell. Hubs drop what they know.
            self._publish(MessageCreated(send.chat_id, message.version, message))
        self._close(send)
        send.report(message)

    def _try_again(self, sends: list[QueuedSend]) -> None:
        stuck = {send.chat_id for send in sends if send.skipped_rounds > MAX_SKIPPED_ROUNDS}
        for chat_id in stuck:
            self._locked_chats[chat_id] = deque(send for send in sends if send.chat_id == chat_id)
            task = asyncio.create_task(self._wait_for(chat_id), name=f"ledger chat {chat_id}")
            self._waiting_tasks.add(task)
            task.add_done_callback(self._waiting_tasks.discard)
        self._queue.put_back(send for send in sends if send.chat_id not in stuck)

    async def _wait_for(self, chat_id: int) -> None:
        """Store what is aside for a chat in a transaction that waits for the chat's row.

        Sends that come meanwhile are put aside too, so that order holds.
        """
        try:
            async with self._lock_wait_slots:
                await self._append_waiting(chat_id, list(self._locked_chats[chat_id])[:BATCH_ROWS])
        except Exception as error:  # noqa: BLE001 (whatever it is, the sends go the ordinary way)
            log.warning("waiting for a chat failed", chat_id=chat_id, reason=repr(error))
        finally:
            aside = self._locked_chats.pop(chat_id)
            self._fail_expired(aside, Busy("This chat is being changed; try again in a moment."))
            self._queue.put_back(filter(self._is_open, aside))
            self._wake.set()

    async def _append_waiting(self, chat_id: int, sends: list[QueuedSend]) -> None:
        patience = max(1, int(1000 * (sends[0].deadline - time.monotonic())))
        connection = await self._database.connect(**INDEXES_ONLY, lock_timeout=str(patience))
        try:
            async with connection.transaction():
                lock = "SELECT FROM chats WHERE id = $1 FOR NO KEY UPDATE"
                await connection.execute(lock, chat_id)
                outcomes = await append(connection, sends)
            await self._settle(sends, outcomes)
        finally:
            connection.terminate()

    def _close(self, send: QueuedSend) -> None:
        key = send.key
        if self._open.get(key) is not send:
            return  # answered before
        del self._open[key]
        self._characters -= len(send.content)
        if not self._open:
            self._idle.set()

    def _is_open(self, send: QueuedSend) -> bool:
        return self._open.get(send.key) is send

    def _fail_expired(self, sends: Iterable[QueuedSend], error: Error) -> None:
        now = time.monotonic()
        self._fail([send for send in sends if send.deadline <= now], error)

    def _fail(self, sends: Iterable[QueuedSend], error: Error) -> None:
        for send in sends:
            self._close(send)
            send.report(error)


def _refusal(verdict: str) -> Error:
    if verdict == "session":
        return Unauthenticated("This session has ended; log in again.")
    if verdict == "reply":
        return InvalidInput.of("reply_to", "There is no such message to reply to in this chat.")
    if verdict == "file":
        return InvalidInput.of("attachments", "An attachment is no file of yours that has arrived whole.")
    return NoSuchChat()
