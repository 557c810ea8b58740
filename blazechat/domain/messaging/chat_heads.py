"""Where chats end, as far as the ledger knows: with that, most batches need no judging.

A version stands for everything that matters to a send: who is in the chat and what they may see cannot
have changed while it is the same. So what `APPEND` found out about a chat is kept with the version that
it holds for, and `EXTEND` stores a batch whose ids and versions are given out here, if the chats' rows
still have the versions that are expected. What is not so is told as `stale`, and judged by `APPEND`.
The sessions and names of the authors, which no chat's version stands for, it compares with the tables.
A retry meets the unique key, and the whole batch is refused. Chats of which webhooks are told are left to
`APPEND`, which writes the outbox.
"""

from collections.abc import Iterable, Sequence
from dataclasses import dataclass, field

import asyncpg

from blazechat.database.arrays import numbers, texts
from blazechat.domain.events import ChatEvent, MessageDeleted, MessageUpdated
from blazechat.domain.messaging.append import QueuedSend, Rejected, SendResult, Stored
from blazechat.domain.schemas.users import Author

MAX_PERMITTED_SENDERS = 50_000
"""Members whose right to send is remembered, of all chats; each takes some 300 bytes."""

FAST_APPEND = """
WITH given AS MATERIALIZED (
    SELECT $1::text::int8[] AS chats, $2::text::int8[] AS expected, $5::text::int8[] AS authors
), here AS MATERIALIZED (
    SELECT count(*) AS authors
    FROM unnest($5::text::int8[], $6::text::int8[], $7::text::text[], $8::text::text[])
        AS a (session_id, user_id, username, display_name)
    CROSS JOIN LATERAL (
        SELECT FROM sessions WHERE id = a.session_id AND user_id = a.user_id
            AND revoked_at IS NULL AND expires_at > now() LIMIT 1
    ) s
    CROSS JOIN LATERAL (
        SELECT FROM users WHERE id = a.user_id
            AND username = a.username AND display_name = a.display_name LIMIT 1
    ) u
), locked AS MATERIALIZED (
    SELECT id, version FROM chats WHERE id = ANY ((SELECT chats FROM given)::int8[]) AND hooks = 0
    ORDER BY id FOR NO KEY UPDATE SKIP LOCKED
), ready AS MATERIALIZED (
    SELECT coalesce(array_agg(id ORDER BY id), '{}') AS ids FROM given, here, locked
    WHERE version = expected[width_bucket(id, chats)] AND here.authors = cardinality(given.authors)
        AND NOT EXISTS (SELECT FROM webhooks WHERE chat_id IS NULL AND disabled_at IS NULL)
), advanced AS (
    UPDATE chats SET version = c.version, last_message_id = c.newest
    FROM ready, unnest($1::text::int8[], $3::text::int8[], $4::text::int8[]) AS c (id, version, newest)
    WHERE chats.id = c.id AND ids[width_bucket(c.id, ids)] = c.id
), inserted AS (
    INSERT INTO messages (chat_id, id, version, author_id, content, client_id, digest, reply_to)
    SELECT m.* FROM ready, unnest(
        $9::text::int8[], $10::text::int8[], $11::text::int8[], $12::text::int8[],
        $13::text::text[], $14::text::text[], $15::text::int8[], $16::text::int8[]
    ) AS m (chat_id, id, version, author_id, content, client_id, digest, reply_to)
    WHERE ids[width_bucket(m.chat_id, ids)] = m.chat_id
), read AS (
    UPDATE members SET read_id = r.id
    FROM ready, unnest($17::text::int8[], $18::text::int8[], $19::text::int8[])
        AS r (chat_id, author_id, id)
    WHERE members.chat_id = r.chat_id AND members.user_id = r.author_id
        AND ids[width_bucket(r.chat_id, ids)] = r.chat_id
)
SELECT now() AS created_at, ids FROM ready
"""


@dataclass(slots=True)
class PermittedSender:
    """A member who may send."""

    author: Author
    visible_after: int


@dataclass(slots=True)
class ChatHead:
    """The end of a chat, batches that are on their way to the database included."""

    version: int
    last_message_id: int
    permitted: dict[int, PermittedSender] = field(default_factory=dict)


