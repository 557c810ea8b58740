"""`/ws`: one socket for everything, over a live server."""

import asyncio
import json
from typing import Any

import pytest
import websockets
from websockets.exceptions import InvalidStatus

from blazechat.realtime.connection import Close
from tests.conftest import NewServer
from tests.harness import Live, Socket, eventually


async def test_ready_tells_who_one_is_and_what_holds(live: Live) -> None:
    """User, session, when the token ends, heartbeat and limits."""
    alice = await live.person()
    async with alice.socket("/ws") as socket:
        ready = await socket.next()
    assert ready["type"] == "ready"
    assert ready["user_id"] == alice.id
    sessions = (await alice.get("/api/auth/sessions")).json()
    assert ready["session_id"] == sessions[0]["id"]
    assert ready["heartbeat"] > 0
    assert ready["expires_at"]
    assert set(ready["limits"]) == {"frame_bytes", "commands_per_second", "burst"}


async def test_a_send_is_acknowledged_and_told_to_all(live: Live) -> None:
    """The event has the very message that HTTP answers with, to every socket of every member."""
    alice, bob = await live.people("alice", "bob")
    chat_id = await alice.direct(bob)
    async with alice.online() as a, alice.online() as phone, bob.online() as b:
        ack = await a.ask("send", chat_id=chat_id, content="hello", client_id="c1")
        assert (ack["type"], ack["chat_id"], ack["message_id"]) == ("ack", chat_id, 1)
        for socket in (phone, b):
            event = await socket.next(type="message.created")
            (message,) = await bob.history(chat_id)
            assert event == {
                "type": "message.created",
                "chat_id": chat_id,
                "version": ack["version"],
                "message": message,
            }
        again = await a.ask("send", chat_id=chat_id, content="hello", client_id="c1")
        assert again["message_id"] == 1
        conflict = await a.ask("send", chat_id=chat_id, content="other", client_id="c1")
        assert (conflict["type"], conflict["code"]) == ("error", "client_id_conflict")
    assert len(await bob.history(chat_id)) == 1


async def test_every_command_is_answered_and_told(live: Live) -> None:
    """Edit, react, unreact, pin, unpin, delete: a version each, in order, as HTTP shows it."""
    alice, bob = await live.people("alice", "bob")
    chat_id = await alice.direct(bob)
    async with alice.online() as a, bob.online() as b:
        sent = await a.ask("send", chat_id=chat_id, content="one")
        place = {"chat_id": chat_id, "message_id": 1}
        for turn, (command, more, kind) in enumerate(
            [
                ("edit", {"content": "two"}, "message.updated"),
                ("react", {"emoji": "👍"}, "message.updated"),
                ("unreact", {"emoji": "👍"}, "message.updated"),
                ("pin", {}, "message.updated"),
                ("unpin", {}, "message.updated"),
                ("delete", {}, "message.deleted"),
            ],
            start=1,
        ):
            ack = await a.ask(command, **place, **more)
            assert ack["version"] == sent["version"] + turn, ack
            event = await b.next(type=kind)
            assert event["version"] == ack["version"]
            assert event["message"] == (await bob.get(f"/api/chats/{chat_id}/messages/1")).json()
        refused = await a.ask("react", **place, emoji="👍")
        assert refused["code"] == "message_deleted"


