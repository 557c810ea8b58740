"""The seeds' two sockets, over a live server."""

import asyncio
import json
import logging
from typing import Any

import pytest
import websockets
from websockets.exceptions import InvalidStatus

from blazechat.realtime.connection import Close
from tests.conftest import NewServer
from tests.harness import Live, Person, Socket, eventually


async def _refused(url: str, **headers: str) -> tuple[int, dict[str, Any]]:
    """The status and problem with which a handshake is refused."""
    with pytest.raises(InvalidStatus) as refusal:
        async with websockets.connect(url, additional_headers=headers, proxy=None):
            pass
    response = refusal.value.response
    return response.status_code, json.loads(response.body or b"{}")


async def test_a_message_sent_over_http_arrives_at_once(live: Live) -> None:
    """The frame is the very JSON that HTTP answers with."""
    alice, bob = await live.people("alice", "bob")
    chat_id = await alice.direct(bob)
    async with bob.listening(chat_id) as socket:
        sent = await alice.say(chat_id, "Grüße 👋")
        assert await socket.next() == sent


async def test_a_message_sent_over_a_socket_reaches_everybody(live: Live) -> None:
    """The sender included; a bare text is the content itself."""
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


async def test_frames_are_messages_and_nothing_else(live: Live) -> None:
    """Edits, deletions, reads and renames put no frame into a list of messages."""
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
async def test_bad_frames_get_an_error_and_keep_the_socket(live: Live, frame: Any) -> None:
    """`{error, code}`, and the next message goes through."""
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


async def test_frames_that_are_too_large_close_the_socket(new_server: NewServer) -> None:
    """1009, as RFC 6455 has it."""
    live = await new_server(max_frame_bytes=65_536)
    alice = await live.person()
    chat_id = await alice.group()
    async with alice.listening(chat_id) as socket:
        await socket.connection.send("x" * 100_000)
        assert await socket.closed() == 1009


async def test_order_of_one_sockets_messages(live: Live) -> None:
    """A hundred at once are stored and seen in the order in which they were sent."""
    alice, bob = await live.people("alice", "bob")
    chat_id = await alice.direct(bob)
    async with alice.listening(chat_id) as a, bob.listening(chat_id) as b:
        for number in range(100):
            await a.send({"content": f"{number}"})
        for socket in (a, b):
            frames = [await socket.next() for _ in range(100)]
            assert [frame["content"] for frame in frames] == [f"{number}" for number in range(100)]
            assert [frame["id"] for frame in frames] == list(range(1, 101))


async def test_live_equals_history(live: Live) -> None:
    """Everybody sends at once, over both ways: every socket hears exactly the history, in order."""
    people: list[Person] = await live.people(*(["p"] * 4))
    chat_id = await people[0].group(*people[1:])

    async def talk(person: Person, socket: Any, number: int) -> None:
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
                talk(person, socket, n)
                for n, (person, socket) in enumerate(zip(people, sockets, strict=True))
            )
        )
        heard = [[await socket.next() for _ in range(80)] for socket in sockets]
    history = (await people[0].history(chat_id, limit=100))[::-1]
    assert [frame["id"] for frame in heard[0]] == list(range(1, 81))
    for frames in heard:  # what was read meanwhile is no part of what was said
        assert [f | {"is_read": None} for f in frames] == [m | {"is_read": None} for m in history]


async def test_a_message_sent_again_after_a_reconnect_is_confirmed(live: Live) -> None:
    """To its sender alone; nobody else hears it twice."""
    alice, bob = await live.people("alice", "bob")
    chat_id = await alice.direct(bob)
    sent = await alice.say(chat_id, "once", client_id="c1")
    async with alice.listening(chat_id) as socket, bob.listening(chat_id) as other:
        await socket.send({"content": "once", "client_id": "c1"})
        assert await socket.next() == sent
        await alice.say(chat_id, "next")
        assert (await other.next())["content"] == "next"


async def test_token_in_header_or_query(live: Live) -> None:
    """Both work on both sockets, under `/api` and without."""
    alice = await live.person()
    chat_id = await alice.group()
    for path in (f"/ws/chat/{chat_id}", f"/api/ws/chat/{chat_id}/", "/ws/status", "/api/ws/status"):
        async with websockets.connect(f"{live.ws_url}{path}?token={alice.token}", proxy=None):
            pass
        async with alice.socket(path):
            pass


