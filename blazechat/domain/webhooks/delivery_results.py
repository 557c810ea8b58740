"""Records the results of webhook calls: state and attempts of the delivery, health of the webhook."""

from collections.abc import Sequence
from dataclasses import dataclass

import msgspec

from blazechat.database.direct import DirectConnection

RECORD = """
WITH done AS MATERIALIZED (
    SELECT * FROM unnest(
        $1::int8[], $2::int8[], $3::int8[], $4::int8[], $5::text[], $6::float8[], $7::float8[], $8::int8[],
        $9::text[], $10::text[], $11::text[]
    ) AS d (chat_id, id, webhook_id, tries, state, retry_in, seconds, status, error, headers, answer)
), locked AS MATERIALIZED (
    SELECT id FROM webhooks WHERE id = ANY ($3::int8[]) ORDER BY id FOR NO KEY UPDATE
), recorded AS (
    UPDATE deliveries d SET state = done.state, tries = d.tries + 1,
        due_at = now() + make_interval(secs => done.retry_in),
        finished_at = CASE WHEN done.state <> 'waiting' THEN now() END
    FROM done WHERE d.chat_id = done.chat_id AND d.id = done.id AND d.tries = done.tries
        AND (SELECT count(*) FROM locked) >= 0
    RETURNING d.chat_id, d.id
), logged AS (
    INSERT INTO attempts (chat_id, delivery_id, number, seconds, status, error, headers, answer)
    SELECT d.chat_id, d.id, 1 + coalesce((
        SELECT max(number) FROM attempts a WHERE a.chat_id = d.chat_id AND a.delivery_id = d.id
    ), 0), d.seconds, d.status, d.error, d.headers::jsonb, d.answer
    FROM done d JOIN recorded USING (chat_id, id)
    ON CONFLICT DO NOTHING
), failing AS (
    UPDATE webhooks w SET failing_since = CASE WHEN f.ok THEN NULL ELSE coalesce(failing_since, now()) END
    FROM (
        SELECT webhook_id, bool_or(state = 'delivered') AS ok FROM done JOIN recorded USING (chat_id, id)
        WHERE state <> 'delivered' OR status IS NOT NULL GROUP BY webhook_id
    ) f
    WHERE w.id = f.webhook_id AND f.ok = (failing_since IS NOT NULL)
)
SELECT id FROM recorded
"""
"""Returns the deliveries whose results were recorded.

A result is recorded only if `tries` is still the number that was leased: once, and not after a restart,
which resets `tries`. Webhooks are locked first, in the order of their ids, as by every transaction that
changes them.
"""


@dataclass(frozen=True, slots=True)
class DeliveryResult:
    """The result of one call to a webhook."""

    chat_id: int
    id: int
    webhook_id: int
    tries: int
    """The number of calls before this one."""
    state: str
    """The delivery's new state: `delivered`, `dead`, or `waiting` for the next try."""
    retry_in: float
    """Seconds until the next try."""
    seconds: float
    """Duration of the call."""
    status: int | None
    """The HTTP status; None if there was no response, and `error` says why."""
    error: str | None
    headers: dict[str, str] | None
    answer: str | None
    """The start of the response's body."""


async def record(direct: DirectConnection, results: Sequence[DeliveryResult]) -> list[bool]:
    """Record results in one statement; return for each whether it was recorded.

    Raises Unavailable or Busy.
    """
    in_lock_order = sorted(results, key=lambda result: (result.chat_id, result.id))
    rows = await direct.fetch(
        RECORD,
        [result.chat_id for result in in_lock_order],
        [result.id for result in in_lock_order],
        [result.webhook_id for result in in_lock_order],
        [result.tries for result in in_lock_order],
        [result.state for result in in_lock_order],
        [result.retry_in for result in in_lock_order],
        [result.seconds for result in in_lock_order],
        [result.status for result in in_lock_order],
        [result.error for result in in_lock_order],
        [
            None if result.headers is None else msgspec.json.encode(result.headers).decode()
            for result in in_lock_order
        ],
        [result.answer for result in in_lock_order],
    )
    recorded = {row["id"] for row in rows}
    return [result.id in recorded for result in results]
