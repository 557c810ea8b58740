"""The ledger: the only way a message comes into being. Group commit.

Sends of all sockets and requests queue up while the batch before them commits; then the queue goes to
PostgreSQL as one statement (`APPEND`), which checks sessions and membership, finds retries, takes ids
and versions from the chats' rows and inserts. There is no timer: an idle ledger costs a send one
round trip, a busy one makes its batches larger by itself. docs/decisions/0002-group-commit.md has the
alternatives.

What the statement leans on:

- Every change in a chat raises `chats.version` under a lock of the chat's row. So if the row, once
  locked, has the version that the statement's snapshot shows, then everything else that the snapshot
  shows of this chat (members, retries) is current. If it has not, the chat is tried again at once.
- Rows are locked in the order of ids, and rows that somebody else holds are skipped, so that no chat
  waits for another. After a few rounds a chat is waited for, aside from the others.
- Every message has a `client_id`, its sender's or one made here. So when the connection breaks in the
  middle of a commit, sending the same batch again is safe.
"""

import asyncio
import hashlib
import itertools
import secrets
import time
from collections import deque
from collections.abc import Awaitable, Callable, Iterable
from contextlib import suppress
from dataclasses import dataclass, field
from typing import Any

import asyncpg
import structlog

from blazechat.database import tables
from blazechat.database.direct import INDEXES_ONLY
from blazechat.database.engine import OVERTAKEN, Database, is_away
from blazechat.domain import texts
from blazechat.domain.errors import (
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
from blazechat.domain.events import MessageCreated
from blazechat.domain.shapes import Author, Message
from blazechat.domain.shown import shaped

log = structlog.get_logger("blazechat.ledger")

BATCH_ROWS = 500
BATCH_CHARACTERS = 2_000_000
QUEUED_CHARACTERS = 64_000_000
"""What may wait in memory, beside the limit on how many."""
PATIENT_ROUNDS = 3
"""How often a chat whose row is taken is skipped before it is waited for."""
CHATS_ASIDE = 4
"""Chats that are waited for at once, each with a connection of its own."""
RETRY_PAUSES = (0.02, 0.05, 0.1, 0.2, 0.5)
"""Seconds between attempts to reach a database that is away; the last one repeats."""

APPEND = """
WITH locked AS MATERIALIZED (
    SELECT id, version, last_message_id FROM chats WHERE id = ANY ($8::int8[])
    ORDER BY id FOR NO KEY UPDATE SKIP LOCKED
), ready AS MATERIALIZED (
    SELECT coalesce(array_agg(l.id ORDER BY l.id), '{}') AS ids,
        array_agg(l.version ORDER BY l.id) AS versions,
        array_agg(l.last_message_id ORDER BY l.id) AS newest,
        array_agg(seen.history = 'joined' ORDER BY l.id) AS from_joining
    FROM locked l CROSS JOIN LATERAL (
        SELECT history FROM chats WHERE id = l.id AND version = l.version LIMIT 1
    ) seen
), input AS MATERIALIZED (
    SELECT i.*, width_bucket(i.chat_id, ready.ids) AS k
    FROM ready, unnest(
        $1::int8[], $2::int8[], $3::int8[], $4::text[], $5::text[], $6::int8[], $7::int8[]
    ) WITH ORDINALITY
    AS i (chat_id, author_id, session_id, client_id, content, digest, reply_to, place)
), judged AS MATERIALIZED (
    SELECT i.*, ready.versions[k] AS version, ready.newest[k] AS newest,
        old.id AS old_id, old.digest AS old_digest,
        CASE
            WHEN s.id IS NULL THEN 'session'
            WHEN m.user_id IS NULL THEN 'stranger'
            WHEN ready.ids[k] IS DISTINCT FROM i.chat_id THEN 'again'
            WHEN old.id IS NOT NULL THEN 'old'
            WHEN i.reply_to > ready.newest[k] THEN 'reply'
            WHEN i.reply_to <= m.joined_id AND ready.from_joining[k] THEN 'reply'
            ELSE 'new'
        END AS verdict
    FROM ready, input i
    LEFT JOIN LATERAL (
        SELECT user_id, joined_id FROM members
        WHERE chat_id = i.chat_id AND user_id = i.author_id LIMIT 1
    ) m ON true
    LEFT JOIN LATERAL (
        SELECT id FROM sessions WHERE id = i.session_id AND user_id = i.author_id
            AND revoked_at IS NULL AND expires_at > now() LIMIT 1
    ) s ON true
    LEFT JOIN LATERAL (
        SELECT id, digest FROM messages
        WHERE author_id = i.author_id AND client_id = i.client_id AND chat_id + 0 = i.chat_id LIMIT 1
    ) old ON true
), placed AS MATERIALIZED (
    SELECT *, newest + row_number() OVER chat AS id, version + row_number() OVER chat AS v
    FROM judged WHERE verdict = 'new'
    WINDOW chat AS (PARTITION BY chat_id ORDER BY place)
), inserted AS (
    INSERT INTO messages (chat_id, id, version, author_id, content, client_id, digest, reply_to)
    SELECT chat_id, id, v, author_id, content, client_id, digest, reply_to FROM placed
), advanced AS (
    UPDATE chats SET last_message_id = p.id, version = p.v
    FROM (SELECT chat_id, max(id) AS id, max(v) AS v FROM placed GROUP BY chat_id) p
    WHERE chats.id = p.chat_id
), read AS (
    UPDATE members SET read_id = p.id
    FROM (SELECT chat_id, author_id, max(id) AS id FROM placed GROUP BY chat_id, author_id) p
    WHERE members.chat_id = p.chat_id AND members.user_id = p.author_id
)
SELECT place, verdict, p.id, p.v AS version, now() AS created_at, NULL::int8 AS old_id,
    NULL::int8 AS old_digest, u.username, u.display_name
FROM placed p CROSS JOIN LATERAL (
    SELECT username, display_name FROM users WHERE id = p.author_id LIMIT 1
) u
UNION ALL
SELECT place, verdict, NULL, NULL, NULL, old_id, old_digest, NULL, NULL
FROM judged WHERE verdict <> 'new'
ORDER BY place
"""

Answer = Callable[[Message | Error], None]
"""Takes what became of a send."""


@dataclass(slots=True, eq=False)
class Send:
    """One message on its way into a chat."""

    chat_id: int
    author_id: int
    session_id: int
    client_id: str
    content: str
    reply_to: int | None
    digest: int | None  # None where the client_id was made here
    deadline: float
    tell: list[Answer] = field(default_factory=list)
    rounds: int = 0  # in how many batches the chat's row was taken

    @property
    def key(self) -> tuple[int, int, str]:
        return self.chat_id, self.author_id, self.client_id

    def answer(self, outcome: Message | Error) -> None:
        for tell in self.tell:
            tell(outcome)


@dataclass(slots=True)
class Stored:
    """A batch that is committed, and what became of each of its sends."""

    batch: list[Send]
    rows: list[asyncpg.Record]


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
        self._queue: deque[Send] = deque()
        self._open: dict[tuple[int, int, str], Send] = {}  # all that was not answered yet
        self._characters = 0  # of all that was not answered yet
        self._aside: dict[int, deque[Send]] = {}  # chats that are being waited for
        self._places_aside = asyncio.Semaphore(CHATS_ASIDE)
        self._waiting_tasks: set[asyncio.Task[None]] = set()
        self._wake = asyncio.Event()
        self._idle = asyncio.Event()
        self._idle.set()
        self._closing = False
        self._prefix = f"{secrets.token_urlsafe(9)}."  # of the client_ids that are made here
        self._serial = itertools.count(1)
        self._connection: asyncpg.Connection | None = None  # set while it works
        self._task: asyncio.Task[None] | None = None  # set while started

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
    ) -> asyncio.Future[Message]:
        """Queue a message; the future is done when it is committed, with the message as stored.

        Raises at once what `submit()` does. The future may raise NotFound (no such chat for this author),
        InvalidInput (`reply_to`), Unauthenticated, ClientIdConflict, or Unavailable, after which the
        message may or may not be stored: sending it again under its `client_id` tells.
        """
        stored: asyncio.Future[Message] = asyncio.get_running_loop().create_future()

        def settle(outcome: Message | Error) -> None:
            if stored.done():  # nobody waits any more
                return
            if isinstance(outcome, Error):
                stored.set_exception(outcome)
            else:
                stored.set_result(outcome)

        self.submit(chat_id, author_id, session_id, content, client_id, reply_to, settle)
        return stored

    def submit(
        self,
        chat_id: int,
        author_id: int,
        session_id: int,
        content: Any,
        client_id: Any,
        reply_to: Any,
        tell: Answer,
    ) -> None:
        """Queue a message; `tell` is called once, with the committed message or an error.

        Messages of one caller to one chat are stored in the order of their calls. A `client_id` that
        this author used in this chat before gives the first message again. Raises at once InvalidInput,
        ClientIdConflict, Busy or ShuttingDown.
        """
        send = Send(
            chat_id,
            author_id,
            session_id,
            texts.client_id(client_id) or f"{self._prefix}{next(self._serial)}",
            texts.message(content),
            texts.reply_to(reply_to),
            None if client_id is None else _digest(content, reply_to),
            deadline=time.monotonic() + self._timeout,
        )
        twin = self._open.get(send.key)
        if twin is not None:
            if twin.digest != send.digest:
                raise ClientIdConflict
            twin.tell.append(tell)
            return
        self._admit(send)
        send.tell.append(tell)
        self._queue.append(send)
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

    def _admit(self, send: Send) -> None:
        if self._closing:
            raise ShuttingDown
        size = self._characters + len(send.content)
        if len(self._open) >= self._max_queued or size > QUEUED_CHARACTERS:
            raise Busy(retry_after=1)
        self._open[send.key] = send
        self._characters = size
        self._idle.clear()

    async def _run(self) -> None:
        stored: Stored | None = None  # what was committed and is not told yet
        while True:
            batch = self._next_batch()
            if not batch:
                if stored is not None:
                    await self._tell(stored)
                    stored = None
                else:
                    await self._wake.wait()
                    self._wake.clear()
                continue
            # The database works on this batch while the one before it is told.
            rows = self._store(batch)
            await asyncio.sleep(0)
            if stored is not None:
                await self._tell(stored)
            stored = await self._append(batch, rows)
            if stored is not None and any(row["verdict"] == "again" for row in stored.rows):
                # They have to be in the queue again before anything behind them goes.
                await self._tell(stored)
                stored = None

    async def _tell(self, stored: Stored) -> None:
        try:
            await self._settle(stored.batch, stored.rows)
        except Exception:
            log.exception("batch failed", sends=len(stored.batch))
            self._fail(filter(self._is_open, stored.batch), InternalError())

    def _next_batch(self) -> list[Send]:
        """The head of the queue, without the chats that are being waited for."""
        batch: list[Send] = []
        room = BATCH_CHARACTERS
        while self._queue and len(batch) < BATCH_ROWS and room > 0:
            send = self._queue.popleft()
            aside = self._aside.get(send.chat_id)
            if aside is not None:
                aside.append(send)
                continue
            batch.append(send)
            room -= len(send.content)
        return batch

    async def _append(self, batch: list[Send], first: Awaitable[list[Any]]) -> Stored | None:
        """Store a batch, however often the database has to be reached for it; `first` is the first attempt.

        None if all of it was told already.
        """
        attempt, rows = 0, first
        while True:
            try:
                return Stored(batch, await rows)
            except Exception as error:
                if is_away(error) or isinstance(error, (*OVERTAKEN, Unavailable)):
                    attempt += 1
                    batch = await self._after_failure(batch, error, attempt)
                    if not batch:
                        return None
                    rows = self._store(batch)
                elif len(batch) == 1:
                    log.exception("send failed", chat_id=batch[0].chat_id)
                    self._fail(batch, InternalError())
                    return None
                else:
                    await self._append_halves(batch)
                    return None

    async def _append_halves(self, batch: list[Send]) -> None:
        """Something in the batch cannot be stored. Halve until it fails alone, in order."""
        batch = list(filter(self._is_open, batch))
        middle = len(batch) // 2
        for half in (batch[:middle], batch[middle:]):
            stored = await self._append(half, self._store(half))
            if stored is not None:
                await self._tell(stored)

    def _store(self, batch: list[Send]) -> asyncio.Task[list[asyncpg.Record]]:
        return asyncio.create_task(self._fetch(_columns(batch)), name="ledger batch")

    async def _fetch(self, columns: list[list[Any]]) -> list[asyncpg.Record]:
        connection = await self._connected()
        rows: list[asyncpg.Record] = await connection.fetch(APPEND, *columns)
        return rows

    async def _connected(self) -> asyncpg.Connection:
        if self._connection is None or self._connection.is_closed():
            self._connection = await self._database.connect(**INDEXES_ONLY)
        return self._connection

    async def _after_failure(self, batch: list[Send], error: Exception, attempt: int) -> list[Send]:
        """Wait a little; return what of the batch is still worth another attempt."""
        if attempt == 1:
            log.warning("database away, trying again", reason=str(error) or type(error).__name__)
        if self._connection is not None and not isinstance(error, (*OVERTAKEN, Unavailable)):
            self._connection.terminate()
            self._connection = None
            await self._database.forget_connections()
        self._fail_expired(batch, Unavailable())
        self._fail_expired(self._queue, Unavailable())
        self._queue = deque(filter(self._is_open, self._queue))
        await asyncio.sleep(RETRY_PAUSES[min(attempt, len(RETRY_PAUSES)) - 1])
        return list(filter(self._is_open, batch))

    async def _settle(self, batch: list[Send], rows: list[asyncpg.Record]) -> None:
        """Answer each send by its row. Those whose chat was taken go back to the head of the queue."""
        again: list[Send] = []
        for send, row in zip(batch, rows, strict=True):
            verdict = row["verdict"]
            if verdict == "new":
                message = _created(send, row)
                self._publish(MessageCreated(send.chat_id, message.version, message))
                self._close(send)
                send.answer(message)
            elif verdict == "again":
                again.append(send)
            elif verdict == "old":
                await self._answer_retry(send, row)
            else:
                self._fail([send], _refusal(verdict))
        if again:
            self._try_again(again)

    async def _answer_retry(self, send: Send, row: asyncpg.Record) -> None:
        """The message is stored already: by an earlier call, or by a batch that was cut off."""
        if row["old_digest"] is not None and row["old_digest"] != send.digest:
            self._fail([send], ClientIdConflict())
            return
        async with self._database.transaction() as session:
            found = await shaped(
                session,
                tables.Message.chat_id == send.chat_id,
                tables.Message.id == row["old_id"],
            )
        if not found:  # the chat was deleted a moment ago
            self._fail([send], NoSuchChat())
            return
        (message,) = found
        if message.edited_at is None and message.deleted_at is None:
            # Whoever stored it may not have lived to tell. Hubs drop what they know.
            self._publish(MessageCreated(send.chat_id, message.version, message))
        self._close(send)
        send.answer(message)

    def _try_again(self, sends: list[Send]) -> None:
        for send in sends:
            send.rounds += 1
        stuck = {send.chat_id for send in sends if send.rounds > PATIENT_ROUNDS}
        for chat_id in stuck:
            self._aside[chat_id] = deque(send for send in sends if send.chat_id == chat_id)
            task = asyncio.create_task(self._wait_for(chat_id), name=f"ledger chat {chat_id}")
            self._waiting_tasks.add(task)
            task.add_done_callback(self._waiting_tasks.discard)
        self._queue.extendleft(reversed([send for send in sends if send.chat_id not in stuck]))

    async def _wait_for(self, chat_id: int) -> None:
        """Store what is aside for a chat in a transaction that waits for the chat's row.

        Sends that come meanwhile are put aside too, so that order holds.
        """
        try:
            async with self._places_aside:
                await self._append_waiting(chat_id, list(self._aside[chat_id])[:BATCH_ROWS])
        except Exception as error:  # noqa: BLE001 (whatever it is, the sends go the ordinary way)
            log.warning("waiting for a chat failed", chat_id=chat_id, reason=repr(error))
        finally:
            aside = self._aside.pop(chat_id)
            self._fail_expired(aside, Busy("This chat is being changed; try again in a moment."))
            self._queue.extendleft(filter(self._is_open, reversed(aside)))
            self._wake.set()

    async def _append_waiting(self, chat_id: int, sends: list[Send]) -> None:
        patience = max(1, int(1000 * (sends[0].deadline - time.monotonic())))
        connection = await self._database.connect(**INDEXES_ONLY, lock_timeout=str(patience))
        try:
            async with connection.transaction():
                lock = "SELECT FROM chats WHERE id = $1 FOR NO KEY UPDATE"
                await connection.execute(lock, chat_id)
                rows = await connection.fetch(APPEND, *_columns(sends))
            await self._settle(sends, rows)
        finally:
            connection.terminate()

    def _close(self, send: Send) -> None:
        if self._open.get(send.key) is not send:
            return  # answered before
        del self._open[send.key]
        self._characters -= len(send.content)
        if not self._open:
            self._idle.set()

    def _is_open(self, send: Send) -> bool:
        return self._open.get(send.key) is send

    def _fail_expired(self, sends: Iterable[Send], error: Error) -> None:
        now = time.monotonic()
        self._fail([send for send in sends if send.deadline <= now], error)

    def _fail(self, sends: Iterable[Send], error: Error) -> None:
        for send in sends:
            self._close(send)
            send.answer(error)


