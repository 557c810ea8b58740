"""Delivers the outbox to webhooks: each lane in order, lanes at once, nobody waiting for another.

Nobody has more places than `places.py` gives them, so that slow or dead receivers cost their own patience
and nothing else. Tries follow the schedule of Standard Webhooks, with jitter.
"""

import asyncio
import time
from collections.abc import Iterator
from contextlib import suppress
from dataclasses import replace
from datetime import UTC, datetime, timedelta

import structlog

from blazechat import signing
from blazechat.database import tables
from blazechat.database.engine import Database
from blazechat.domain.auth import access
from blazechat.domain.events import ChatEvent, ChatInDoubt, WebhooksChanged
from blazechat.domain.rate_limits import Pace
from blazechat.domain.schemas.integrations import Attempt
from blazechat.domain.webhooks import webhooks
from blazechat.domain.webhooks.delivery_queue import RUN, DeliveryQueue, DeliveryResult, Hook, Lane
from blazechat.domain.webhooks.event_bodies import EventBodies, Target, target_of
from blazechat.domain.webhooks.outbox import OutboxEvent
from blazechat.errors import Error
from blazechat.jobs import retry_policy
from blazechat.jobs.concurrency import DeliverySlots
from blazechat.jobs.disabler import Disabler
from blazechat.jobs.http_caller import Answered, Failed, HttpCaller
from blazechat.jobs.retry_policy import RetryPolicy

log = structlog.get_logger("blazechat.webhooks")

PINGS_PER_MINUTE = 60
"""Of one webhook."""
POLL = 1.0
"""Seconds between looks at what is due, if nothing wakes us before."""
SOON = 60.0
"""Seconds: tries that come due within are not left to the next look."""
REST = 0.02
"""Seconds between two looks, however much happens."""
CLOSE_WITHIN = 5.0
"""Seconds for noting, at the end, what came of what was under way."""
GONE = 410


