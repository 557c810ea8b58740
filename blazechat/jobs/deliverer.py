"""Delivers the outbox to webhooks: each lane in order, many lanes concurrently, with retries.

A worker leases a batch of a lane's events and sends one request at a time. concurrency.py limits the lanes,
so slow or failing receivers delay only themselves. Retries follow the schedule of Standard Webhooks, with
jitter.
"""

import asyncio
import time
from collections.abc import Iterator
from contextlib import suppress
from dataclasses import replace
from datetime import UTC, datetime, timedelta

import structlog

from blazechat import signing
from blazechat.database.engine import Database
from blazechat.domain.auth import access
from blazechat.domain.events import ChatEvent, ChatInDoubt, WebhooksChanged
from blazechat.domain.rate_limits import RateLimiter
from blazechat.domain.schemas.integrations import Attempt
from blazechat.domain.webhooks import outbox, webhooks
from blazechat.domain.webhooks.delivery_queue import BATCH_EVENTS, DeliveryQueue, Lane, PendingWebhook
from blazechat.domain.webhooks.delivery_results import DeliveryResult
from blazechat.domain.webhooks.event_bodies import EventBodies, WebhookTarget, target_of
from blazechat.domain.webhooks.outbox import OutboxEvent
from blazechat.errors import Error
from blazechat.jobs import retry_policy
from blazechat.jobs.concurrency import DeliverySlots
from blazechat.jobs.disabler import Disabler
from blazechat.jobs.http_caller import HttpCaller, HttpFailure, HttpResponse
from blazechat.jobs.retry_policy import RetryPolicy

log = structlog.get_logger("blazechat.webhooks")

PINGS_PER_MINUTE = 60
"""Pings of one webhook."""
POLL_SECONDS = 1.0
"""Longest interval between polls of the queue; events of the bus cause earlier ones."""
MIN_POLL_SECONDS = 0.02
"""Shortest interval between polls."""
TIMER_SECONDS = 60.0
"""A retry that is due within this time gets a timer, and does not wait for the next poll."""
STOP_TIMEOUT_SECONDS = 5.0
"""Timeout for recording results and releasing leases when the server stops."""
HTTP_GONE = 410


