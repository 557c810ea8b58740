"""When a webhook call is retried: schedule, jitter, `Retry-After`; and the result of each call."""

from dataclasses import dataclass, replace
from datetime import timedelta
from random import SystemRandom

from blazechat.domain.webhooks.delivery_results import DeliveryResult
from blazechat.domain.webhooks.outbox import OutboxEvent
from blazechat.jobs.http_caller import HttpFailure, HttpResponse

RETRY_AFTER_STATUSES = (429, 503)
JITTER_RATIO = 0.2
RANDOM = SystemRandom()
MAX_RETRY_AFTER_SECONDS = 86_400.0
"""A receiver cannot postpone the next try for longer with `Retry-After`."""


@dataclass(frozen=True, slots=True)
class RetryPolicy:
    """When calls are retried, and when a webhook is disabled."""

    schedule: tuple[float, ...]
    """Seconds before each retry; after the last one fails, the event is dead."""
    disable_after: timedelta
    """A webhook is disabled after its calls have failed for so long."""
    timeout: float
    """Seconds for one call."""

    @property
    def lease_seconds(self) -> float:
        """The lease of a batch: no call starts after `timeout`, so the last one ends within the lease."""
        return 2 * self.timeout + 5

    def pause(self, tries: int, retry_after: float) -> float | None:
        """Return the seconds until the next try, after `tries` earlier ones failed; None to give up.

        `retry_after` is what the receiver requested, in seconds; a longer one extends the pause.
        """
        if tries >= len(self.schedule):
            return None
        scheduled = self.schedule[tries] * RANDOM.uniform(1 - JITTER_RATIO, 1 + JITTER_RATIO)
        return max(scheduled, min(retry_after, MAX_RETRY_AFTER_SECONDS))


def result_of(event: OutboxEvent, webhook_id: int, response: HttpResponse | HttpFailure) -> DeliveryResult:
    """Return the result of a call: `delivered` for a 2xx status, else `waiting` with no pause yet."""
    if isinstance(response, HttpFailure):
        status, error, headers, body = None, response.reason, None, None
    else:
        status, error, headers, body = response.status, None, response.headers, response.body
    is_success = status is not None and 200 <= status < 300
    return DeliveryResult(
        chat_id=event.chat_id,
        id=event.id,
        webhook_id=webhook_id,
        tries=event.tries,
        state="delivered" if is_success else "waiting",
        retry_in=0.0,
        seconds=response.seconds,
        status=status,
        error=error,
        headers=headers,
        answer=body,
    )


def as_dead(result: DeliveryResult) -> DeliveryResult:
    """Return the result of a last try: the event becomes a dead letter."""
    return replace(result, state="dead")


def skipped(event: OutboxEvent, webhook_id: int) -> DeliveryResult:
    """Return the result for an event that needs no call: its webhook or its message was deleted."""
    return DeliveryResult(
        chat_id=event.chat_id,
        id=event.id,
        webhook_id=webhook_id,
        tries=event.tries,
        state="delivered",
        retry_in=0.0,
        seconds=0.0,
        status=None,
        error="No call was needed: the event's message no longer exists.",
        headers=None,
        answer=None,
    )


def retry_after(response: HttpResponse | HttpFailure) -> float:
    """Return the seconds of the response's `Retry-After`; 0 without one, or if it is a date."""
    if isinstance(response, HttpFailure) or response.status not in RETRY_AFTER_STATUSES:
        return 0.0
    value = response.headers.get("retry-after", "")
    return float(value) if value.isdecimal() and len(value) < 10 else 0.0
