"""What simulated users have requested, and what the server has acknowledged."""

import time
from collections import defaultdict
from dataclasses import dataclass, field

from tests.faults.replica import Frame


@dataclass(eq=False)
class SentMessage:
    """A message that is sent until it is acknowledged or rejected. Times are by `time.monotonic()`."""

    chat_id: int
    user_id: int
    client_id: str
    content: str
    sent_at: float = field(default_factory=time.monotonic)
    acknowledged_at: float | None = None
    message_id: int = 0  # set by the acknowledgement

    def acknowledge(self, ack: Frame) -> None:
        assert self.message_id in (0, ack["message_id"]), f"{self} was acknowledged with {ack}"
        self.message_id = ack["message_id"]
        if self.acknowledged_at is None:
            self.acknowledged_at = time.monotonic()


@dataclass
class ExpectedHistory:
    """All requests and acknowledgements. Each content is unique: `<s17>` and so on."""

    sent: list[SentMessage] = field(default_factory=list)
    ack_count: int = 0  # acknowledgements of sends, repeated ones included
    edits: dict[tuple[int, int], dict[str, int]] = field(default_factory=lambda: defaultdict(dict))
    """By message: the version of each requested content; 0 if it was not acknowledged."""
    deleted: set[tuple[int, int]] = field(default_factory=set)
    outcomes: dict[str, int] = field(default_factory=lambda: defaultdict(int))
    """The number of results by command or request and code."""

    def check_order(self) -> None:
        """If one send was acknowledged before another began, its id is the smaller one."""
        for chat_id in {message.chat_id for message in self.sent}:
            of_chat = [
                message
                for message in self.sent
                if message.chat_id == chat_id and message.acknowledged_at is not None
            ]
            acknowledged = sorted(of_chat, key=lambda message: message.acknowledged_at or 0)
            newest = index = 0
            for message in sorted(of_chat, key=lambda message: message.sent_at):
                while (acknowledged[index].acknowledged_at or 0) < message.sent_at:
                    newest = max(newest, acknowledged[index].message_id)
                    index += 1
                assert message.message_id > newest, f"{message} was sent after {newest} was acknowledged"
