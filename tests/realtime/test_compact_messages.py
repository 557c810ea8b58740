"""Compact messages in the events of `/ws`: they are small, and a client can fill in what is left out."""

import json
import math
from collections.abc import Awaitable, Callable
from datetime import UTC
from typing import Any, Literal

import msgspec
import pytest
from hypothesis import given
from hypothesis import strategies as st

from blazechat.client import frames as sdk_frames
from blazechat.client import schemas
from blazechat.client.compact_messages import complete_json
from blazechat.domain import public_events
from blazechat.domain.events import MessageCreated, MessageDeleted, MessageUpdated
from blazechat.domain.schemas.files import Attachment, Thumbnail
from blazechat.domain.schemas.messages import Message, OverriddenAuthor, Reaction
from blazechat.domain.schemas.users import Author
from blazechat.realtime import frames, wire
from blazechat.realtime.compact_messages import CompactAuthor, CompactMessage
from tests.files.pictures import photo
from tests.files.upload_calls import uploaded
from tests.harness import Live, Person, Socket

REQUIRED = {"id", "user", "content", "client_id", "created_at"}
NEVER_SENT = {"chat_id", "user_id", "version"}


async def _next_raw(socket: Socket) -> dict[str, Any]:
    """Return the next event of a message as the server sent it."""
    while True:
        frame: dict[str, Any] = json.loads(await socket.connection.recv())
        if "message" in frame:
            return frame


def _check_form(message: dict[str, Any]) -> None:
    """Check that nothing is in a message that its reader can fill in."""
    assert message.keys() >= REQUIRED
    assert not message.keys() & NEVER_SENT
    assert not [name for name, value in message.items() if value is None or value is False or value == []]
    assert message.get("updated_at") != message["created_at"]
    assert message["user"].get("display_name") != message["user"]["username"]


@pytest.mark.parametrize(("names", "max_bytes"), [({}, 400), ({"display_name": "Alice"}, 420)])
async def test_plain_message_takes_at_most_420_bytes(
    live: Live, names: dict[str, str], max_bytes: int
) -> None:
    """The whole frame, with 200 characters of text. The author has chosen a display name, or none."""
    alice, bob = await live.people("alice", "bob")
    await alice.put(f"/api/users/{alice.id}", names)
    chat_id = await alice.group(bob)
    async with bob.online() as socket, alice.online() as sender:
        await sender.ask("send", chat_id=chat_id, content="x" * 200)
        text = await socket.connection.recv()
    assert isinstance(text, str)
    assert len(frames.text(text.encode())) <= max_bytes
    message = json.loads(text)["message"]
    assert message.keys() == REQUIRED
    assert message["user"].keys() == {"id", "username", *names}


Change = Callable[[], Awaitable[Any]]


async def _changes(live: Live, alice: Person, bob: Person, chat_id: int) -> list[Change]:
    """Return one change per kind of message, each of which causes one event."""
    path = f"/api/chats/{chat_id}/messages"
    image, text = await uploaded(alice, photo(), "a.jpg"), await uploaded(alice, b"plain text")
    files = [image["id"], text["id"]]
    hook = await alice.post(f"/api/chats/{chat_id}/incoming-webhooks", {"name": "CI"})
    url, robot = hook.json()["url"], live.client()
    overrides: list[dict[str, str]] = [
        {"username": "Deploys", "icon_url": "https://example.com/i.png"},
        {"username": "Deploys"},
        {"icon_url": "https://example.com/i.png"},
        {},
    ]

    def post(override: dict[str, str]) -> Change:
        return lambda: robot.post(url, json={"text": "x", **override})

    return [
        lambda: alice.say(chat_id, "plain"),
        lambda: alice.say(chat_id, "reply", reply_to=1, client_id="c1"),
        lambda: alice.say(chat_id, "", attachments=files),
        lambda: alice.say(chat_id, "text and file", attachments=[files[0]], reply_to=2),
        lambda: bob.put(f"{path}/1/reactions/👍"),
        lambda: alice.put(f"{path}/1/reactions/👍"),
        lambda: alice.put(f"{path}/1", {"content": "edited"}),
        lambda: bob.put(f"{path}/2/pin"),
        lambda: bob.delete(f"{path}/2/pin"),
        lambda: bob.put(f"{path}/3/pin"),
        lambda: bob.put(f"{path}/3/reactions/🎉"),
        lambda: alice.put(f"{path}/3", {"content": "a text"}),
        lambda: bob.delete(f"{path}/1/reactions/👍"),
        lambda: alice.delete(f"{path}/1"),
        lambda: alice.delete(f"{path}/4"),
        *map(post, overrides),
        lambda: bob.put(f"{path}/5/reactions/👀"),
        lambda: alice.delete(f"{path}/5"),
    ]