async def test_handshakes_are_refused_with_a_problem(live: Live, caplog: pytest.LogCaptureFixture) -> None:
    """Before the upgrade, as HTTP: 401, 403, 404."""
    alice, stranger = await live.people("alice", "stranger")
    chat_id = await alice.group()
    chat = f"{live.ws_url}/ws/chat/{chat_id}"
    bearer = f"Bearer {stranger.token}"
    for url, headers, status, code in (
        (chat, {}, 401, "unauthenticated"),
        (f"{chat}?token=nonsense", {}, 401, "unauthenticated"),
        (chat, {"authorization": bearer}, 404, "not_found"),
        (f"{live.ws_url}/ws/chat/99999999", {"authorization": bearer}, 404, "not_found"),
        (f"{live.ws_url}/ws/chat/nonsense", {"authorization": bearer}, 404, "not_found"),
        (f"{live.ws_url}/ws/status", {}, 401, "unauthenticated"),
        (f"{live.ws_url}/ws?ticket=nonsense", {}, 401, "ticket_invalid"),
        (f"{live.ws_url}/ws", {"authorization": "Bearer nonsense"}, 401, "unauthenticated"),
        (f"{live.ws_url}/nowhere", {}, 404, "not_found"),
    ):
        found, problem = await _refused(url, **headers)
        assert (found, problem["code"]) == (status, code)
        assert problem["request_id"]
    assert "ASGI" not in caplog.text


async def test_origin_of_web_pages_is_checked(new_server: NewServer) -> None:
    """Same origin and listed ones; others are refused; programs send none."""
    live = await new_server(allowed_origins="https://chat.example.com")
    alice = await live.person()
    for origin in (live.url, "https://chat.example.com"):
        async with alice.socket("/ws/status", origin=origin):
            pass
    for origin in ("https://evil.example", "null", live.url.replace("127.0.0.1", "localhost")):
        status, problem = await _refused(
            f"{live.ws_url}/ws/status", origin=origin, authorization=f"Bearer {alice.token}"
        )
        assert (status, problem["code"]) == (403, "origin_not_allowed")


async def test_tokens_never_reach_a_log(live: Live, caplog: pytest.LogCaptureFixture) -> None:
    """Not from the query, not from headers, not at the most talkative level, not when refused."""
    alice = await live.person()
    chat_id = await alice.group()
    with caplog.at_level(logging.DEBUG):
        for name in ("uvicorn", "uvicorn.error", "uvicorn.access"):
            logging.getLogger(name).setLevel(logging.DEBUG)
        async with websockets.connect(
            f"{live.ws_url}/ws/chat/{chat_id}?token={alice.token}", proxy=None
        ) as connection:
            await connection.send("hello")
            await connection.recv()
        async with alice.socket("/ws/status"):
            pass
        await _refused(f"{live.ws_url}/ws/status?token=secret-but-wrong")
        await live.client().get(f"/api/chats?token={alice.token}")
    lines = [
        record.getMessage() for record in caplog.records if not record.name.startswith("websockets.client")
    ]
    assert any("/ws/chat/" in line for line in lines), "nothing was logged, so nothing was shown"
    text = "\n".join(lines)
    assert alice.token not in text
    assert "secret-but-wrong" not in text


async def test_removed_member_hears_nothing(live: Live) -> None:
    """From the moment that the removal is answered: closed with its own code, and cannot come back."""
    alice, bob, carol = await live.people("alice", "bob", "carol")
    chat_id = await alice.group(bob, carol)
    async with bob.listening(chat_id) as socket, carol.listening(chat_id) as other:
        removed = await alice.delete(f"/api/chats/{chat_id}/members/{bob.id}")
        assert removed.status_code == 200
        await alice.say(chat_id, "without bob")
        assert await socket.rest() == []
        assert socket.connection.close_code == Close.REMOVED
        assert (await other.next())["content"] == "without bob"
    assert (await bob.post(f"/api/chats/{chat_id}/messages", {"content": "x"})).status_code == 404
    url = f"{live.ws_url}/ws/chat/{chat_id}"
    assert (await _refused(url, authorization=f"Bearer {bob.token}"))[0] == 404


