"""All sockets: handshakes, and why and how the server closes them."""

import asyncio
import json
import logging
from typing import Any

import pytest
import websockets
from sqlalchemy import text
from websockets.exceptions import InvalidStatus

from blazechat.realtime.connection import Close
from tests.conftest import NewServer
from tests.harness import Live, Socket, eventually
from tests.realtime.raw_client import connected, handshake


async def _refused(url: str, **headers: str) -> tuple[int, dict[str, Any]]:
    """Open a socket that is refused; return the status and the problem of the response."""
    with pytest.raises(InvalidStatus) as refusal:
        async with websockets.connect(url, additional_headers=headers, proxy=None):
            pass
    response = refusal.value.response
    return response.status_code, json.loads(response.body or b"{}")


async def test_token_is_accepted_in_header_and_query(live: Live) -> None:
    """On chat and status sockets, with and without the prefix `/api`."""
    alice = await live.person()
    chat_id = await alice.group()
    for path in (f"/ws/chat/{chat_id}", f"/api/ws/chat/{chat_id}/", "/ws/status", "/api/ws/status"):
        async with websockets.connect(f"{live.ws_url}{path}?token={alice.token}", proxy=None):
            pass
        async with alice.socket(path):
            pass


async def test_handshakes_are_refused_with_a_problem(live: Live, caplog: pytest.LogCaptureFixture) -> None:
    """The response to the handshake is an RFC 9457 problem."""
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


async def test_origin_of_the_handshake_is_checked(new_server: NewServer) -> None:
    """Browsers send it. The same origin and the allowed ones are accepted, and others are refused."""
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


async def test_tokens_are_never_logged(live: Live, caplog: pytest.LogCaptureFixture) -> None:
    """Neither from the query nor from headers, at level DEBUG, for accepted and refused handshakes."""
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
    assert any("/ws/chat/" in line for line in lines), "nothing was logged, so the test proves nothing"
    log = "\n".join(lines)
    assert alice.token not in log
    assert "secret-but-wrong" not in log


async def test_removed_member_receives_nothing(live: Live) -> None:
    """The chat socket is closed with 4403 after the removal, and cannot be opened again."""
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


async def test_removed_member_cannot_send(live: Live) -> None:
    """Messages that race with the removal have a smaller version than the removal, or are rejected."""
    alice, bob = await live.people("alice", "bob")
    for _ in range(5):
        chat_id = await alice.group(bob)
        path = f"/api/chats/{chat_id}/messages"
        sends = [asyncio.create_task(bob.post(path, {"content": f"{n}"})) for n in range(20)]
        await asyncio.sleep(0.005)
        removal = await alice.delete(f"/api/chats/{chat_id}/members/{bob.id}")
        responses = await asyncio.gather(*sends)
        assert {response.status_code for response in responses} <= {201, 404}
        accepted = [a.json()["version"] for a in responses if a.status_code == 201]
        assert all(version < removal.json()["version"] for version in accepted)
        assert len(await alice.history(chat_id)) == len(accepted)


@pytest.mark.parametrize("cause", ["logout", "logout-all", "one session", "reuse", "delete account"])
async def test_ended_session_closes_its_sockets(live: Live, cause: str) -> None:
    """Its chat and status sockets are closed with 4401. Sockets of other valid sessions stay open."""
    alice, bob = await live.people("alice", "bob")
    phone = await live.log_in(bob.username)
    chat_id = await alice.group(bob)
    async with bob.listening(chat_id) as chat, bob.watching() as status, phone.listening(chat_id) as other:
        if cause == "one session":
            sessions = (await bob.get("/api/auth/sessions")).json()
            (mine,) = [session for session in sessions if session["current"]]
            await phone.delete(f"/api/auth/sessions/{mine['id']}")
        elif cause == "reuse":
            body = {"refresh_token": bob.tokens["refresh_token"]}
            for _ in range(2):
                await live.client().post("/api/auth/refresh", json=body)
        elif cause == "delete account":
            assert (await bob.delete(f"/api/users/{bob.id}")).status_code == 204
        else:
            assert (await bob.post(f"/api/auth/{cause}")).status_code == 204
        await alice.say(chat_id, "after")
        assert await chat.rest() == []
        assert chat.connection.close_code == Close.SESSION_ENDED
        assert await status.closed() == Close.SESSION_ENDED
        if cause in ("logout", "one session", "reuse"):
            assert (await other.next())["content"] == "after"
        else:
            assert await other.closed() == Close.SESSION_ENDED


