"""The delivery queue of webhooks: finds due lanes, leases their events in order, and records results.

A *lane* is the ordered events of one webhook in one chat. A lane advances only when its first waiting
event, the head, is delivered or dead, so events of a chat arrive in order. Lanes are independent of each
other.

A worker leases the head and the events after it: it sets their `due_at` to the end of the lease. If the
worker is killed, the head is due again when its lease ends. So delivery is at least once, under an event id
that stays the same.
"""

import asyncio
from collections.abc import Sequence
from dataclasses import dataclass
from functools import partial

from blazechat.database.direct import DirectConnection
from blazechat.domain.batching import Batcher
from blazechat.domain.webhooks import delivery_results
from blazechat.domain.webhooks.delivery_results import DeliveryResult
from blazechat.domain.webhooks.outbox import OutboxEvent

BATCH_EVENTS = 20
"""Maximum events of a lane in one lease."""
WEBHOOKS_PER_POLL = 200
LANES_PER_POLL = 200
"""Lanes of one webhook that one poll reads; the next poll continues after them."""
BEFORE_FIRST_CHAT = -1
"""Less than the id of any chat."""

PENDING_WEBHOOKS = """
WITH RECURSIVE pending AS (
    (SELECT webhook_id AS id FROM deliveries WHERE state = 'waiting' AND webhook_id > $1
     ORDER BY webhook_id LIMIT 1)
    UNION ALL
    SELECT n.id FROM pending p CROSS JOIN LATERAL (
        SELECT webhook_id AS id FROM deliveries WHERE state = 'waiting' AND webhook_id > p.id
        ORDER BY webhook_id LIMIT 1
    ) n
)
SELECT p.id, w.owner_id, w.disabled_at IS NULL AS is_enabled, w.failing_since IS NOT NULL AS is_failing
FROM (SELECT id FROM pending LIMIT $2) p LEFT JOIN webhooks w USING (id)
ORDER BY p.id
"""

DUE_LANES = """
SELECT w.id, l.due, l.last_chat FROM unnest($1::int8[], $2::int8[]) AS w (id, chat_after)
CROSS JOIN LATERAL (
    WITH RECURSIVE lanes AS (
        (SELECT chat_id, due_at, 1 AS number FROM deliveries
         WHERE state = 'waiting' AND webhook_id = w.id AND chat_id > w.chat_after
         ORDER BY chat_id, version, id LIMIT 1)
        UNION ALL
        SELECT n.chat_id, n.due_at, l.number + 1 FROM lanes l CROSS JOIN LATERAL (
            SELECT chat_id, due_at FROM deliveries
            WHERE state = 'waiting' AND webhook_id = w.id AND chat_id > l.chat_id
            ORDER BY chat_id, version, id LIMIT 1
        ) n
        WHERE l.number < $3
    )
    SELECT coalesce(array_agg(chat_id ORDER BY due_at) FILTER (WHERE due_at <= now()), '{}') AS due,
        CASE WHEN count(*) = $3 THEN max(chat_id) END AS last_chat
    FROM lanes
) l
"""
"""Both statements step through the index, from webhook to webhook and from lane to lane. Their cost does
not depend on how many events wait."""

LEASE = """
WITH heads AS MATERIALIZED (
    SELECT l.webhook_id, l.chat_id, head.id
    FROM unnest($1::int8[], $2::int8[]) AS l (webhook_id, chat_id) CROSS JOIN LATERAL (
        SELECT d.id, d.due_at FROM deliveries d
        WHERE d.webhook_id = l.webhook_id AND d.chat_id = l.chat_id AND d.state = 'waiting'
        ORDER BY d.version, d.id LIMIT 1
    ) head
    WHERE head.due_at <= now()
), locked AS MATERIALIZED (
    SELECT d.webhook_id, d.chat_id FROM heads h JOIN deliveries d ON d.chat_id = h.chat_id AND d.id = h.id
    WHERE d.finished_at IS NULL AND d.due_at <= now()
    FOR UPDATE OF d SKIP LOCKED
), batch AS MATERIALIZED (
    SELECT b.chat_id, b.id FROM locked CROSS JOIN LATERAL (
        SELECT d.chat_id, d.id FROM deliveries d
        WHERE d.webhook_id = locked.webhook_id AND d.chat_id = locked.chat_id AND d.state = 'waiting'
        ORDER BY d.version, d.id LIMIT $4
    ) b
), leased AS (
    UPDATE deliveries d SET due_at = now() + make_interval(secs => $3)
    FROM batch WHERE d.chat_id = batch.chat_id AND d.id = batch.id AND d.finished_at IS NULL
    RETURNING d.*
)
SELECT webhook_id, chat_id, id, version, type, message_id, body, tries, due_at FROM leased
ORDER BY version, id
"""
"""A lane whose head is locked by another transaction is skipped. Heads are locked by their ids: SKIP LOCKED
over the lane's rows in order would skip a locked head and return the second event as the first.

The partial index on `state = 'waiting'` finds rows, but the UPDATE must not use it. It filters by
`finished_at IS NULL`, which is equivalent. If the statistics date from a moment when nothing waited, the
planner takes the partial index for empty and would scan it for each row.
"""

RELEASE = """
UPDATE deliveries d SET due_at = now()
FROM unnest($1::int8[], $2::int8[], $3::int8[], $4::timestamptz[]) AS r (chat_id, id, tries, leased_until)
WHERE d.chat_id = r.chat_id AND d.id = r.id AND d.tries = r.tries AND d.due_at = r.leased_until
    AND d.finished_at IS NULL
"""
"""Releases only leases that are unchanged. Otherwise the result was recorded, or another worker has leased
the event since."""


