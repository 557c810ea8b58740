"""The bus: carries events from the code that publishes them to the listeners; in process, for one node."""

from collections.abc import Callable

import structlog

from blazechat.domain.events import BusEvent

log = structlog.get_logger("blazechat.bus")

Listener = Callable[[BusEvent], None]


class LocalBus:
    """Calls each listener at once and in order. An event on which a listener fails is lost: the hub fills
    the gap."""

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
