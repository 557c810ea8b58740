"""Walks through the two original APIs, as the clients that were written for them do it."""

import asyncio
import base64
import json
from contextlib import AsyncExitStack
from typing import Any

import httpx2
import websockets

from tests.conftest import NewServer
from tests.harness import PASSWORD, Live, Socket


class BlockChatPage:
    """What the original web client of Block Chat does: calls without a prefix, except its checks, the
    user's id from the token, and sockets with the token in the query."""

    def __init__(self, live: Live, name: str) -> None:
        self.name = name
        self.live = live
        self.http = live.client()
        self.token = ""
        self.user_id = 0

    async def open(self, *, register: bool) -> None:
        """Show the log-in form only if the server's database responds; then log in."""
        assert (await self.http.get("/api/test")).json() == {"status": "Database connection successful"}
        if register:
            body = {"username": self.name, "email": f"{self.name}@example.com", "password": PASSWORD}
            assert (await self.http.post("/auth/register", json=body)).status_code == 201
        tokens = await self.http.post("/auth/login", data={"username": self.name, "password": PASSWORD})
        assert tokens.json()["token_type"] == "bearer"
        self.token = tokens.json()["access_token"]
        self.user_id = _claims(self.token)["user_id"]
        self.http = self.live.client(self.token)

    def socket(self, path: str) -> Any:
        return websockets.connect(f"{self.live.ws_url}{path}?token={self.token}", proxy=None)

    async def call(self, method: str, path: str, body: Any = None) -> Any:
        response = await self.http.request(method, path, json=body)
        assert response.is_success, response.text
        return response.json() if response.content else None


def _claims(token: str) -> dict[str, Any]:
    """Read the token as a browser does, without verifying it."""
    payload = token.split(".")[1]
    found: dict[str, Any] = json.loads(base64.urlsafe_b64decode(payload + "=" * (-len(payload) % 4)))
    return found


async def _block_chat_pages(live: Live, *names: str) -> list[BlockChatPage]:
    pages = [BlockChatPage(live, name) for name in names]
    for page in pages:
        await page.open(register=True)
    return pages


async def test_checks_of_the_api_and_its_database_respond(live: Live) -> None:
    """With and without a slash at the end, without a log-in."""
    http = live.client()
    for path in ("/api", "/api/"):
        assert (await http.get(path)).json() == {"status": "API is running"}
    for path in ("/api/test", "/api/dbtest", "/api/test/", "/api/dbtest/"):
        assert (await http.get(path)).json() == {"status": "Database connection successful"}


async def test_two_pages_of_block_chat_talk(new_server: NewServer) -> None:
    """Log-in, users, a direct chat, messages over the socket, presence, read status, another log-in."""
    live = await new_server()
    alice, bob = await _block_chat_pages(live, "block-alice", "block-bob")
    me = await alice.call("GET", "/auth/me")
    assert (me["id"], me["username"]) == (alice.user_id, "block-alice")
    assert type(alice.user_id) is int
    found = await alice.call("GET", "/users?limit=100")
    assert {alice.user_id, bob.user_id} <= {user["id"] for user in found}
    body = {"name": "block-bob", "is_group_chat": False, "user_ids": [bob.user_id]}
    chat = await alice.call("POST", "/chats", body)
    assert (chat["is_group_chat"], len(chat["users"])) == (False, 2)

    async with AsyncExitStack() as stack:
        first = Socket(await stack.enter_async_context(bob.socket("/ws/status")))
        assert (await first.next())["user_id"] == bob.user_id
        second = Socket(await stack.enter_async_context(alice.socket("/ws/status")))
        assert await second.next() == await bob.call("GET", f"/users/{bob.user_id}/status")
        assert (await first.next(user_id=alice.user_id))["status"] == "online"

        path = f"/ws/chat/{chat['id']}"
        sockets = [Socket(await stack.enter_async_context(page.socket(path))) for page in (alice, bob)]
        await sockets[0].send("Hello, Bob!")
        await sockets[1].next(content="Hello, Bob!")
        await sockets[1].send(json.dumps({"content": "Hello, Alice!"}))
        frames = [await sockets[0].next() for _ in range(2)]
        history = await alice.call("GET", f"/chats/{chat['id']}/messages?skip=0&limit=100")
        assert [frame["content"] for frame in frames] == [each["content"] for each in reversed(history)]
        await sockets[0].send("")
        shown = await sockets[0].next()
        assert shown["content"] == shown["error"] == "A message cannot be blank."
        assert shown["created_at"].endswith("Z")
        assert shown["code"] == "invalid_input"

    await bob.call("PUT", f"/chats/{chat['id']}/messages/read")
    status = await alice.call("GET", f"/chats/{chat['id']}/messages/1/read-status")
    assert (status["is_read"], status["read_by"]) == (True, [bob.user_id])
    assert await alice.call("POST", "/chats", body | {"name": "another"}) | {"users": []} == (
        await alice.call("GET", f"/chats/{chat['id']}") | {"users": []}
    )
    profile = {"username": "block-alice", "email": "alice@new.example.com", "password": PASSWORD}
    changed = await alice.call("PUT", f"/users/{alice.user_id}", profile)
    assert changed["email"] == "alice@new.example.com"
    again = BlockChatPage(live, "block-alice")
    await again.open(register=False)
    assert again.user_id == alice.user_id


