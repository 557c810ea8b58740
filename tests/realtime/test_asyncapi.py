"""The AsyncAPI document: complete, consistent, and valid for every frame of live sockets."""

import json
from collections.abc import Iterator
from typing import Any, cast

import jsonschema_rs
import pytest
import websockets

from blazechat import __version__
from blazechat.realtime import asyncapi, wire
from blazechat.realtime.frame_schemas import name_of
from tests.conftest import NewServer
from tests.harness import Live, Person, Socket
from tests.webhooks.receiver import LOOPBACK, receiving

DOCUMENT = asyncapi.document(__version__)


def _walk(value: Any) -> Iterator[dict[str, Any]]:
    """Yield all objects in a JSON value."""
    if isinstance(value, dict):
        yield value
    for part in value.values() if isinstance(value, dict) else value if isinstance(value, list) else ():
        yield from _walk(part)


def _strict(schemas: dict[str, Any]) -> dict[str, Any]:
    """Return a copy of the schemas that allows only the fields that they name."""
    copied: dict[str, Any] = json.loads(json.dumps(schemas))
    for schema in _walk(copied):
        if schema.get("type") == "object" and "properties" in schema:
            schema.setdefault("additionalProperties", False)
    return copied


STRICT = {"components": {"schemas": _strict(DOCUMENT["components"]["schemas"])}}


def _check(frame: Any, *names: str) -> None:
    """Raises ValidationError unless the frame matches one of these schemas."""
    schema = STRICT | {"anyOf": [{"$ref": f"#/components/schemas/{name}"} for name in names]}
    jsonschema_rs.Draft7Validator(schema, validate_formats=True).validate(frame)


def _by_type(kinds: tuple[type[Any], ...]) -> dict[str, str]:
    """Return the names of schemas by the `type` of their frames."""
    return {str(kind.__struct_config__.tag): name_of(kind) for kind in kinds}


COMMANDS, EVENTS = _by_type(wire.COMMANDS), _by_type(wire.EVENTS)


async def test_document_is_served(live: Live) -> None:
    """The OpenAPI document does not list its path."""
    answer = await live.client().get("/asyncapi.json")
    assert answer.status_code == 200
    assert answer.json() == DOCUMENT
    assert "/asyncapi.json" not in (await live.client().get("/openapi.json")).text


def test_every_reference_resolves_and_every_component_is_used() -> None:
    referenced = set()
    for part in _walk(DOCUMENT):
        if "$ref" not in part:
            continue
        target: Any = DOCUMENT
        for step in part["$ref"].removeprefix("#/").split("/"):
            assert step in target, part["$ref"]
            target = target[step]
        referenced.add(part["$ref"])
    for kind, parts in DOCUMENT["components"].items():
        for name in parts:
            assert f"#/components/{kind}/{name}" in referenced, name


def test_document_has_every_command_and_event() -> None:
    """Each is listed for `/ws` in its direction, under its name, with a summary."""
    messages, operations = DOCUMENT["components"]["messages"], DOCUMENT["operations"]
    for operation, kinds in (("mainSocketIn", COMMANDS), ("mainSocketOut", EVENTS)):
        listed = [each["$ref"].rpartition("/")[2] for each in operations[operation]["messages"]]
        assert {messages[name]["name"]: name for name in listed} == kinds
        for name in listed:
            assert messages[name]["summary"].endswith("."), name


def test_schemas_have_time_formats_and_limits() -> None:
    """msgspec alone does not generate these."""
    schemas = DOCUMENT["components"]["schemas"]
    time = {"type": "string", "format": "date-time"}
    assert schemas["ReadyEvent"]["properties"]["expires_at"] == time
    assert schemas["Message"]["properties"]["deleted_at"] == {"anyOf": [time, {"type": "null"}]}
    assert schemas["CompactMessage"]["properties"]["deleted_at"] == {
        "anyOf": [time, {"type": "null"}],
        "default": None,
    }
    assert schemas["SendCommand"]["properties"]["content"]["maxLength"] == 10_000
    chat = schemas["ChatUpdatedEvent"]["properties"]["chat"]
    assert [each["$ref"].rpartition("/")[2] for each in chat["anyOf"]] == ["ChatInfo", "Chat"]
    for wrong in ({"type": "send", "chat_id": 1}, {"type": "send", "chat_id": 0, "content": "x"}):
        with pytest.raises(jsonschema_rs.ValidationError):
            _check(wrong, "SendCommand")


