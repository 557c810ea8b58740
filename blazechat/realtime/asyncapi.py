"""Generates the AsyncAPI 3 document of the sockets from the types of wire.py and simple_frames.py.

docs/protocol.md describes the same for people, with the rules that no schema expresses.
"""

from collections.abc import Iterable, Iterator
from dataclasses import dataclass, is_dataclass
from datetime import datetime
from functools import cache
from types import NoneType
from typing import Any, Literal, get_args, get_type_hints

import msgspec
from msgspec import UNSET, Struct, UnsetType

from blazechat.domain import validation
from blazechat.domain.schemas.messages import Message
from blazechat.domain.schemas.users import Presence
from blazechat.errors import FieldError
from blazechat.realtime import simple_frames, wire
from blazechat.vocabulary import Status

Json = dict[str, Any]
Kind = type[Any]

DESCRIPTION = """Each frame is a text frame with one JSON object. Objects may have more fields than these.
docs/protocol.md describes the order of frames. `/ws` is the main socket, for all chats of a user.
`/ws/chat/{chat_id}` and `/ws/status` are simpler: there, text that is not such an object is itself the
content, or the status."""

SCHEMAS = "#/components/schemas"
MESSAGES = "#/components/messages"
REF = {"location": "$message.payload#/ref", "description": "The client's name for the command."}

VALIDATED_FIELDS: dict[str, Json] = {
    "content": {"type": "string", "maxLength": validation.MAX_MESSAGE_CHARACTERS},
    "client_id": {
        "type": ["string", "null"],
        "minLength": 1,
        "maxLength": validation.MAX_CLIENT_ID_CHARACTERS,
    },
    "reply_to": {"type": ["integer", "null"], "minimum": 1, "maximum": 2**53 - 1},
    "attachments": {
        "type": ["array", "null"],
        "items": {"type": "integer", "minimum": 1, "maximum": 2**53 - 1},
        "maxItems": validation.MAX_ATTACHMENTS,
    },
    "emoji": {"type": "string", "minLength": 1, "maxLength": validation.MAX_EMOJI_CHARACTERS},
}
"""Fields of commands that domain/validation.py checks, whose errors say more than a schema's."""


# Frames of the simple sockets that the code encodes by hand.


class StatusChoice(Struct):
    """Choose your status."""

    status: Status


