"""Caches each chat's newest id, version and permitted senders, so that most batches use the short INSERT.

A chat's *head* is its newest id and version. A chat's version covers everything that decides whether a send
is permitted: members and visibility cannot change while the version stays the same. So what APPEND found
out about a chat is cached with the version it holds for.

FAST_APPEND stores a batch with ids and versions that are assigned here, if the chats' rows still have the
expected versions. A chat whose version differs, or whose row is locked, gets the verdict `stale`, and
APPEND stores its sends. Sessions and names of authors are covered by no chat's version, so the statement
compares them with the tables; if one differs, all sends are `stale`. A duplicate violates the unique key
and fails the whole batch. Chats with webhooks are left to APPEND, which writes the outbox.
"""

from collections.abc import Iterable, Sequence
from dataclasses import dataclass, field

import asyncpg
from msgspec import Struct

from blazechat.database.arrays import numbers, texts
from blazechat.domain.events import ChatEvent, MessageDeleted, MessageUpdated
from blazechat.domain.messaging.sends import QueuedSend, Rejected, SendResult, Stored
from blazechat.domain.schemas.users import Author

MAX_PERMITTED_SENDERS = 50_000
"""Cached senders of all chats together; each takes some 300 bytes."""

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
    """The sender sees, and may reply to, messages with greater ids than this."""


@dataclass(slots=True)
class ChatHead:
    """The newest id and version of a chat, including those of batches that are not committed yet."""

    version: int
    last_message_id: int
    permitted: dict[int, PermittedSender] = field(default_factory=dict)


class AssignedIds(Struct, gc=False):
    """The id and version assigned to a send."""

    message_id: int
    version: int
    sender: PermittedSender


@dataclass(slots=True)
class FastAppend:
    """A batch with assigned ids, ready for FAST_APPEND."""

    batch: Sequence[QueuedSend]
    assigned: list[AssignedIds]
    columns: list[str]
    """The arguments of FAST_APPEND."""

    async def store(self, connection: asyncpg.Connection) -> list[SendResult]:
        """Return a result per send. Raises asyncpg.UniqueViolationError if one of them is a duplicate."""
        (row,) = await connection.fetch(FAST_APPEND, *self.columns)
        created_at, stored = row["created_at"], set(row["ids"])
        return [
            Stored(
                ids.message_id,
                ids.version,
                created_at,
                ids.sender.author,
                ids.sender.visible_after,
                has_webhooks=False,
            )
            if send.chat_id in stored
            else Rejected("stale")
            for send, ids in zip(self.batch, self.assigned, strict=True)
        ]


class ChatHeads:
    """The cache. It evicts the chats that were cached first."""

    def __init__(self) -> None:
        self._heads: dict[int, ChatHead] = {}
        self._senders = 0

    def plan(self, batch: Sequence[QueuedSend]) -> FastAppend | None:
        """Assign ids and versions to the sends; None if APPEND has to check one of them."""
        senders = self._permitted(batch)
        if senders is None:
            return None
        heads = self._heads
        chat_ids = sorted({send.chat_id for send in batch})
        expected = [heads[chat_id].version for chat_id in chat_ids]
        assigned: list[AssignedIds] = []
        for send, sender in zip(batch, senders, strict=True):
            head = heads[send.chat_id]
            head.last_message_id += 1
            head.version += 1
            assigned.append(AssignedIds(head.last_message_id, head.version, sender))
        new_heads = [heads[chat_id] for chat_id in chat_ids]
        return FastAppend(batch, assigned, _columns(batch, assigned, chat_ids, expected, new_heads))

    def _permitted(self, batch: Sequence[QueuedSend]) -> list[PermittedSender] | None:
        senders = []
        for send in batch:
            head = self._heads.get(send.chat_id)
            sender = head.permitted.get(send.author_id) if head is not None else None
            if head is None or sender is None or send.files or send.author_override:
                return None
            if (
                send.reply_to is not None
                and not sender.visible_after < send.reply_to <= head.last_message_id
            ):
                return None
            senders.append(sender)
        return senders

    def learn(self, batch: Sequence[QueuedSend], results: Sequence[SendResult]) -> None:
        """Cache what APPEND found out."""
        for send, result in zip(batch, results, strict=True):
            if not isinstance(result, Stored):
                continue
            if result.has_webhooks:
                self.forget([send.chat_id])
                continue
            head = self._heads.get(send.chat_id)
            if head is None or head.version + 1 != result.version:
                self.forget([send.chat_id])
                head = self._heads[send.chat_id] = ChatHead(0, 0)
            head.version, head.last_message_id = result.version, result.id
            if send.author_id not in head.permitted:
                self._senders += 1
            head.permitted[send.author_id] = PermittedSender(result.author, result.visible_after)
        while self._senders > MAX_PERMITTED_SENDERS:
            self.forget([next(iter(self._heads))])

    def forget(self, chat_ids: Iterable[int]) -> None:
        for chat_id in chat_ids:
            head = self._heads.pop(chat_id, None)
            if head is not None:
                self._senders -= len(head.permitted)

    def handle(self, event: object) -> None:
        """Follow changes made outside the ledger. A missed event costs one attempt, not correctness."""
        if not isinstance(event, ChatEvent):
            return
        head = self._heads.get(event.chat_id)
        if head is None or event.version <= head.version:
            return
        if event.version == head.version + 1 and isinstance(event, MessageUpdated | MessageDeleted):
            head.version += 1
        else:
            self.forget([event.chat_id])


def _columns(
    batch: Sequence[QueuedSend],
    assigned: Sequence[AssignedIds],
    chat_ids: Sequence[int],
    expected_versions: Sequence[int],
    heads: Sequence[ChatHead],
) -> list[str]:
    """Return the arguments of FAST_APPEND, in the order of its parameters."""
    authors: dict[tuple[int, int], Author] = {}
    read: dict[tuple[int, int], int] = {}
    for send, ids in zip(batch, assigned, strict=True):
        authors[send.session_id, send.author_id] = ids.sender.author
        read[send.chat_id, send.author_id] = ids.message_id
    return [
        numbers(chat_ids),
        numbers(expected_versions),
        numbers(head.version for head in heads),
        numbers(head.last_message_id for head in heads),
        numbers(session_id for session_id, _ in authors),
        numbers(author_id for _, author_id in authors),
        texts(author.username for author in authors.values()),
        texts(author.display_name for author in authors.values()),
        numbers(send.chat_id for send in batch),
        numbers(ids.message_id for ids in assigned),
        numbers(ids.version for ids in assigned),
        numbers(send.author_id for send in batch),
        texts(send.content for send in batch),
        texts(send.client_id for send in batch),
        numbers(send.digest for send in batch),
        numbers(send.reply_to for send in batch),
        numbers(chat_id for chat_id, _ in read),
        numbers(author_id for _, author_id in read),
        numbers(read.values()),
    ]
