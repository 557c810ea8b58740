"""Log-in on `/ws`: by header, first frame or ticket, newer tokens, and the end of the session."""

import asyncio
import json

import pytest
import websockets
from websockets.exceptions import InvalidStatus

from blazechat.realtime.connection import Close
from tests.conftest import NewServer
from tests.harness import Live, Socket


async def test_ready_has_the_session_and_the_limits(live: Live) -> None:
    """It has the user, the session, the expiry of the token, the heartbeat and the limits."""
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


async def test_log_in_by_the_first_frame(live: Live) -> None:
    """For browsers, which cannot set headers. Before it, commands are rejected, and no event is sent."""
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


async def test_invalid_first_frame_gets_an_error_and_closes_the_socket(live: Live) -> None:
    """The close code is 4401: log in again."""
    async with websockets.connect(f"{live.ws_url}/ws", proxy=None) as connection:
        socket = Socket(connection)
        await socket.send({"type": "auth", "ref": 1, "token": "nonsense"})
        assert (await socket.next(ref=1))["code"] == "unauthenticated"
        assert await socket.closed() == Close.SESSION_ENDED


async def test_socket_without_a_log_in_is_closed(new_server: NewServer) -> None:
    """The limit is `login_frame_seconds`."""
    live = await new_server(login_frame_seconds=0.3)
    async with websockets.connect(f"{live.ws_url}/ws", proxy=None) as connection:
        assert await Socket(connection).closed() == Close.SILENT


async def test_ticket_opens_one_socket(live: Live) -> None:
    """A used ticket, an unknown one and one that is too long are refused."""
    alice = await live.person()
    response = await alice.post("/api/auth/ticket")
    assert response.status_code == 201
    ticket = response.json()["ticket"]
    async with websockets.connect(f"{live.ws_url}/ws?ticket={ticket}", proxy=None) as connection:
        assert (await Socket(connection).next())["user_id"] == alice.id
    for wrong in (ticket, "nonsense", "x" * 5000):
        with pytest.raises(InvalidStatus) as refusal:
            async with websockets.connect(f"{live.ws_url}/ws?ticket={wrong}", proxy=None):
                pass
        assert refusal.value.response.status_code == 401
        assert json.loads(refusal.value.response.body or b"{}")["code"] == "ticket_invalid"


async def test_ended_session_closes_its_main_socket(live: Live) -> None:
    """The socket receives no event after the log-out."""
    alice, bob = await live.people("alice", "bob")
    chat_id = await alice.direct(bob)
    async with bob.online() as socket:
        await bob.post("/api/auth/logout")
        await alice.say(chat_id, "after")
        assert await socket.rest() == []
        assert socket.connection.close_code == Close.SESSION_ENDED


async def test_token_is_replaced_over_the_socket(new_server: NewServer) -> None:
    """The socket lives as long as the newest token. Then it is closed with 4402."""
    live = await new_server(heartbeat_seconds=1.0)
    alice = await live.person()
    tokens = live.app.state.services.credentials.tokens
    session_id = (await alice.get("/api/auth/sessions")).json()[0]["id"]
    usual, tokens.lifetime_seconds = tokens.lifetime_seconds, 1
    short = tokens.issue(alice.id, session_id)
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