@dataclass(frozen=True, slots=True)
class PendingWebhook:
    """A webhook with waiting events."""

    id: int
    owner_id: int
    is_enabled: bool
    is_failing: bool
    """True if its last call failed."""


@dataclass(frozen=True, slots=True)
class Lane:
    """The ordered events of one webhook in one chat."""

    webhook: PendingWebhook
    chat_id: int


class DeliveryQueue:
    """The queue. Its two connections are not of the pool. All methods raise Unavailable or Busy.

    `async_commit` is for leases, which a crash of PostgreSQL may lose: their events are then delivered
    again.
    """

    def __init__(self, direct: DirectConnection, async_commit: DirectConnection) -> None:
        self._direct = direct
        self._async_commit = async_commit
        self._leases: Batcher[tuple[Lane, float], list[OutboxEvent]] = Batcher(self._lease)
        self._results: Batcher[DeliveryResult, bool] = Batcher(partial(delivery_results.record, direct))
        self.has_more = False
        """True if the last poll did not read all webhooks, or not all lanes of a webhook."""
        self._orphans: list[OutboxEvent] = []  # leased for callers that were cancelled meanwhile
        self._webhook_after = 0  # the next poll reads webhooks with greater ids
        self._chat_after: dict[int, int] = {}  # by webhook with many lanes: it reads greater chat ids

    async def has_webhooks(self) -> bool:
        """Return True if any webhook is enabled."""
        (row,) = await self._direct.fetch("SELECT EXISTS (SELECT FROM webhooks WHERE disabled_at IS NULL)")
        return bool(row["exists"])

    async def pending_webhooks(self) -> list[PendingWebhook]:
        """Return at most WEBHOOKS_PER_POLL webhooks with waiting events. The next call continues after
        them."""
        rows = await self._direct.fetch(PENDING_WEBHOOKS, self._webhook_after, WEBHOOKS_PER_POLL)
        self._webhook_after = rows[-1]["id"] if len(rows) == WEBHOOKS_PER_POLL else 0
        return [
            PendingWebhook(row["id"], row["owner_id"], row["is_enabled"], row["is_failing"])
            for row in rows
            if row["owner_id"] is not None  # the webhook was deleted; the sweeper removes its events
        ]

    async def due_chats(self, webhooks: Sequence[PendingWebhook]) -> dict[int, list[int]]:
        """Return, by webhook id, the chat ids of its due lanes; the lane that is due longest comes first.

        Of a webhook with more lanes, each call reads the next LANES_PER_POLL.
        """
        chat_after = [self._chat_after.pop(webhook.id, BEFORE_FIRST_CHAT) for webhook in webhooks]
        webhook_ids = [webhook.id for webhook in webhooks]
        if webhooks:
            rows = await self._direct.fetch(DUE_LANES, webhook_ids, chat_after, LANES_PER_POLL)
        else:
            rows = []
        unread = {row["id"]: row["last_chat"] for row in rows if row["last_chat"] is not None}
        self._chat_after |= unread
        self.has_more = bool(unread or self._webhook_after)
        return {row["id"]: row["due"] for row in rows}

    async def lease(self, lane: Lane, seconds: float) -> list[OutboxEvent]:
        """Lease the head of a lane and the events after it; return nothing if the head is not due.

        Calls are batched: all get the longest lease of their batch.
        """
        leasing = self._leases.submit((lane, seconds))
        try:
            return await asyncio.shield(leasing)
        except asyncio.CancelledError:
            leasing.add_done_callback(self._keep_orphans)
            raise

    async def release(self, events: Sequence[OutboxEvent]) -> None:
        """End the leases of events that were not sent, so that they are due now."""
        if events:
            in_lock_order = sorted(events, key=lambda event: (event.chat_id, event.id))
            await self._async_commit.fetch(
                RELEASE,
                [event.chat_id for event in in_lock_order],
                [event.id for event in in_lock_order],
                [event.tries for event in in_lock_order],
                [event.leased_until for event in in_lock_order],
            )

    async def record(self, result: DeliveryResult) -> bool:
        """Record the result of a call, batched; return False if it is out of date and was dropped."""
        return await self._results.submit(result)

    async def close(self, unsent: Sequence[OutboxEvent]) -> None:
        """Record the results in progress, then release the events that were leased and not sent."""
        await self._leases.close()
        await self._results.close()
        await asyncio.sleep(0)  # lets `_keep_orphans` run
        await self.release([*unsent, *self._orphans])

    def _keep_orphans(self, leasing: asyncio.Future[list[OutboxEvent]]) -> None:
        """Keep events that were leased for a cancelled caller, to release them at the end."""
        if not leasing.cancelled() and leasing.exception() is None:
            self._orphans += leasing.result()

    async def _lease(self, calls: list[tuple[Lane, float]]) -> list[list[OutboxEvent]]:
        keys = sorted({(lane.webhook.id, lane.chat_id) for lane, _ in calls})
        webhook_ids, chat_ids = [webhook_id for webhook_id, _ in keys], [chat_id for _, chat_id in keys]
        lease_seconds = max(seconds for _, seconds in calls)
        rows = await self._async_commit.fetch(LEASE, webhook_ids, chat_ids, lease_seconds, BATCH_EVENTS)
        leased: dict[tuple[int, int], list[OutboxEvent]] = {key: [] for key in keys}
        for row in rows:
            webhook_id, chat_id, delivery_id, *columns = row.values()
            leased[webhook_id, chat_id].append(OutboxEvent(delivery_id, chat_id, *columns))
        return [leased[lane.webhook.id, lane.chat_id] for lane, _ in calls]