def test_messages_in_events_have_optional_fields_with_defaults() -> None:
    """Fields whose default is a constant have it; the others are described."""
    schemas = DOCUMENT["components"]["schemas"]
    for name in ("MessageCreatedEvent", "MessageUpdatedEvent", "MessageDeletedEvent"):
        message = {"$ref": "#/components/schemas/CompactMessage"}
        assert schemas[name]["properties"]["message"] == message
    compact, author = schemas["CompactMessage"], schemas["CompactAuthor"]
    assert compact["required"] == ["id", "user", "content", "client_id", "created_at"]
    nulls = dict.fromkeys(("reply_to", "edited_at", "deleted_at", "pinned_at"))
    assert {
        field: schema["default"] for field, schema in compact["properties"].items() if "default" in schema
    } == nulls | {"is_read": False, "reactions": [], "attachments": []}
    assert author["required"] == ["id", "username"]
    for field in ("updated_at", "chat_id", "version", "user_id"):
        assert f"`{field}`" in compact["description"]
    assert "`display_name`" in author["description"]


class RecordedConnection:
    """A connection, and all frames that were sent and received on it."""

    def __init__(self, connection: websockets.ClientConnection) -> None:
        self._connection = connection
        self.sent: list[Any] = []
        self.received: list[Any] = []

    async def send(self, frame: str) -> None:
        self.sent.append(json.loads(frame))
        await self._connection.send(frame)

    async def recv(self) -> str | bytes:
        frame = await self._connection.recv()
        self.received.append(json.loads(frame))
        return frame


def _recording(connection: websockets.ClientConnection) -> tuple[Socket, RecordedConnection]:
    recorded = RecordedConnection(connection)
    return Socket(cast(Any, recorded)), recorded


async def test_every_frame_of_the_main_socket_matches_its_schema(new_server: NewServer) -> None:
    """Every command and every event is sent at least once; no frame has more fields than its schema."""
    live = await new_server(heartbeat_seconds=1.0, resume_limit=5, **LOOPBACK)
    alice, bob, carol = await live.people("alice", "bob", "carol")
    chat_id, long = await bob.group(alice), await bob.group(alice)
    await bob.put(f"/api/chats/{chat_id}", {"name": "Renamed"})
    for number in range(6):
        await bob.say(long, f"{number}")
    async with websockets.connect(f"{live.ws_url}/ws", proxy=None) as connection:
        socket, recorded = _recording(connection)
        for _ in range(2):
            await socket.ask("auth", token=alice.token)
        await socket.ask("resume", chats={str(chat_id): 1, str(long): 1})
        await _send_all_commands(socket, chat_id, alice)
        await _receive_all_events(socket, chat_id, alice, bob, carol)
        assert (await socket.ask("send", chat_id=long + 1000, content="x"))["code"] == "not_found"
        await connection.send('{"type": "send", "chat_id": 1, "content": ""}')
        assert (await socket.next(type="error"))["errors"]
        await socket.next(type="ping")
        await socket.send({"type": "pong"})
    for frame in recorded.sent:
        _check(frame, COMMANDS[frame["type"]])
    for frame in recorded.received:
        _check(frame, EVENTS[frame["type"]])
    assert {frame["type"] for frame in recorded.sent} == set(COMMANDS)
    assert {frame["type"] for frame in recorded.received} == set(EVENTS)


