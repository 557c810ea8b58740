"""Generates the JSON schemas of the frames of sockets from their types, for the AsyncAPI document.

msgspec generates most of it. This module adds what msgspec leaves out: formats of times, unions of
dataclasses, limits of fields that the domain validates, and names from which code generators make names of
types.
"""

from collections.abc import Collection, Iterable, Iterator
from dataclasses import is_dataclass
from datetime import datetime
from types import NoneType
from typing import Any, get_args, get_type_hints

import msgspec
from msgspec import Struct

from blazechat.domain import validation
from blazechat.realtime import wire

Json = dict[str, Any]
Kind = type[Any]

SCHEMAS = "#/components/schemas"
NAMES = {"Status": "PresenceStatus", "History": "ChatHistory"}
"""Names instead of those of global variables in browsers, which generators of TypeScript would rename."""

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


def name_of(kind: Kind) -> str:
    """Return the name of a type in the document.

    Commands end with `Command`, and what the main socket sends without being asked ends with `Event`.
    """
    name = NAMES.get(kind.__name__, kind.__name__)
    if kind in wire.COMMANDS:
        return name.removesuffix("Command") + "Command"
    if kind in wire.EVENTS and "ref" not in get_type_hints(kind):
        return name.removesuffix("Frame").removesuffix("Event") + "Event"
    return name


def schemas(frames: Iterable[Kind], received: Collection[Kind]) -> dict[str, Json]:
    """Return the schemas of all frames and of the types in them, by name.

    The fields of `received` frames have the limits that the domain checks.
    """
    kinds: dict[str, Kind] = {kind.__name__: kind for frame in frames for kind in _types_in(frame)}
    describable = [kind for kind in kinds.values() if not _choices(kind)]
    _, found = msgspec.json.schema_components(describable, ref_template=f"{SCHEMAS}/{{name}}")
    for name, kind in kinds.items():
        if name not in found:
            found[name] = _with_choices(kind)
        _add_times(kind, found[name])
    for kind in received:
        properties = found[kind.__name__]["properties"]
        properties |= {name: VALIDATED_FIELDS[name] for name in properties.keys() & VALIDATED_FIELDS}
    names = {name: name_of(kinds[name]) if name in kinds else NAMES.get(name, name) for name in found}
    for name, schema in found.items():
        schema["title"] = names[name]
        _name_choices(schema)
        _rename_references(schema, names)
    return {names[name]: schema for name, schema in found.items()}


def _name_choices(schema: Json) -> None:
    """Describe a field with one value as a constant; give a field with a choice of values a name."""
    for name, field in schema.get("properties", {}).items():
        match field.get("enum"):
            case [str() as only]:
                schema["properties"][name] = {"type": "string", "const": only}
            case [_, *_]:
                field["title"] = schema["title"] + name.title().replace("_", "")


def _rename_references(part: Any, names: dict[str, str]) -> None:
    """Replace the names of types in all references in a part of a schema."""
    if isinstance(part, dict):
        if "$ref" in part:
            part["$ref"] = f"{SCHEMAS}/{names[part['$ref'].rpartition('/')[2]]}"
        part = list(part.values())
    if isinstance(part, list):
        for each in part:
            _rename_references(each, names)


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
            described = {"anyOf": [times, {"type": "null"}]} if NoneType in get_args(hint) else times
            defaults = {key: value for key, value in schema["properties"][name].items() if key == "default"}
            schema["properties"][name] = described | defaults