async def test_a_bad_command_gets_an_error_and_keeps_the_socket(live: Live) -> None:
    """With its `ref`, whatever else is wrong with it."""
    alice, stranger = await live.people("alice", "stranger")
    chat_id = await alice.group()
    bad: list[tuple[Any, str]] = [
        ("{", "invalid_input"),
        ("[1]", "invalid_input"),
        ('"text"', "invalid_input"),
        ({"type": "dance"}, "unknown_command"),
        ({"type": 7}, "unknown_command"),
        ({}, "unknown_command"),
        ({"type": "send", "chat_id": "x", "content": "x"}, "invalid_input"),
        ({"type": "send", "chat_id": chat_id}, "invalid_input"),
        ({"type": "send", "chat_id": chat_id, "content": 7}, "invalid_input"),
        ({"type": "send", "chat_id": chat_id, "content": ""}, "invalid_input"),
        ({"type": "send", "chat_id": 10**30, "content": "x"}, "invalid_input"),
        ({"type": "send", "chat_id": chat_id + 10**6, "content": "x"}, "not_found"),
        ({"type": "edit", "chat_id": chat_id, "message_id": 99, "content": "x"}, "not_found"),
        ({"type": "react", "chat_id": chat_id, "message_id": 1, "emoji": ""}, "invalid_input"),
        ({"type": "read", "chat_id": chat_id + 10**6}, "not_found"),
        ({"type": "typing", "chat_id": chat_id + 10**6}, "not_found"),
        ({"type": "subscribe", "chat_id": chat_id + 10**6}, "not_found"),
        ({"type": "resume", "chats": {"x": 1}}, "invalid_input"),
        ({"type": "resume", "chats": [1]}, "invalid_input"),
        ({"type": "auth", "token": "nonsense"}, "unauthenticated"),
        ({"type": "auth", "token": stranger.token}, "invalid_input"),
    ]
    async with alice.online() as socket:
        for number, (frame, code) in enumerate(bad):
            called = {"ref": f"r{number}"}
            await socket.send(frame | called if isinstance(frame, dict) else frame)
            problem = await socket.next(type="error")
            assert problem["code"] == code, (frame, problem)
            assert problem["error"]
            assert problem["ref"] == (f"r{number}" if isinstance(frame, dict) else None)
        await socket.connection.send(b"binary")
        assert (await socket.next(type="error"))["code"] == "invalid_input"
        assert (await socket.ask("ping"))["type"] == "ack"


@pytest.mark.parametrize("who", ["stranger", "former member"])
async def test_strangers_command_nothing(live: Live, who: str) -> None:
    """Each command that names a chat is answered as if there were no such chat, and nothing happens."""
    alice, eve = await live.people("alice", "eve")
    chat_id = await alice.group(eve) if who == "former member" else await alice.group()
    await alice.say(chat_id, "secret")
    async with eve.online() as socket:
        if who == "former member":
            await alice.delete(f"/api/chats/{chat_id}/members/{eve.id}")
            await socket.next(type="member.removed")
        before = (await alice.get(f"/api/chats/{chat_id}")).json()
        place = {"chat_id": chat_id, "message_id": 1}
        for command, more in (
            ("send", {"chat_id": chat_id, "content": "x"}),
            ("edit", {**place, "content": "x"}),
            ("delete", place),
            ("react", {**place, "emoji": "👍"}),
            ("unreact", {**place, "emoji": "👍"}),
            ("pin", place),
            ("unpin", place),
            ("read", {"chat_id": chat_id}),
            ("typing", {"chat_id": chat_id}),
            ("subscribe", {"chat_id": chat_id}),
        ):
            answer = await socket.ask(command, **more)
            unknown = await socket.ask(command, **(more | {"chat_id": 2**50}))
            assert answer["code"] == "not_found", command
            assert answer | {"ref": 0} == unknown | {"ref": 0}
        assert (await alice.get(f"/api/chats/{chat_id}")).json() == before
        await socket.send({"type": "resume", "ref": "r", "chats": {str(chat_id): 1}})
        assert await socket.next() == {"type": "reset", "chat_id": chat_id}


async def test_log_in_by_first_frame(live: Live) -> None:
    """For browsers; before it nothing else is answered, and nothing is heard."""
    alice, bob = await live.people("alice", "bob")
    chat_id = await alice.direct(bob)
    async with websockets.connect(f"{live.ws_url}/ws", proxy=None) as connection:
        socket = Socket(connection)
        await socket.send({"type": "send", "ref": 1, "chat_id": chat_id, "content": "x"})
        assert (await socket.next())["code"] == "unauthenticated"
        await alice.say(chat_id, "not for strangers")
        await socket.send({"type": "auth", "ref": 2, "token": bob.token})
        assert (await socket.next())["type"] == "ready"
        assert (await socket.next())["ref"] == 2
        await alice.say(chat_id, "hello")
        assert (await socket.next())["message"]["content"] == "hello"


async def test_a_wrong_first_frame_is_told_and_closed(live: Live) -> None:
    """With the code for logging in again."""
    async with websockets.connect(f"{live.ws_url}/ws", proxy=None) as connection:
        socket = Socket(connection)
        await socket.send({"type": "auth", "ref": 1, "token": "nonsense"})
        assert (await socket.next(ref=1))["code"] == "unauthenticated"
        assert await socket.closed() == Close.SESSION_ENDED


async def test_who_does_not_log_in_is_closed(new_server: NewServer) -> None:
    """After the time that it has."""
    live = await new_server(login_frame_seconds=0.3)
    async with websockets.connect(f"{live.ws_url}/ws", proxy=None) as connection:
        assert await Socket(connection).closed() == Close.SILENT


