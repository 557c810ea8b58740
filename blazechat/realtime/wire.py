"""Frames to typed values and back, in the dialects of the two sockets.

Knows JSON and nothing of sockets or databases.
"""

from collections.abc import Callable
from dataclasses import dataclass
from enum import StrEnum
from typing import Any, Literal

import msgspec

from blazechat.domain.errors import Error, InvalidInput
from blazechat.domain.events import ChatEvent, ChatUpdated, MessageCreated, PresenceChanged
from blazechat.domain.shapes import History, Message, Presence, Status

PerUser = Callable[[int], str]
"""A frame that is not the same for everybody: makes it for a user."""
Frame = str | PerUser


class Kind(StrEnum):
    """A kind of socket, and so a dialect. The multiplexed `/ws` will be the third."""

    CHAT = "chat"
    """Hears the new messages of one chat."""
    STATUS = "status"
    """Hears changes of the user's list of chats, and who is here."""


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


def message(said: Message) -> str:
    return _encode(said).decode()


def presence(event: PresenceChanged) -> str:
    return _encode(Presence(event.user_id, event.status, event.last_seen)).decode()


def list_addition(event: ChatUpdated) -> PerUser:
    """Tells people that the chat is new to them."""
    return _list_change("chat.created", event)


def list_removal(chat_id: int) -> str:
    """The chat as it is to somebody who may not see it any more: by its id, and empty."""
    return (
        f'{{"type":"chat","action":"chat.deleted","chat_id":{chat_id},"chat":{{"id":{chat_id},"name":null,'
        '"users":[],"last_message":null,"unread":0}}'
    )


def _list_change(action: Literal["chat.created", "chat.updated"], event: ChatUpdated) -> PerUser:
    """The chat from the seat of each; what all of them share is encoded once."""
    shared = _encode(event.chat)[:-1].decode()
    last_message = _encode(event.last_message).decode()

    def frame(user_id: int) -> str:
        seat = event.seats[user_id]
        unread = max(0, event.chat.last_message_id - seat.read_id)
        hidden = event.chat.history == History.JOINED and seat.joined_id >= event.chat.last_message_id
        own = (
            f'"role":"{seat.role}","read_id":{seat.read_id},"unread":{unread},'
            f'"last_message":{"null" if hidden else last_message}'
        )
        return f'{{"type":"chat","action":"{action}","chat_id":{event.chat_id},"chat":{shared},{own}}}}}'

    return frame


def _for_chat_sockets(event: ChatEvent) -> Frame | None:
    """New messages, and nothing else: clients of this dialect take every frame for a message."""
    return message(event.message) if isinstance(event, MessageCreated) else None


def _for_status_sockets(event: ChatEvent) -> Frame | None:
    return _list_change("chat.updated", event) if isinstance(event, ChatUpdated) else None


ENCODERS: dict[Kind, Callable[[ChatEvent], Frame | None]] = {
    Kind.CHAT: _for_chat_sockets,
    Kind.STATUS: _for_status_sockets,
}
"""What each kind of socket is told about an event of a chat; None for nothing."""


def error(problem: Error) -> str:
    """`{error, code}`, with `fields` where the input is to blame and `retry_after` in seconds."""
    told: dict[str, Any] = {"error": problem.detail, "code": problem.code}
    if problem.fields:
        told["errors"] = list(problem.fields)
    if problem.retry_after is not None:
        told["retry_after"] = problem.retry_after
    return _encode(told).decode()
