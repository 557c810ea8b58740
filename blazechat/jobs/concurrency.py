"""Limits concurrent webhook lanes in total, per owner and per webhook.

So no receiver delays the deliveries to another.
"""

from collections import Counter

from blazechat.domain.webhooks.delivery_queue import Lane, PendingWebhook

MAX_LANES = 64
MAX_FAILING_LANES = 32
"""Lanes of webhooks whose last call failed. The other half of the slots is for webhooks that work."""
MAX_LANES_PER_OWNER = 16
MAX_LANES_PER_WEBHOOK = 4
MAX_LANES_PER_FAILING_WEBHOOK = 1
"""One is enough to find out whether the receiver works again."""


class DeliverySlots:
    """The lanes that this process delivers now; each has a slot."""

    def __init__(self) -> None:
        self._lanes: dict[tuple[int, int], Lane] = {}  # by webhook and chat
        self._lanes_per_webhook: Counter[int] = Counter()
        self._lanes_per_owner: Counter[int] = Counter()
        self._failing_lanes = 0

    def has_free_slot(self, webhook: PendingWebhook) -> bool:
        """Return True if another lane of this webhook may start."""
        webhook_limit = MAX_LANES_PER_FAILING_WEBHOOK if webhook.is_failing else MAX_LANES_PER_WEBHOOK
        return (
            len(self._lanes) < MAX_LANES
            and self._lanes_per_owner[webhook.owner_id] < MAX_LANES_PER_OWNER
            and self._lanes_per_webhook[webhook.id] < webhook_limit
            and (not webhook.is_failing or self._failing_lanes < MAX_FAILING_LANES)
        )

    def acquire(self, lane: Lane) -> bool:
        """Give the lane a slot; return False if it has one."""
        key = (lane.webhook.id, lane.chat_id)
        if key in self._lanes:
            return False
        self._lanes[key] = lane
        self._count(lane.webhook, 1)
        return True

    def release(self, lane: Lane) -> None:
        del self._lanes[lane.webhook.id, lane.chat_id]
        self._count(lane.webhook, -1)

    def _count(self, webhook: PendingWebhook, change: int) -> None:
        self._failing_lanes += change * webhook.is_failing
        for counter, key in (
            (self._lanes_per_webhook, webhook.id),
            (self._lanes_per_owner, webhook.owner_id),
        ):
            counter[key] += change
            if not counter[key]:
                del counter[key]