async def test_a_ticket_opens_one_socket(live: Live) -> None:
    """Once; a second time, an unknown and an expired one are refused."""
    alice = await live.person()
    answer = await alice.post("/api/auth/ticket")
    assert answer.status_code == 201
    ticket = answer.json()["ticket"]
    async with websockets.connect(f"{live.ws_url}/ws?ticket={ticket}", proxy=None) as connection:
        assert (await Socket(connection).next())["user_id"] == alice.id
    for wrong in (ticket, "nonsense", "x" * 5000):
        with pytest.raises(InvalidStatus) as refusal:
            async with websockets.connect(f"{live.ws_url}/ws?ticket={wrong}", proxy=None):
                pass
        assert refusal.value.response.status_code == 401
        assert json.loads(refusal.value.response.body or b"{}")["code"] == "ticket_invalid"


async def test_ending_a_session_closes_its_socket(live: Live) -> None:
    """At once, and what comes in on it is carried out no more."""
    alice, bob = await live.people("alice", "bob")
    chat_id = await alice.direct(bob)
    async with bob.online() as socket:
        await bob.post("/api/auth/logout")
        await alice.say(chat_id, "after")
        assert await socket.rest() == []
        assert socket.connection.close_code == Close.SESSION_ENDED


async def test_tokens_are_renewed_in_band(new_server: NewServer) -> None:
    """The socket lives as long as the newest token; then it is closed with a code of its own."""
    live = await new_server(heartbeat_seconds=1.0)
    alice = await live.person()
    tokens = live.app.state.services.credentials.tokens
    session_id = (await alice.get("/api/auth/sessions")).json()[0]["id"]
    usual, tokens.lifetime_seconds = tokens.lifetime, 1
    short, longer = (tokens.issue(alice.id, session_id), None)
    async with websockets.connect(
        f"{live.ws_url}/ws", additional_headers={"authorization": f"Bearer {short}"}, proxy=None
    ) as connection:
        socket = Socket(connection)
        tokens.lifetime_seconds = 3
        longer = tokens.issue(alice.id, session_id)
        assert (await socket.ask("auth", token=longer))["expires_at"]
        await asyncio.sleep(1.5)
        assert (await socket.ask("ping"))["type"] == "ack"
        assert await socket.closed() == Close.TOKEN_EXPIRED
    tokens.lifetime_seconds = usual


async def test_resume_of_a_chat_that_came_anew_repeats_nothing(live: Live) -> None:
    """Who asks for what they missed before they were removed and added again was told the chat since."""
    alice, bob = await live.people("alice", "bob")
    chat_id = await alice.group(bob)
    version = (await alice.get(f"/api/chats/{chat_id}")).json()["version"]
    await alice.say(chat_id, "missed")
    async with bob.online() as socket:
        await alice.delete(f"/api/chats/{chat_id}/members/{bob.id}")
        await socket.next(type="member.removed", user_id=bob.id)
        await alice.post(f"/api/chats/{chat_id}/members", [bob.id])
        created = await socket.next(type="chat.created")
        await socket.send({"type": "resume", "ref": 1, "chats": {str(chat_id): version}})
        assert await socket.next() == {"type": "synced", "chats": {str(chat_id): created["version"]}}
        assert (await socket.next())["type"] == "ack"


async def test_resume_tells_what_was_missed_and_nothing_twice(live: Live) -> None:
    """Created, edited, deleted, renamed; then `synced` with the version reached, then what is new."""
    alice, bob = await live.people("alice", "bob")
    chat_id = await alice.group(bob)
    await alice.say(chat_id, "one")
    await alice.say(chat_id, "two")
    version = (await bob.get(f"/api/chats/{chat_id}")).json()["version"]
    await alice.put(f"/api/chats/{chat_id}/messages/1", {"content": "edited"})
    await alice.say(chat_id, "three")
    await alice.delete(f"/api/chats/{chat_id}/messages/2")
    await alice.put(f"/api/chats/{chat_id}", {"name": "Renamed"})
    async with bob.online() as socket:
        await socket.send({"type": "resume", "ref": 1, "chats": {str(chat_id): version}})
        frames = [await socket.next() for _ in range(6)]
        assert [frame["type"] for frame in frames] == [
            "message.updated",
            "message.created",
            "message.deleted",
            "chat.updated",
            "synced",
            "ack",
        ]
        assert [frame["version"] for frame in frames[:4]] == list(range(version + 1, version + 5))
        assert frames[4]["chats"] == {str(chat_id): version + 4}
        answer = (await bob.get(f"/api/chats/{chat_id}/changes", params={"after": version})).json()
        for event in (answer["events"][3], frames[3]):
            for user in event["chat"]["users"]:
                user.pop("last_seen"), user.pop("status")
        assert answer["events"] == frames[:4]
        assert answer["version"] == version + 4
        assert (answer["more"], answer["reset"]) == (False, False)
        await alice.say(chat_id, "four")
        assert (await socket.next())["version"] == version + 5


