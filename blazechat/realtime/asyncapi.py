"""The AsyncAPI 3 document of the sockets, made from the types of wire.py: for programs that write clients.

docs/protocol.md is the same for people, and says what no schema can.
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

DESCRIPTION = """Frames are text, one JSON object each; there may always be more fields than these.
docs/protocol.md says what is said when. `/ws` is one socket for everything. `/ws/chat/{chat_id}` and
`/ws/status` know less; there, text that is no such object is itself the content, or the status."""

SCHEMAS = "#/components/schemas"
MESSAGES = "#/components/messages"
REF = {"location": "$message.payload#/ref", "description": "What the client calls the command."}

CHECKED_ELSEWHERE: dict[str, Json] = {
    "content": {"type": "string", "maxLength": validation.MESSAGE_LIMIT},
    "client_id": {"type": ["string", "null"], "minLength": 1, "maxLength": validation.CLIENT_ID_LIMIT},
    "reply_to": {"type": ["integer", "null"], "minimum": 1, "maximum": 2**53 - 1},
    "attachments": {
        "type": ["array", "null"],
        "items": {"type": "integer", "minimum": 1, "maximum": 2**53 - 1},
        "maxItems": validation.ATTACHMENTS_LIMIT,
    },
    "emoji": {"type": "string", "minLength": 1, "maxLength": validation.EMOJI_LIMIT},
}
"""Fields of commands that domain/texts.py checks, whose sentences say more."""


# What the older sockets say and the code makes by hand.


class StatusChoice(Struct):
    """Choose whether one is shown as here."""

    status: Status


class Problem(Struct):
    """Something could not be done."""

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
    """A chat is gone, or one is no member any more."""

    type: Literal["chat"]
    action: Literal["chat.deleted"]
    chat_id: int
    chat: NoChat


@dataclass(frozen=True, slots=True)
class Socket:
    """A kind of socket: what it takes, what it tells, and what a query may have in place of a header."""

    address: str
    title: str
    takes: tuple[Kind, ...]
    tells: tuple[Kind, ...]
    in_query: Literal["ticket", "token"]


SOCKETS = {
    "everything": Socket("/ws", "Everything of all chats", wire.COMMANDS, wire.TOLD, "ticket"),
    "chat": Socket(
        "/ws/chat/{chat_id}",
        "New messages of one chat",
        (simple_frames.NewMessage,),
        (Message, Problem),
        "token",
    ),
    "status": Socket(
        "/ws/status",
        "Who is here, and changes of the list of chats",
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
        "description": "From POST /api/auth/ticket, good once. Else an `auth` frame comes first.",
    },
    "token": {
        "type": "httpApiKey",
        "in": "query",
        "name": "token",
        "description": "An access token, for programs that cannot set a header.",
    },
}


@cache
def document(version: str) -> Json:
    """The document of a server of this version."""
    frames = {kind.__name__: kind for socket in SOCKETS.values() for kind in socket.takes + socket.tells}
    operations = {}
    for name, socket in SOCKETS.items():
        operations[f"{name}In"] = _operation("receive", name, socket.takes)
        operations[f"{name}Out"] = _operation("send", name, socket.tells)
    operations["everythingIn"]["reply"] = _said_on("everything", (wire.Ack, wire.Refusal))
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
            kind.__name__: {"$ref": f"{MESSAGES}/{kind.__name__}"} for kind in socket.takes + socket.tells
        },
        "bindings": {"ws": {"method": "GET", "query": query, "bindingVersion": "0.1.0"}},
    }
    if "{chat_id}" in socket.address:
        found["parameters"] = {"chat_id": {"description": "A chat that one is in."}}
    return found


def _operation(action: Literal["receive", "send"], name: str, said: Iterable[Kind]) -> Json:
    """`action` is the server's."""
    ways = ("bearer", SOCKETS[name].in_query)
    schemes = [{"$ref": f"#/components/securitySchemes/{way}"} for way in ways]
    return {"action": action, **_said_on(name, said), "security": schemes}


def _said_on(name: str, said: Iterable[Kind]) -> Json:
    place = f"#/channels/{name}"
    return {
        "channel": {"$ref": place},
        "messages": [{"$ref": f"{place}/messages/{kind.__name__}"} for kind in said],
    }


def _message(kind: Kind) -> Json:
    """`name` is what its `type` says, where it has one."""
    tag = getattr(kind, "__struct_config__", None) and kind.__struct_config__.tag
    found: Json = {
        "name": tag or kind.__name__,
        "title": kind.__name__,
        "payload": {"$ref": f"{SCHEMAS}/{kind.__name__}"},
    }
    if kind.__doc__ and not kind.__doc__.startswith(f"{kind.__name__}("):  # as dataclasses make them
        found["summary"] = kind.__doc__
    if "ref" in get_type_hints(kind):
        found["correlationId"] = REF
    return found


def _schemas(frames: Iterable[Kind]) -> dict[str, Json]:
    """Of all that is said, and of what that is made of."""
    kinds: dict[str, Kind] = {kind.__name__: kind for frame in frames for kind in _made_of(frame)}
    describable = [kind for kind in kinds.values() if not _choices(kind)]
    _, schemas = msgspec.json.schema_components(describable, ref_template=f"{SCHEMAS}/{{name}}")
    for name, kind in kinds.items():
        if name not in schemas:
            schemas[name] = _with_choices(kind)
        _add_times(kind, schemas[name])
    for name in {kind.__name__ for socket in SOCKETS.values() for kind in socket.takes}:
        properties = schemas[name]["properties"]
        properties |= {name: CHECKED_ELSEWHERE[name] for name in properties.keys() & CHECKED_ELSEWHERE}
    return schemas


def _made_of(hint: Any) -> Iterator[Kind]:
    """The structs and dataclasses in a type, and in their fields."""
    if isinstance(hint, type) and (is_dataclass(hint) or issubclass(hint, Struct)):
        yield hint
        for field in get_type_hints(hint).values():
            yield from _made_of(field)
    for part in get_args(hint):
        yield from _made_of(part)


def _choices(kind: Kind) -> dict[str, Json]:
    """Fields that are one dataclass or another, which msgspec writes but does not describe."""
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
    """msgspec writes times as RFC 3339 has them, and calls them strings."""
    for name, hint in get_type_hints(kind).items():
        if datetime in (hint, *get_args(hint)):
            times: Json = {"type": "string", "format": "date-time"}
            nullable = NoneType in get_args(hint)
            schema["properties"][name] = {"anyOf": [times, {"type": "null"}]} if nullable else times
