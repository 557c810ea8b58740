"""Frames to typed values and back, in the dialects of the two sockets.

Knows JSON and nothing of sockets or databases. The multiplexed `/ws` will be a third dialect here.
"""

from dataclasses import dataclass
from typing import Any, Literal

import msgspec

from blazechat.domain.errors import Error, InvalidInput
from blazechat.domain.events import ChatUpdated, MessageCreated, PresenceChanged, Seat
from blazechat.domain.shapes import Presence, Status

ListAction = Literal["chat.created", "chat.updated", "chat.deleted"]

_encode = msgspec.json.Encoder().encode
_decode = msgspec.json.Decoder().decode


@dataclass(frozen=True, slots=True)
class NewMessage:
    """What a chat socket sends; what it may be is the ledger's to say."""

    content: Any
    client_id: Any = None
    reply_to: Any = None


def read_message(text: str) -> NewMessage:
    """A frame of a chat socket: a JSON object with `content`, or else the content itself."""
    try:
        found = _decode(text)
    except (msgspec.DecodeError, RecursionError):
        return NewMessage(text)
    if not isinstance(found, dict) or "content" not in found:
        return NewMessage(text)
    return NewMessage(found["content"], found.get("client_id"), found.get("reply_to"))


def read_status(text: str) -> Status:
    """A frame of a status socket: `{"status": "online" | "away" | "offline"}`. Raises InvalidInput."""
    try:
        found = _decode(text)
    except (msgspec.DecodeError, RecursionError):
        found = None
    try:
        return Status(found["status"]) if isinstance(found, dict) else Status(text)
    except (ValueError, KeyError, TypeError):
        raise InvalidInput.of(
            "status", 'Send {"status": "online"}, {"status": "away"} or {"status": "offline"}.'
        ) from None


def message(event: MessageCreated) -> str:
    return _encode(event.message).decode()


def presence(event: PresenceChanged) -> str:
    return _encode(Presence(event.user_id, event.status, event.last_seen)).decode()


class ListChange:
    """A change of somebody's list of chats; the part that all of them share is encoded once."""

    def __init__(self, event: ChatUpdated) -> None:
        self._event = event
        self._shared = _encode(event.chat)[:-1].decode()

    def frame(self, action: ListAction, seat: Seat) -> str:
        chat = self._event.chat
        own = _encode(
            {
                "role": seat.role,
                "read_id": seat.read_id,
                "unread": max(0, chat.last_message_id - seat.read_id),
            }
        ).decode()
        return f'{{"type":"chat","action":"{action}","chat_id":{chat.id},"chat":{self._shared},{own[1:]}}}'


def list_removal(chat_id: int) -> str:
    action: ListAction = "chat.deleted"
    return f'{{"type":"chat","action":"{action}","chat_id":{chat_id},"chat":{{"id":{chat_id}}}}}'


def error(problem: Error) -> str:
    """`{error, code}`, with `fields` where the input is to blame and `retry_after` in seconds."""
    told: dict[str, Any] = {"error": problem.detail, "code": problem.code}
    if problem.fields:
        told["errors"] = list(problem.fields)
    if problem.retry_after is not None:
        told["retry_after"] = problem.retry_after
    return _encode(told).decode()