async def test_resume_of_what_cannot_be_told_is_reset(new_server: NewServer) -> None:
    """Too far behind, an invented version, a chat one is not in: forget it and load it anew."""
    live = await new_server(resume_limit=5)
    alice, bob, stranger = await live.people("alice", "bob", "stranger")
    chat_id, foreign = await alice.group(bob), await stranger.group()
    for number in range(10):
        await alice.say(chat_id, f"{number}")
    async with bob.online() as socket:
        for chats in ({str(chat_id): 1}, {str(chat_id): 10**6}, {str(foreign): 0}, {"999999": 1}):
            await socket.send({"type": "resume", "ref": 1, "chats": chats})
            assert await socket.next() == {"type": "reset", "chat_id": int(next(iter(chats)))}
            assert (await socket.next())["type"] == "ack"
    for after, reset in ((1, True), (10**6, True), (9, False)):
        answer = await bob.get(f"/api/chats/{chat_id}/changes", params={"after": after})
        assert answer.json()["reset"] is reset


async def test_resume_does_not_hide_what_changed_twice(live: Live) -> None:
    """Renamed while one was away, and a member added before one resumed: the chat has to be loaded anew."""
    alice, bob, carol = await live.people("alice", "bob", "carol")
    chat_id = await alice.group(bob)
    version = (await bob.get(f"/api/chats/{chat_id}")).json()["version"]
    await alice.put(f"/api/chats/{chat_id}", {"name": "Renamed"})
    async with bob.online() as socket:
        await alice.post(f"/api/chats/{chat_id}/members", [carol.id])
        await socket.next(type="member.added")
        await socket.send({"type": "resume", "ref": 1, "chats": {str(chat_id): version}})
        assert await socket.next() == {"type": "reset", "chat_id": chat_id}


async def test_who_came_back_to_a_chat_with_hidden_history_begins_anew(live: Live) -> None:
    """What they knew of before they left they may not see any more, nor hear what became of it."""
    alice, bob = await live.people("alice", "bob")
    chat_id = await alice.group(bob, history="joined")
    await alice.say(chat_id, "one")
    version = (await bob.get(f"/api/chats/{chat_id}")).json()["version"]
    await alice.delete(f"/api/chats/{chat_id}/members/{bob.id}")
    await alice.post(f"/api/chats/{chat_id}/members", [bob.id])
    await alice.delete(f"/api/chats/{chat_id}/messages/1")
    async with bob.online() as socket:
        await socket.send({"type": "resume", "ref": 1, "chats": {str(chat_id): version}})
        assert await socket.next() == {"type": "reset", "chat_id": chat_id}
    answer = await bob.get(f"/api/chats/{chat_id}/changes", params={"after": version})
    assert answer.json()["reset"] is True


async def test_a_chat_that_is_new_to_one_comes_as_a_whole(live: Live) -> None:
    """Made, or added to: `chat.created` as HTTP shows it, then its events; removed: the last says so."""
    alice, bob, carol = await live.people("alice", "bob", "carol")
    async with bob.online() as b, carol.online() as c:
        chat_id = await alice.group(bob)
        created = await b.next(type="chat.created")
        assert created["chat"]["unread"] == 0
        await alice.say(chat_id, "before carol")
        await b.next(type="message.created")
        await alice.post(f"/api/chats/{chat_id}/members", [carol.id])
        added = await b.next(type="member.added")
        assert [member["id"] for member in added["members"]] == [carol.id]
        welcome = await c.next()
        assert welcome["type"] == "chat.created"
        shown = (await carol.get(f"/api/chats/{chat_id}")).json()
        assert {**welcome["chat"], "users": [u["id"] for u in welcome["chat"]["users"]]} == {
            **shown,
            "users": [alice.id, bob.id, carol.id],
        }
        assert welcome["version"] == added["version"]
        await alice.put(f"/api/chats/{chat_id}/members/{carol.id}", {"role": "admin"})
        assert (await c.next())["members"][0]["role"] == "admin"
        await alice.delete(f"/api/chats/{chat_id}/members/{carol.id}")
        gone = await c.next()
        assert (gone["type"], gone["user_id"]) == ("member.removed", carol.id)
        await alice.say(chat_id, "after carol")
        assert (await c.ask("ping"))["type"] == "ack"
        assert (await c.ask("send", chat_id=chat_id, content="x"))["code"] == "not_found"
        await alice.put(f"/api/chats/{chat_id}", {"name": "New"})
        assert (await b.next(type="chat.updated"))["chat"]["name"] == "New"
        await alice.delete(f"/api/chats/{chat_id}")
        assert (await b.next(type="chat.deleted"))["chat_id"] == chat_id


