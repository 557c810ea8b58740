"""The SDK's data types mirror the server's: their fields have the same names, types and optionality.

Each intended difference is listed with its reason. A difference that is not listed fails, and so does a
listed one that no longer exists.
"""

import dataclasses
import types
import typing
from collections.abc import Iterator
from typing import Any, NamedTuple

import msgspec
import pytest
from msgspec import UnsetType

from blazechat import errors as server_errors
from blazechat.api.sync import ChangesPage
from blazechat.api.webhook_deliveries import Redelivered
from blazechat.client import compact_messages, errors, events, frames, schemas
from blazechat.domain import public_events
from blazechat.domain.schemas import chats, files, integrations, messages, users
from blazechat.realtime import compact_messages as server_messages
from blazechat.realtime import wire

NOT_MIRRORED = {
    "AccessToken": "`Tokens` is the SDK's type for both responses",
    "AuthorOverride": "never sent: it becomes the author's names",
    "ChatInfo": "compared with `events.ChatInfo` below",
    "OverriddenAuthor": "`Author` is the SDK's type for both",
    "Part": "an enumeration of path segments",
    "Progress": "sent as headers of the upload",
    "Ticket": "for browsers, which cannot send the token as a header",
}
"""Server types without an SDK type of the same name."""

SDK_ONLY = {
    "Page": "made from a list and its `Link` header",
    "Redelivered": "compared with the type of `api.webhook_deliveries` below",
}

INTENDED = {
    "Author.icon_url": "only messages of incoming webhooks have it (the server's OverriddenAuthor)",
    "ChatInfo.users": "the server sends `Chat` in place of `ChatInfo` if the members may have changed",
    "ChatUpdated.chat": "one SDK type for the server's two, see `ChatInfo.users`",
    "ChangesPage.events": "the server writes events as finished JSON, the SDK decodes them",
    "Message.attachments": "absent in messages of servers without files",
    "ReadCursor.message": "a sentence for people, which programs do not need",
    "Ready.limits": "decoded by `socket._ReadyLimits`, so that an invalid limit does not end a connection",
    "Refusal.retry_after": "servers send whole seconds, proxies and later servers may send fractions",
    "Tokens.refresh_token": "absent if only the access token was renewed (the server's AccessToken)",
    "Tokens.token_type": "always `bearer`",
}
"""Fields that differ between the server's types and the SDK's, with the reason."""


MESSAGE_EVENTS: tuple[type[msgspec.Struct], ...] = (
    public_events.MessageCreatedEvent,
    public_events.MessageUpdatedEvent,
    public_events.MessageDeletedEvent,
)
"""Events of `changes` over HTTP, with complete messages."""


class Field(NamedTuple):
    type: object
    """Classes by name, so that mirrored types are equal."""
    is_nullable: bool
    is_optional: bool
    """True if the field may be absent."""


def _server_types() -> Iterator[type]:
    for module in (chats, files, integrations, messages, users):
        for value in vars(module).values():
            if isinstance(value, type) and value.__module__ == module.__name__:
                yield value


def _pairs() -> dict[str, tuple[type, type]]:
    """Return the server's and the SDK's type, by the name of the SDK's."""
    pairs = {
        kind.__name__: (kind, getattr(schemas, kind.__name__))
        for kind in _server_types()
        if hasattr(schemas, kind.__name__)
    }
    for decoded, sent in ((frames.EncodedFrame, wire.EVENTS), (frames.Frame, MESSAGE_EVENTS)):
        sdk_frames = {kind.__struct_config__.tag: kind for kind in typing.get_args(decoded)}
        for kind in sent:
            if (sdk_type := sdk_frames.get(kind.__struct_config__.tag)) is not None:
                pairs[sdk_type.__name__] = (kind, sdk_type)
    for name in ("CompactAuthor", "CompactMessage"):
        pairs[name] = (getattr(server_messages, name), getattr(compact_messages, name))
    pairs["ChangesPage"] = (ChangesPage, frames.ChangesPage)
    pairs["ChatInfo"] = (chats.ChatInfo, events.ChatInfo)
    pairs["FieldError"] = (server_errors.FieldError, errors.FieldError)
    pairs["Redelivered"] = (Redelivered, schemas.Redelivered)
    return pairs


PAIRS = _pairs()


def _fields(kind: Any) -> dict[str, Field]:
    hints = typing.get_type_hints(kind)
    if dataclasses.is_dataclass(kind):
        optional = {
            field.name: field.default is not dataclasses.MISSING for field in dataclasses.fields(kind)
        }
    elif issubclass(kind, msgspec.Struct):
        optional = {field.name: not field.required for field in msgspec.structs.fields(kind)}
    else:
        optional = {name: not field.is_required() for name, field in kind.model_fields.items()}
    return {name: _field(hints[name], is_optional) for name, is_optional in optional.items()}


def _field(hint: Any, is_optional: bool) -> Field:
    members = set(typing.get_args(hint)) if _is_union(hint) else {hint}
    kept = frozenset(map(_named, members - {type(None), UnsetType}))
    return Field(kept, type(None) in members, is_optional or UnsetType in members)


def _is_mirror(server: Field | None, sdk: Field | None) -> bool:
    if server is None or sdk is None:
        return False
    # The SDK has None for a field that is absent.
    is_nullable = server.is_nullable or (server.is_optional and sdk.is_nullable)
    return sdk == server._replace(is_nullable=is_nullable)


def _named(hint: Any) -> object:
    """Return the name of a type, with its arguments."""
    if _is_union(hint):
        return frozenset(map(_named, typing.get_args(hint)))
    origin, arguments = typing.get_origin(hint), typing.get_args(hint)
    if origin is dict:  # keys of JSON objects are strings, which the SDK decodes as ids
        return "dict", _named(arguments[1])
    if origin is not None:
        return origin.__name__, *map(_named, arguments)
    return hint.__name__


def _is_union(hint: Any) -> bool:
    return typing.get_origin(hint) in (typing.Union, types.UnionType)


def test_every_public_type_of_the_server_has_an_sdk_type() -> None:
    """And every SDK type mirrors one of the server's."""
    server = {kind.__name__ for kind in _server_types()}
    sdk = {
        name
        for name, kind in vars(schemas).items()
        if isinstance(kind, type) and kind.__module__ == schemas.__name__
    }
    assert server - NOT_MIRRORED.keys() == sdk - SDK_ONLY.keys()
    assert NOT_MIRRORED.keys() <= server
    assert SDK_ONLY.keys() <= sdk


def test_every_frame_of_the_server_has_an_sdk_type() -> None:
    """And the SDK has no frame types that the server does not send."""
    sent = {kind.__struct_config__.tag for kind in wire.EVENTS}
    for decoded in (frames.EncodedFrame, frames.Frame):
        assert sent == {kind.__struct_config__.tag for kind in typing.get_args(decoded)}


@pytest.mark.parametrize("name", PAIRS)
def test_fields_are_equal(name: str) -> None:
    """In name, type, and whether they may be null or absent."""
    server, sdk = map(_fields, PAIRS[name])
    differing = {
        field: (server.get(field), sdk.get(field))
        for field in server | sdk
        if not _is_mirror(server.get(field), sdk.get(field))
    }
    intended = {field.partition(".")[2] for field in INTENDED if field.startswith(f"{name}.")}
    assert differing.keys() == intended, differing


def test_intended_differences_name_types() -> None:
    assert {field.partition(".")[0] for field in INTENDED} <= PAIRS.keys()
