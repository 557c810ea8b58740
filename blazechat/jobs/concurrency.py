"""How many lanes of webhooks are under way at once, and whose: nobody waits for another's receivers."""

from collections import Counter

from blazechat.domain.webhooks.delivery_queue import Hook, Lane

ALL = 64
FAILING = 32
"""Of webhooks whose last call failed: half of the places are for those that work."""
OF_OWNER = 16
OF_ONE = 4
OF_ONE_FAILING = 1
"""Enough to find out whether it works again."""


class DeliverySlots:
    """Lanes that are under way here."""

    def __init__(self) -> None:
        self._lanes: dict[tuple[int, int], Lane] = {}  # by webhook and chat
        self._of_hook: Counter[int] = Counter()
        self._of_owner: Counter[int] = Counter()
        self._failing = 0

    def room(self, hook: Hook) -> bool:
        """Whether another lane of this webhook may begin."""
        return (
            len(self._lanes) < ALL
            and self._of_owner[hook.owner_id] < OF_OWNER
            and self._of_hook[hook.id] < (OF_ONE_FAILING if hook.is_failing else OF_ONE)
            and (not hook.is_failing or self._failing < FAILING)
        )

    def take(self, lane: Lane) -> bool:
        """Take a place; False if the lane is under way."""
        key = (lane.hook.id, lane.chat_id)
        if key in self._lanes:
            return False
        self._lanes[key] = lane
        self._count(lane.hook, 1)
        return True

    def leave(self, lane: Lane) -> None:
        del self._lanes[lane.hook.id, lane.chat_id]
        self._count(lane.hook, -1)

    def _count(self, hook: Hook, by: int) -> None:
        self._failing += by * hook.is_failing
        for counter, key in ((self._of_hook, hook.id), (self._of_owner, hook.owner_id)):
            counter[key] += by
            if not counter[key]:
                del counter[key]
