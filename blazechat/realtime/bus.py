"""Carries events from those who made them to the hubs of all nodes; with one node, in process."""

from collections.abc import Callable

import structlog

from blazechat.domain.events import BusEvent

log = structlog.get_logger("blazechat.bus")

Listener = Callable[[BusEvent], None]


class LocalBus:
    """Delivers at once and in order. May lose what a listener fails on: the hub fills such holes."""

    def __init__(self) -> None:
        self._listeners: list[Listener] = []

    def listen(self, listener: Listener) -> None:
        self._listeners.append(listener)

    def publish(self, event: BusEvent) -> None:
        for listener in self._listeners:
            try:
                listener(event)
            except Exception:
                log.exception("event not delivered", event_type=type(event).__name__)
