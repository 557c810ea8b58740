"""What a client of `/ws` knows of a chat, and in which order a socket tells it of that."""

from collections.abc import Iterable
from dataclasses import dataclass, field
from typing import Any

Frame = dict[str, Any]

STORED_FIELDS = (
    "id",
    "user_id",
    "content",
    "client_id",
    "reply_to",
    "version",
    "created_at",
    "edited_at",
    "deleted_at",
    "pinned_at",
)
"""Fields of a message that are columns of its row, too."""


@dataclass(eq=False)
class Replica:
    """A chat as a client has it. While it catches up, what it hears waits."""

    chat_id: int
    me: int
    version: int = 0
    name: str | None = None
    members: dict[int, str] = field(default_factory=dict)
    messages: dict[int, Frame] = field(default_factory=dict)
    read_id: int = 0
    held_back: list[Frame] | None = field(default_factory=list)  # None once all up to `version` is known
    is_loaded: bool = False  # whether it was ever settled
    is_resuming: bool = False  # whether the present socket was asked for what is missing

    def take_chat(self, chat: Frame) -> None:
        """The chat as HTTP or `chat.created` have it; its messages are loaded after that."""
        self.version = chat["version"]
        self.name = chat["name"]
        self.members = {user["id"]: user["role"] for user in chat["users"]}
        self.read(chat["read_id"])

    def handle(self, event: Frame) -> None:
        if self.held_back is not None:
            self.held_back.append(event)
        else:
            self._apply(event)

    def settle(self, version: int) -> None:
        """All up to a version has been told or loaded; what waits may begin before it and end after it."""
        waiting, self.held_back, self.is_loaded = self.held_back or [], None, True
        for event in sorted(waiting, key=lambda event: int(event["version"])):
            self._apply(event)
        self.version = max(self.version, version)

    def put(self, messages: Iterable[Frame]) -> None:
        for message in messages:
            known = self.messages.get(message["id"])
            if known is None or known["version"] < message["version"]:
                self.messages[message["id"]] = message
                if message["user_id"] == self.me:
                    self.read(message["id"])

    def read(self, up_to: int) -> None:
        self.read_id = max(self.read_id, up_to)

    def _apply(self, event: Frame) -> None:
        if event["version"] <= self.version:
            return
        self.version = event["version"]
        match event["type"]:
            case "message.created" | "message.updated" | "message.deleted":
                self.put([event["message"]])
            case "chat.updated":
                self.name = event["chat"]["name"]
                if "users" in event["chat"]:
                    self.members = {user["id"]: user["role"] for user in event["chat"]["users"]}
            case "member.added" | "member.updated":
                self.members |= {member["id"]: member["role"] for member in event["members"]}
            case "member.removed":
                self.members.pop(event["user_id"], None)
            case other:
                assert other == "hidden", event


class VersionLog:
    """What the sockets of all devices were told: of which thing each version of a chat is."""

    def __init__(self) -> None:
        self.delivered: dict[tuple[int, int], tuple[int, Any]] = {}
        self.skipped: dict[tuple[int, int], list[str]] = {}  # and by whom, as far as they had come

    def record(self, event: Frame) -> None:
        """Everybody is told the same of a version. A chat's id stands for the chat itself."""
        message = event.get("message")
        if event["type"] in ("hidden", "chat.deleted"):  # the latter's version is made up
            return
        place = (event["chat_id"], event["version"])
        what = (0, None) if message is None else (message["id"], comparable(message))
        assert self.delivered.setdefault(place, what) == what, (event, self.delivered[place])
        if message is not None:
            assert message["version"] == event["version"], event
            assert (event["type"] == "message.deleted") == (message["deleted_at"] is not None), event
            assert message["deleted_at"] is None or message["content"] == "", event

    def check_skipped(self, standing: set[tuple[int, int]]) -> None:
        """What no socket heard between two versions must have been overtaken by something newer."""
        lost = {place: trace for place, trace in self.skipped.items() if place in standing}
        assert not lost, f"left out, and still how things stand: {lost}"


def comparable(message: Frame) -> tuple[Any, ...]:
    """A message, to be compared: with who reacted, in whatever order."""
    reactions = sorted(
        (each["emoji"], each["count"], *sorted(each["user_ids"])) for each in message["reactions"]
    )
    return (*(message[name] for name in STORED_FIELDS), tuple(reactions))


@dataclass
class DeliveryOrder:
    """The order in which one socket is told of one chat, from one `ready` to the end.

    Versions ascend one by one. In answer to `resume` others come in between, in their own order, all of
    them below the first that came by itself.
    """

    chat_id: int
    me: int
    log: VersionLog
    trace: list[str]  # what was heard, for whoever looks for the reason
    first: int | None = None  # the first version it was told
    newest: int | None = None
    resumed_from: int | None = None  # the version to resume from, until that is done
    last_missed: int | None = None  # the last version of those in between
    counts_gaps: bool = True  # whether a version that does not come now is left out
    is_removed: bool = False

    def deliver(self, event: Frame) -> None:
        version = event["version"]
        self.trace.append(f"{event['type']} {version}")
        assert not self.is_removed, f"told of a chat that one is not in: {self.trace[-30:]}"
        self.log.record(event)
        if self.resumed_from is not None and self.newest is not None and version < self.newest:
            assert self.first is not None
            assert max(self.resumed_from, self.last_missed or 0) < version < self.first, self.trace[-30:]
            self.last_missed, self.counts_gaps = version, True
            return
        if self.newest is not None:
            assert version > self.newest, f"twice, or not in order: {self.trace[-30:]}"
            if self.counts_gaps and not self._is_removal(event):
                for left_out in range(self.newest + 1, version):
                    self.log.skipped[self.chat_id, left_out] = self.trace[-30:]
        self.first = self.first or version
        self.newest = version

    def _is_removal(self, event: Frame) -> bool:
        """After which what came before is told no more: it was held back, or had to be read up on."""
        return event["type"] == "chat.deleted" or event.get("user_id") == self.me

    def create(self, version: int) -> None:
        """The chat is new to this socket; or it was, and the socket has not asked for it."""
        self.trace.append(f"created {version}")
        assert self.is_removed or self.newest is None or version > self.newest, f"not new: {self.trace[-30:]}"
        self.is_removed, self.counts_gaps = False, True
        self.first = self.newest = version

    def resume(self, version: int) -> None:
        self.trace.append(f"resume {version}")
        self.resumed_from, self.last_missed = version, None
        self.counts_gaps = self.first is not None

    def sync(self, version: int) -> None:
        self.trace.append(f"synced {version}")
        assert not self.is_removed, f"told of a chat that one is not in: {self.trace[-30:]}"
        assert self.resumed_from is not None, f"nobody asked: {self.trace[-30:]}"
        told = max(self.resumed_from, self.newest or 0)
        assert version >= told, f"synced to less than was told: {self.trace[-30:]}"
        for left_out in range(told + 1, version + 1):  # as what came after it is told by itself
            self.log.skipped[self.chat_id, left_out] = self.trace[-30:]
        self.first, self.newest = self.first or version, version
        self.resumed_from, self.counts_gaps = None, True

    def reset(self) -> None:
        self.trace.append("reset")
        self.first = self.newest = self.resumed_from = None
        self.counts_gaps = True