async def test_hidden_history_stays_hidden(live: Live) -> None:
    """In a chat that shows from joining on, a change of an earlier message is told by its version alone."""
    alice, bob = await live.people("alice", "bob")
    chat_id = await alice.group(history="joined")
    await alice.say(chat_id, "secret")
    await alice.post(f"/api/chats/{chat_id}/members", [bob.id])
    version = (await bob.get(f"/api/chats/{chat_id}")).json()["version"]
    async with bob.online() as socket:
        await alice.put(f"/api/chats/{chat_id}/messages/1", {"content": "still secret"})
        assert await socket.next() == {"type": "hidden", "chat_id": chat_id, "version": version + 1}
        await alice.say(chat_id, "open")
        assert (await socket.next())["message"]["content"] == "open"
    async with bob.online() as socket:
        await socket.send({"type": "resume", "chats": {str(chat_id): version}})
        assert (await socket.next())["type"] == "hidden"
        assert (await socket.next())["message"]["content"] == "open"
    events = (await bob.get(f"/api/chats/{chat_id}/changes", params={"after": version})).json()["events"]
    assert [event["type"] for event in events] == ["hidden", "message.created"]
    assert "secret" not in json.dumps(events)


async def test_reading_and_typing_are_told_where_the_chat_is_open(live: Live) -> None:
    """And one's own cursor to one's other devices; not to those who do not look."""
    alice, bob, carol = await live.people("alice", "bob", "carol")
    chat_id = await alice.group(bob, carol)
    await alice.say(chat_id, "one")
    async with alice.online() as a, bob.online() as b, bob.online() as phone, carol.online() as c:
        opened = await a.ask("subscribe", chat_id=chat_id)
        assert opened["cursors"][str(bob.id)] == 0
        await b.ask("typing", chat_id=chat_id)
        assert await a.next() == {"type": "typing", "chat_id": chat_id, "user_id": bob.id, "typing": True}
        await b.ask("typing", chat_id=chat_id, typing=False)
        assert (await a.next())["typing"] is False
        ack = await b.ask("read", chat_id=chat_id, up_to=1)
        assert (ack["read_id"], ack["unread"]) == (1, 0)
        told = {"type": "read", "chat_id": chat_id, "user_id": bob.id, "read_id": 1}
        assert await a.next() == told
        assert await phone.next() == told | {"unread": 0}
        assert (await b.ask("read", chat_id=chat_id, up_to=0))["read_id"] == 1
        assert (await b.ask("read", chat_id=chat_id, up_to=99))["read_id"] == 1
        await a.ask("unsubscribe", chat_id=chat_id)
        await b.ask("typing", chat_id=chat_id)
        await alice.say(chat_id, "two")
        assert (await a.next())["type"] == "message.created"
        assert (await c.next())["type"] == "message.created"


async def test_typing_runs_out_by_itself(live: Live, monkeypatch: pytest.MonkeyPatch) -> None:
    """Whoever sees it need not keep time."""
    alice, bob = await live.people("alice", "bob")
    chat_id = await alice.direct(bob)
    async with alice.online() as a, bob.online() as b:
        await a.ask("subscribe", chat_id=chat_id)
        await b.send({"type": "typing", "chat_id": chat_id})
        assert (await a.next())["typing"] is True
        assert (await a.next(type="typing"))["typing"] is False