def _columns(batch: list[Send]) -> list[list[Any]]:
    """The arguments of APPEND."""
    return [
        [send.chat_id for send in batch],
        [send.author_id for send in batch],
        [send.session_id for send in batch],
        [send.client_id for send in batch],
        [send.content for send in batch],
        [send.digest for send in batch],
        [send.reply_to for send in batch],
        list({send.chat_id for send in batch}),
    ]


def _refusal(verdict: str) -> Error:
    if verdict == "session":
        return Unauthenticated("This session has ended; log in again.")
    if verdict == "reply":
        return InvalidInput.of("reply_to", "There is no such message to reply to in this chat.")
    return NoSuchChat()


def _created(send: Send, row: asyncpg.Record) -> Message:
    return Message(
        id=row["id"],
        chat_id=send.chat_id,
        user_id=send.author_id,
        user=Author(send.author_id, row["username"], row["display_name"]),
        content=send.content,
        client_id=send.client_id,
        reply_to=send.reply_to,
        version=row["version"],
        is_read=False,
        created_at=row["created_at"],
        updated_at=row["created_at"],
        edited_at=None,
        deleted_at=None,
        pinned_at=None,
        reactions=[],
    )


def _digest(content: str, reply_to: int | None) -> int:
    """What tells a message from another under the same client_id: 64 bits of BLAKE2b."""
    body = f"{reply_to or ''}\n{content}".encode()
    return int.from_bytes(hashlib.blake2b(body, digest_size=8).digest(), "big", signed=True)
