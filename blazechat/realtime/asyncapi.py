"""Generates the AsyncAPI 3 document of the sockets from the types of wire.py and simple_frames.py.

docs/protocol.md describes the same for people, with the rules that no schema expresses.
"""

from collections.abc import Iterable
from dataclasses import dataclass
from functools import cache
from typing import Any, Literal, get_type_hints

from msgspec import Struct

from blazechat.domain.schemas.messages import Message
from blazechat.domain.schemas.users import Presence
from blazechat.realtime import frame_schemas, simple_frames, wire
from blazechat.realtime.frame_schemas import SCHEMAS, Json, Kind, name_of
from blazechat.vocabulary import Status

DESCRIPTION = """Each frame is a text frame with one JSON object. Objects may have more fields than these.
docs/protocol.md describes the order of frames. `/ws` is the main socket, for all chats of a user.
`/ws/chat/{chat_id}` and `/ws/status` are simpler: there, text that is not such an object is itself the
content, or the status."""

MESSAGES = "#/components/messages"
REF = {"location": "$message.payload#/ref", "description": "The client's name for the command."}


# Frames of the simple sockets that the code encodes by hand.


class StatusChoice(Struct):
    """Choose your status."""

    status: Status


class NoChat(Struct):
    id: int
    name: None
    users: list[Any]
    last_message: None
    unread: int


class ListRemoval(Struct):
    """A chat was deleted, or you are no longer a member."""

    type: Literal["chat"]
    action: Literal["chat.deleted"]
    chat_id: int
    chat: NoChat


@dataclass(frozen=True, slots=True)
class Socket:
    """A kind of socket: what it receives, what it sends, and the query parameter that may replace the
    header."""

    address: str
    title: str
    receives: tuple[Kind, ...]
    sends: tuple[Kind, ...]
    in_query: Literal["ticket", "token"]


SOCKETS = {
    "mainSocket": Socket("/ws", "All chats of a user", wire.COMMANDS, wire.EVENTS, "ticket"),
    "chatSocket": Socket(
        "/ws/chat/{chat_id}",
        "New messages of one chat",
        (simple_frames.NewMessage,),
        (Message, simple_frames.ChatError),
        "token",
    ),
    "statusSocket": Socket(
        "/ws/status",
        "Presence, and changes of the list of chats",
        (StatusChoice,),
        (Presence, simple_frames.ListChange, ListRemoval, simple_frames.StatusError),
        "token",
    ),
}

SECURITY = {
    "bearer": {"type": "http", "scheme": "bearer", "description": "An access token."},
    "ticket": {
        "type": "httpApiKey",
        "in": "query",
        "name": "ticket",
        "description": "A one-use ticket from POST /api/auth/ticket. Else the first frame is `auth`.",
    },
    "token": {
        "type": "httpApiKey",
        "in": "query",
        "name": "token",
        "description": "An access token, for clients that cannot set a header.",
    },
}


@cache
def document(version: str) -> Json:
    """Return the document for a version of the server.

    Generators take the names of types from `title`, and of a socket's union of frames from its channel.
    """
    frames = {name_of(kind): kind for socket in SOCKETS.values() for kind in socket.receives + socket.sends}
    operations = {}
    for name, socket in SOCKETS.items():
        operations[f"{name}In"] = _operation("receive", name, socket.receives)
        operations[f"{name}Out"] = _operation("send", name, socket.sends)
    operations["mainSocketIn"]["reply"] = _messages_of("mainSocket", (wire.Ack, wire.Refusal))
    return {
        "asyncapi": "3.0.0",
        "info": {"title": "BlazeChat's sockets", "version": version, "description": DESCRIPTION},
        "defaultContentType": "application/json",
        "channels": {name: _channel(socket) for name, socket in SOCKETS.items()},
        "operations": operations,
        "components": {
            "messages": {name: _message(kind) for name, kind in frames.items()},
            "schemas": frame_schemas.schemas(
                frames.values(), {kind for socket in SOCKETS.values() for kind in socket.receives}
            ),
            "securitySchemes": SECURITY,
        },
    }


def _channel(socket: Socket) -> Json:
    query = {"type": "object", "properties": {socket.in_query: {"type": "string"}}}
    found: Json = {
        "address": socket.address,
        "title": socket.title,
        "messages": {
            name_of(kind): {"$ref": f"{MESSAGES}/{name_of(kind)}"}
            for kind in socket.receives + socket.sends
        },
        "bindings": {"ws": {"method": "GET", "query": query, "bindingVersion": "0.1.0"}},
    }
    if "{chat_id}" in socket.address:
        found["parameters"] = {"chat_id": {"description": "A chat of which you are a member."}}
    return found


def _operation(action: Literal["receive", "send"], name: str, kinds: Iterable[Kind]) -> Json:
    """Describe what the server does with these frames: `receive` or `send`."""
    ways = ("bearer", SOCKETS[name].in_query)
    schemes = [{"$ref": f"#/components/securitySchemes/{way}"} for way in ways]
    return {"action": action, **_messages_of(name, kinds), "security": schemes}


def _messages_of(name: str, kinds: Iterable[Kind]) -> Json:
    place = f"#/channels/{name}"
    return {
        "channel": {"$ref": place},
        "messages": [{"$ref": f"{place}/messages/{name_of(kind)}"} for kind in kinds],
    }


def _message(kind: Kind) -> Json:
    """Describe a frame. Its name is the value of its `type`, if it has one."""
    tag = getattr(kind, "__struct_config__", None) and kind.__struct_config__.tag
    found: Json = {
        "name": tag or name_of(kind),
        "title": name_of(kind),
        "payload": {"$ref": f"{SCHEMAS}/{name_of(kind)}"},
    }
    if kind.__doc__ and not kind.__doc__.startswith(f"{kind.__name__}("):  # as dataclass() generates it
        found["summary"] = kind.__doc__
    if "ref" in get_type_hints(kind):
        found["correlationId"] = REF
    return found