@dataclass(slots=True)
class FastAppend:
    """A batch with its places behind the tails."""

    batch: Sequence[QueuedSend]
    positions: list[tuple[int, int, PermittedSender]]
    """The id and the version of each send, and who it is by."""
    columns: list[str]
    """The arguments of EXTEND."""

    async def store(self, connection: asyncpg.Connection) -> list[SendResult]:
        """The outcomes, in the order of the batch. Raises asyncpg.UniqueViolationError for a retry."""
        (row,) = await connection.fetch(FAST_APPEND, *self.columns)
        created_at, stored = row["created_at"], set(row["ids"])
        return [
            Stored(place, version, created_at, writer.author, writer.visible_after, hooked=False)
            if send.chat_id in stored
            else Rejected("stale")
            for send, (place, version, writer) in zip(self.batch, self.positions, strict=True)
        ]


class ChatHeads:
    def __init__(self) -> None:
        self._tails: dict[int, ChatHead] = {}
        self._writers = 0

    def plan(self, batch: Sequence[QueuedSend]) -> FastAppend | None:
        """Give the sends their places; None if one of them has to be judged."""
        tails = self._tails
        writers = []
        for send in batch:
            tail = tails.get(send.chat_id)
            writer = tail.permitted.get(send.author_id) if tail is not None else None
            if tail is None or writer is None or send.files or send.override:
                return None
            if (
                send.reply_to is not None
                and not writer.visible_after < send.reply_to <= tail.last_message_id
            ):
                return None
            writers.append(writer)
        chat_ids = sorted({send.chat_id for send in batch})
        expected = [tails[chat_id].version for chat_id in chat_ids]
        places = []
        for send, writer in zip(batch, writers, strict=True):
            tail = tails[send.chat_id]
            tail.last_message_id += 1
            tail.version += 1
            places.append((tail.last_message_id, tail.version, writer))
        ends = [tails[chat_id] for chat_id in chat_ids]
        authors = {
            (send.session_id, send.author_id): writer.author
            for send, writer in zip(batch, writers, strict=True)
        }
        read = {(send.chat_id, send.author_id): place[0] for send, place in zip(batch, places, strict=True)}
        columns = [
            numbers(chat_ids),
            numbers(expected),
            numbers(tail.version for tail in ends),
            numbers(tail.last_message_id for tail in ends),
            numbers(session_id for session_id, _ in authors),
            numbers(author_id for _, author_id in authors),
            texts(author.username for author in authors.values()),
            texts(author.display_name for author in authors.values()),
            numbers(send.chat_id for send in batch),
            numbers(place[0] for place in places),
            numbers(place[1] for place in places),
            numbers(send.author_id for send in batch),
            texts(send.content for send in batch),
            texts(send.client_id for send in batch),
            numbers(send.digest for send in batch),
            numbers(send.reply_to for send in batch),
            numbers(chat_id for chat_id, _ in read),
            numbers(author_id for _, author_id in read),
            numbers(read.values()),
        ]
        return FastAppend(batch, places, columns)

    def learn(self, batch: Sequence[QueuedSend], outcomes: Sequence[SendResult]) -> None:
        """Take over what APPEND found out."""
        for send, outcome in zip(batch, outcomes, strict=True):
            if not isinstance(outcome, Stored):
                continue
            if outcome.hooked:
                self.forget([send.chat_id])
                continue
            tail = self._tails.get(send.chat_id)
            if tail is None or tail.version + 1 != outcome.version:
                self.forget([send.chat_id])
                tail = self._tails[send.chat_id] = ChatHead(0, 0)
            tail.version, tail.last_message_id = outcome.version, outcome.id
            if send.author_id not in tail.permitted:
                self._writers += 1
            tail.permitted[send.author_id] = PermittedSender(outcome.author, outcome.visible_after)
        while self._writers > MAX_PERMITTED_SENDERS:
            self.forget([next(iter(self._tails))])

    def forget(self, chat_ids: Iterable[int]) -> None:
        for chat_id in chat_ids:
            tail = self._tails.pop(chat_id, None)
            if tail is not None:
                self._writers -= len(tail.permitted)

    def handle(self, event: object) -> None:
        """Follow what others do in the chats; what is missed here costs an attempt, no more."""
        if not isinstance(event, ChatEvent):
            return
        tail = self._tails.get(event.chat_id)
        if tail is None or event.version <= tail.version:
            return
        if event.version == tail.version + 1 and isinstance(event, MessageUpdated | MessageDeleted):
            tail.version += 1
        else:
            self.forget([event.chat_id])
