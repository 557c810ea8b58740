"""Reads messages from the rows of prepared statements, in one pass per page.

The first columns of a row are those of `stored_messages()`. READERS is read once per page;
`is_read` follows from it.
"""

from collections.abc import Callable, Sequence
from datetime import datetime
from typing import Any, TypeVar

import asyncpg
import msgspec
from sqlalchemy import BigInteger, Select, literal_column, select
from sqlalchemy.dialects.postgresql import asyncpg as dialect

from blazechat.database import tables
from blazechat.domain.files import attachments
from blazechat.domain.messaging import message_query
from blazechat.domain.schemas.files import Attachment
from blazechat.domain.schemas.messages import AuthorOverride, Message, Reaction
from blazechat.domain.schemas.users import Author


def stored_messages(which: str) -> str:
    """Return the query of `message_query.find()` as SQL, without `is_read`: a part of prepared statements.

    `which` is a condition on `messages`.
    """
    return _as_sql(
        select(*(column for column in message_query.columns() if column.key != "is_read"))
        .join(tables.User, tables.User.id == tables.Message.author_id)
        .where(literal_column(which))
    )


def _as_sql(query: Select[Any]) -> str:
    asyncpg_dialect = dialect.dialect()  # type: ignore[no-untyped-call]
    return str(query.compile(dialect=asyncpg_dialect, compile_kwargs={"literal_binds": True}))


_PAGE_READERS = message_query.select_readers(
    literal_column("r.chat_id", BigInteger), literal_column("r.first_id", BigInteger)
)

READERS = f"""
SELECT array_agg(ARRAY[low, high, least_id, greatest_id] ORDER BY high DESC) FROM (
    SELECT greatest(joined_id, r.first_id - 1) AS low, least(read_id, r.last_id) AS high,
        min(user_id) AS least_id, max(user_id) AS greatest_id
    FROM ({_as_sql(_PAGE_READERS)}) members
    WHERE joined_id < least(read_id, r.last_id)
    GROUP BY 1, 2
) readers
"""  # noqa: S608 (put together from constants)
"""SQL for who has read the messages `r.first_id` to `r.last_id` of the chat `r.chat_id`.

A member has read the messages after their joining up to their read cursor: ids above `low` up to `high`.
Members with the same two form a group. Of a group, the least and the greatest user id are enough: a message
is read if a member other than its author has read it.
"""

ReaderGroups = Sequence[tuple[int, int, int, int]] | None
"""The groups of READERS, the greatest `high` first; None if there is none."""

T = TypeVar("T", Message, "PageMessage")

encode = msgspec.json.Encoder().encode
_decode_reactions = msgspec.json.Decoder(list[tuple[str, int, list[int]]]).decode
_decode_override = msgspec.json.Decoder(AuthorOverride).decode


class PageMessage(msgspec.Struct, gc=False):
    """A message that is encoded and forgotten. Its fields are those of `Message`, in the same order.

    It is created and encoded in half of the time: it is a struct, and each author is encoded once per page.
    """

    id: int
    chat_id: int
    user_id: int
    user: msgspec.Raw
    content: str
    client_id: str
    reply_to: int | None
    version: int
    is_read: bool
    created_at: datetime
    updated_at: datetime
    edited_at: datetime | None
    deleted_at: datetime | None
    pinned_at: datetime | None
    reactions: list[Reaction]
    attachments: list[Attachment]


def encode_newest_first(rows: Sequence[asyncpg.Record], readers: ReaderGroups) -> bytes:
    """Return the JSON of a page, from its rows in the order of ids."""
    page = _read(rows, readers, PageMessage, lambda author: msgspec.Raw(encode(author)))
    page.reverse()
    return encode(page)


def messages_of(rows: Sequence[asyncpg.Record], readers: ReaderGroups) -> list[Message]:
    """Return the messages of the rows, in the same order."""
    return _read(rows, readers, Message, lambda author: author)


def _read(
    rows: Sequence[asyncpg.Record],
    readers: ReaderGroups,
    create: Callable[..., T],
    public_author: Callable[[Author], Any],
) -> list[T]:
    """Return a message per row. `create` takes the fields of `Message` by position: by name costs more."""
    authors: dict[int, Any] = {}
    found = []
    for row in rows:
        (id_, chat_id, author_id, username, display_name, content, client_id, reply_to, version, created_at,
         edited_at, deleted_at, pinned_at, shown_as, reactions, files, *_) = row  # fmt: skip
        if shown_as is not None:
            author = public_author(
                _decode_override(shown_as).apply(Author(author_id, username, display_name))
            )
        elif (author := authors.get(author_id)) is None:
            author = authors[author_id] = public_author(Author(author_id, username, display_name))
        message = create(
            id_,
            chat_id,
            author_id,
            author,
            content,
            client_id,
            reply_to,
            version,
            readers is not None and _is_read(id_, author_id, readers),
            created_at,
            deleted_at or edited_at or created_at,
            edited_at,
            deleted_at,
            pinned_at,
            [Reaction(*fields) for fields in _decode_reactions(reactions)] if reactions else [],
            attachments.of_message(chat_id, msgspec.json.decode(files)) if files else [],
        )
        found.append(message)
    return found


def _is_read(message_id: int, author_id: int, readers: Sequence[tuple[int, int, int, int]]) -> bool:
    """True if a member other than the author has read the message."""
    for low, high, least_id, greatest_id in readers:
        if high < message_id:
            return False
        if low < message_id and (least_id != author_id or greatest_id != author_id):
            return True
    return False
