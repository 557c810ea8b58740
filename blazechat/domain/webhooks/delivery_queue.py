"""The outbox for whoever delivers it: which lanes are due, taking what waits, noting what came of it.

The rows that wait for one webhook in one chat are a lane. A lane moves on only when its head is delivered
or given up, so a chat's events come in order; lanes know nothing of each other. Whoever delivers takes the
head, and some behind it, by putting the head's `due_at` into the future: should they be killed, it comes
due again. So an event is told at least once, under an id that stays the same.
"""

import asyncio
from collections.abc import Sequence
from dataclasses import dataclass

import msgspec

from blazechat.database.direct import DirectConnection
from blazechat.domain.batching import Batcher
from blazechat.domain.webhooks.outbox import OutboxEvent

RUN = 20
"""Events of a lane that are taken at once."""
HOOKS_AT_ONCE = 200
LANES_AT_ONCE = 200
"""Lanes of one webhook that are looked at; the next look goes on behind them."""
FIRST = -1
"""Below the id of any chat."""

HOOKS = """
WITH RECURSIVE hooks AS (
    (SELECT webhook_id AS id FROM deliveries WHERE state = 'waiting' AND webhook_id > $1
     ORDER BY webhook_id LIMIT 1)
    UNION ALL
    SELECT n.id FROM hooks h CROSS JOIN LATERAL (
        SELECT webhook_id AS id FROM deliveries WHERE state = 'waiting' AND webhook_id > h.id
        ORDER BY webhook_id LIMIT 1
    ) n
)
SELECT h.id, w.owner_id, w.disabled_at IS NULL AS is_enabled, w.failing_since IS NOT NULL AS is_failing
FROM (SELECT id FROM hooks LIMIT $2) h LEFT JOIN webhooks w USING (id)
ORDER BY h.id
"""

DUE = """
SELECT h.id, l.due, l.newest FROM unnest($1::int8[], $2::int8[]) AS h (id, after) CROSS JOIN LATERAL (
    WITH RECURSIVE lanes AS (
        (SELECT chat_id, due_at, 1 AS number FROM deliveries
         WHERE state = 'waiting' AND webhook_id = h.id AND chat_id > h.after
         ORDER BY chat_id, version, id LIMIT 1)
        UNION ALL
        SELECT n.chat_id, n.due_at, l.number + 1 FROM lanes l CROSS JOIN LATERAL (
            SELECT chat_id, due_at FROM deliveries
            WHERE state = 'waiting' AND webhook_id = h.id AND chat_id > l.chat_id
            ORDER BY chat_id, version, id LIMIT 1
        ) n
        WHERE l.number < $3
    )
    SELECT coalesce(array_agg(chat_id ORDER BY due_at) FILTER (WHERE due_at <= now()), '{}') AS due,
        CASE WHEN count(*) = $3 THEN max(chat_id) END AS newest
    FROM lanes
) l
"""
"""These step through the index from webhook to webhook, and from lane to lane, however much waits there."""

TAKE = """
WITH heads AS MATERIALIZED (
    SELECT l.webhook_id, l.chat_id, head.id
    FROM unnest($1::int8[], $2::int8[]) AS l (webhook_id, chat_id) CROSS JOIN LATERAL (
        SELECT d.id, d.due_at FROM deliveries d
        WHERE d.webhook_id = l.webhook_id AND d.chat_id = l.chat_id AND d.state = 'waiting'
        ORDER BY d.version, d.id LIMIT 1
    ) head
    WHERE head.due_at <= now()
), held AS MATERIALIZED (
    SELECT d.webhook_id, d.chat_id FROM heads h JOIN deliveries d ON d.chat_id = h.chat_id AND d.id = h.id
    WHERE d.finished_at IS NULL AND d.due_at <= now()
    FOR UPDATE OF d SKIP LOCKED
), run AS MATERIALIZED (
    SELECT r.chat_id, r.id FROM held CROSS JOIN LATERAL (
        SELECT d.chat_id, d.id FROM deliveries d
        WHERE d.webhook_id = held.webhook_id AND d.chat_id = held.chat_id AND d.state = 'waiting'
        ORDER BY d.version, d.id LIMIT $4
    ) r
), taken AS (
    UPDATE deliveries d SET due_at = now() + make_interval(secs => $3)
    FROM run WHERE d.chat_id = run.chat_id AND d.id = run.id AND d.finished_at IS NULL
    RETURNING d.*
)
SELECT webhook_id, chat_id, id, version, type, message_id, body, tries, due_at FROM taken
ORDER BY version, id
"""
"""A lane whose head somebody holds is left out. Heads are locked by their ids: skipping among rows in their
order would take the second for the first.

What waits is found through its index, but nothing is changed through it: `finished_at IS NULL` says the
same as `state = 'waiting'`; by statistics of a moment when nothing waited, that index looks empty, and
would be gone through for each row.
"""

