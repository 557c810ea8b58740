"""Reads the commands of `/ws`: JSON to typed values. Each invalid field has a sentence of our own."""

from collections.abc import Mapping
from typing import Any

import msgspec

from blazechat.domain.messaging.sends import MessageDraft, errors_of
from blazechat.errors import Error, FieldError, InvalidInput, UnknownCommand
from blazechat.realtime import wire
from blazechat.realtime.wire import MAX_NAMED, AnyCommand, Command, Id, Ref, Version
from blazechat.vocabulary import Status

MISSING = "This field is required."
FALLBACK = "This value is not valid. docs/protocol.md describes it."
_NOT_AN_ID = "This must be an id: a whole number greater than 0."

SENTENCES: dict[Any, str] = {
    str: "This must be a string.",
    bool: "This must be true or false.",
    Ref: "This must be a string or a whole number.",
    Id: _NOT_AN_ID,
    Id | None: _NOT_AN_ID,
    Version | None: "This must be a whole number, at least 0.",
    Status: f"This must be one of {', '.join(Status)}.",
    wire.Ids: f"This must be a list of at most {MAX_NAMED:,} ids.",
    wire.Versions: f"This must be an object with at most {MAX_NAMED:,} versions by chat id.",
}
"""By the type of the field."""

_decode = msgspec.json.Decoder(AnyCommand).decode
_kinds: dict[Any, type[Command]] = {kind.__struct_config__.tag: kind for kind in wire.COMMANDS}


def read(text: str) -> AnyCommand:
    """Decode a command. Raises InvalidInput or UnknownCommand; `ref_of()` returns its `ref` then."""
    try:
        command: AnyCommand = _decode(text)
    except (msgspec.ValidationError, msgspec.DecodeError, RecursionError):
        raise _error_of(wire.read_json(text)) from None
    return command


def ref_of(text: str) -> Ref:
    """Return the `ref` of a frame that is not a valid command, if it has one."""
    found = wire.read_json(text)
    ref = found.get("ref") if isinstance(found, dict) else None
    return ref if isinstance(ref, str | int) and not isinstance(ref, bool) else None


def _error_of(frame: Any) -> Error:
    """Return the error of a frame with all its invalid fields: msgspec reports the first one only."""
    if not isinstance(frame, dict):
        return InvalidInput('A frame is a JSON object with a "type".')
    kind = _kinds.get(frame["type"]) if isinstance(frame.get("type"), str) else None
    if kind is None:
        return UnknownCommand()
    return InvalidInput.of_all(_invalid_fields(kind, frame) or [FieldError("", FALLBACK)])


def _invalid_fields(kind: type[Command], frame: Mapping[str, Any]) -> list[FieldError]:
    found = []
    for field in msgspec.structs.fields(kind):
        if field.name not in frame:
            if field.required:
                found.append(FieldError(field.name, MISSING))
        elif not _fits(frame[field.name], field.type):
            found.append(FieldError(field.name, SENTENCES.get(field.type, FALLBACK)))
    if kind is wire.Send and "content" in frame:
        names = ("content", "client_id", "reply_to", "attachments")
        found += errors_of(MessageDraft(0, *(frame.get(name) for name in names)))
    return found


def _fits(value: Any, kind: Any) -> bool:
    try:
        msgspec.convert(value, kind)
    except msgspec.ValidationError:
        return False
    return True