async def test_completed_messages_equal_those_of_http(live: Live) -> None:
    """After every kind of change, live and after a resume; the SDK's objects are equal as well.

    The author has no display name at first, later one of their own. One message is read by another member.
    """
    alice, bob = await live.people("alice", "bob")
    chat_id = await alice.group(bob)
    seen: set[str] = set()
    async with bob.online() as socket:

        async def check(change: Change) -> None:
            await change()
            raw = await _next_raw(socket)
            _check_form(raw["message"])
            seen.update(raw["message"], raw["message"]["user"])
            http = await bob.get(f"/api/chats/{chat_id}/messages/{raw['message']['id']}")
            assert complete_json(raw)["message"] == http.json()
            event: Any = sdk_frames.decode(json.dumps(raw))
            assert event.message == msgspec.json.decode(http.content, type=schemas.Message)

        for change in await _changes(live, alice, bob, chat_id):
            await check(change)
        await alice.put(f"/api/users/{alice.id}", {"display_name": "Alice"})
        await check(lambda: alice.say(chat_id, "named"))
        await bob.put(f"/api/chats/{chat_id}/messages/read")
        await check(lambda: alice.put(f"/api/chats/{chat_id}/messages/2", {"content": "is read"}))
    for kind in (CompactMessage, CompactAuthor):
        assert seen >= {field.name for field in msgspec.structs.fields(kind)}
    await _check_resume(bob, chat_id)


async def _check_resume(person: Person, chat_id: int) -> None:
    """A resume replays compact messages; completed, they are the events of `changes` over HTTP."""
    changes = (await person.get(f"/api/chats/{chat_id}/changes", params={"after": 1})).json()["events"]
    wanted = [event for event in changes if "message" in event]
    assert {event["type"] for event in wanted} == {"message.created", "message.updated", "message.deleted"}
    async with person.online() as socket:
        await socket.send({"type": "resume", "chats": {str(chat_id): 1}})
        for event in wanted:
            raw = await _next_raw(socket)
            _check_form(raw["message"])
            assert complete_json(raw) == event


async def test_only_events_of_messages_are_compact(live: Live) -> None:
    """The last message of `chat.created` is complete, and so are those of chat sockets and HTTP."""
    alice, bob = await live.people("alice", "bob")
    chat_id = await alice.group()
    async with bob.online() as socket, alice.listening(chat_id) as chat_socket:
        message = await alice.say(chat_id, "complete")
        assert json.loads(await chat_socket.connection.recv()) == message
        await alice.post(f"/api/chats/{chat_id}/members", [bob.id])
        created = json.loads(await socket.connection.recv())
        assert (created["type"], created["chat"]["last_message"]) == ("chat.created", message)
    assert (await bob.history(chat_id)) == [message]


texts = st.text(st.characters(codec="utf-8"), max_size=5)
names = st.sampled_from(["alice", "Alice"])
ids = st.integers(1, 2**53 - 1)
times = st.datetimes(timezones=st.just(UTC))
images = st.builds(Thumbnail, texts, ids, ids, texts)
attachments = st.builds(
    Attachment,
    *(ids, texts, texts, ids, st.none() | ids, st.none() | ids),
    *(st.none() | st.floats(0, math.inf, exclude_max=True), st.none() | texts, texts),
    st.lists(images, max_size=2),
)
authors = st.builds(Author, ids, names, names) | st.builds(
    OverriddenAuthor, ids, names, names, st.none() | texts
)


@st.composite
def messages(draw: st.DrawFn) -> Message:
    author, created_at = draw(authors), draw(times)
    return Message(
        id=draw(ids),
        chat_id=draw(ids),
        user_id=author.id,
        user=author,
        content=draw(texts),
        client_id=draw(texts),
        reply_to=draw(st.none() | ids),
        version=draw(ids),
        is_read=draw(st.booleans()),
        created_at=created_at,
        updated_at=draw(st.just(created_at) | times),
        edited_at=draw(st.none() | times),
        deleted_at=draw(st.none() | times),
        pinned_at=draw(st.none() | times),
        reactions=draw(st.lists(st.builds(Reaction, texts, ids, st.lists(ids, max_size=3)), max_size=2)),
        attachments=draw(st.lists(attachments, max_size=2)),
    )


EventType = Literal["message.created", "message.updated", "message.deleted"]
EVENTS: dict[EventType, type[MessageCreated | MessageUpdated | MessageDeleted]] = {
    "message.created": MessageCreated,
    "message.updated": MessageUpdated,
    "message.deleted": MessageDeleted,
}


@given(st.sampled_from([*EVENTS]), messages())
def test_any_message_can_be_completed(event_type: EventType, message: Message) -> None:
    """As JSON and as an object of the SDK, from the frame, and from one with all fields."""
    event = EVENTS[event_type](message.chat_id, message.version, message)
    raw = json.loads(frames.split(wire.chat_event(event))[0][1])
    complete = json.loads(wire.encode(public_events.public_form(event)))
    _check_form(raw["message"])
    assert complete_json(raw) == complete
    assert raw["type"] == event_type
    expected = msgspec.json.decode(wire.encode(message), type=schemas.Message)
    for frame in (raw, complete):
        decoded: Any = sdk_frames.decode(json.dumps(frame))
        assert decoded.message == expected
        assert (decoded.chat_id, decoded.version) == (message.chat_id, message.version)
