"""What people in a crowd asked for, and what was acknowledged."""

import time
from collections import defaultdict
from dataclasses import dataclass, field

from tests.faults.replica import Frame


@dataclass(eq=False)
class SentMessage:
    """A message that somebody sends until it is acknowledged or refused; times are of time.monotonic()."""

    chat_id: int
    user_id: int
    client_id: str
    content: str
    sent_at: float = field(default_factory=time.monotonic)
    acknowledged_at: float | None = None
    message_id: int = 0  # once it is

    def acknowledge(self, ack: Frame) -> None:
        assert self.message_id in (0, ack["message_id"]), f"{self} was acknowledged as {ack}"
        self.message_id = ack["message_id"]
        if self.acknowledged_at is None:
            self.acknowledged_at = time.monotonic()


@dataclass
class ExpectedHistory:
    """What was asked for and acknowledged. Contents are unique: `<s17>` and so on."""

    sent: list[SentMessage] = field(default_factory=list)
    ack_count: int = 0  # how often that was
    edits: dict[tuple[int, int], dict[str, int]] = field(default_factory=lambda: defaultdict(dict))
    """By message: the version of each content that was tried, 0 if it was not acknowledged."""
    deleted: set[tuple[int, int]] = field(default_factory=set)
    outcomes: dict[str, int] = field(default_factory=lambda: defaultdict(int))

    def check_order(self) -> None:
        """If one send was acknowledged before another began, its id is the smaller one."""
        for chat_id in {said.chat_id for said in self.sent}:
            some = [said for said in self.sent if said.chat_id == chat_id and said.acknowledged_at is not None]
            acknowledged = sorted(some, key=lambda said: said.acknowledged_at or 0)
            newest = place = 0
            for said in sorted(some, key=lambda said: said.sent_at):
                while (acknowledged[place].acknowledged_at or 0) < said.sent_at:
                    newest = max(newest, acknowledged[place].message_id)
                    place += 1
                assert said.message_id > newest, f"{said} began after {newest} was acknowledged"