async def test_removed_member_can_send_nothing(live: Live) -> None:
    """Messages that race with the removal are stored before it or refused, never after it."""
    alice, bob = await live.people("alice", "bob")
    for _ in range(5):
        chat_id = await alice.group(bob)
        path = f"/api/chats/{chat_id}/messages"
        sends = [asyncio.create_task(bob.post(path, {"content": f"{n}"})) for n in range(20)]
        await asyncio.sleep(0.005)
        removal = await alice.delete(f"/api/chats/{chat_id}/members/{bob.id}")
        answers = await asyncio.gather(*sends)
        assert {answer.status_code for answer in answers} <= {201, 404}
        accepted = [a.json()["version"] for a in answers if a.status_code == 201]
        assert all(version < removal.json()["version"] for version in accepted)
        assert len(await alice.history(chat_id)) == len(accepted)


@pytest.mark.parametrize("way", ["logout", "logout-all", "one session", "reuse", "delete account"])
async def test_ended_session_closes_its_sockets(live: Live, way: str) -> None:
    """At once, on both sockets, with the code for logging in again; other sessions stay."""
    alice, bob = await live.people("alice", "bob")
    phone = await live.log_in(bob.username)
    chat_id = await alice.group(bob)
    async with bob.listening(chat_id) as chat, bob.watching() as status, phone.listening(chat_id) as kept:
        if way == "one session":
            sessions = (await bob.get("/api/auth/sessions")).json()
            (mine,) = [session for session in sessions if session["current"]]
            await phone.delete(f"/api/auth/sessions/{mine['id']}")
        elif way == "reuse":
            body = {"refresh_token": bob.tokens["refresh_token"]}
            for _ in range(2):
                await live.client().post("/api/auth/refresh", json=body)
        elif way == "delete account":
            assert (await bob.delete(f"/api/users/{bob.id}")).status_code == 204
        else:
            assert (await bob.post(f"/api/auth/{way}")).status_code == 204
        await alice.say(chat_id, "after")
        assert await chat.rest() == []
        assert chat.connection.close_code == Close.SESSION_ENDED
        assert await status.closed() == Close.SESSION_ENDED
        if way in ("logout", "one session", "reuse"):
            assert (await kept.next())["content"] == "after"
        else:
            assert await kept.closed() == Close.SESSION_ENDED


async def test_deleted_chat_closes_its_sockets(live: Live) -> None:
    """With a code that says not to come back."""
    alice, bob = await live.people("alice", "bob")
    chat_id = await alice.group(bob)
    async with bob.listening(chat_id) as socket:
        await alice.delete(f"/api/chats/{chat_id}")
        assert await socket.closed() == Close.CHAT_GONE


async def test_status_socket_tells_of_the_list_of_chats(live: Live) -> None:
    """Created, updated, deleted, each with the chat as one sees it."""
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


async def test_status_socket_hears_of_chats_that_were_there_before(live: Live) -> None:
    """Those of which one was a member when the socket was opened."""
    alice, bob = await live.people("alice", "bob")
    chat_id = await alice.group(bob)
    async with bob.watching() as socket:
        await alice.put(f"/api/chats/{chat_id}", {"name": "x"})
        assert (await socket.next(type="chat"))["action"] == "chat.updated"


async def test_presence_is_told_to_those_one_shares_a_chat_with(live: Live) -> None:
    """Coming, choosing a status over a socket or HTTP, going; strangers hear nothing."""
    alice, bob, stranger = await live.people("alice", "bob", "stranger")
    await alice.direct(bob)
    async with bob.watching() as socket, stranger.watching() as other:
        async with alice.watching() as own:
            came = await socket.next(user_id=alice.id)
            assert came["status"] == "online"
            assert came["last_seen"]
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


