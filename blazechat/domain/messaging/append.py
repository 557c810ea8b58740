"""APPEND: the SQL statement that authorises, deduplicates, orders and stores a batch of sends."""

from collections.abc import Sequence

import asyncpg

from blazechat.database.arrays import numbers, texts
from blazechat.domain.files import attachments
from blazechat.domain.messaging.known_sessions import KnownSession
from blazechat.domain.messaging.sends import QueuedSend, Rejected, SendResult, Stored
from blazechat.domain.schemas.users import Author
from blazechat.errors import Error, InvalidInput, NoSuchChat, SessionEnded

APPEND = """
WITH locked AS MATERIALIZED (
    SELECT id, version, last_message_id, hooks, author_ids, author_read_ids
    FROM chats WHERE id = ANY ($8::text::int8[])
    ORDER BY id FOR NO KEY UPDATE SKIP LOCKED
), ready AS MATERIALIZED (
    SELECT coalesce(array_agg(l.id ORDER BY l.id), '{}') AS ids,
        array_agg(l.version ORDER BY l.id) AS versions,
        array_agg(l.last_message_id ORDER BY l.id) AS newest,
        array_agg(l.hooks > 0 ORDER BY l.id) AS hooked,
        array_agg(seen.history = 'joined' ORDER BY l.id) AS from_joining
    FROM locked l CROSS JOIN LATERAL (
        SELECT history FROM chats WHERE id = l.id AND version = l.version LIMIT 1
    ) seen
), input AS MATERIALIZED (
    SELECT i.*, width_bucket(i.chat_id, ready.ids) AS chat_index
    FROM ready, unnest(
        $1::text::int8[], $2::text::int8[], $3::text::int8[],
        $4::text::text[], $5::text::text[], $6::text::int8[], $7::text::int8[], $9::text::text[],
        $11::text::text[]
    ) WITH ORDINALITY
    AS i (chat_id, author_id, session_id, client_id, content, digest, reply_to, files, shown_as, place)
), usable AS MATERIALIZED (
    SELECT id, user_id, expires_at FROM media WHERE id = ANY ($10::text::int8[]) AND ready_at IS NOT NULL
    ORDER BY id FOR NO KEY UPDATE
), judged AS MATERIALIZED (
    SELECT i.*, ready.versions[chat_index] AS version, ready.newest[chat_index] AS newest,
        ready.hooked[chat_index] AS hooked, s.expires_at AS session_expires_at,
        CASE WHEN ready.from_joining[chat_index] THEN m.joined_id ELSE 0 END AS visible_after,
        old.id AS stored_id, old.digest AS stored_digest,
        CASE
            WHEN s.id IS NULL THEN 'session_ended'
            WHEN m.user_id IS NULL THEN 'not_member'
            WHEN ready.ids[chat_index] IS DISTINCT FROM i.chat_id THEN 'locked'
            WHEN old.id IS NOT NULL THEN 'duplicate'
            WHEN i.reply_to > ready.newest[chat_index] THEN 'invalid_reply'
            WHEN i.reply_to <= m.joined_id AND ready.from_joining[chat_index] THEN 'invalid_reply'
            WHEN i.files <> '{}' AND cardinality(i.files::int8[]) > (
                SELECT count(*) FROM usable u WHERE u.user_id = i.author_id AND u.id = ANY (i.files::int8[])
                    AND (s.chat_ids IS NULL OR u.expires_at IS NOT NULL OR EXISTS (
                        SELECT FROM attachments a WHERE a.media_id = u.id AND a.chat_id = ANY (s.chat_ids)
                    ))
            ) THEN 'invalid_file'
            ELSE 'new'
        END AS verdict
    FROM ready, input i
    LEFT JOIN LATERAL (
        SELECT user_id, joined_id FROM members
        WHERE chat_id = i.chat_id AND user_id = i.author_id LIMIT 1
    ) m ON true
    LEFT JOIN LATERAL (
        SELECT id, chat_ids, expires_at FROM sessions WHERE id = i.session_id AND user_id = i.author_id
            AND revoked_at IS NULL AND expires_at > now() LIMIT 1
    ) s ON true
    LEFT JOIN LATERAL (
        SELECT id, digest FROM messages
        WHERE author_id = i.author_id AND client_id = i.client_id AND chat_id + 0 = i.chat_id LIMIT 1
    ) old ON true
), hooks AS MATERIALIZED (
    SELECT id, chat_id FROM webhooks
    WHERE chat_id = ANY ($8::text::int8[]) AND disabled_at IS NULL AND 'message.created' = ANY (events)
    UNION ALL
    SELECT id, NULL FROM webhooks
    WHERE chat_id IS NULL AND disabled_at IS NULL AND 'message.created' = ANY (events)
), placed AS MATERIALIZED (
    SELECT *, newest + row_number() OVER chat AS id, version + row_number() OVER chat AS new_version
    FROM judged WHERE verdict = 'new'
    WINDOW chat AS (PARTITION BY chat_id ORDER BY place)
), inserted AS (
    INSERT INTO messages
        (chat_id, id, version, author_id, content, client_id, digest, reply_to, attachment_count, shown_as)
    SELECT chat_id, id, new_version, author_id, content, client_id, digest, reply_to,
        cardinality(files::int8[]), nullif(shown_as, '')::jsonb
    FROM placed
), queued AS (
    INSERT INTO deliveries (webhook_id, chat_id, version, type, message_id)
    SELECT h.id, p.chat_id, p.new_version, 'message.created', p.id
    FROM placed p JOIN hooks h ON h.chat_id IS NULL OR h.chat_id = p.chat_id
), attached AS (
    INSERT INTO attachments (chat_id, message_id, place, media_id)
    SELECT chat_id, p.id, f.place, f.media_id
    FROM placed p, unnest(p.files::int8[]) WITH ORDINALITY AS f (media_id, place)
), kept AS (
    UPDATE media SET expires_at = NULL
    FROM (SELECT unnest(files::int8[]) AS id FROM placed WHERE files <> '{}') p WHERE media.id = p.id
), advanced AS (
    UPDATE chats SET last_message_id = p.id, version = p.new_version,
        author_ids = '{}', author_read_ids = '{}'
    FROM (SELECT chat_id, max(id) AS id, max(new_version) AS new_version FROM placed GROUP BY chat_id) p
    WHERE chats.id = p.chat_id
), read AS (
    UPDATE members SET read_id = greatest(members.read_id, c.read_id)
    FROM (
        SELECT chat_id, author_id, max(read_id) AS read_id FROM (
            SELECT chat_id, author_id, id AS read_id FROM placed
            UNION ALL
            SELECT l.id, a.author_id, a.read_id
            FROM locked l, unnest(l.author_ids, l.author_read_ids) AS a (author_id, read_id)
            WHERE l.id IN (SELECT chat_id FROM placed)
        ) both_places GROUP BY chat_id, author_id
    ) c
    WHERE members.chat_id = c.chat_id AND members.user_id = c.author_id
)
SELECT place, verdict, p.id, p.new_version AS version, now() AS created_at, NULL::int8 AS stored_id,
    NULL::int8 AS stored_digest, visible_after, u.username, u.display_name, session_expires_at,
    (SELECT version FROM auth_version WHERE auth_version.id = 1) AS auth_version,
    hooked OR EXISTS (SELECT FROM webhooks WHERE chat_id IS NULL AND disabled_at IS NULL) AS has_webhooks
FROM placed p CROSS JOIN LATERAL (
    SELECT username, display_name FROM users WHERE id = p.author_id LIMIT 1
) u
UNION ALL
SELECT place, verdict, NULL, NULL, NULL, stored_id, stored_digest, NULL, NULL, NULL, NULL, NULL, NULL
FROM judged WHERE verdict <> 'new'
ORDER BY place
"""
"""One statement that checks, orders and stores a batch.

It relies on one rule: every change in a chat raises `chats.version` under a lock of the chat's row. So if
the row, once locked, has the version that the statement's snapshot shows, everything else that the snapshot
shows of this chat (members, earlier messages) is current. If it has another version, the verdict is
`locked` and the ledger retries the send at once.

Authors have read the chat up to their own messages. FAST_APPEND keeps their read cursors in the chat's row;
this statement moves them to `members`, with those of its own authors.

Chats' rows are locked in the order of their ids. Rows that another transaction holds are skipped. Rows of
files are waited for: a transaction that deletes a file locks its row for a moment, and looks for messages
with this file only after it has the lock. A token for certain chats may send files that no message has
(`expires_at`), and files that a message of these chats has.
"""