async def test_status_socket_begins_with_who_is_online_or_away(live: Live) -> None:
    """One frame per user who shares a chat and is here; none of strangers and of users who are offline."""
    alice, bob, carol, dave, stranger = await live.people("alice", "bob", "carol", "dave", "stranger")
    await alice.group(bob, carol, dave)
    await carol.put(f"/users/{carol.id}/status", {"status": "away"})
    async with bob.watching() as b, stranger.watching() as s:
        await b.next(user_id=bob.id, status="online")
        await s.next(user_id=stranger.id, status="online")
        async with alice.watching() as socket:
            frames = [await socket.next() for _ in range(3)]
            assert [(frame["user_id"], frame["status"]) for frame in frames] == [
                (bob.id, "online"),
                (carol.id, "away"),
                (alice.id, "online"),  # the change that the connection itself caused
            ]
            assert frames[0]["last_seen"]


class TerminalClient:
    """What the original terminal client of BlazeChat does: forms, polling, and one page per screen."""

    def __init__(self, live: Live, name: str) -> None:
        self.name = name
        self.live = live
        self.http = live.client()

    async def start(self) -> dict[str, Any]:
        """Register, log in, and return the own account."""
        body = {"username": self.name, "email": f"{self.name}@example.com", "password": PASSWORD}
        assert (await self.http.post("/users/", json=body)).status_code == 200
        token = await self.http.post("/token", data={"username": self.name, "password": PASSWORD})
        self.http = self.live.client(token.json()["access_token"])
        me: dict[str, Any] = (await self.http.get("/users/me")).json()
        return me

    async def messages(self, conversation_id: int, **query: int) -> httpx2.Response:
        path = f"/messages/conversations/{conversation_id}/messages/"
        response = await self.http.get(path, params=query)
        assert response.status_code == 200
        return response


async def test_two_terminal_clients_converse(live: Live) -> None:
    """The newest page shows what was said last, also in a conversation of more than a hundred messages."""
    alice, bob = TerminalClient(live, "term-alice"), TerminalClient(live, "term-bob")
    ids = [(await client.start())["id"] for client in (alice, bob)]
    body = {"participant_ids": ids}
    conversation = (await alice.http.post("/messages/conversations/", json=body)).json()
    path = f"/messages/conversations/{conversation['id']}/messages/"
    for number in range(1, 123):
        client = (alice, bob)[number % 2]
        assert (await client.http.post(path, json={"content": f"{number}"})).status_code == 200
    for deleted in (121, 119):
        assert (await bob.http.delete(f"/chats/{conversation['id']}/messages/{deleted}")).status_code == 204

    newest = await alice.messages(conversation["id"])
    shown = [122, 120, *range(118, 100, -1)]
    assert [message["content"] for message in newest.json()] == [f"{number}" for number in shown]
    older = await alice.http.get(newest.links["next"]["url"])
    assert [message["id"] for message in older.json()] == list(range(100, 80, -1))
    last = await alice.messages(conversation["id"], skip=100, limit=100)
    assert [message["id"] for message in last.json()] == list(range(20, 0, -1))
    assert "next" not in last.links
    assert (await alice.messages(conversation["id"], skip=2**53 - 1)).json() == []
    for limit in (0, 101):
        assert (await alice.http.get(path, params={"limit": limit})).status_code == 422
    (listed,) = (await bob.http.get("/messages/conversations/")).json()
    assert listed["messages"] == newest.json()


async def test_conversations_are_listed_ten_at_a_time(live: Live) -> None:
    """And up to a hundred with `limit`; deleted messages are in none of them."""
    alice = await live.person()
    chats = [await alice.group(name=f"{number}") for number in range(12)]
    await asyncio.gather(*(alice.say(chat_id, f"{n}") for chat_id in chats for n in range(3)))
    await asyncio.gather(*(alice.delete(f"/api/chats/{chat_id}/messages/3") for chat_id in chats))
    page = await alice.get("/messages/conversations/")
    assert len(page.json()) == 10
    assert len((await alice.get(page.links["next"]["url"])).json()) == 2
    listed = (await alice.get("/messages/conversations/", params={"limit": 100})).json()
    assert len(listed) == 12
    for conversation in listed:
        assert [message["id"] for message in conversation["messages"]] == [2, 1]
    for limit in (0, 101):
        assert (await alice.get("/messages/conversations/", params={"limit": limit})).status_code == 422
