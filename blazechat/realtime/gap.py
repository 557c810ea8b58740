"""A gap: versions of a chat that the bus has not delivered, and the later events that wait for them."""

from blazechat.domain.events import ChatEvent

MAX_OUT_OF_ORDER = 1000
"""Events of a chat that are kept while an earlier version is missing."""


class Gap:
    """Opens with the first sign that a version is missing, and closes when all versions are delivered.

    The hub opens and closes it, and recovery fills it (docs/architecture.md has the states). A channel
    without a gap gets its events in order.
    """

    __slots__ = ("_known_version", "_out_of_order", "is_filling")

    def __init__(self) -> None:
        self._out_of_order: dict[int, ChatEvent] = {}  # by version
        self._known_version = 0
        self.is_filling = False
        """True while recovery works on it; False again after an error, until the next sign of the gap."""

    def add(self, event: ChatEvent) -> None:
        """Keep an event until the versions before it are delivered.

        With too many, only the last one is kept: it is enough to show that versions are missing.
        """
        self._out_of_order[event.version] = event
        if len(self._out_of_order) > MAX_OUT_OF_ORDER:
            self._out_of_order = {event.version: event}

    def expect(self, version: int) -> None:
        """Note that the chat has, or might have, reached `version`, of which no event has arrived."""
        self._known_version = max(self._known_version, version)

    def take(self, version: int) -> ChatEvent | None:
        """Remove and return the event of a version."""
        return self._out_of_order.pop(version, None)

    def waiting(self) -> list[ChatEvent]:
        """Return the kept events in version order."""
        return [self._out_of_order[version] for version in sorted(self._out_of_order)]

    def read_up_to(self, version: int) -> None:
        """Expect a version up to which the database is being read, in pages; drop the events up to it."""
        self.expect(version)
        self.lacks_after(version)

    def forget_expected(self) -> None:
        """The database was read to its newest version: only the kept events still show that versions are
        missing."""
        self._known_version = 0

    def lacks_after(self, version: int) -> bool:
        """True if versions after `version` are missing. Drops events up to that version."""
        for old in [old for old in self._out_of_order if old <= version]:
            del self._out_of_order[old]
        return bool(self._out_of_order) or self._known_version > version

    @property
    def newest_kept_version(self) -> int:
        """The greatest version that an event is kept of, 0 if none is."""
        return max(self._out_of_order, default=0)

    @property
    def newest(self) -> int:
        """The greatest version that the chat has, or might have."""
        return max(self._known_version, self.newest_kept_version)
