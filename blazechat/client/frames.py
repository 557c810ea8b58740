"""Frames of the live connection (docs/protocol.md): what the server says, and commands to it."""

from datetime import datetime

import msgspec
from msgspec import Struct

from blazechat.client import events
from blazechat.client.errors import FieldError, NotBlazeChat, Problem
from blazechat.client.schemas import Presence

Ref = str | int | None


class Ready(Struct, tag="ready", frozen=True):
    """Logged in. `heartbeat` in seconds: whoever is silent for twice as long is let go."""

    user_id: int
    session_id: int
    expires_at: datetime
    heartbeat: float


class Ack(Struct, tag="ack", frozen=True):
    """A command was carried out; with what it brought about."""

    ref: Ref
    chat_id: int | None = None
    message_id: int | None = None
    version: int | None = None
    created_at: datetime | None = None
    read_id: int | None = None
    unread: int | None = None
    expires_at: datetime | None = None
    cursors: dict[int, int] | None = None
    presence: list[Presence] | None = None


class Refusal(Struct, tag="error", frozen=True):
    """A command was not carried out."""

    ref: Ref
    code: str
    error: str
    errors: list[FieldError] = []
    retry_after: float | None = None

    @property
    def problem(self) -> Problem:
        return Problem(self.code, self.error, errors=self.errors, retry_after=self.retry_after)


class Hidden(events.ChatEvent, tag="hidden", frozen=True):
    """Something changed that one may not see; only the version counts."""


class Synced(Struct, tag="synced", frozen=True):
    """What was missed in these chats has been told, up to these versions."""

    chats: dict[int, int]


class Reset(Struct, tag="reset", frozen=True):
    """What changed cannot be told: load this chat anew."""

    chat_id: int


class ChangesPage(Struct, frozen=True):
    """A page of what changed in a chat, up to `version`. With `more`, ask again after that version.

    With `reset` too much changed to be told, or one asked after a version that there never was.
    """

    events: list[events.VersionedEvent | Hidden]
    version: int
    more: bool
    reset: bool


class Ping(Struct, tag="ping", frozen=True):
    """The server asks for a sign of life."""


class Pong(Struct, tag="pong", frozen=True):
    """The server gives one."""


ChatFrame = events.VersionedEvent | Hidden
UnversionedEvent = (
    events.ReadCursorMoved | events.Typing | events.Notice | events.PresenceChanged | events.UserUpdated
)
Frame = ChatFrame | UnversionedEvent | Ready | Ack | Refusal | Synced | Reset | Ping | Pong

_decode = msgspec.json.Decoder(Frame).decode
_KNOWN_TYPES = frozenset(
    kind.__struct_config__.tag
    for kind in (
        *(events.MessageCreated, events.MessageUpdated, events.MessageDeleted),
        *(events.ChatCreated, events.ChatUpdated, events.ChatDeleted),
        *(events.MembersAdded, events.MemberRemoved, events.MembersUpdated),
        *(events.ReadCursorMoved, events.Typing, events.Notice, events.PresenceChanged, events.UserUpdated),
        *(Hidden, Ready, Ack, Refusal, Synced, Reset, Ping, Pong),
    )
)


class _Typed(Struct):
    type: str


class InvalidFrame(NotBlazeChat):
    """A frame is not as the protocol has it."""


def decode(text: str | bytes) -> Frame | None:
    """What the server says; None for what only a later version knows. Raises NotUnderstood."""
    try:
        frame: Frame = _decode(text)
    except (msgspec.MsgspecError, UnicodeError, RecursionError) as error:
        if _type_of(text) not in _KNOWN_TYPES:
            return None
        raise InvalidFrame(f"The server says what is no BlazeChat: {error}.") from error
    return frame


def encode_command(kind: str, ref: Ref = None, **fields: object) -> str:
    """A command as the text of a frame; fields that are None are left out."""
    given = {name: value for name, value in fields.items() if value is not None}
    return msgspec.json.encode({"type": kind, "ref": ref} | given).decode()


def _type_of(text: str | bytes) -> str:
    try:
        return msgspec.json.decode(text, type=_Typed).type
    except (msgspec.MsgspecError, UnicodeError, RecursionError) as error:
        raise InvalidFrame("A frame is not a JSON object with a type.") from error
