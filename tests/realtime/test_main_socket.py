"""The main socket, `/ws`: commands, subscriptions, heartbeat and limits, over a live server."""

import asyncio
from typing import Any

import pytest
from websockets.exceptions import InvalidStatus

from blazechat.realtime.connection import Close
from tests.conftest import NewServer
from tests.harness import Live, eventually


async def test_send_is_acknowledged_and_reaches_all_sockets_of_all_members(live: Live) -> None:
    """The event has the same message as the HTTP response. A retry is acknowledged, and stored once."""
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


async def test_every_change_of_a_message_is_acknowledged_and_delivered(live: Live) -> None:
    """Edit, react, unreact, pin, unpin, delete: each raises the version, and the event equals HTTP."""
    alice, bob = await live.people("alice", "bob")
    chat_id = await alice.direct(bob)
    async with alice.online() as a, bob.online() as b:
        sent = await a.ask("send", chat_id=chat_id, content="one")
        target = {"chat_id": chat_id, "message_id": 1}
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
            ack = await a.ask(command, **target, **more)
            assert ack["version"] == sent["version"] + turn, ack
            event = await b.next(type=kind)
            assert event["version"] == ack["version"]
            assert event["message"] == (await bob.get(f"/api/chats/{chat_id}/messages/1")).json()
        rejected = await a.ask("react", **target, emoji="👍")
        assert rejected["code"] == "message_deleted"


