"""Frames of the seeds' two sockets, `/ws/chat/{chat_id}` and `/ws/status`, and typed values."""

from typing import Any, Literal

from msgspec import Struct

from blazechat.domain.schemas.chats import MyChat
from blazechat.domain.schemas.messages import Message
from blazechat.errors import Error, InvalidInput
from blazechat.realtime import frames, wire
from blazechat.vocabulary import Status


class NewMessage(Struct, gc=False):
    """What a chat socket sends; what it may be is the ledger's to say."""

    content: Any
    client_id: Any = None
    reply_to: Any = None
    attachments: Any = None


def read_message(text: str) -> NewMessage:
    """A frame of a chat socket: a JSON object with `content`, or else the content itself."""
    found = wire.loosely(text)
    if not isinstance(found, dict) or not ("content" in found or "attachments" in found):
        return NewMessage(text)
    names = ("content", "client_id", "reply_to", "attachments")
    return NewMessage(*(found.get(name) for name in names))


def read_status(text: str) -> Status:
    """A frame of a status socket: `{"status": "online" | "away" | "offline"}`. Raises InvalidInput."""
    found = wire.loosely(text)
    try:
        return Status(found["status"]) if isinstance(found, dict) else Status(text)
    except (ValueError, KeyError, TypeError):
        raise InvalidInput.of(
            "status", 'Send {"status": "online"}, {"status": "away"} or {"status": "offline"}.'
        ) from None


def message(said: Message) -> bytes:
    return frames.text(wire.encode(said))


class ListChange(Struct):
    type: Literal["chat"]
    action: Literal["chat.created", "chat.updated"]
    chat_id: int
    chat: MyChat


def list_change(action: Literal["chat.created", "chat.updated"], chat: MyChat) -> bytes:
    return wire.frame(ListChange("chat", action, chat.id, chat))


def list_removal(chat_id: int) -> bytes:
    """The chat as it is to somebody who may not see it any more: by its id, and empty."""
    return frames.text(
        f'{{"type":"chat","action":"chat.deleted","chat_id":{chat_id},"chat":{{"id":{chat_id},"name":null,'
        '"users":[],"last_message":null,"unread":0}}'.encode()
    )


def error(problem: Error) -> bytes:
    """`{error, code}`, with `errors` where the input is to blame and `retry_after` in seconds."""
    told: dict[str, Any] = {"error": problem.detail, "code": problem.code}
    if problem.fields:
        told["errors"] = list(problem.fields)
    if problem.retry_after is not None:
        told["retry_after"] = problem.retry_after
    return frames.text(wire.encode(told))