class Deliverer:
    """Delivers between `start()` and `close()`. Any number of processes may deliver the same outbox."""

    def __init__(
        self,
        *,
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
        self._slots = DeliverySlots()
        self._has_webhooks = False  # as last checked; without webhooks the queue is not read
        self._wake = asyncio.Event()
        self._tasks: set[asyncio.Task[None]] = set()
        self._task: asyncio.Task[None] | None = None  # set while started
        self._unsent: list[OutboxEvent] = []  # leased and not sent when `close()` cancelled their lanes
        self._pings = RateLimiter(PINGS_PER_MINUTE)

    def start(self) -> None:
        self._task = asyncio.create_task(self._run(), name="deliverer")

    def handle(self, event: object) -> None:
        """Poll the queue early after a bus event that may have made deliveries due."""
        if isinstance(event, WebhooksChanged):
            self._has_webhooks = True
            self._wake.set()
        elif self._has_webhooks and isinstance(event, ChatEvent | ChatInDoubt):
            self._wake.set()

    async def close(self) -> None:
        """Cancel calls in progress and release their leases, so that other processes retry now."""
        tasks = [*self._tasks, *([self._task] if self._task is not None else [])]
        for task in tasks:
            task.cancel()
        try:
            async with asyncio.timeout(STOP_TIMEOUT_SECONDS):
                await asyncio.gather(*tasks, return_exceptions=True)
                await self._queue.close(self._unsent)
                await self._bodies.close()
        except (Error, TimeoutError) as error:
            log.warning("leases not released; they last until they expire", reason=repr(error))
        await self._http.close()

    async def ping(self, caller: access.Caller, chat_id: int | None, webhook_id: int) -> Attempt:
        """Send a `ping` event to a webhook now, once, and return the result.

        Raises NotFound, Forbidden, TooManyPosts.
        """
        async with self._database.transaction() as session:
            webhook = await webhooks.find(session, caller, chat_id, webhook_id, lock=False)
            self._pings.admit(webhook.id.to_bytes(8))
            event = await outbox.add_ping(session, webhook)
        body = outbox.encode_body(event, None)
        assert body is not None
        response = await self._post(target_of(webhook), event, body)
        result = retry_policy.result_of(event, webhook.id, response)
        await self._queue.record(result if result.state == "delivered" else retry_policy.as_dead(result))
        return Attempt(
            1,
            datetime.now(UTC),
            result.seconds,
            result.status,
            result.error,
            result.headers or {},
            result.answer,
        )

    async def _run(self) -> None:
        checked_at = -POLL_SECONDS
        while True:
            self._wake.clear()
            try:
                if time.monotonic() >= checked_at + POLL_SECONDS:
                    self._has_webhooks, checked_at = await self._queue.has_webhooks(), time.monotonic()
                if self._has_webhooks:
                    await self._start_lanes()
            except Error as error:
                log.warning("delivery queue not read, retrying", reason=error.detail)
            except Exception:
                log.exception("delivery queue not read, retrying")
            await asyncio.sleep(MIN_POLL_SECONDS)
            with suppress(TimeoutError):
                async with asyncio.timeout(POLL_SECONDS):
                    await self._wake.wait()

    async def _start_lanes(self) -> None:
        """Start due lanes while slots are free."""
        pending = await self._queue.pending_webhooks()
        startable = [
            webhook for webhook in pending if webhook.is_enabled and self._slots.has_free_slot(webhook)
        ]
        retry_policy.RANDOM.shuffle(startable)  # no webhook is always first when slots are scarce
        due_chats = await self._queue.due_chats(startable)
        if self._queue.has_more:
            self._wake.set()
        until = time.monotonic() + POLL_SECONDS
        for webhook in startable:
            lanes = iter([Lane(webhook, chat_id) for chat_id in due_chats[webhook.id]])
            while self._start_lane(webhook, lanes, until):
                pass

    def _start_lane(self, webhook: PendingWebhook, lanes: Iterator[Lane], until: float) -> bool:
        """Start the webhook's next due lane that has no slot yet; return False without a lane or a slot.

        A lane that ends before `until` gives its slot to the next of `lanes`.
        """
        if not self._slots.has_free_slot(webhook):
            return False
        lane = next(filter(self._slots.acquire, lanes), None)
        if lane is None:
            return False
        task = asyncio.create_task(self._run_lane(lane, lanes, until), name=f"webhook {webhook.id}")
        self._tasks.add(task)
        task.add_done_callback(self._tasks.discard)
        return True

    async def _run_lane(self, lane: Lane, others: Iterator[Lane], until: float) -> None:
        """Deliver batches of a lane until it is empty, a call fails, or `until` (`time.monotonic()`)."""
        delivered = BATCH_EVENTS
        try:
            while delivered == BATCH_EVENTS and time.monotonic() < until:
                delivered = await self._deliver_batch(lane)
        except Error as error:
            delivered = 0
            log.warning("lane stopped, retrying later", webhook_id=lane.webhook.id, reason=error.detail)
        except Exception:
            delivered = 0
            log.exception("lane stopped, retrying later", webhook_id=lane.webhook.id)
        finally:
            self._slots.release(lane)
            self._wake.set()
        if delivered and time.monotonic() < until:
            self._start_lane(lane.webhook, others, until)

    async def _deliver_batch(self, lane: Lane) -> int:
        """Lease a batch and deliver it; return its size, or 0 if the lane cannot advance now."""
        batch = await self._queue.lease(lane, self._retry_policy.lease_seconds)
        began = time.monotonic()
        recordings: list[asyncio.Task[bool]] = []
        position = 0
        try:
            for position, event in enumerate(batch):
                if time.monotonic() - began > self._retry_policy.timeout:
                    await self._queue.release(batch[position:])
                    return 0
                result = await self._deliver(lane, event)
                if result is None:
                    return 0
                if result.state == "delivered":
                    recordings.append(asyncio.create_task(self._queue.record(result)))
                elif not await self._queue.record(result) or result.state == "waiting":
                    return 0  # also if the result was dropped, because the delivery was restarted meanwhile
        except asyncio.CancelledError:
            self._unsent += batch[position:]
            raise
        finally:
            await asyncio.gather(*recordings)
        return len(batch)

    async def _deliver(self, lane: Lane, event: OutboxEvent) -> DeliveryResult | None:
        """Send an event; return None if its webhook is disabled, so that it waits until it is enabled."""
        request = await self._bodies.request_for(lane.webhook.id, event)
        webhook, body = request.target, request.body
        if webhook is None or body is None:
            return retry_policy.skipped(event, lane.webhook.id)
        if webhook.disabled_at is not None:
            return None
        response = await self._post(webhook, event, body)
        result = retry_policy.result_of(event, webhook.id, response)
        if result.state == "delivered":
            return result
        if result.status == HTTP_GONE:
            await self._disabler.disable(webhook, "the receiver answered 410 (Gone)")
            return retry_policy.as_dead(result)
        await self._disable_if_failing_for_long(webhook)
        pause = self._retry_policy.pause(event.tries, retry_policy.retry_after(response))
        if pause is None:
            return retry_policy.as_dead(result)
        if pause < TIMER_SECONDS:
            asyncio.get_running_loop().call_later(pause + MIN_POLL_SECONDS, self._wake.set)
        return replace(result, retry_in=pause)

    async def _disable_if_failing_for_long(self, webhook: WebhookTarget) -> None:
        limit = self._retry_policy.disable_after
        since = webhook.failing_since
        if since is not None and datetime.now(UTC) - since > limit:
            days = limit / timedelta(days=1)
            await self._disabler.disable(webhook, f"every call has failed for {days:g} days")

    async def _post(
        self, webhook: WebhookTarget, event: OutboxEvent, body: bytes
    ) -> HttpResponse | HttpFailure:
        now = datetime.now(UTC)
        headers = signing.signed_headers(event.event_id, int(now.timestamp()), body, webhook.secrets(now))
        return await self._http.post(webhook.url, body, headers)