RELEASE = """
UPDATE deliveries d SET due_at = now()
FROM unnest($1::int8[], $2::int8[], $3::int8[], $4::timestamptz[]) AS r (chat_id, id, tries, until)
WHERE d.chat_id = r.chat_id AND d.id = r.id AND d.tries = r.tries AND d.due_at = r.until
    AND d.finished_at IS NULL
"""
"""Only what is still taken as it was: else what came of it is noted, or somebody else is at it."""

RECORD = """
WITH done AS MATERIALIZED (
    SELECT * FROM unnest(
        $1::int8[], $2::int8[], $3::int8[], $4::int8[], $5::text[], $6::float8[], $7::float8[], $8::int8[],
        $9::text[], $10::text[], $11::text[]
    ) AS d (chat_id, id, webhook_id, tries, state, retry_in, seconds, status, error, headers, answer)
), held AS MATERIALIZED (
    SELECT id FROM webhooks WHERE id = ANY ($3::int8[]) ORDER BY id FOR NO KEY UPDATE
), moved AS (
    UPDATE deliveries d SET state = done.state, tries = d.tries + 1,
        due_at = now() + make_interval(secs => done.retry_in),
        finished_at = CASE WHEN done.state <> 'waiting' THEN now() END
    FROM done WHERE d.chat_id = done.chat_id AND d.id = done.id AND d.tries = done.tries
        AND (SELECT count(*) FROM held) >= 0
    RETURNING d.chat_id, d.id
), noted AS (
    INSERT INTO attempts (chat_id, delivery_id, number, seconds, status, error, headers, answer)
    SELECT d.chat_id, d.id, 1 + coalesce((
        SELECT max(number) FROM attempts a WHERE a.chat_id = d.chat_id AND a.delivery_id = d.id
    ), 0), d.seconds, d.status, d.error, d.headers::jsonb, d.answer
    FROM done d JOIN moved USING (chat_id, id)
    ON CONFLICT DO NOTHING
), failing AS (
    UPDATE webhooks w SET failing_since = CASE WHEN f.ok THEN NULL ELSE coalesce(failing_since, now()) END
    FROM (
        SELECT webhook_id, bool_or(state = 'delivered') AS ok FROM done JOIN moved USING (chat_id, id)
        WHERE state <> 'delivered' OR status IS NOT NULL GROUP BY webhook_id
    ) f
    WHERE w.id = f.webhook_id AND f.ok = (failing_since IS NOT NULL)
)
SELECT id FROM moved
"""
"""Notes what came of a row as it was taken: not if it was told to begin anew since, nor a second time.

Gives the rows of which it was noted. Webhooks are locked first, by their ids, as by those who change them.
"""


@dataclass(frozen=True, slots=True)
class Hook:
    """A webhook for which something waits."""

    id: int
    owner_id: int
    is_enabled: bool
    is_failing: bool
    """Whether its last call failed."""


@dataclass(frozen=True, slots=True)
class Lane:
    hook: Hook
    chat_id: int


@dataclass(frozen=True, slots=True)
class DeliveryResult:
    """What came of a call. Without a `status` there was no answer, and `error` says why.

    `tries` are those before it.
    """

    chat_id: int
    id: int
    webhook_id: int
    tries: int
    state: str
    retry_in: float
    seconds: float
    status: int | None
    error: str | None
    headers: dict[str, str] | None
    answer: str | None


