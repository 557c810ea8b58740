"""Frames of `/ws` to typed values and back.

Knows JSON and nothing of sockets or databases. The types here are what docs/protocol.md tells of `/ws`, and
what its AsyncAPI document is made from.
"""

from datetime import datetime
from typing import Annotated, Any

import msgspec
from msgspec import UNSET, Meta, Struct, UnsetType

from blazechat.domain import public_events
from blazechat.domain.events import (
    ChatEvent,
    CursorMoved,
    EphemeralNotice,
    PresenceChanged,
    Typing,
    UserUpdated,
)
from blazechat.domain.schemas.chats import MyChat
from blazechat.domain.schemas.users import Author, Presence, User
from blazechat.errors import Error, FieldError, InvalidInput, UnknownCommand
from blazechat.realtime import frames
from blazechat.realtime.connection import Kind
from blazechat.vocabulary import Status

encode = msgspec.json.Encoder().encode
_decode_any = msgspec.json.Decoder().decode

Id = Annotated[int, Meta(ge=1, le=2**53 - 1)]
Version = Annotated[int, Meta(ge=0, le=2**53 - 1)]
Ref = str | int | None
"""What a client calls a command, to know its answer by; without one, only errors are answered."""

AT_ONCE = 1000
"""Chats or users that one command can name."""


class Command(Struct, kw_only=True, gc=False):
    ref: Ref = None


class Auth(Command, tag="auth"):
    """Log in, as the first frame; later, renew the token before it runs out."""

    token: str


class Send(Command, tag="send"):
    """Send a message; answered when it is stored for good."""

    chat_id: Id
    content: Any
    client_id: Any = None
    reply_to: Any = None
    attachments: Any = None


class OfMessage(Command):
    """A command about a message."""

    chat_id: Id
    message_id: Id


class Edit(OfMessage, tag="edit"):
    """Replace what one's own message says."""

    content: str


class Delete(OfMessage, tag="delete"):
    """Delete a message."""


class React(OfMessage, tag="react"):
    """React to a message with an emoji."""

    emoji: str


class Unreact(OfMessage, tag="unreact"):
    """Take one's reaction back."""

    emoji: str


class Pin(OfMessage, tag="pin"):
    """Pin a message to its chat."""


class Unpin(OfMessage, tag="unpin"):
    """Unpin a message."""


class Read(Command, tag="read"):
    """Move one's read cursor up to a message; without one, to the newest."""

    chat_id: Id
    up_to: Version | None = None


class TypingCommand(Command, tag="typing"):
    """Tell that one writes, every few seconds as long as it is so; or that one has stopped."""

    chat_id: Id
    typing: bool = True


class SetStatus(Command, tag="status"):
    """Choose whether one is shown as here."""

    status: Status


class Subscribe(Command, tag="subscribe"):
    """Hear who is typing and reading in a chat, or whether users are here."""

    chat_id: Id | None = None
    users: Annotated[list[Id], Meta(max_length=AT_ONCE)] = []


class Unsubscribe(Command, tag="unsubscribe"):
    """Hear no more of that."""

    chat_id: Id | None = None
    users: Annotated[list[Id], Meta(max_length=AT_ONCE)] = []


class Resume(Command, tag="resume"):
    """Be told what changed in chats since the versions that one knows of them."""

    chats: Annotated[dict[str, Version], Meta(max_length=AT_ONCE)]


class Ping(Command, tag="ping"):
    """Ask for a sign of life."""


class Pong(Command, tag="pong"):
    """Give a sign of life, when the server asks for one."""


COMMANDS: tuple[type[Command], ...] = (
    Auth,
    Send,
    Edit,
    Delete,
    React,
    Unreact,
    Pin,
    Unpin,
    Read,
    TypingCommand,
    SetStatus,
    Subscribe,
    Unsubscribe,
    Resume,
    Ping,
    Pong,
)
AnyCommand = (
    Auth
    | Send
    | Edit
    | Delete
    | React
    | Unreact
    | Pin
    | Unpin
    | Read
    | TypingCommand
    | SetStatus
    | Subscribe
    | Unsubscribe
    | Resume
    | Ping
    | Pong
)
_decode_command = msgspec.json.Decoder(AnyCommand).decode
_known = frozenset(kind.__struct_config__.tag for kind in COMMANDS)


# What the server says on `/ws`.


class Ready(Struct, tag="ready"):
    """Logged in: who one is here, and what holds. From here on events come."""

    user_id: int
    session_id: int
    expires_at: datetime
    heartbeat: float
    limits: dict[str, int]


class Ack(Struct, tag="ack", omit_defaults=True):
    """A command was carried out; with what it brought about."""

    ref: Ref
    chat_id: int | UnsetType = UNSET
    message_id: int | UnsetType = UNSET
    version: int | UnsetType = UNSET
    created_at: datetime | UnsetType = UNSET
    read_id: int | UnsetType = UNSET
    unread: int | UnsetType = UNSET
    expires_at: datetime | UnsetType = UNSET
    cursors: dict[str, int] | UnsetType = UNSET
    presence: list[Presence] | UnsetType = UNSET