async def append(connection: asyncpg.Connection, batch: Sequence[QueuedSend]) -> list[SendResult]:
    """Store the sends that pass the checks; return a result per send, in the order of the batch."""
    await _load_attachments(connection, [send for send in batch if send.files])
    rows = await connection.fetch(
        APPEND,
        numbers(send.chat_id for send in batch),
        numbers(send.author_id for send in batch),
        numbers(send.session_id for send in batch),
        texts(send.client_id for send in batch),
        texts(send.content for send in batch),
        numbers(send.digest for send in batch),
        numbers(send.reply_to for send in batch),
        numbers({send.chat_id for send in batch}),
        texts(numbers(send.files) for send in batch),
        numbers({media_id for send in batch for media_id in send.files}),
        texts("" if send.author_override is None else send.author_override.as_json() for send in batch),
    )
    return [_result(send, row) for send, row in zip(batch, rows, strict=True)]


async def _load_attachments(connection: asyncpg.Connection, sends: Sequence[QueuedSend]) -> None:
    """Load the public form of files, which never changes once they are ready. APPEND checks the right to
    send."""
    if not sends:
        return
    found = await attachments.load(connection, {media_id for send in sends for media_id in send.files})
    for send in sends:
        known = [found[media_id] for media_id in send.files if media_id in found]
        send.attachments = attachments.of_message(send.chat_id, known)


def _result(send: QueuedSend, row: asyncpg.Record) -> SendResult:
    if row["verdict"] != "new":
        return Rejected(row["verdict"], row["stored_id"], row["stored_digest"])
    author = Author(send.author_id, row["username"], row["display_name"])
    session = KnownSession(author, row["session_expires_at"], row["auth_version"])
    return Stored(
        row["id"], row["version"], row["created_at"], session, row["visible_after"], row["has_webhooks"]
    )


def error_of(verdict: str) -> Error:
    """Return the error for a verdict after which the send is not retried."""
    if verdict == "session_ended":
        return SessionEnded()
    if verdict == "invalid_reply":
        return InvalidInput.of("reply_to", "There is no such message to reply to in this chat.")
    if verdict == "invalid_file":
        return InvalidInput.of("attachments", "An attachment is not a completely uploaded file of yours.")
    return NoSuchChat()
