"""The simple sockets, `/ws/chat/{chat_id}` and `/ws/status`, over a live server."""

import asyncio
from typing import Any

import pytest

from tests.conftest import NewServer
from tests.harness import Live, Person


async def test_message_sent_over_http_reaches_chat_sockets(live: Live) -> None:
    """The frame is the same JSON as the HTTP response."""
    alice, bob = await live.people("alice", "bob")
    chat_id = await alice.direct(bob)
    async with bob.listening(chat_id) as socket:
        sent = await alice.say(chat_id, "Grüße 👋")
        assert await socket.next() == sent


async def test_message_sent_over_a_chat_socket_reaches_all_members(live: Live) -> None:
    """Its sender included. Text that is not a JSON object with `content` is the content itself."""
    alice, bob, carol = await live.people("alice", "bob", "carol")
    chat_id = await alice.group(bob, carol)
    async with alice.listening(chat_id) as a, bob.listening(chat_id) as b, carol.listening(chat_id) as c:
        frames: list[tuple[str | dict[str, Any], str]] = [
            ({"content": "as an object", "client_id": "c1"}, "as an object"),
            ("bare text", "bare text"),
            ('"a JSON string"', '"a JSON string"'),
            ('{"other": 1}', '{"other": 1}'),
            ("[1, 2]", "[1, 2]"),
            ("{broken", "{broken"),
        ]
        for frame, content in frames:
            await a.send(frame)
            seen = [await socket.next() for socket in (a, b, c)]
            assert seen[0] == seen[1] == seen[2]
            assert seen[0]["content"] == content
            assert seen[0]["user_id"] == alice.id
        assert len(await carol.history(chat_id)) == len(frames)


async def test_chat_socket_receives_new_messages_only(live: Live) -> None:
    """Edits, deletions, read cursors and renames cause no frame."""
    alice, bob = await live.people("alice", "bob")
    chat_id = await alice.group(bob)
    path = f"/api/chats/{chat_id}"
    async with bob.listening(chat_id) as socket:
        await alice.say(chat_id, "one")
        await alice.put(f"{path}/messages/1", {"content": "edited"})
        await alice.put(f"{path}/messages/read")
        await alice.put(path, {"name": "renamed"})
        await alice.delete(f"{path}/messages/1")
        await alice.say(chat_id, "two")
        assert [(await socket.next())["content"] for _ in range(2)] == ["one", "two"]


@pytest.mark.parametrize(
    "frame",
    [
        {"content": ""},
        {"content": 7},
        {"content": "nul\0"},
        {"content": "x" * 10_001},
        {"content": "x", "reply_to": 99},
        {"content": "x", "reply_to": "1"},
        {"content": "x", "client_id": ["c"]},
        "",
        "   ",
        b"binary",
    ],
)
async def test_invalid_frame_gets_an_error_and_keeps_the_socket(live: Live, frame: Any) -> None:
    """The error has `error` and `code`; the next message is stored."""
    alice, bob = await live.people("alice", "bob")
    chat_id = await alice.direct(bob)
    async with alice.listening(chat_id) as socket, bob.listening(chat_id) as other:
        if isinstance(frame, bytes):
            await socket.connection.send(frame)
        else:
            await socket.send(frame)
        problem = await socket.next()
        assert problem["code"] == "invalid_input"
        assert problem["error"]
        await socket.send("fine")
        assert (await socket.next())["content"] == "fine"
        assert (await other.next())["content"] == "fine"


async def test_frame_that_is_too_large_closes_the_socket(new_server: NewServer) -> None:
    """The close code is 1009 (RFC 6455 section 7.4.1)."""
    live = await new_server(max_frame_bytes=65_536)
    alice = await live.person()
    chat_id = await alice.group()
    async with alice.listening(chat_id) as socket:
        await socket.connection.send("x" * 100_000)
        assert await socket.closed() == 1009


async def test_messages_of_one_socket_stay_in_order(live: Live) -> None:
    """A hundred messages, sent without waiting, are stored and delivered in the order of sending."""
    alice, bob = await live.people("alice", "bob")
    chat_id = await alice.direct(bob)
    async with alice.listening(chat_id) as a, bob.listening(chat_id) as b:
        for number in range(100):
            await a.send({"content": f"{number}"})
        for socket in (a, b):
            frames = [await socket.next() for _ in range(100)]
            assert [frame["content"] for frame in frames] == [f"{number}" for number in range(100)]
            assert [frame["id"] for frame in frames] == list(range(1, 101))