async def test_invalid_command_gets_an_error_and_keeps_the_socket(live: Live) -> None:
    """The error has the command's `ref`, whatever else is invalid."""
    alice, stranger = await live.people("alice", "stranger")
    chat_id = await alice.group()
    invalid: list[tuple[Any, str]] = [
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
        for number, (frame, code) in enumerate(invalid):
            ref = {"ref": f"r{number}"}
            await socket.send(frame | ref if isinstance(frame, dict) else frame)
            problem = await socket.next(type="error")
            assert problem["code"] == code, (frame, problem)
            assert problem["error"]
            assert problem["ref"] == (f"r{number}" if isinstance(frame, dict) else None)
        await socket.connection.send(b"binary")
        assert (await socket.next(type="error"))["code"] == "invalid_input"
        assert (await socket.ask("ping"))["type"] == "ack"


@pytest.mark.parametrize("outsider", ["stranger", "former member"])
async def test_commands_of_users_who_are_not_members_are_not_found(live: Live, outsider: str) -> None:
    """The error is the same as for a chat that does not exist, and the chat does not change."""
    alice, eve = await live.people("alice", "eve")
    chat_id = await alice.group(eve) if outsider == "former member" else await alice.group()
    await alice.say(chat_id, "secret")
    async with eve.online() as socket:
        if outsider == "former member":
            await alice.delete(f"/api/chats/{chat_id}/members/{eve.id}")
            await socket.next(type="member.removed")
        before = (await alice.get(f"/api/chats/{chat_id}")).json()
        target = {"chat_id": chat_id, "message_id": 1}
        for command, more in (
            ("send", {"chat_id": chat_id, "content": "x"}),
            ("edit", {**target, "content": "x"}),
            ("delete", target),
            ("react", {**target, "emoji": "👍"}),
            ("unreact", {**target, "emoji": "👍"}),
            ("pin", target),
            ("unpin", target),
            ("read", {"chat_id": chat_id}),
            ("typing", {"chat_id": chat_id}),
            ("subscribe", {"chat_id": chat_id}),
        ):
            response = await socket.ask(command, **more)
            unknown = await socket.ask(command, **(more | {"chat_id": 2**50}))
            assert response["code"] == "not_found", command
            assert response | {"ref": 0} == unknown | {"ref": 0}
        assert (await alice.get(f"/api/chats/{chat_id}")).json() == before
        await socket.send({"type": "resume", "ref": "r", "chats": {str(chat_id): 1}})
        assert await socket.next() == {"type": "reset", "chat_id": chat_id}


async def test_read_and_typing_events_reach_sockets_that_have_the_chat_open(live: Live) -> None:
    """A user's own read cursor also reaches all sockets of the user."""
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
        moved = {"type": "read", "chat_id": chat_id, "user_id": bob.id, "read_id": 1}
        assert await a.next() == moved
        assert await phone.next() == moved | {"unread": 0}
        assert (await b.ask("read", chat_id=chat_id, up_to=0))["read_id"] == 1
        assert (await b.ask("read", chat_id=chat_id, up_to=99))["read_id"] == 1
        await a.ask("unsubscribe", chat_id=chat_id)
        await b.ask("typing", chat_id=chat_id)
        await alice.say(chat_id, "two")
        assert (await a.next())["type"] == "message.created"
        assert (await c.next())["type"] == "message.created"


async def test_typing_indicator_expires(live: Live) -> None:
    """The server sends the stop, so clients need no timer."""
    alice, bob = await live.people("alice", "bob")
    chat_id = await alice.direct(bob)
    async with alice.online() as a, bob.online() as b:
        await a.ask("subscribe", chat_id=chat_id)
        await b.send({"type": "typing", "chat_id": chat_id})
        assert (await a.next())["typing"] is True
        assert (await a.next(type="typing"))["typing"] is False


async def test_presence_reaches_watchers_who_share_a_chat(live: Live) -> None:
    """A reconnect within the grace period sends nothing. A removal from the last shared chat ends it."""
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
        offline = await a.next(type="presence")
        assert (offline["user_id"], offline["status"]) == (bob.id, "offline")
        assert offline["last_seen"]
        await alice.delete(f"/api/chats/{chat_id}/members/{bob.id}")
        await a.next(type="member.removed")
        gateway = live.app.state.gateway
        await eventually(lambda: not gateway._watchers.watchers_of(bob.id))
        async with bob.online():
            assert (await a.ask("ping"))["type"] == "ack"


async def test_silent_socket_is_pinged_and_then_closed(new_server: NewServer) -> None:
    """The close code is 4408. A socket that answers the pings stays open."""
    live = await new_server(heartbeat_seconds=1.0)
    alice, bob = await live.people("alice", "bob")
    async with alice.online() as a, bob.online() as b:

        async def answer_pings() -> None:
            while True:
                await b.next(type="ping")
                await b.send({"type": "pong"})

        answering = asyncio.create_task(answer_pings())
        assert (await a.next())["type"] == "ping"
        assert await a.closed() == Close.SILENT
        answering.cancel()
        await asyncio.gather(answering, return_exceptions=True)
        assert (await b.ask("ping"))["type"] == "ack"


async def test_too_many_commands_are_rejected_and_then_close_the_socket(new_server: NewServer) -> None:
    """Of a thousand sends, the first are executed, then some are rejected, then the socket is closed."""
    live = await new_server(command_burst=50, commands_per_second=10)
    alice, bob = await live.people("alice", "bob")
    chat_id = await alice.direct(bob)
    async with alice.online() as a, bob.online() as b:
        for number in range(1000):
            await a.send({"type": "send", "ref": number, "chat_id": chat_id, "content": f"{number}"})
        responses = [frame for frame in await a.rest() if "ref" in frame]
        assert a.connection.close_code == Close.TOO_MANY_COMMANDS
        rejected = [frame for frame in responses if frame["type"] == "error"]
        assert {frame["code"] for frame in rejected} == {"too_many_commands"}

        async def stored() -> bool:
            return 50 <= len(await bob.history(chat_id, limit=100)) < 70

        await eventually(stored)
        assert (await b.ask("ping"))["type"] == "ack"


async def test_sockets_per_user_are_limited(new_server: NewServer) -> None:
    """The next handshake is rejected with 429; the open sockets stay open."""
    live = await new_server(sockets_per_user=2)
    alice = await live.person()
    async with alice.online() as first, alice.online():
        with pytest.raises(InvalidStatus) as refusal:
            async with alice.online():
                pass
        assert refusal.value.response.status_code == 429
        assert (await first.ask("ping"))["type"] == "ack"


async def test_commands_of_one_socket_are_executed_in_order(live: Live) -> None:
    """Fifty sends and fifty edits, sent without waiting: each kind is executed in the order of arrival."""
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