class DeliveryQueue:
    """`direct` is a connection for the statements that run all the time, `hasty` one for taking.

    What is taken may be forgotten by a crash: then it is told again.
    """

    def __init__(self, direct: DirectConnection, hasty: DirectConnection) -> None:
        self._direct = direct
        self._hasty = hasty
        self._takes: Batcher[tuple[Lane, float], list[OutboxEvent]] = Batcher(self._take)
        self._records: Batcher[DeliveryResult, bool] = Batcher(self._record)
        self.has_more = False
        """Whether the last look did not come to the end: there are more webhooks, or lanes of one."""
        self._left: list[OutboxEvent] = []  # taken, and nobody waited for it any more
        self._after_hook = 0  # where the next look at webhooks begins
        self._after_chat: dict[int, int] = {}  # and that at the lanes of one that has many

    async def is_used(self) -> bool:
        """Whether there is any webhook that is told of events."""
        (row,) = await self._direct.fetch("SELECT EXISTS (SELECT FROM webhooks WHERE disabled_at IS NULL)")
        return bool(row["exists"])

    async def hooks(self) -> list[Hook]:
        """Those for which something waits: all, or each time the next HOOKS_AT_ONCE."""
        rows = await self._direct.fetch(HOOKS, self._after_hook, HOOKS_AT_ONCE)
        self._after_hook = rows[-1]["id"] if len(rows) == HOOKS_AT_ONCE else 0
        return [
            Hook(row["id"], row["owner_id"], row["is_enabled"], row["is_failing"])
            for row in rows
            if row["owner_id"] is not None  # deleted: the sweeper takes what waits for it
        ]

    async def due(self, hooks: Sequence[Hook]) -> dict[int, list[int]]:
        """By webhook, the chats of the lanes whose head is due, the longest due first.

        Of a webhook with very many lanes, each time the next LANES_AT_ONCE are looked at.
        """
        after = [self._after_chat.pop(hook.id, FIRST) for hook in hooks]
        hook_ids = [hook.id for hook in hooks]
        rows = await self._direct.fetch(DUE, hook_ids, after, LANES_AT_ONCE) if hooks else []
        left = {row["id"]: row["newest"] for row in rows if row["newest"] is not None}
        self._after_chat |= left
        self.has_more = bool(left or self._after_hook)
        return {row["id"]: row["due"] for row in rows}

    async def take(self, lane: Lane, lease: float) -> list[OutboxEvent]:
        """The head of a lane and some behind it, for `lease` seconds; nothing if it is not due."""
        taking = self._takes.ask((lane, lease))
        try:
            return await asyncio.shield(taking)
        except asyncio.CancelledError:
            taking.add_done_callback(self._leave)
            raise

    async def release(self, events: Sequence[OutboxEvent]) -> None:
        """Let go of what is left of runs: somebody may take it anew."""
        if events:
            events = sorted(events, key=lambda event: (event.chat_id, event.id))  # as all lock them
            await self._hasty.fetch(
                RELEASE,
                [event.chat_id for event in events],
                [event.id for event in events],
                [event.tries for event in events],
                [event.until for event in events],
            )

    async def record(self, outcome: DeliveryResult) -> bool:
        """Note what came of a call; many are noted at once. False if it does not count any more."""
        return await self._records.ask(outcome)

    async def close(self, cut_off: Sequence[OutboxEvent]) -> None:
        """Note what came of calls, and let go of what was taken and not told."""
        await self._takes.close()
        await self._records.close()
        await asyncio.sleep(0)  # so that what was taken for nobody is known
        await self.release([*cut_off, *self._left])

    def _leave(self, taking: asyncio.Future[list[OutboxEvent]]) -> None:
        """Something was taken for somebody who has stopped meanwhile."""
        if not taking.cancelled() and taking.exception() is None:
            self._left += taking.result()

    async def _take(self, asked: list[tuple[Lane, float]]) -> list[list[OutboxEvent]]:
        keys = sorted({(lane.hook.id, lane.chat_id) for lane, _ in asked})
        webhooks, chats = [webhook_id for webhook_id, _ in keys], [chat_id for _, chat_id in keys]
        rows = await self._hasty.fetch(TAKE, webhooks, chats, max(lease for _, lease in asked), RUN)
        taken: dict[tuple[int, int], list[OutboxEvent]] = {key: [] for key in keys}
        for row in rows:
            webhook_id, *of_event = row.values()
            taken[webhook_id, row["chat_id"]].append(OutboxEvent(row["id"], row["chat_id"], *of_event[2:]))
        return [taken[lane.hook.id, lane.chat_id] for lane, _ in asked]

    async def _record(self, given: list[DeliveryResult]) -> list[bool]:
        outcomes = sorted(given, key=lambda outcome: (outcome.chat_id, outcome.id))  # as all lock them
        rows = await self._direct.fetch(
            RECORD,
            [outcome.chat_id for outcome in outcomes],
            [outcome.id for outcome in outcomes],
            [outcome.webhook_id for outcome in outcomes],
            [outcome.tries for outcome in outcomes],
            [outcome.state for outcome in outcomes],
            [outcome.retry_in for outcome in outcomes],
            [outcome.seconds for outcome in outcomes],
            [outcome.status for outcome in outcomes],
            [outcome.error for outcome in outcomes],
            [
                None if outcome.headers is None else msgspec.json.encode(outcome.headers).decode()
                for outcome in outcomes
            ],
            [outcome.answer for outcome in outcomes],
        )
        moved = {row["id"] for row in rows}
        return [outcome.id in moved for outcome in given]