async def test_deleted_chat_closes_its_sockets(live: Live) -> None:
    """The close code is 4404: do not reconnect."""
    alice, bob = await live.people("alice", "bob")
    chat_id = await alice.group(bob)
    async with bob.listening(chat_id) as socket:
        await alice.delete(f"/api/chats/{chat_id}")
        assert await socket.closed() == Close.CHAT_GONE


async def test_slow_reader_is_closed_with_try_again(new_server: NewServer) -> None:
    """Other sockets receive every message."""
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
            connections = [c for c in live.app.state.gateway.hub.connections() if c.user_id == slow.id]
            if not connections or connections[0].closing:
                break
        else:
            raise AssertionError("the slow reader was never closed")
        stuck.transport.resume_reading()
        await Socket(stuck).rest()
        assert stuck.close_code == Close.TRY_AGAIN


async def test_reader_that_reads_nothing_is_disconnected(new_server: NewServer) -> None:
    """It does not even read its close frame. The hub forgets it, and its user is offline."""
    live = await new_server(outbox_bytes=65_536)
    alice, slow = await live.people("alice", "slow")
    chat_id = await alice.group(slow)
    hub = live.app.state.gateway.hub
    async with connected(live, limit=1024) as (_, writer):
        writer.write(handshake(slow, f"/ws/chat/{chat_id}"))
        await eventually(lambda: slow.id in hub._users)
        for number in range(2000):
            await alice.say(chat_id, f"{number} " + "x" * 9_900)
            if any(connection.closing for connection in hub._users.get(slow.id, ())):
                break
        await eventually(lambda: slow.id not in hub._users, 20)

        async def is_offline() -> bool:
            response = await alice.get(f"/users/{slow.id}/status")
            return bool(response.json()["status"] == "offline")

        await eventually(is_offline)


async def test_socket_lives_as_long_as_its_refreshed_session(live: Live) -> None:
    """The session's current expiry applies, not the one that it had when the socket was opened."""
    alice = await live.person()
    chat_id = await alice.group()
    database = live.app.state.services.database
    first = text("UPDATE sessions SET expires_at = now() + interval '1.2 s' WHERE user_id = :user")
    extended = text("UPDATE sessions SET expires_at = now() + interval '1.5 s' WHERE user_id = :user")
    async with database.transaction() as session:
        await session.execute(first, {"user": alice.id})
    async with alice.listening(chat_id) as socket:
        async with database.transaction() as session:
            await session.execute(extended, {"user": alice.id})
        await asyncio.sleep(1.3)
        await alice.say(chat_id, "still here")
        assert (await socket.next())["content"] == "still here"
        assert await socket.closed() == Close.SESSION_ENDED


async def test_sockets_are_closed_with_1012_on_shutdown(new_server: NewServer) -> None:
    """The sends in flight are committed and delivered first."""
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


async def test_hub_forgets_closed_sockets(live: Live) -> None:
    """It keeps neither a channel nor a connection after the last socket of a chat is closed."""
    alice = await live.person()
    chat_id = await alice.group()
    hub = live.app.state.gateway.hub
    async with alice.listening(chat_id), alice.watching():
        assert chat_id in hub._channels
    await eventually(lambda: chat_id not in hub._channels and alice.id not in hub._users)
