"""Frames of the simple sockets `/ws/chat/{chat_id}` and `/ws/status`: JSON to typed values and back."""

from datetime import UTC, datetime
from typing import Any, Literal

from msgspec import UNSET, Struct, UnsetType

from blazechat.domain.schemas.chats import MyChat
from blazechat.domain.schemas.messages import Message
from blazechat.domain.schemas.users import Presence
from blazechat.errors import Error, FieldError, InvalidInput
from blazechat.realtime import frames, wire
from blazechat.realtime.connection import Kind
from blazechat.vocabulary import Status


class NewMessage(Struct, gc=False):
    """A message that a client sends on a chat socket. The ledger validates it."""

    content: Any
    client_id: Any = None
    reply_to: Any = None
    attachments: Any = None


def read_message(text: str) -> NewMessage:
    """Decode a frame of a chat socket: a JSON object with `content`; any other text is the content
    itself."""
    found = wire.read_json(text)
    if not isinstance(found, dict) or not ("content" in found or "attachments" in found):
        return NewMessage(text)
    names = ("content", "client_id", "reply_to", "attachments")
    return NewMessage(*(found.get(name) for name in names))


def read_status(text: str) -> Status:
    """Decode a frame of a status socket: `{"status": "online" | "away" | "offline"}`. Raises
    InvalidInput."""
    found = wire.read_json(text)
    try:
        return Status(found["status"]) if isinstance(found, dict) else Status(text)
    except (ValueError, KeyError, TypeError):
        raise InvalidInput.of(
            "status", 'Send {"status": "online"}, {"status": "away"} or {"status": "offline"}.'
        ) from None


def message(value: Message) -> bytes:
    return frames.text(wire.encode(value))


class ListChange(Struct):
    type: Literal["chat"]
    action: Literal["chat.created", "chat.updated"]
    chat_id: int
    chat: MyChat


def chat_changed(action: Literal["chat.created", "chat.updated"], chat: MyChat) -> bytes:
    return wire.frame(ListChange("chat", action, chat.id, chat))


def chat_removed(chat_id: int) -> bytes:
    """A chat that the user may not see any more: its id, and no content."""
    return frames.text(
        f'{{"type":"chat","action":"chat.deleted","chat_id":{chat_id},"chat":{{"id":{chat_id},"name":null,'
        '"users":[],"last_message":null,"unread":0}}'.encode()
    )


def presence(value: Presence) -> bytes:
    return frames.text(wire.encode(value))


class StatusError(Struct, omit_defaults=True):
    """A status was rejected. `error` is a sentence for a person."""

    error: str
    code: str
    errors: list[FieldError] | UnsetType = UNSET
    retry_after: int | UnsetType = UNSET


class ChatError(StatusError, omit_defaults=True, kw_only=True):
    """A message was rejected. `content` is the sentence too: clients of the original API show every frame
    as a message."""

    content: str
    created_at: datetime


def error(kind: Kind, problem: Error) -> bytes:
    """Encode an error for a kind of socket. `retry_after` is in seconds."""
    errors = list(problem.fields) or UNSET
    retry_after = UNSET if problem.retry_after is None else problem.retry_after
    if kind is Kind.STATUS:
        return wire.frame(StatusError(problem.detail, problem.code, errors, retry_after))
    return wire.frame(
        ChatError(
            problem.detail,
            problem.code,
            errors,
            retry_after,
            content=problem.detail,
            created_at=datetime.now(UTC),
        )
    )
