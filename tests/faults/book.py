"""What people in a crowd asked for, and what was acknowledged."""

import time
from collections import defaultdict
from dataclasses import dataclass, field

from tests.faults.replica import Frame


@dataclass(eq=False)
class Said:
    """A message that somebody sends until it is acknowledged or refused; times are of time.monotonic()."""

    chat_id: int
    user_id: int
    client_id: str
    content: str
    began: float = field(default_factory=time.monotonic)
    acknowledged: float | None = None
    message_id: int = 0  # once it is

    def acknowledge(self, ack: Frame) -> None:
        assert self.message_id in (0, ack["message_id"]), f"{self} was acknowledged as {ack}"
        self.message_id = ack["message_id"]
        if self.acknowledged is None:
            self.acknowledged = time.monotonic()


@dataclass
class Book:
    """What was asked for and acknowledged. Contents are unique: `<s17>` and so on."""

    said: list[Said] = field(default_factory=list)
    acknowledged: int = 0  # how often that was
    edits: dict[tuple[int, int], dict[str, int]] = field(default_factory=lambda: defaultdict(dict))
    """By message: the version of each content that was tried, 0 if it was not acknowledged."""
    deleted: set[tuple[int, int]] = field(default_factory=set)
    done: dict[str, int] = field(default_factory=lambda: defaultdict(int))

    def check_order(self) -> None:
        """If one send was acknowledged before another began, its id is the smaller one."""
        for chat_id in {said.chat_id for said in self.said}:
            some = [said for said in self.said if said.chat_id == chat_id and said.acknowledged is not None]
            acknowledged = sorted(some, key=lambda said: said.acknowledged or 0)
            newest = place = 0
            for said in sorted(some, key=lambda said: said.began):
                while (acknowledged[place].acknowledged or 0) < said.began:
                    newest = max(newest, acknowledged[place].message_id)
                    place += 1
                assert said.message_id > newest, f"{said} began after {newest} was acknowledged"