class Problem(Struct):
    """A message or a status was rejected."""

    error: str
    code: str
    errors: list[FieldError] | UnsetType = UNSET
    retry_after: int | UnsetType = UNSET


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
    "everything": Socket("/ws", "All chats of a user", wire.COMMANDS, wire.EVENTS, "ticket"),
    "chat": Socket(
        "/ws/chat/{chat_id}",
        "New messages of one chat",
        (simple_frames.NewMessage,),
        (Message, Problem),
        "token",
    ),
    "status": Socket(
        "/ws/status",
        "Presence, and changes of the list of chats",
        (StatusChoice,),
        (Presence, simple_frames.ListChange, ListRemoval, Problem),
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
    """Return the document for a version of the server."""
    frames = {kind.__name__: kind for socket in SOCKETS.values() for kind in socket.receives + socket.sends}
    operations = {}
    for name, socket in SOCKETS.items():
        operations[f"{name}In"] = _operation("receive", name, socket.receives)
        operations[f"{name}Out"] = _operation("send", name, socket.sends)
    operations["everythingIn"]["reply"] = _messages_of("everything", (wire.Ack, wire.Refusal))
    return {
        "asyncapi": "3.0.0",
        "info": {"title": "BlazeChat's sockets", "version": version, "description": DESCRIPTION},
        "defaultContentType": "application/json",
        "channels": {name: _channel(socket) for name, socket in SOCKETS.items()},
        "operations": operations,
        "components": {
            "messages": {name: _message(kind) for name, kind in frames.items()},
            "schemas": _schemas(frames.values()),
            "securitySchemes": SECURITY,
        },
    }


def _channel(socket: Socket) -> Json:
    query = {"type": "object", "properties": {socket.in_query: {"type": "string"}}}
    found: Json = {
        "address": socket.address,
        "title": socket.title,
        "messages": {
            kind.__name__: {"$ref": f"{MESSAGES}/{kind.__name__}"}
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
        "messages": [{"$ref": f"{place}/messages/{kind.__name__}"} for kind in kinds],
    }


def _message(kind: Kind) -> Json:
    """Describe a frame. Its name is the value of its `type`, if it has one."""
    tag = getattr(kind, "__struct_config__", None) and kind.__struct_config__.tag
    found: Json = {
        "name": tag or kind.__name__,
        "title": kind.__name__,
        "payload": {"$ref": f"{SCHEMAS}/{kind.__name__}"},
    }
    if kind.__doc__ and not kind.__doc__.startswith(f"{kind.__name__}("):  # as dataclass() generates it
        found["summary"] = kind.__doc__
    if "ref" in get_type_hints(kind):
        found["correlationId"] = REF
    return found


def _schemas(frames: Iterable[Kind]) -> dict[str, Json]:
    """Return the schemas of all frames and of the types in them."""
    kinds: dict[str, Kind] = {kind.__name__: kind for frame in frames for kind in _types_in(frame)}
    describable = [kind for kind in kinds.values() if not _choices(kind)]
    _, schemas = msgspec.json.schema_components(describable, ref_template=f"{SCHEMAS}/{{name}}")
    for name, kind in kinds.items():
        if name not in schemas:
            schemas[name] = _with_choices(kind)
        _add_times(kind, schemas[name])
    for name in {kind.__name__ for socket in SOCKETS.values() for kind in socket.receives}:
        properties = schemas[name]["properties"]
        properties |= {name: VALIDATED_FIELDS[name] for name in properties.keys() & VALIDATED_FIELDS}
    return schemas


def _types_in(hint: Any) -> Iterator[Kind]:
    """Yield the structs and dataclasses in a type and, recursively, in their fields."""
    if isinstance(hint, type) and (is_dataclass(hint) or issubclass(hint, Struct)):
        yield hint
        for field in get_type_hints(hint).values():
            yield from _types_in(field)
    for part in get_args(hint):
        yield from _types_in(part)


def _choices(kind: Kind) -> dict[str, Json]:
    """Return the fields that are a union of dataclasses, which msgspec encodes but does not describe."""
    found = {}
    for name, hint in get_type_hints(kind).items():
        kinds = [each for each in get_args(hint) if isinstance(each, type) and is_dataclass(each)]
        if len(kinds) > 1:
            found[name] = {"anyOf": [{"$ref": f"{SCHEMAS}/{each.__name__}"} for each in kinds]}
    return found


def _with_choices(kind: type[Struct]) -> Json:
    choices = _choices(kind)
    fields = [
        (field.name, Any if field.name in choices else field.type) for field in msgspec.structs.fields(kind)
    ]
    tag, doc = kind.__struct_config__.tag, {"__doc__": kind.__doc__}
    describable = msgspec.defstruct(kind.__name__, fields, tag=tag, namespace=doc)
    _, schemas = msgspec.json.schema_components([describable], ref_template=f"{SCHEMAS}/{{name}}")
    schema: Json = schemas[kind.__name__]
    schema["properties"] |= choices
    return schema


def _add_times(kind: Kind, schema: Json) -> None:
    """Add the format of times, which msgspec encodes by RFC 3339 and describes as strings."""
    for name, hint in get_type_hints(kind).items():
        if datetime in (hint, *get_args(hint)):
            times: Json = {"type": "string", "format": "date-time"}
            nullable = NoneType in get_args(hint)
            schema["properties"][name] = {"anyOf": [times, {"type": "null"}]} if nullable else times