class Refusal(Struct, tag="error", omit_defaults=True):
    """A command was not carried out."""

    ref: Ref
    code: str
    error: str
    errors: list[FieldError] | UnsetType = UNSET
    retry_after: int | UnsetType = UNSET


class Synced(Struct, tag="synced"):
    """What was missed in these chats has been told, up to these versions."""

    chats: dict[str, int]


class Reset(Struct, tag="reset"):
    """Forget what you know of this chat and load it anew."""

    chat_id: int


class ReadEvent(Struct, tag="read"):
    """Somebody has read up to a message; `unread` is told to oneself."""

    chat_id: int
    user_id: int
    read_id: int
    unread: int | UnsetType = UNSET


class TypingEvent(Struct, tag="typing"):
    """Somebody writes, or has stopped."""

    chat_id: int
    user_id: int
    typing: bool


class NoticeEvent(Struct, tag="notice"):
    """Words for you alone, from a slash command; they are not stored."""

    chat_id: int
    user: Author
    content: str


class PresenceEvent(Struct, tag="presence"):
    """Somebody is here, away or gone."""

    user_id: int
    status: Status
    last_seen: datetime | None


class UserUpdatedEvent(Struct, tag="user.updated"):
    """Somebody has another name."""

    user: User


class PingEvent(Struct, tag="ping"):
    """Answer with a pong, or anything else."""


class PongEvent(Struct, tag="pong"):
    """The answer to a ping without a `ref`."""


TOLD: tuple[type[Struct], ...] = (
    Ready,
    Ack,
    Refusal,
    *public_events.EVENTS,
    ReadEvent,
    TypingEvent,
    NoticeEvent,
    PresenceEvent,
    UserUpdatedEvent,
    Synced,
    Reset,
    PingEvent,
    PongEvent,
)
"""Everything that the server says on `/ws`."""


def frame(value: Struct) -> bytes:
    return frames.text(encode(value))


def read_command(text: str) -> AnyCommand:
    """A command of `/ws`. Raises InvalidInput or UnknownCommand; `ref_of()` tells what it was called."""
    try:
        command: AnyCommand = _decode_command(text)
    except (msgspec.ValidationError, msgspec.DecodeError, RecursionError) as error:
        raise _refused(text, error) from None
    return command


def ref_of(text: str) -> Ref:
    """What a frame that is no command calls itself, if it does."""
    found = loosely(text)
    ref = found.get("ref") if isinstance(found, dict) else None
    return ref if isinstance(ref, str | int) and not isinstance(ref, bool) else None


def _refused(text: str, error: Exception) -> Error:
    found = loosely(text)
    if not isinstance(found, dict):
        return InvalidInput('A frame is a JSON object with a "type".')
    if not isinstance(found.get("type"), str) or found["type"] not in _known:
        return UnknownCommand()
    detail, _, place = str(error).partition(" - at `$.")
    return InvalidInput.of(place.rstrip("`"), f"{detail}.")


def loosely(text: str) -> Any:
    """The JSON of a frame, whatever it says; None for what is no JSON."""
    try:
        return _decode_any(text)
    except (msgspec.DecodeError, RecursionError):
        return None


def refusal(error: Error, ref: Ref) -> bytes:
    """The error as a frame of `/ws`."""
    return frame(
        Refusal(
            ref,
            error.code,
            error.detail,
            list(error.fields) or UNSET,
            UNSET if error.retry_after is None else error.retry_after,
        )
    )


def chat_event(event: ChatEvent) -> bytes:
    """An event of a chat as a frame of `/ws`, for those who were in the chat before."""
    return frame(public_events.public_form(event))


def new_chat(chat: MyChat, version: int) -> bytes:
    """A chat as a frame of `/ws`, for somebody who was not in it before; changes above `version` follow."""
    return frame(public_events.ChatCreatedEvent(chat.id, version, chat))


def hidden(event: ChatEvent) -> bytes:
    return frame(public_events.HiddenEvent(event.chat_id, event.version))


def cursor(event: CursorMoved, *, own: bool) -> bytes:
    unread = event.unread if own else UNSET
    return frame(ReadEvent(event.chat_id, event.user_id, event.read_id, unread))


def typing(event: Typing) -> bytes:
    return frame(TypingEvent(event.chat_id, event.user_id, event.typing))


def notice(event: EphemeralNotice) -> bytes:
    return frame(NoticeEvent(event.chat_id, event.author, event.content))


def about_people(kind: Kind, event: PresenceChanged | UserUpdated) -> bytes | None:
    """A frame about a user, in the dialect of a kind of socket; None if that has no such."""
    if isinstance(event, UserUpdated):
        return frame(UserUpdatedEvent(event.user)) if kind is Kind.MAIN else None
    if kind is Kind.MAIN:
        return frame(PresenceEvent(event.user_id, event.status, event.last_seen))
    return frames.text(encode(Presence(event.user_id, event.status, event.last_seen)))
