"""Frames of the live connection (docs/protocol.md): decodes what the server sends, encodes commands."""

from datetime import datetime
from typing import get_args

import msgspec
from msgspec import Struct

from blazechat.client import events
from blazechat.client.compact_messages import (
    MessageCreatedFrame,
    MessageDeletedFrame,
    MessageFrame,
    MessageUpdatedFrame,
)
from blazechat.client.errors import FieldError, NotBlazeChat, Problem
from blazechat.client.schemas import Presence

Ref = str | int | None


class Ready(Struct, tag="ready", frozen=True):
    """The server has accepted the token. It closes sockets that are silent for 2 × `heartbeat` seconds."""

    user_id: int
    session_id: int
    expires_at: datetime
    heartbeat: float


class Ack(Struct, tag="ack", frozen=True):
    """The server has executed a command. The fields are the command's results."""

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
    """The server has rejected a command."""

    ref: Ref
    code: str
    error: str
    errors: list[FieldError] = []
    retry_after: float | None = None

    @property
    def problem(self) -> Problem:
        return Problem(self.code, self.error, errors=self.errors, retry_after=self.retry_after)


class Hidden(events.ChatEvent, tag="hidden", frozen=True):
    """A change that this account may not see. It only advances the version."""


class Synced(Struct, tag="synced", frozen=True):
    """All missed events of these chats were sent, up to these versions."""

    chats: dict[int, int]


class Reset(Struct, tag="reset", frozen=True):
    """The missed events of this chat cannot be sent: reload the chat."""

    chat_id: int


class ChangesPage(Struct, frozen=True):
    """A page of the changes of a chat, up to `version`. If `more` is true, request the page after it.

    If `reset` is true, there are too many changes, or the requested version never existed: reload the chat.
    """

    events: list[events.VersionedEvent | Hidden]
    version: int
    more: bool
    reset: bool


class Ping(Struct, tag="ping", frozen=True):
    """The server checks that the client is alive."""


class Pong(Struct, tag="pong", frozen=True):
    """The server's response to a ping."""


ChatFrame = events.VersionedEvent | Hidden
UnversionedEvent = (
    events.ReadCursorMoved | events.Typing | events.Notice | events.PresenceChanged | events.UserUpdated
)
_OtherFrame = (
    events.ChatChange | Hidden | UnversionedEvent | Ready | Ack | Refusal | Synced | Reset | Ping | Pong
)
EncodedFrame = MessageCreatedFrame | MessageUpdatedFrame | MessageDeletedFrame | _OtherFrame
"""A frame as the server sends it."""
Frame = events.MessageEvent | _OtherFrame
"""A frame with complete messages."""

_decode = msgspec.json.Decoder(EncodedFrame).decode
_KNOWN_TYPES = frozenset(kind.__struct_config__.tag for kind in get_args(EncodedFrame))


class _Typed(Struct):
    type: str


class InvalidFrame(NotBlazeChat):
    """A frame does not conform to the protocol."""


def decode(text: str | bytes) -> Frame | None:
    """Decode a frame of the server; None for a type of a newer protocol version. Raises InvalidFrame."""
    try:
        frame: EncodedFrame = _decode(text)
    except (msgspec.MsgspecError, UnicodeError, RecursionError) as error:
        if _type_of(text) not in _KNOWN_TYPES:
            return None
        detail = f"The server sent a frame that is not valid in BlazeChat's protocol: {error}."
        raise InvalidFrame(f"{detail} Update the client.") from error
    return frame.complete() if isinstance(frame, MessageFrame) else frame


def encode_command(kind: str, ref: Ref = None, **fields: object) -> str:
    """Encode a command as the text of a frame. Fields that are None are omitted."""
    given = {name: value for name, value in fields.items() if value is not None}
    return msgspec.json.encode({"type": kind, "ref": ref} | given).decode()


def _type_of(text: str | bytes) -> str:
    try:
        return msgspec.json.decode(text, type=_Typed).type
    except (msgspec.MsgspecError, UnicodeError, RecursionError) as error:
        detail = "The server sent a frame that is not a JSON object with a type. Check its address."
        raise InvalidFrame(detail) from error
