"""Caches each chat's newest id, version and permitted senders, so that most batches use the short INSERT.

A chat's *head* is its newest id and version. A chat's version covers everything that decides whether a
send is permitted: members and visibility cannot change while the version stays the same. So what APPEND
found out about a chat is cached with the version it holds for. Sessions and names of authors are cached
in known_sessions.py. FAST_APPEND (fast_append.py) stores a batch if both are still current. Chats with
webhooks are left to APPEND, which writes the outbox.
"""

from collections.abc import Iterable, Sequence
from dataclasses import dataclass, field
from datetime import datetime

from blazechat.database.arrays import numbers, texts
from blazechat.domain.events import ChatEvent, MessageDeleted, MessageUpdated
from blazechat.domain.messaging.fast_append import AssignedIds, CursorMoves, FastAppend
from blazechat.domain.messaging.known_sessions import KnownSession, KnownSessions
from blazechat.domain.messaging.sends import QueuedSend, SendResult, Stored

MAX_PERMITTED_SENDERS = 50_000
"""Cached senders of all chats together; each takes some 100 bytes."""
MAX_AUTHORS_IN_CHAT = 64
"""Read cursors that the row of a chat holds. With more authors than this, they are moved to `members`."""


@dataclass
class ChatHead:
    """The newest id and version of a chat, including those of batches that are not committed yet."""

    version: int
    last_message_id: int
    permitted: dict[int, int] = field(default_factory=dict)
    """By the id of a member who may send: the member sees, and may reply to, messages with greater ids than
    this."""
    read_ids: dict[int, int] = field(default_factory=dict)
    """The read cursors in the chat's row: the newest message of each author."""


class ChatHeads:
    """The cache. It evicts the chats that were cached first."""

    def __init__(self, max_senders: int = MAX_PERMITTED_SENDERS) -> None:
        self._max_senders = max_senders
        self._heads: dict[int, ChatHead] = {}
        self._senders = 0
        self._sessions = KnownSessions()

    def plan(self, batch: Sequence[QueuedSend]) -> FastAppend | None:
        """Assign ids and versions to the sends; None if APPEND has to check one of them."""
        assigned = self._permitted(batch)
        if assigned is None:
            return None
        heads = self._heads
        chat_ids = sorted({send.chat_id for send in batch})
        expected = [heads[chat_id].version for chat_id in chat_ids]
        sessions: dict[int, KnownSession] = {}
        for send, ids in zip(batch, assigned, strict=True):
            head = heads[send.chat_id]
            head.last_message_id = ids.message_id = head.last_message_id + 1
            head.version = ids.version = head.version + 1
            head.read_ids[send.author_id] = ids.message_id
            sessions[send.session_id] = ids.session
        new_heads = [heads[chat_id] for chat_id in chat_ids]
        moves = _take_cursors(chat_ids, new_heads)
        return FastAppend(
            batch,
            assigned,
            _columns(batch, assigned, chat_ids, expected, new_heads),
            moves,
            sessions,
            self._sessions.known_at(sessions.values()),
            _first_expiry(sessions.values()),
        )

    def _permitted(self, batch: Sequence[QueuedSend]) -> list[AssignedIds] | None:
        """Return the membership and the session of each send, without ids; None if one is not cached."""
        found = []
        for send in batch:
            head = self._heads.get(send.chat_id)
            if head is None or send.files or send.author_override is not None:
                return None
            visible_after = head.permitted.get(send.author_id)
            session = self._sessions.of(send.session_id, send.author_id)
            if visible_after is None or session is None:
                return None
            if send.reply_to is not None and not visible_after < send.reply_to <= head.last_message_id:
                return None
            found.append(AssignedIds(0, 0, visible_after, session))
        return found

    def stored(self, fast_append: FastAppend, results: Sequence[SendResult]) -> None:
        """Follow what FAST_APPEND has stored, and what it has found out about sessions."""
        if fast_append.checked_at is not None:
            self._sessions.confirm(
                fast_append.sessions.values(), fast_append.checked_at, fast_append.valid_until
            )
        for send, result in zip(fast_append.batch, results, strict=True):
            if not isinstance(result, Stored):
                self.forget([send.chat_id])

    def learn(self, batch: Sequence[QueuedSend], results: Sequence[SendResult]) -> None:
        """Cache what APPEND found out."""
        for send, result in zip(batch, results, strict=True):
            if not isinstance(result, Stored):
                if result.verdict == "session_ended":
                    self._sessions.forget(send.session_id)
                continue
            self._sessions.learn(send.session_id, result.session)
            if result.has_webhooks:
                self.forget([send.chat_id])
                continue
            head = self._heads.get(send.chat_id)
            if head is None or head.version + 1 != result.version:
                self.forget([send.chat_id])
                head = self._heads[send.chat_id] = ChatHead(0, 0)
            head.version, head.last_message_id = result.version, result.id
            head.read_ids = {}  # APPEND moves all cursors to `members`
            if send.author_id not in head.permitted:
                self._senders += 1
            head.permitted[send.author_id] = result.visible_after
        while self._senders > self._max_senders:
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


def _first_expiry(sessions: Iterable[KnownSession]) -> datetime:
    return min([session.expires_at for session in sessions])


def _take_cursors(chat_ids: Sequence[int], heads: Sequence[ChatHead]) -> CursorMoves | None:
    """Take the cursors of chats that have too many; None if no chat has."""
    moves = None
    for chat_id, head in zip(chat_ids, heads, strict=True):
        if len(head.read_ids) > MAX_AUTHORS_IN_CHAT:
            if moves is None:
                moves = CursorMoves([], [], [])
            moves.chat_ids += [chat_id] * len(head.read_ids)
            moves.user_ids += head.read_ids.keys()
            moves.read_ids += head.read_ids.values()
            head.read_ids = {}
    return moves


def _columns(
    batch: Sequence[QueuedSend],
    assigned: Sequence[AssignedIds],
    chat_ids: Sequence[int],
    expected_versions: Sequence[int],
    heads: Sequence[ChatHead],
) -> list[str]:
    """Return the columns of chats and messages, in the order of FAST_APPEND's parameters."""
    return [
        numbers(chat_ids),
        numbers(expected_versions),
        numbers([head.version for head in heads]),
        numbers([head.last_message_id for head in heads]),
        texts([numbers(head.read_ids) for head in heads]),
        texts([numbers(head.read_ids.values()) for head in heads]),
        numbers([send.chat_id for send in batch]),
        numbers([ids.message_id for ids in assigned]),
        numbers([ids.version for ids in assigned]),
        numbers([send.author_id for send in batch]),
        texts([send.content for send in batch]),
        texts([send.client_id for send in batch]),
        numbers([send.digest for send in batch]),
        numbers([send.reply_to for send in batch]),
    ]