async def test_frames_equal_the_history(live: Live) -> None:
    """Four members send concurrently over sockets and HTTP; every socket receives the history, in order."""
    people: list[Person] = await live.people(*(["p"] * 4))
    chat_id = await people[0].group(*people[1:])

    async def send_all(person: Person, socket: Any, number: int) -> None:
        for turn in range(20):
            if turn % 2:
                await socket.send({"content": f"{number}/{turn}"})
            else:
                await person.say(chat_id, f"{number}/{turn}")

    async with (
        people[0].listening(chat_id) as a,
        people[1].listening(chat_id) as b,
        people[2].listening(chat_id) as c,
        people[3].listening(chat_id) as d,
    ):
        sockets = (a, b, c, d)
        await asyncio.gather(
            *(
                send_all(person, socket, n)
                for n, (person, socket) in enumerate(zip(people, sockets, strict=True))
            )
        )
        received = [[await socket.next() for _ in range(80)] for socket in sockets]
    history = (await people[0].history(chat_id, limit=100))[::-1]
    assert [frame["id"] for frame in received[0]] == list(range(1, 81))
    for frames in received:  # `is_read` has the state of the moment
        assert [f | {"is_read": None} for f in frames] == [m | {"is_read": None} for m in history]


async def test_retry_over_a_new_socket_is_confirmed_to_its_sender_only(live: Live) -> None:
    """Other sockets do not receive the message a second time."""
    alice, bob = await live.people("alice", "bob")
    chat_id = await alice.direct(bob)
    sent = await alice.say(chat_id, "once", client_id="c1")
    async with alice.listening(chat_id) as socket, bob.listening(chat_id) as other:
        await socket.send({"content": "once", "client_id": "c1"})
        assert await socket.next() == sent
        await alice.say(chat_id, "next")
        assert (await other.next())["content"] == "next"


async def test_status_socket_receives_changes_of_the_list_of_chats(live: Live) -> None:
    """Created, updated and deleted chats, each with the chat as its member sees it."""
    alice, bob, carol = await live.people("alice", "bob", "carol")
    async with bob.watching() as socket:
        chat_id = await alice.group(bob)
        created = await socket.next(type="chat")
        assert (created["action"], created["chat_id"]) == ("chat.created", chat_id)
        seen = (await bob.get(f"/api/chats/{chat_id}")).json()
        assert [user["id"] for user in seen.pop("users")] == [alice.id, bob.id]
        assert [user["id"] for user in created["chat"].pop("users")] == [alice.id, bob.id]
        assert created["chat"] == seen

        await alice.put(f"/api/chats/{chat_id}", {"name": "New name"})
        renamed = await socket.next(type="chat")
        assert (renamed["action"], renamed["chat"]["name"]) == ("chat.updated", "New name")
        await alice.post(f"/api/chats/{chat_id}/members", [carol.id])
        assert (await socket.next(action="chat.updated"))["chat"]["member_count"] == 3
        await alice.delete(f"/api/chats/{chat_id}/members/{bob.id}")
        assert await socket.next(type="chat") == {
            "type": "chat",
            "action": "chat.deleted",
            "chat_id": chat_id,
            "chat": {"id": chat_id, "name": None, "users": [], "last_message": None, "unread": 0},
        }
        await alice.post(f"/api/chats/{chat_id}/members", [bob.id])
        assert (await socket.next(type="chat"))["action"] == "chat.created"
        await alice.delete(f"/api/chats/{chat_id}")
        assert (await socket.next(type="chat"))["action"] == "chat.deleted"


async def test_status_socket_receives_changes_of_earlier_chats(live: Live) -> None:
    """These are the chats of which the user was a member when the socket was opened."""
    alice, bob = await live.people("alice", "bob")
    chat_id = await alice.group(bob)
    async with bob.watching() as socket:
        await alice.put(f"/api/chats/{chat_id}", {"name": "x"})
        assert (await socket.next(type="chat"))["action"] == "chat.updated"


async def test_status_socket_receives_presence_of_users_who_share_a_chat(live: Live) -> None:
    """When they connect, choose a status over a socket or HTTP, and disconnect. Others receive nothing."""
    alice, bob, stranger = await live.people("alice", "bob", "stranger")
    await alice.direct(bob)
    async with bob.watching() as socket, stranger.watching() as other:
        async with alice.watching() as own:
            online = await socket.next(user_id=alice.id)
            assert online["status"] == "online"
            assert online["last_seen"]
            await own.send({"status": "away"})
            assert (await socket.next(user_id=alice.id))["status"] == "away"
            assert (await own.next(user_id=alice.id, status="away"))["last_seen"]
            assert (await bob.get(f"/users/{alice.id}/status")).json()["status"] == "away"
            await alice.put(f"/users/{alice.id}/status", {"status": "online"})
            assert (await socket.next(user_id=alice.id))["status"] == "online"
            await own.send({"status": "dancing"})
            assert (await own.next(code="invalid_input"))["error"]
        assert (await socket.next(user_id=alice.id))["status"] == "offline"
        assert (await bob.get(f"/users/{alice.id}/status")).json()["status"] == "offline"
        await stranger.put(f"/users/{stranger.id}/status", {"status": "away"})
        assert (await other.next(status="away"))["user_id"] == stranger.id
