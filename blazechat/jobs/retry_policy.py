"""When a webhook is tried again, and what came of a try."""

from dataclasses import dataclass, replace
from datetime import timedelta
from random import SystemRandom

from blazechat.domain.webhooks.delivery_queue import DeliveryResult
from blazechat.domain.webhooks.outbox import OutboxEvent
from blazechat.jobs.http_caller import Answered, Failed

RETRY_LATER = (429, 503)
JITTER = 0.2
CHANCE = SystemRandom()
LONGEST_WISH = 86_400.0
"""Seconds: what a receiver's `Retry-After` can ask for at most."""


@dataclass(frozen=True, slots=True)
class RetryPolicy:
    """`schedule`: seconds before each further try; after the last, an event is given up.

    `disable_after`: how long calls to a webhook may fail before it is disabled. `timeout`: of one call.
    """

    schedule: tuple[float, ...]
    disable_after: timedelta
    timeout: float

    @property
    def lease(self) -> float:
        """Seconds for which a run is taken: nothing is begun in its second half."""
        return 2 * self.timeout + 5

    def pause(self, tries: int, wish: float) -> float | None:
        """Seconds until the next try after so many; None to give up."""
        if tries >= len(self.schedule):
            return None
        usual = self.schedule[tries] * CHANCE.uniform(1 - JITTER, 1 + JITTER)
        return max(usual, min(wish, LONGEST_WISH))


def outcome_of(event: OutboxEvent, webhook_id: int, answer: Answered | Failed) -> DeliveryResult:
    if isinstance(answer, Failed):
        status, error, headers, body = None, answer.reason, None, None
    else:
        status, error, headers, body = answer.status, None, answer.headers, answer.body
    arrived = status is not None and 200 <= status < 300
    state = "delivered" if arrived else "waiting"
    name = (event.chat_id, event.id, webhook_id, event.tries)
    return DeliveryResult(*name, state, 0.0, answer.seconds, status, error, headers, body)


def given_up(outcome: DeliveryResult) -> DeliveryResult:
    """For the dead-letter list."""
    return replace(outcome, state="dead")


def skipped(event: OutboxEvent, webhook_id: int) -> DeliveryResult:
    """There is nothing left to tell, or nobody to be told."""
    reason = "There was nothing left to tell."
    name = (event.chat_id, event.id, webhook_id, event.tries)
    return DeliveryResult(*name, "delivered", 0.0, 0.0, None, reason, None, None)


def wish(answer: Answered | Failed) -> float:
    """How long a receiver asks us to wait, in seconds."""
    if isinstance(answer, Failed) or answer.status not in RETRY_LATER:
        return 0.0
    given = answer.headers.get("retry-after", "")
    return float(given) if given.isdecimal() and len(given) < 10 else 0.0