class Deliverer:
    def __init__(
        self,
        database: Database,
        queue: DeliveryQueue,
        bodies: EventBodies,
        http: HttpCaller,
        disabler: Disabler,
        retry_policy: RetryPolicy,
    ) -> None:
        self._database = database
        self._queue = queue
        self._bodies = bodies
        self._http = http
        self._disabler = disabler
        self._retry_policy = retry_policy
        self._places = DeliverySlots()
        self._is_used = False  # whether there are webhooks at all
        self._wake = asyncio.Event()
        self._tasks: set[asyncio.Task[None]] = set()
        self._task: asyncio.Task[None] | None = None  # set while started
        self._cut_off: list[OutboxEvent] = []  # what was taken and not told when we stopped
        self._pings = Pace(PINGS_PER_MINUTE)

    def start(self) -> None:
        self._task = asyncio.create_task(self._run(), name="deliverer")

    def handle(self, event: object) -> None:
        """Take an event from the bus: something may be due."""
        if isinstance(event, WebhooksChanged):
            self._is_used = True
            self._wake.set()
        elif self._is_used and isinstance(event, ChatEvent | ChatInDoubt):
            self._wake.set()

    async def close(self) -> None:
        """Stop; what was under way is tried again, at once, by the next who starts."""
        tasks = [*self._tasks, *([self._task] if self._task is not None else [])]
        for task in tasks:
            task.cancel()
        try:
            async with asyncio.timeout(CLOSE_WITHIN):
                await asyncio.gather(*tasks, return_exceptions=True)
                await self._queue.close(self._cut_off)
                await self._bodies.close()
        except (Error, TimeoutError) as error:
            log.warning("what was under way waits for a while", reason=repr(error))
        await self._http.close()

    async def ping(self, asker: access.Caller, chat_id: int | None, webhook_id: int) -> Attempt:
        """Call a webhook once, now, with a `ping`; what came of it. Raises NotFound, Forbidden."""
        async with self._database.transaction() as session:
            webhook = await webhooks.find(session, asker, chat_id, webhook_id, lock=False)
            self._pings.admit(webhook.id.to_bytes(8))
            row = tables.Delivery(
                webhook_id=webhook.id,
                chat_id=0,
                version=0,
                type="ping",
                state="dead",
                body="",
                finished_at=datetime.now(UTC),
            )
            session.add(row)
            await session.flush()
            row.body = f'{{"type":"ping","webhook_id":{webhook.id}}}'
        event = OutboxEvent(row.id, 0, 0, "ping", None, row.body, 0)
        answer = await self._call(target_of(webhook), event, row.body.encode())
        outcome = retry_policy.outcome_of(event, webhook.id, answer)
        await self._queue.record(
            outcome if outcome.state == "delivered" else retry_policy.given_up(outcome)
        )
        return Attempt(
            1,
            datetime.now(UTC),
            outcome.seconds,
            outcome.status,
            outcome.error,
            outcome.headers or {},
            outcome.answer,
        )

    # Lanes

    async def _run(self) -> None:
        asked_at = -POLL
        while True:
            self._wake.clear()
            try:
                if time.monotonic() >= asked_at + POLL:
                    self._is_used, asked_at = await self._queue.is_used(), time.monotonic()
                if self._is_used:
                    await self._begin_lanes()
            except Error as error:
                log.warning("webhooks wait", reason=error.detail)
            except Exception:
                log.exception("webhooks wait")
            await asyncio.sleep(REST)
            with suppress(TimeoutError):
                async with asyncio.timeout(POLL):
                    await self._wake.wait()

    async def _begin_lanes(self) -> None:
        hooks = await self._queue.hooks()
        able = [hook for hook in hooks if hook.is_enabled and self._places.room(hook)]
        retry_policy.CHANCE.shuffle(able)  # where places are scarce, it is everybody's turn at some time
        due = await self._queue.due(able)
        if self._queue.has_more:
            self._wake.set()
        until = time.monotonic() + POLL
        for hook in able:
            lanes = iter([Lane(hook, chat_id) for chat_id in due[hook.id]])
            while self._begin_lane(hook, lanes, until):
                pass

    def _begin_lane(self, hook: Hook, lanes: Iterator[Lane], until: float) -> bool:
        """Begin the next of a webhook's lanes that nobody is at, if there is a place for it.

        When it is through, before `until`, the place is the next lane's.
        """
        if not self._places.room(hook):
            return False
        lane = next(filter(self._places.take, lanes), None)
        if lane is None:
            return False
        task = asyncio.create_task(self._work(lane, lanes, until), name=f"webhook {hook.id}")
        self._tasks.add(task)
        task.add_done_callback(self._tasks.discard)
        return True

    async def _work(self, lane: Lane, others: Iterator[Lane], until: float) -> None:
        """Deliver what waits in a lane, until something fails or nothing is left."""
        delivered = RUN
        try:
            while delivered == RUN and time.monotonic() < until:
                delivered = await self._deliver_run(lane)
        except Error as error:
            delivered = 0
            log.warning("a webhook waits", webhook_id=lane.hook.id, reason=error.detail)
        except Exception:
            delivered = 0
            log.exception("a webhook waits", webhook_id=lane.hook.id)
        finally:
            self._places.leave(lane)
            self._wake.set()
        if delivered and time.monotonic() < until:
            self._begin_lane(lane.hook, others, until)

    async def _deliver_run(self, lane: Lane) -> int:
        """Take a run and deliver it; how many events that were, or 0 to leave the lane for now."""
        run = await self._queue.take(lane, self._retry_policy.lease)
        began = time.monotonic()
        notes: list[asyncio.Task[bool]] = []
        told = 0
        try:
            for told, event in enumerate(run):
                if time.monotonic() - began > self._retry_policy.timeout:
                    await self._queue.release(run[told:])
                    return 0
                outcome = await self._deliver(lane, event)
                if outcome is None:
                    return 0
                if outcome.state == "delivered":
                    notes.append(asyncio.create_task(self._queue.record(outcome)))
                elif not await self._queue.record(outcome) or outcome.state == "waiting":
                    return 0  # not given up after all, if somebody had it begun anew meanwhile
        except asyncio.CancelledError:
            self._cut_off += run[told:]
            raise
        finally:
            await asyncio.gather(*notes)
        return len(run)

    async def _deliver(self, lane: Lane, event: OutboxEvent) -> DeliveryResult | None:
        telling = await self._bodies.of(lane.hook.id, event)
        webhook, body = telling.target, telling.body
        if webhook is None or body is None:
            return retry_policy.skipped(event, lane.hook.id)
        if webhook.disabled_at is not None:
            return None  # it comes due when it is enabled again
        answer = await self._call(webhook, event, body)
        outcome = retry_policy.outcome_of(event, webhook.id, answer)
        if outcome.state == "delivered":
            return outcome
        if outcome.status == GONE:
            await self._disabler.disable(webhook, "its receiver answered that it is gone (410)")
            return retry_policy.given_up(outcome)
        since = webhook.failing_since
        if since is not None and datetime.now(UTC) - since > self._retry_policy.disable_after:
            days = self._retry_policy.disable_after / timedelta(days=1)
            await self._disabler.disable(webhook, f"every call has failed for {days:g} days")
        pause = self._retry_policy.pause(event.tries, retry_policy.wish(answer))
        if pause is None:
            return retry_policy.given_up(outcome)
        if pause < SOON:
            asyncio.get_running_loop().call_later(pause + REST, self._wake.set)
        return replace(outcome, retry_in=pause)

    async def _call(self, webhook: Target, event: OutboxEvent, body: bytes) -> Answered | Failed:
        now = datetime.now(UTC)
        signed = signing.headers(event.name, int(now.timestamp()), body, webhook.secrets(now))
        return await self._http.post(webhook.url, body, signed)
