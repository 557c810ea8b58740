"""The ledger: the only code that inserts messages. It stores them by group commit.

Sends of all sockets and requests queue up while the previous batch commits. Then the queue goes to
PostgreSQL as one statement: FAST_APPEND, if the chats and authors are cached from earlier batches
(chat_heads.py), else APPEND, which checks sessions and membership, finds duplicates, and takes ids and
versions from the chats' rows (append.py). There is no timer: an idle ledger costs a send one round trip,
and under load batches grow by themselves. docs/decisions/0002-group-commit.md has the alternatives.

- Authors take turns (fair_queue.py): an author who sends a lot delays only their own sends.
- Neither statement waits for a chat whose row another transaction holds, so no chat delays another. After
  four batches without the lock, a separate connection waits for it.
- Every message has a `client_id`, from its sender or made here. So if the connection breaks during a
  commit, the same batch can be sent again.
"""

import asyncio
import itertools
import secrets
import time
from collections import deque
from collections.abc import Awaitable, Callable
from contextlib import suppress

import asyncpg
import structlog

from blazechat.database.direct import INDEXES_ONLY
from blazechat.database.engine import RETRYABLE_ERRORS, Database, is_connection_error
from blazechat.domain import validation
from blazechat.domain.events import MessageCreated
from blazechat.domain.messaging import message_query
from blazechat.domain.messaging.append import append, error_of
from blazechat.domain.messaging.chat_heads import ChatHeads
from blazechat.domain.messaging.fair_queue import FairQueue
from blazechat.domain.messaging.locked_append import append_locked
from blazechat.domain.messaging.sends import (
    MessageDraft,
    OnResult,
    QueuedSend,
    Rejected,
    Sender,
    SendResult,
    Stored,
    StoredBatch,
    digest_of,
    errors_of,
    message_of,
)
from blazechat.domain.messaging.unanswered import UnansweredSends
from blazechat.domain.schemas.messages import Message
from blazechat.errors import (
    Busy,
    ClientIdConflict,
    Error,
    InternalError,
    InvalidInput,
    NoSuchChat,
    Unavailable,
)

log = structlog.get_logger("blazechat.ledger")

BATCH_ROWS = 500
MIN_BATCH_ROWS = 16
"""A queue of at most so many sends is not split into two batches."""
BATCH_CHARACTERS = 2_000_000
MAX_SKIPPED_ROUNDS = 3
"""After more skips than this, the ledger waits for the lock of the send's chat."""
MAX_LOCK_WAITS = 4
"""Locked chats that are waited for at the same time, each on a connection of its own."""
RETRY_PAUSES = (0.02, 0.05, 0.1, 0.2, 0.5)
"""Seconds between attempts to reach the database; the last one repeats."""


