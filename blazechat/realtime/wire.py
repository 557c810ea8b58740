"""The messages of `/ws`: their types, and how they are encoded. command_reader.py decodes commands.

It knows no sockets and no database. docs/protocol.md describes these types, and the AsyncAPI document is
generated from them.
"""

from datetime import datetime
from typing import Annotated, Any

import msgspec
from msgspec import UNSET, Meta, Struct, UnsetType

from blazechat.domain import public_events
from blazechat.domain.events import (
    ChatEvent,
    EphemeralNotice,
    MessageCreated,
    MessageDeleted,
    MessageUpdated,
    PresenceChanged,
    ReadCursorMoved,
    Typing,
    UserUpdated,
)
from blazechat.domain.schemas.chats import MyChat
from blazechat.domain.schemas.users import Author, Presence, User
from blazechat.errors import Error, FieldError
from blazechat.realtime import compact_messages, frames
from blazechat.realtime.connection import Kind
from blazechat.vocabulary import Status

encode = msgspec.json.Encoder().encode
_decode_any = msgspec.json.Decoder().decode

Id = Annotated[int, Meta(ge=1, le=2**53 - 1)]
Version = Annotated[int, Meta(ge=0, le=2**53 - 1)]
Ref = str | int | None
"""A client's name for a command, which its response repeats. Without one, only errors are sent back."""

MAX_NAMED = 1000
"""Chats or users that one command may name."""
Ids = Annotated[list[Id], Meta(max_length=MAX_NAMED)]
Versions = Annotated[dict[str, Version], Meta(max_length=MAX_NAMED)]
"""Versions of chats by chat id."""


class Command(Struct, kw_only=True, gc=False):
    ref: Ref = None


class Auth(Command, tag="auth"):
    """Log in by the first frame; later, replace the token before it expires."""

    token: str


class Send(Command, tag="send"):
    """Send a message. It is acknowledged when it is committed."""

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
    """Replace the content of your own message."""

    content: str


class Delete(OfMessage, tag="delete"):
    """Delete a message."""


class React(OfMessage, tag="react"):
    """React to a message with an emoji."""

    emoji: str


class Unreact(OfMessage, tag="unreact"):
    """Remove your reaction."""

    emoji: str


class Pin(OfMessage, tag="pin"):
    """Pin a message to its chat."""


class Unpin(OfMessage, tag="unpin"):
    """Unpin a message."""


class Read(Command, tag="read"):
    """Move your read cursor to a message, without `up_to` to the newest."""

    chat_id: Id
    up_to: Version | None = None


class TypingCommand(Command, tag="typing"):
    """Report that you are typing, every few seconds while you do, or that you have stopped."""

    chat_id: Id
    typing: bool = True


class SetStatus(Command, tag="status"):
    """Choose your status."""

    status: Status


class Subscribe(Command, tag="subscribe"):
    """Get typing and read events of a chat, or the presence of users."""

    chat_id: Id | None = None
    users: Ids = []


class Unsubscribe(Command, tag="unsubscribe"):
    """End a subscription to a chat or to users."""

    chat_id: Id | None = None
    users: Ids = []


class Resume(Command, tag="resume"):
    """Get what has changed in chats after the versions that you have of them."""

    chats: Versions


class Ping(Command, tag="ping"):
    """Ask for a pong."""


class Pong(Command, tag="pong"):
    """Answer the server's ping."""


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


# What the server sends on `/ws`.


class Ready(Struct, tag="ready"):
    """The log-in is done: your ids and the limits. Events follow."""

    user_id: int
    session_id: int
    expires_at: datetime
    heartbeat: float
    limits: dict[str, int]


class Ack(Struct, tag="ack", omit_defaults=True):
    """A command was executed, with its results."""

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
    """A command was not executed."""

    ref: Ref
    code: str
    error: str
    errors: list[FieldError] | UnsetType = UNSET
    retry_after: int | UnsetType = UNSET


class Synced(Struct, tag="synced"):
    """What you missed of these chats was sent, up to these versions."""

    chats: dict[str, int]


class Reset(Struct, tag="reset"):
    """Drop what you have of this chat, and load it again."""

    chat_id: int


class ReadEvent(Struct, tag="read"):
    """A member has read up to a message. `unread` is present for your own cursor."""

    chat_id: int
    user_id: int
    read_id: int
    unread: int | UnsetType = UNSET


class TypingEvent(Struct, tag="typing"):
    """A member is typing, or has stopped."""

    chat_id: int
    user_id: int
    typing: bool


class NoticeEvent(Struct, tag="notice"):
    """A message for you alone, from a slash command. It is not stored."""

    chat_id: int
    user: Author
    content: str


class PresenceEvent(Struct, tag="presence"):
    """The status of a user has changed."""

    user_id: int
    status: Status
    last_seen: datetime | None


class UserUpdatedEvent(Struct, tag="user.updated"):
    """The name of a user has changed."""

    user: User


class PingEvent(Struct, tag="ping"):
    """Answer with a pong, or any other frame."""


class PongEvent(Struct, tag="pong"):
    """The response to a ping without a `ref`."""


EVENTS: tuple[type[Struct], ...] = (
    Ready,
    Ack,
    Refusal,
    *compact_messages.FRAME_TYPES,
    *public_events.CHAT_EVENT_TYPES,
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
"""Everything that the server sends on `/ws`."""


def frame(value: Struct) -> bytes:
    return frames.text(encode(value))


def read_json(text: str) -> Any:
    """Decode the JSON of a frame, of any type; None if it is not JSON."""
    try:
        return _decode_any(text)
    except (msgspec.DecodeError, RecursionError):
        return None


def refusal(error: Error, ref: Ref) -> bytes:
    """Encode an error as a frame."""
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
    """Encode an event of a chat for a member."""
    if isinstance(event, (MessageCreated, MessageUpdated, MessageDeleted)):
        return frame(compact_messages.compact_form(event))
    return frame(public_events.public_form(event))


def new_chat(chat: MyChat, version: int) -> bytes:
    """Encode a chat for a user who is a new member. Events after `version` follow it."""
    return frame(public_events.ChatCreatedEvent(chat.id, version, chat))


def hidden(event: ChatEvent) -> bytes:
    return frame(public_events.HiddenEvent(event.chat_id, event.version))


def cursor(event: ReadCursorMoved, *, own: bool) -> bytes:
    unread = event.unread if own else UNSET
    return frame(ReadEvent(event.chat_id, event.user_id, event.read_id, unread))


def typing(event: Typing) -> bytes:
    return frame(TypingEvent(event.chat_id, event.user_id, event.typing))


def notice(event: EphemeralNotice) -> bytes:
    return frame(NoticeEvent(event.chat_id, event.author, event.content))


def user_event(kind: Kind, event: PresenceChanged | UserUpdated) -> bytes | None:
    """Encode an event about a user for a kind of socket; None if that kind has no such frame."""
    if isinstance(event, UserUpdated):
        return frame(UserUpdatedEvent(event.user)) if kind is Kind.MAIN else None
    if kind is Kind.MAIN:
        return frame(PresenceEvent(event.user_id, event.status, event.last_seen))
    return frames.text(encode(Presence(event.user_id, event.status, event.last_seen)))
