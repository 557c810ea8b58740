"""One send on its way into a chat: the sender's draft, the queued send, and its result."""

import hashlib
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from datetime import datetime
from typing import Any, NamedTuple

from blazechat.domain import validation
from blazechat.domain.messaging.known_sessions import KnownSession
from blazechat.domain.schemas.files import Attachment
from blazechat.domain.schemas.messages import AuthorOverride, Message
from blazechat.errors import Error, FieldError, InvalidInput

OnResult = Callable[[Message | Error], None]
"""Called once with the result of a send: the committed message, or an error."""


class Sender:
    """The author of a message and the session that sends it."""

    __slots__ = ("session_id", "user_id")

    def __init__(self, user_id: int, session_id: int) -> None:
        self.user_id = user_id
        self.session_id = session_id


class MessageDraft:
    """A message as its sender gave it, not validated yet."""

    __slots__ = ("attachments", "author_override", "chat_id", "client_id", "content", "reply_to")

    def __init__(
        self,
        chat_id: int,
        content: Any,
        client_id: Any = None,
        reply_to: Any = None,
        attachments: Any = None,
        author_override: AuthorOverride | None = None,
    ) -> None:
        self.chat_id = chat_id
        self.content = content
        self.client_id = client_id
        """The sender's idempotency key; None if the sender gave none."""
        self.reply_to = reply_to
        self.attachments = attachments
        self.author_override = author_override


class QueuedSend:
    """A validated message in the ledger's queue."""

    __slots__ = (
        "attachments",
        "author_id",
        "author_override",
        "chat_id",
        "client_id",
        "content",
        "deadline",
        "digest",
        "files",
        "on_results",
        "reply_to",
        "session_id",
        "skipped_rounds",
    )

    def __init__(
        self,
        chat_id: int,
        author_id: int,
        session_id: int,
        client_id: str,
        content: str,
        reply_to: int | None,
        digest: int | None,
        files: tuple[int, ...],
        author_override: AuthorOverride | None,
        deadline: float,
        on_results: list[OnResult],
    ) -> None:
        self.chat_id = chat_id
        self.author_id = author_id
        self.session_id = session_id
        self.client_id = client_id
        self.content = content
        self.reply_to = reply_to
        self.digest = digest
        """Digest of the body, to find another body under the same `client_id`; None if the ledger made the
        `client_id`."""
        self.files = files
        self.author_override = author_override
        self.deadline = deadline
        """By `time.monotonic()`: when the send fails if the database is still away."""
        self.on_results = on_results
        self.skipped_rounds = 0
        """In how many batches the send was skipped because another transaction held the chat's row."""
        self.attachments: list[Attachment] = []
        """`files` in their public form, once they are loaded."""

    @property
    def key(self) -> tuple[int, int, str]:
        """The idempotency key."""
        return self.chat_id, self.author_id, self.client_id

    def report(self, result: Message | Error) -> None:
        for on_result in self.on_results:
            on_result(result)


class Stored(NamedTuple):
    """The send is stored, with these ids."""

    id: int
    version: int
    created_at: datetime
    session: KnownSession
    """The author's session, which was valid when the message was stored."""
    visible_after: int
    """The author sees messages with greater ids than this."""
    has_webhooks: bool = False
    """True if the chat has webhooks. Only APPEND can store its messages."""


class Rejected(NamedTuple):
    """The send is not stored. `verdict` is one of APPEND's, or `stale` from FAST_APPEND."""

    verdict: str
    stored_id: int | None = None
    """The id of the message that is already stored under this `client_id`."""
    stored_digest: int | None = None

    @property
    def should_retry(self) -> bool:
        """True if the send itself is fine: its chat was locked, or not as it was cached."""
        return self.verdict in ("locked", "stale")


SendResult = Stored | Rejected


@dataclass
class StoredBatch:
    """A committed batch and the result of each of its sends."""

    batch: list[QueuedSend]
    results: list[SendResult]

    @property
    def has_retries(self) -> bool:
        """True if sends of the batch have to be stored by a later one."""
        return any(isinstance(result, Rejected) and result.should_retry for result in self.results)


def errors_of(draft: MessageDraft) -> list[FieldError]:
    """Return the errors of all invalid fields of a message."""
    checks: tuple[tuple[Callable[[Any], object], Any], ...] = (
        (validation.caption if draft.attachments else validation.message, draft.content),
        (validation.client_id, draft.client_id),
        (validation.reply_to, draft.reply_to),
        (validation.attachments, draft.attachments),
    )
    errors: list[FieldError] = []
    for check, value in checks:
        try:
            check(value)
        except InvalidInput as error:
            errors += error.fields
    return errors


def message_of(send: QueuedSend, stored: Stored) -> Message:
    """Return the public form of a message that was stored just now."""
    author, override = stored.session.author, send.author_override
    return Message(  # by position: names cost more, and there is one per send
        stored.id,
        send.chat_id,
        send.author_id,
        author if override is None else override.apply(author),
        send.content,
        send.client_id,
        send.reply_to,
        stored.version,
        False,  # is_read
        stored.created_at,
        stored.created_at,  # updated_at
        None,  # edited_at
        None,  # deleted_at
        None,  # pinned_at
        [],  # reactions
        send.attachments,
    )


def digest_of(content: str, reply_to: int | None, files: Sequence[int] = ()) -> int:
    """Return 64 bits of BLAKE2b over the body of a message, as a signed integer."""
    body = f"{reply_to or ''}{tuple(files) or ''}\n{content}".encode()
    return int.from_bytes(hashlib.blake2b(body, digest_size=8).digest(), "big", signed=True)