async def test_a_reader_that_does_not_keep_up_is_closed(new_server: NewServer) -> None:
    """With "come back", while everybody else hears everything."""
    live = await new_server(outbox_bytes=65_536)
    alice, bob, slow = await live.people("alice", "bob", "slow")
    chat_id = await alice.group(bob, slow)
    async with (
        websockets.connect(
            f"{live.ws_url}/ws/chat/{chat_id}",
            additional_headers={"authorization": f"Bearer {slow.token}"},
            proxy=None,
            max_queue=1,
        ) as stuck,
        bob.listening(chat_id) as socket,
    ):
        stuck.transport.pause_reading()
        for number in range(600):
            await alice.say(chat_id, f"{number} " + "x" * 9_900)
            assert (await socket.next())["id"] == number + 1
            gone = [c for c in live.app.state.gateway.hub.connections() if c.user_id == slow.id]
            if not gone or gone[0].closing:
                break
        else:
            raise AssertionError("the slow reader was never closed")
        stuck.transport.resume_reading()
        await Socket(stuck).rest()
        assert stuck.close_code == Close.TRY_AGAIN


async def test_a_reader_that_takes_nothing_is_cut_off(new_server: NewServer) -> None:
    """Even when it does not take its close frame: nothing is kept of it, and it counts as gone."""
    live = await new_server(outbox_bytes=65_536)
    alice, slow = await live.people("alice", "slow")
    chat_id = await alice.group(slow)
    _, writer = await asyncio.open_connection(*live.url.removeprefix("http://").split(":"), limit=1024)
    writer.write(
        f"GET /ws/chat/{chat_id} HTTP/1.1\r\nHost: x\r\nConnection: Upgrade\r\nUpgrade: websocket\r\n"
        f"Sec-WebSocket-Version: 13\r\nSec-WebSocket-Key: {'A' * 22}==\r\n"
        f"Authorization: Bearer {slow.token}\r\n\r\n".encode()
    )
    hub = live.app.state.gateway.hub
    await eventually(lambda: slow.id in hub._users)
    for number in range(2000):
        await alice.say(chat_id, f"{number} " + "x" * 9_900)
        if any(connection.closing for connection in hub._users.get(slow.id, ())):
            break
    await eventually(lambda: slow.id not in hub._users, 20)

    async def gone() -> bool:
        answer = await alice.get(f"/users/{slow.id}/status")
        return bool(answer.json()["status"] == "offline")

    await eventually(gone)
    writer.close()


async def test_a_refreshed_session_keeps_its_socket(live: Live) -> None:
    """The expiry that counts is the session's present one, not the one of when the socket was opened."""
    alice = await live.person()
    chat_id = await alice.group()
    from sqlalchemy import text

    database = live.app.state.services.database
    soon = text("UPDATE sessions SET expires_at = now() + interval '1.2 s' WHERE user_id = :user")
    later = text("UPDATE sessions SET expires_at = now() + interval '1.5 s' WHERE user_id = :user")
    async with database.transaction() as session:
        await session.execute(soon, {"user": alice.id})
    async with alice.listening(chat_id) as socket:
        async with database.transaction() as session:
            await session.execute(later, {"user": alice.id})
        await asyncio.sleep(1.3)
        await alice.say(chat_id, "still here")
        assert (await socket.next())["content"] == "still here"
        assert await socket.closed() == Close.SESSION_ENDED


async def test_sockets_are_closed_with_1012_on_shutdown(new_server: NewServer) -> None:
    """After what was in flight has been committed and delivered."""
    live = await new_server()
    alice = await live.person()
    chat_id = await alice.group()
    async with alice.listening(chat_id) as socket:
        for number in range(50):
            await socket.send(f"{number}")
        await asyncio.sleep(0.01)
        live.server.should_exit = True
        frames = await socket.rest()
        assert socket.connection.close_code == Close.RESTARTING
    database = live.app.state.services.database
    connection = await database.connect()
    stored = await connection.fetchval("SELECT count(*) FROM messages")
    await connection.close()
    contents = [frame["content"] for frame in frames if "content" in frame]
    assert contents == [f"{number}" for number in range(stored)]
    assert all(frame["code"] == "shutting_down" for frame in frames if "code" in frame)


async def test_hub_forgets_who_has_left(live: Live) -> None:
    """No channel and no connection is kept when the last socket of a chat is closed."""
    alice = await live.person()
    chat_id = await alice.group()
    hub = live.app.state.gateway.hub
    async with alice.listening(chat_id), alice.watching():
        assert chat_id in hub._channels
    await eventually(lambda: chat_id not in hub._channels and alice.id not in hub._users)
