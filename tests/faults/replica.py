"""A client's copy of a chat, and the order in which a socket must deliver its events."""

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
"""Fields of a message that are columns of its row as well."""


@dataclass(eq=False)
class Replica:
    """A chat as a client has it. While the client catches up, events are held back."""

    chat_id: int
    me: int
    version: int = 0
    name: str | None = None
    members: dict[int, str] = field(default_factory=dict)
    messages: dict[int, Frame] = field(default_factory=dict)
    read_id: int = 0
    held_back: list[Frame] | None = field(
        default_factory=list
    )  # None once everything up to `version` is known
    is_loaded: bool = False  # True once the chat has been complete
    is_resuming: bool = False  # True after a `resume` on the current socket

    def take_chat(self, chat: Frame) -> None:
        """Take over the chat from HTTP or `chat.created`. Its messages are loaded afterwards."""
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
        """Everything up to a version was delivered or loaded. Events that were held back may overlap with
        it."""
        held_back, self.held_back, self.is_loaded = self.held_back or [], None, True
        for event in sorted(held_back, key=lambda event: int(event["version"])):
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
    """What the sockets of all devices delivered: the state that each version of a chat stands for."""

    def __init__(self) -> None:
        self.delivered: dict[tuple[int, int], tuple[int, Any]] = {}
        self.skipped: dict[tuple[int, int], list[str]] = {}  # with the trace of the socket

    def record(self, event: Frame) -> None:
        """Check that all sockets deliver the same state for a version. The id 0 stands for the chat
        itself."""
        message = event.get("message")
        if event["type"] in ("hidden", "chat.deleted"):  # `chat.deleted` has no version of its own
            return
        key = (event["chat_id"], event["version"])
        state = (0, None) if message is None else (message["id"], comparable(message))
        assert self.delivered.setdefault(key, state) == state, (event, self.delivered[key])
        if message is not None:
            assert message["version"] == event["version"], event
            assert (event["type"] == "message.deleted") == (message["deleted_at"] is not None), event
            assert message["deleted_at"] is None or message["content"] == "", event

    def check_skipped(self, current_versions: set[tuple[int, int]]) -> None:
        """A version that a socket left out must have been replaced by a newer one."""
        lost = {key: trace for key, trace in self.skipped.items() if key in current_versions}
        assert not lost, f"left out, and still current: {lost}"


def comparable(message: Frame) -> tuple[Any, ...]:
    """Return a message in a form that can be compared, with its reactions in a fixed order."""
    reactions = sorted(
        (each["emoji"], each["count"], *sorted(each["user_ids"])) for each in message["reactions"]
    )
    return (*(message[name] for name in STORED_FIELDS), tuple(reactions))


@dataclass
class DeliveryOrder:
    """Checks the order in which one connection delivers the events of one chat.

    Versions ascend by one. Missed events after a `resume` are delivered in between, in their own order;
    their versions are lower than that of the first live event.
    """

    chat_id: int
    me: int
    log: VersionLog
    trace: list[str]  # what was received, for failure messages
    first: int | None = None  # the version of the first live event
    newest: int | None = None  # the version of the last live event
    resumed_from: int | None = None  # the version of the `resume`, until `synced`
    last_missed: int | None = None  # the version of the last missed event
    counts_gaps: bool = True  # True if a version that is skipped now counts as left out
    is_removed: bool = False

    def deliver(self, event: Frame) -> None:
        version = event["version"]
        self.trace.append(f"{event['type']} {version}")
        assert not self.is_removed, f"event of a chat without membership: {self.trace[-30:]}"
        self.log.record(event)
        if self.resumed_from is not None and self.newest is not None and version < self.newest:
            assert self.first is not None
            assert max(self.resumed_from, self.last_missed or 0) < version < self.first, self.trace[-30:]
            self.last_missed, self.counts_gaps = version, True
            return
        if self.newest is not None:
            assert version > self.newest, f"delivered twice or out of order: {self.trace[-30:]}"
            if self.counts_gaps and not self._is_removal(event):
                for left_out in range(self.newest + 1, version):
                    self.log.skipped[self.chat_id, left_out] = self.trace[-30:]
        self.first = self.first or version
        self.newest = version

    def _is_removal(self, event: Frame) -> bool:
        """True for the end of the membership: the events before it are not delivered any more."""
        return event["type"] == "chat.deleted" or event.get("user_id") == self.me

    def create(self, version: int) -> None:
        """`chat.created`: the chat is new to this connection, or the connection has not resumed it."""
        self.trace.append(f"created {version}")
        assert self.is_removed or self.newest is None or version > self.newest, (
            f"not a new chat: {self.trace[-30:]}"
        )
        self.is_removed, self.counts_gaps = False, True
        self.first = self.newest = version

    def resume(self, version: int) -> None:
        self.trace.append(f"resume {version}")
        self.resumed_from, self.last_missed = version, None
        self.counts_gaps = self.first is not None

    def sync(self, version: int) -> None:
        self.trace.append(f"synced {version}")
        assert not self.is_removed, f"event of a chat without membership: {self.trace[-30:]}"
        assert self.resumed_from is not None, f"synced without resume: {self.trace[-30:]}"
        delivered = max(self.resumed_from, self.newest or 0)
        assert version >= delivered, f"synced to an older version: {self.trace[-30:]}"
        for left_out in range(delivered + 1, version + 1):  # later versions are delivered as live events
            self.log.skipped[self.chat_id, left_out] = self.trace[-30:]
        self.first, self.newest = self.first or version, version
        self.resumed_from, self.counts_gaps = None, True

    def reset(self) -> None:
        self.trace.append("reset")
        self.first = self.newest = self.resumed_from = None
        self.counts_gaps = True