async def test_presence_is_told_to_those_who_asked(live: Live) -> None:
    """And share a chat; until they do not any more. A short absence is none."""
    alice, bob, stranger = await live.people("alice", "bob", "stranger")
    chat_id = await alice.group(bob)
    async with alice.online() as a:
        ack = await a.ask("subscribe", users=[bob.id, stranger.id])
        assert [(p["user_id"], p["status"]) for p in ack["presence"]] == [(bob.id, "offline")]
        async with bob.online() as b:
            assert (await a.next(type="presence"))["status"] == "online"
            await b.ask("status", status="away")
            assert (await a.next(type="presence"))["status"] == "away"
            async with stranger.online():
                pass
        async with bob.online():
            await asyncio.sleep(0.5)
        gone = await a.next(type="presence")
        assert (gone["user_id"], gone["status"]) == (bob.id, "offline")
        assert gone["last_seen"]
        await alice.delete(f"/api/chats/{chat_id}/members/{bob.id}")
        await a.next(type="member.removed")
        gateway = live.app.state.gateway
        await eventually(lambda: not gateway._watchers.watchers_of(bob.id))
        async with bob.online():
            assert (await a.ask("ping"))["type"] == "ack"


async def test_the_silent_are_asked_and_dropped(new_server: NewServer) -> None:
    """Whoever answers stays; whoever does not is closed, with "come back"."""
    live = await new_server(heartbeat_seconds=1.0)
    alice, bob = await live.people("alice", "bob")
    async with alice.online() as a, bob.online() as b:

        async def answer() -> None:
            while True:
                await b.next(type="ping")
                await b.send({"type": "pong"})

        answering = asyncio.create_task(answer())
        assert (await a.next())["type"] == "ping"
        assert await a.closed() == Close.SILENT
        answering.cancel()
        await asyncio.gather(answering, return_exceptions=True)
        assert (await b.ask("ping"))["type"] == "ack"


async def test_too_many_commands_are_refused_then_closed(new_server: NewServer) -> None:
    """A thousand in one packet: some are carried out, some refused, then it is over."""
    live = await new_server(command_burst=50, commands_per_second=10)
    alice, bob = await live.people("alice", "bob")
    chat_id = await alice.direct(bob)
    async with alice.online() as a, bob.online() as b:
        for number in range(1000):
            await a.send({"type": "send", "ref": number, "chat_id": chat_id, "content": f"{number}"})
        answers = [frame for frame in await a.rest() if "ref" in frame]
        assert a.connection.close_code == Close.TOO_MANY_COMMANDS
        refused = [frame for frame in answers if frame["type"] == "error"]
        assert {frame["code"] for frame in refused} == {"too_many_commands"}

        async def stored() -> bool:
            return 50 <= len(await bob.history(chat_id, limit=100)) < 70

        await eventually(stored)
        assert (await b.ask("ping"))["type"] == "ack"


async def test_sockets_of_one_user_are_limited(new_server: NewServer) -> None:
    """The handshake is refused; the others stay."""
    live = await new_server(sockets_per_user=2)
    alice = await live.person()
    async with alice.online() as first, alice.online():
        with pytest.raises(InvalidStatus) as refusal:
            async with alice.online():
                pass
        assert refusal.value.response.status_code == 429
        assert (await first.ask("ping"))["type"] == "ack"


async def test_order_of_what_one_socket_commands(live: Live) -> None:
    """A hundred sends and fifty edits, none waited for: carried out in the order in which they came."""
    alice, bob = await live.people("alice", "bob")
    chat_id = await alice.direct(bob)
    await alice.say(chat_id, "first")
    async with alice.online() as a, bob.online() as b:
        for number in range(50):
            await a.send({"type": "send", "chat_id": chat_id, "content": f"{number}"})
            await a.send({"type": "edit", "chat_id": chat_id, "message_id": 1, "content": f"e{number}"})
        seen: dict[str, list[str]] = {"message.created": [], "message.updated": []}
        versions = []
        while len(seen["message.created"]) < 50 or len(seen["message.updated"]) < 50:
            event = await b.next()
            seen[event["type"]].append(event["message"]["content"])
            versions.append(event["version"])
        assert seen["message.created"] == [f"{number}" for number in range(50)]
        assert seen["message.updated"] == [f"e{number}" for number in range(50)]
        assert versions == list(range(versions[0], versions[0] + 100))


async def test_sync_gives_all_at_a_glance(live: Live) -> None:
    """The same chats as the list, with versions and unread counts."""
    alice, bob = await live.people("alice", "bob")
    chats = [await alice.group(bob), await alice.direct(bob)]
    await alice.say(chats[0], "hello")
    overview = (await bob.get("/api/sync")).json()
    assert overview["user"]["id"] == bob.id
    assert overview["chats"] == (await bob.get("/api/chats")).json()
    assert [chat["unread"] for chat in overview["chats"]] == [1, 0]
