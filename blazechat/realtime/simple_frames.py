"""Frames of the simple sockets `/ws/chat/{chat_id}` and `/ws/status`: JSON to typed values and back."""

from typing import Any, Literal

from msgspec import Struct

from blazechat.domain.schemas.chats import MyChat
from blazechat.domain.schemas.messages import Message
from blazechat.errors import Error, InvalidInput
from blazechat.realtime import frames, wire
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


def error(problem: Error) -> bytes:
    """`{error, code}`, with `errors` per field for invalid input, and `retry_after` in seconds."""
    body: dict[str, Any] = {"error": problem.detail, "code": problem.code}
    if problem.fields:
        body["errors"] = list(problem.fields)
    if problem.retry_after is not None:
        body["retry_after"] = problem.retry_after
    return frames.text(wire.encode(body))