async def _send_all_commands(socket: Socket, chat_id: int, alice: Person) -> None:
    await socket.ask("send", chat_id=chat_id, content="one")
    await socket.ask("send", chat_id=chat_id, content="two", client_id="c2", reply_to=1)
    place = {"chat_id": chat_id, "message_id": 1}
    await socket.ask("edit", **place, content="edited")
    await socket.ask("react", **place, emoji="👍")
    await socket.ask("unreact", **place, emoji="👍")
    await socket.ask("pin", **place)
    await socket.ask("unpin", **place)
    await socket.ask("delete", **place)
    await socket.ask("read", chat_id=chat_id)
    await socket.ask("typing", chat_id=chat_id)
    await socket.ask("status", status="away")
    await socket.ask("subscribe", users=[alice.id])
    await socket.ask("unsubscribe", users=[alice.id])
    await socket.ask("ping")
    await socket.send({"type": "ping"})
    await socket.next(type="pong")


async def _receive_notice(socket: Socket, chat_id: int, alice: Person, bob: Person) -> None:
    async with receiving(lambda request: 202) as receiver:
        wanted = {"word": "/ship", "name": "Ships", "url": receiver.url}
        assert (await bob.post(f"/api/chats/{chat_id}/slash-commands", wanted)).status_code == 201
        await alice.post(f"/api/chats/{chat_id}/commands", {"text": "/ship"})
        await alice.live.client().post(receiver.requests[0].event["response_url"], json={"text": "x"})
        await socket.next(type="notice")


async def _receive_all_events(
    socket: Socket, chat_id: int, alice: Person, bob: Person, carol: Person
) -> None:
    await socket.ask("subscribe", chat_id=chat_id, users=[bob.id])
    await _receive_notice(socket, chat_id, alice, bob)
    async with bob.online() as bobs:
        await socket.next(type="presence")
        await bobs.ask("typing", chat_id=chat_id)
        await socket.next(type="typing")
        await bobs.ask("read", chat_id=chat_id)
        await socket.next(type="read", user_id=bob.id)
    await bob.put(f"/api/users/{bob.id}", {"display_name": "Bobby"})
    await socket.next(type="user.updated")
    await bob.say(chat_id, "three")
    await socket.ask("read", chat_id=chat_id)
    await bob.put(f"/api/chats/{chat_id}", {"name": "Renamed"})
    await socket.next(type="chat.updated")
    await bob.post(f"/api/chats/{chat_id}/members", [carol.id])
    await socket.next(type="member.added")
    await bob.put(f"/api/chats/{chat_id}/members/{carol.id}", {"role": "admin"})
    await socket.next(type="member.updated")
    await bob.delete(f"/api/chats/{chat_id}/members/{carol.id}")
    await socket.next(type="member.removed")
    other = await bob.group(history="joined")
    await bob.say(other, "secret")
    await bob.post(f"/api/chats/{other}/members", [alice.id])
    await socket.next(type="chat.created", chat_id=other)
    await bob.put(f"/api/chats/{other}/messages/1", {"content": "still secret"})
    await socket.next(type="hidden")
    await bob.delete(f"/api/chats/{other}")
    await socket.next(type="chat.deleted")


async def test_every_frame_of_the_simple_sockets_matches_its_schema(live: Live) -> None:
    """Messages, presence, changes of the list of chats, and errors."""
    alice, bob = await live.people("alice", "bob")
    chat_id = await alice.group(bob)
    async with alice.socket(f"/ws/chat/{chat_id}") as opened:
        socket, chat = _recording(opened.connection)
        await socket.send({"content": "hello", "client_id": "c1"})
        await socket.next(content="hello")
        await opened.send('{"content": ""}')
        await socket.next(code="invalid_input")
    async with alice.socket("/ws/status") as opened:
        socket, status = _recording(opened.connection)
        await socket.send({"status": "away"})
        await socket.next(user_id=alice.id)
        await bob.group(alice)
        await socket.next(action="chat.created")
        await bob.delete(f"/api/chats/{chat_id}/members/{bob.id}")
        await socket.next(action="chat.updated")
        await alice.delete(f"/api/chats/{chat_id}")
        await socket.next(action="chat.deleted")
    for frame in chat.sent:
        _check(frame, "NewMessage")
    for frame in chat.received:
        _check(frame, "Message", "ChatError")
    for frame in status.sent:
        _check(frame, "StatusChoice")
    for frame in status.received:
        _check(frame, "Presence", "ListChange", "ListRemoval", "StatusError")