class Ledger:
    """Stores messages between `start()` and `drain()`, and publishes them in the order of each chat.

    At most `max_queued` sends wait; each fails if the database is away for `timeout` seconds.
    """

    def __init__(
        self,
        database: Database,
        publish: Callable[[MessageCreated], None],
        *,
        max_queued: int,
        timeout: float,
        chat_heads: ChatHeads | None = None,
    ) -> None:
        self._database = database
        self._publish = publish
        self._timeout = timeout
        self._queue = FairQueue()
        self._unanswered = UnansweredSends(max_queued)
        self._last_deadline = 0.0
        self._locked_chats: dict[int, deque[QueuedSend]] = {}  # sends of chats whose lock is waited for
        self._lock_wait_slots = asyncio.Semaphore(MAX_LOCK_WAITS)
        self._lock_waits: set[asyncio.Task[None]] = set()
        self._wake = asyncio.Event()
        self._closing = False
        self._id_prefix = secrets.token_urlsafe(6)  # of each client_id that is made here: 48 random bits
        self._serial = itertools.count(1)
        self._connection: asyncpg.Connection | None = None  # set while connected
        self._chat_heads = chat_heads or ChatHeads()
        self._task: asyncio.Task[None] | None = None  # set while started

    def handle(self, event: object) -> None:
        """Update the cache from a bus event: chats change outside the ledger as well."""
        self._chat_heads.handle(event)

    @property
    def last_send(self) -> float:
        """When the last send was queued, by `time.monotonic()`."""
        return self._last_deadline - self._timeout

    def start(self) -> None:
        self._task = asyncio.create_task(self._run(), name="ledger")

    def send(self, sender: Sender, draft: MessageDraft) -> asyncio.Future[Message]:
        """Queue a message; the future returns the message once it is committed.

        Raises at once what `submit()` raises. The future may raise NotFound (no such chat for this sender),
        InvalidInput (`reply_to`, `attachments`), SessionEnded, ClientIdConflict, or Unavailable. After
        Unavailable the message may be stored or not; a retry under the same `client_id` finds out.
        """
        stored: asyncio.Future[Message] = asyncio.get_running_loop().create_future()

        def on_result(result: Message | Error) -> None:
            if stored.done():  # the caller was cancelled
                return
            if isinstance(result, Error):
                stored.set_exception(result)
            else:
                stored.set_result(result)

        self.submit(sender, draft, on_result)
        return stored

    def submit(self, sender: Sender, draft: MessageDraft, on_result: OnResult) -> None:
        """Queue a message. `on_result` is called once, with the committed message or an error.

        Messages of one sender to one chat are stored in the order of the calls. A `client_id` that this
        author has used in this chat returns the first message again. Raises at once InvalidInput,
        ClientIdConflict, Busy or ShuttingDown.
        """
        client_id, content, reply_to = draft.client_id, draft.content, draft.reply_to
        try:
            files = validation.attachments(draft.attachments) if draft.attachments else ()
            send = QueuedSend(
                draft.chat_id,
                sender.user_id,
                sender.session_id,
                validation.client_id(client_id) or f"{self._id_prefix}{next(self._serial):x}",
                validation.caption(content) if files else validation.message(content),
                validation.reply_to(reply_to),
                None if client_id is None else digest_of(content, reply_to, files),
                files,
                draft.author_override,
                time.monotonic() + self._timeout,
                [on_result],
            )
        except InvalidInput:
            raise InvalidInput.of_all(errors_of(draft)) from None
        earlier = self._unanswered.add(send, is_closed=self._closing)
        if earlier is not None:
            if earlier.digest != send.digest:
                raise ClientIdConflict
            earlier.on_results.append(on_result)
            return
        self._last_deadline = send.deadline
        self._queue.append(send)
        if not self._wake.is_set():
            self._wake.set()

    async def drain(self) -> None:
        """Accept no more sends, finish those in flight, and stop."""
        self._closing = True
        if self._task is None:
            return
        await self._unanswered.wait_until_empty()
        self._task.cancel()
        with suppress(asyncio.CancelledError):
            await self._task
        if self._connection is not None:
            self._connection.terminate()
        self._task = self._connection = None

    async def _run(self) -> None:
        stored: StoredBatch | None = None  # committed, and not reported yet
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
            # The database works on this batch while the results of the previous one are reported.
            storing = self._begin(batch)
            await asyncio.sleep(0)
            if stored is not None:
                await self._report(stored)
            stored = await self._store(batch, storing)
            if stored is not None and stored.has_retries:
                # Retries must be queued again before later sends of their chats are taken.
                await self._report(stored)
                stored = None

    async def _report(self, stored: StoredBatch) -> None:
        try:
            await self._settle(stored.batch, stored.results)
        except Exception:
            log.exception("batch failed", sends=len(stored.batch))
            unanswered = [send for send in stored.batch if send in self._unanswered]
            self._unanswered.fail(unanswered, InternalError())

    def _next_batch(self, unreported: int) -> list[QueuedSend]:
        """Take a batch from the queue, without the chats whose lock is waited for.

        A client that waits for an acknowledgement sends again as soon as it has one. So the batch is half
        of all sends in progress, the `unreported` ones of the previous batch included. Larger batches would
        make the two sides wait for each other: one batch would be large, the next one small.
        """
        batch: list[QueuedSend] = []
        limit = min(max((len(self._queue) + unreported + 1) // 2, MIN_BATCH_ROWS), BATCH_ROWS)
        characters = BATCH_CHARACTERS
        while self._queue and len(batch) < limit and characters > 0:
            send = self._queue.pop()
            waiting = self._locked_chats.get(send.chat_id)
            if waiting is not None:
                waiting.append(send)
                continue
            batch.append(send)
            characters -= len(send.content)
        return batch

    async def _store(
        self, batch: list[QueuedSend], storing: Awaitable[list[SendResult]]
    ) -> StoredBatch | None:
        """Store a batch, with retries while the database is away; `storing` is the first attempt.

        Returns None if all results were reported already.
        """
        attempt = 0
        while True:
            try:
                return StoredBatch(batch, await storing)
            except Exception as error:  # noqa: BLE001 (it is handled below: compiled handlers must not await)
                failure = error
            self._chat_heads.forget({send.chat_id for send in batch})
            if is_connection_error(failure) or isinstance(failure, (*RETRYABLE_ERRORS, Unavailable)):
                attempt += 1
                batch = await self._after_failure(batch, failure, attempt)
                if not batch:
                    return None
                storing = self._begin(batch)
            elif len(batch) == 1:
                log.error("send failed", chat_id=batch[0].chat_id, exc_info=failure)
                self._unanswered.fail(batch, InternalError())
                return None
            else:
                await self._store_halves(batch)
                return None

    async def _store_halves(self, batch: list[QueuedSend]) -> None:
        """Halve a batch that contains an invalid send until that one fails alone; order is kept."""
        batch = [send for send in batch if send in self._unanswered]
        middle = len(batch) // 2
        for half in (batch[:middle], batch[middle:]):
            stored = await self._store(half, self._begin(half))
            if stored is not None:
                await self._report(stored)

    def _begin(self, batch: list[QueuedSend]) -> asyncio.Task[list[SendResult]]:
        return asyncio.create_task(self._attempt(batch), name="ledger batch")

    async def _attempt(self, batch: list[QueuedSend]) -> list[SendResult]:
        connection = await self._connected()
        fast_append = self._chat_heads.plan(batch)
        if fast_append is not None:
            try:
                results = await fast_append.store(connection)
            except asyncpg.UniqueViolationError:  # a duplicate, which only APPEND can answer
                self._chat_heads.forget({send.chat_id for send in batch})
            else:
                self._chat_heads.stored(fast_append, results)
                return results
        results = await append(connection, batch)
        self._chat_heads.learn(batch, results)
        return results

    async def _connected(self) -> asyncpg.Connection:
        if self._connection is None or self._connection.is_closed():
            self._connection = await self._database.connect(**INDEXES_ONLY)
        return self._connection

    async def _after_failure(
        self, batch: list[QueuedSend], error: Exception, attempt: int
    ) -> list[QueuedSend]:
        """Pause, and return the sends of the batch that have not timed out."""
        if attempt == 1:
            log.warning("database away, retrying the batch", reason=str(error) or type(error).__name__)
        if self._connection is not None and not isinstance(error, (*RETRYABLE_ERRORS, Unavailable)):
            self._connection.terminate()
            self._connection = None
            await self._database.replace_pool()
        self._unanswered.fail_expired(batch, Unavailable())
        self._unanswered.fail_expired(self._queue, Unavailable())
        self._queue.keep(self._unanswered.__contains__)
        await asyncio.sleep(RETRY_PAUSES[min(attempt, len(RETRY_PAUSES)) - 1])
        return [send for send in batch if send in self._unanswered]

    async def _settle(self, batch: list[QueuedSend], results: list[SendResult]) -> None:
        """Publish and report each result. Sends to be retried go back to the head of the queue."""
        retries: list[QueuedSend] = []
        for send, result in zip(batch, results, strict=True):
            if isinstance(result, Stored):
                message = message_of(send, result)
                self._publish(MessageCreated(send.chat_id, message.version, message))
                self._unanswered.close(send)
                send.report(message)
            elif result.should_retry:
                send.skipped_rounds += result.verdict == "locked"
                retries.append(send)
            elif result.verdict == "duplicate":
                await self._report_duplicate(send, result)
            else:
                self._unanswered.fail([send], error_of(result.verdict))
        if retries:
            self._retry(retries)

    async def _report_duplicate(self, send: QueuedSend, result: Rejected) -> None:
        """Report the message that an earlier call, or an interrupted batch, has stored."""
        if result.stored_digest is not None and result.stored_digest != send.digest:
            self._unanswered.fail([send], ClientIdConflict())
            return
        message = await message_query.stored(self._database, send.chat_id, result.stored_id)
        if message is None:  # the chat was deleted a moment ago
            self._unanswered.fail([send], NoSuchChat())
            return
        if message.edited_at is None and message.deleted_at is None:
            # The process that stored it might have ended before it published. Hubs drop repetitions.
            self._publish(MessageCreated(send.chat_id, message.version, message))
        self._unanswered.close(send)
        send.report(message)

    def _retry(self, sends: list[QueuedSend]) -> None:
        locked = {send.chat_id for send in sends if send.skipped_rounds > MAX_SKIPPED_ROUNDS}
        for chat_id in locked:
            self._locked_chats[chat_id] = deque(send for send in sends if send.chat_id == chat_id)
            task = asyncio.create_task(self._wait_for_lock(chat_id), name=f"ledger chat {chat_id}")
            self._lock_waits.add(task)
            task.add_done_callback(self._lock_waits.discard)
        self._queue.put_back(send for send in sends if send.chat_id not in locked)

    async def _wait_for_lock(self, chat_id: int) -> None:
        """Store the sends of a locked chat in a transaction that waits for the chat's row.

        Sends to the chat that arrive meanwhile wait as well, so that order holds.
        """
        try:
            await self._lock_wait_slots.acquire()
            try:
                await self._append_locked(chat_id, list(self._locked_chats[chat_id])[:BATCH_ROWS])
            finally:
                self._lock_wait_slots.release()
        except Exception as error:  # noqa: BLE001 (after any failure the sends are retried in a batch)
            log.warning("waiting for a chat's lock failed", chat_id=chat_id, reason=repr(error))
        finally:
            waiting = self._locked_chats.pop(chat_id)
            self._unanswered.fail_expired(
                waiting, Busy("This chat is being changed; try again in a moment.")
            )
            self._queue.put_back(send for send in waiting if send in self._unanswered)
            self._wake.set()

    async def _append_locked(self, chat_id: int, sends: list[QueuedSend]) -> None:
        lock_timeout_ms = max(1, int(1000 * (sends[0].deadline - time.monotonic())))
        connection = await self._database.connect(**INDEXES_ONLY, lock_timeout=str(lock_timeout_ms))
        try:
            results = await append_locked(connection, chat_id, sends)
            await self._settle(sends, results)
        finally:
            connection.terminate()
