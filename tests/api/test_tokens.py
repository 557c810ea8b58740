"""API tokens and bots: what each token permits, and when it becomes invalid."""

import asyncio
from typing import Any

import asyncpg
import pytest

from blazechat.vocabulary import Scope
from tests.api.test_roles import SESSION_ENDING, TABLE, Row, create_scene, fill, shape_of
from tests.harness import Live, Person

LOGIN_ONLY = {
    "PUT /api/users/*",
    "DELETE /api/users/*",
    "GET /api/auth/sessions",
    "DELETE /api/auth/sessions/*",
    "POST /api/auth/refresh",
    "POST /api/auth/logout",
    "POST /api/auth/logout-all",
    *(f"{method} /api/bots{rest}" for method, rest in (("POST", ""), ("GET", ""), ("PUT", "/*"))),
    "DELETE /api/bots/*",
    "POST /api/tokens",
    "GET /api/tokens",
    "DELETE /api/tokens/*",
}
ADMIN = {
    "PUT /api/chats/*",
    "DELETE /api/chats/*",
    "POST /api/chats/*/members",
    "PUT /api/chats/*/members/*",
    "DELETE /api/chats/*/members/*",
    "POST /api/chats/*/incoming-webhooks",
    "GET /api/chats/*/incoming-webhooks",
    "POST /api/chats/*/incoming-webhooks/preview",
    "PUT /api/chats/*/incoming-webhooks/*",
    "DELETE /api/chats/*/incoming-webhooks/*",
    "POST /api/chats/*/slash-commands",
    "DELETE /api/chats/*/slash-commands/*",
    *(
        f"{method} /api{place}/webhooks{path}"
        for place in ("/chats/*", "")
        for method, path in (
            ("POST", ""),
            ("GET", ""),
            ("GET", "/*"),
            ("PUT", "/*"),
            ("DELETE", "/*"),
            ("POST", "/*/secret"),
            ("POST", "/*/ping"),
            ("POST", "/*/redeliver"),
            ("GET", "/*/deliveries"),
            ("GET", "/*/deliveries/*"),
            ("POST", "/*/deliveries/*/redeliver"),
        )
    ),
    "POST /api/invitations",
    "GET /api/invitations",
    "DELETE /api/invitations/*",
}
READ = {"POST /api/auth/ticket"}
"""Calls that need `read`, in addition to all GETs. All calls in no set need `write`."""
NO_TOKEN = {
    "POST /api/auth/register",
    "POST /api/auth/login",
    "POST /api/token",
    "POST /api/users",
    "OPTIONS /api/uploads",
    "GET /healthz",
    "GET /readyz",
    "GET /api/server",
    "GET /api",
    "GET /api/test",
    "GET /api/dbtest",
    "POST /hooks/*",
    "POST /hooks/reply/*",
}
ANY_PATH = {
    "GET /api/chats",
    "GET /api/messages/conversations",
    "GET /api/sync",
    "POST /api/auth/ticket",
    "GET /api/auth/me",
    "GET /api/users",
    "GET /api/users/me",
    "GET /api/users/*",
    "GET /api/users/*/status",
    "POST /api/media",
    "DELETE /api/media/*",
    "POST /api/uploads",
    "HEAD /api/uploads/*",
    "PATCH /api/uploads/*",
    "DELETE /api/uploads/*",
}
"""Calls outside chats that a token for certain chats can make."""


def _needed_scope(call: str) -> Scope | None:
    shape = shape_of(call)
    if shape in NO_TOKEN:
        return None
    if shape in LOGIN_ONLY:
        return Scope.LOGIN
    if shape in ADMIN:
        return Scope.ADMIN
    return Scope.READ if shape in READ or shape.startswith(("GET ", "HEAD /api/media")) else Scope.WRITE


async def _with_token(person: Person, **wanted: Any) -> Person:
    """Return the same person, logged in with a new API token."""
    response = await person.post("/api/tokens", {"name": "test", **wanted})
    assert response.status_code == 201, response.text
    token = response.json()["token"]
    return Person(
        person.live, person.id, person.username, {"access_token": token}, person.live.client(token)
    )


async def _call(person: Person, row: Row, ids: dict[str, Any]) -> tuple[int, str]:
    method, path = row.call.split()
    response = await person.http.request(
        method,
        path.format(**ids),
        json=fill(row.body, ids),
        data=row.form,
        headers={"tus-resumable": "1.0.0"},
    )
    body = response.json() if response.content and "json" in response.headers["content-type"] else {}
    return response.status_code, body.get("code", "") if isinstance(body, dict) else ""


ROWS = [*TABLE, *(Row(call, (0,) * 6) for call in sorted(SESSION_ENDING))]


async def test_every_call_needs_its_scope(live: Live) -> None:
    """A token is rejected by the calls that need a higher scope, and accepted by the others."""
    names = ("owner", "admin", "member", "former", "stranger", "plain", "new", "other")
    cast = {name: await live.person(name) for name in names}
    ids = await create_scene(cast)
    owners = {scope: await _with_token(cast["owner"], scope=scope) for scope in ("read", "write", "admin")}
    strangers = {
        scope: await _with_token(cast["stranger"], scope=scope) for scope in ("read", "write", "admin")
    }
    order = list(Scope)
    for row in ROWS:
        needed = _needed_scope(row.call)
        for scope, owner in owners.items():
            if needed is not None and order.index(Scope(scope)) < order.index(needed):
                assert await _call(owner, row, ids) == (403, "insufficient_scope") or row.call.startswith(
                    "HEAD"
                ), (row.call, scope)
        if needed is not None and needed is not Scope.LOGIN:
            status, code = await _call(strangers[needed], row, ids)
            assert (status, code != "insufficient_scope") == (row.expected[4], True), row.call


async def test_token_for_one_chat_permits_nothing_else(live: Live) -> None:
    """Neither other chats of the account, nor calls about all of them. Lists have this chat only."""
    names = ("owner", "admin", "member", "former", "stranger", "plain", "new", "other")
    cast = {name: await live.person(name) for name in names}
    ids = await create_scene(cast)
    mine = await cast["owner"].group(cast["member"])
    limited = await _with_token(cast["owner"], scope="admin", chat_ids=[mine])
    for row in ROWS:
        if _needed_scope(row.call) in (None, Scope.LOGIN):
            continue
        status, code = await _call(limited, row, ids)
        if "{chat}" in row.call:
            assert status == 404, row.call
        elif shape_of(row.call) not in ANY_PATH:
            assert (status, code) == (403, "insufficient_scope"), row.call
        else:
            assert code != "insufficient_scope", row.call
    assert [chat["id"] for chat in (await limited.get("/api/chats")).json()] == [mine]
    assert [chat["id"] for chat in (await limited.get("/api/sync")).json()["chats"]] == [mine]
    message = await limited.say(mine, "permitted")
    assert (await limited.get(f"/api/chats/{mine}/messages/{message['id']}")).status_code == 200


async def test_socket_of_a_limited_token_receives_its_chats_only(live: Live) -> None:
    """It gets no events and no data of other chats, including chats that the account joins later."""
    alice, bob = await live.people("alice", "bob")
    mine, other = await alice.group(bob), await alice.group(bob)
    reader = await _with_token(alice, scope="read", chat_ids=[mine])
    async with reader.online() as socket:
        await bob.say(other, "not for this token")
        later = await bob.group(alice)
        await bob.say(later, "nor this")
        await bob.say(mine, "this is")
        frame = await socket.next()
        assert (frame["type"], frame["chat_id"]) == ("message.created", mine)
        refused = {"send": {"content": "x"}, "read": {}, "typing": {}}
        for command, arguments in refused.items():
            response = await socket.ask(command, chat_id=mine, **arguments)
            assert response["code"] == "insufficient_scope"
        assert (await socket.ask("subscribe", chat_id=other))["code"] == "not_found"
        await socket.send({"type": "resume", "ref": 77, "chats": {str(other): 1}})
        assert (await socket.next())["type"] == "reset"
    for path in (f"/ws/chat/{other}", "/ws/status"):
        with pytest.raises(Exception, match=r"HTTP 40[34]"):
            async with reader.socket(path):
                pass
    async with reader.listening(mine) as socket:
        await socket.send({"content": "x"})
        assert (await socket.next())["code"] == "insufficient_scope"
    ticket = (await reader.post("/api/auth/ticket")).json()["ticket"]
    async with alice.socket(f"/ws?ticket={ticket}", authorization="") as socket:
        await socket.next(type="ready")
        assert (await socket.ask("send", chat_id=mine, content="x"))["code"] == "insufficient_scope"


async def test_token_for_one_chat_reads_no_file_of_another(live: Live) -> None:
    """Attaching a file makes it readable. So the token cannot attach a file that only other chats have."""
    alice, bob = await live.people("alice", "bob")
    mine, other = await alice.group(bob), await alice.group(bob)
    limited = await _with_token(alice, scope="write", chat_ids=[mine])

    async def uploaded(person: Person) -> int:
        response = await person.http.post("/api/media", files={"file": ("a.txt", b"the secret")})
        media_id: int = response.json()["id"]
        return media_id

    async def attached(person: Person, chat_id: int, media_id: int) -> tuple[int, str]:
        sent = {"content": "", "attachments": [media_id]}
        response = await person.post(f"/api/chats/{chat_id}/messages", sent)
        return response.status_code, response.json().get("code", "")

    elsewhere = await uploaded(alice)
    assert await attached(alice, other, elsewhere) == (201, "")
    assert await attached(limited, mine, elsewhere) == (422, "invalid_input")
    assert await attached(limited, mine, await uploaded(bob)) == (422, "invalid_input")
    for known, status in ((elsewhere, 404), (await uploaded(alice), 200)):
        upload = await limited.http.head(f"/api/uploads/{known}", headers={"Tus-Resumable": "1.0.0"})
        assert upload.status_code == status
        assert ("upload-metadata" in upload.headers) == (status == 200)
    async with limited.online() as socket:
        response = await socket.ask("send", chat_id=mine, content="", attachments=[elsewhere])
        assert response["code"] == "invalid_input"
    for fresh in (await uploaded(limited), await uploaded(alice)):
        assert await attached(limited, mine, fresh) == (201, "")
        assert await attached(limited, mine, fresh) == (201, "")
    assert await attached(alice, mine, elsewhere) == (201, "")
    assert await attached(limited, mine, elsewhere) == (201, "")


async def test_token_is_returned_once_stored_as_a_hash_and_invalid_after_its_revocation(live: Live) -> None:
    """Neither the list nor the database has it. Revoking it closes its sockets."""
    alice = await live.person()
    made = (await alice.post("/api/tokens", {"name": "CI", "scope": "write", "days": 2})).json()
    token = made["token"]
    assert token.startswith("blz_")
    assert made["last_used_at"] is None
    holder = Person(live, alice.id, alice.username, {"access_token": token}, live.client(token))
    chat = await alice.group()
    await holder.say(chat, "from a program")
    (listed,) = (await alice.get("/api/tokens")).json()
    assert listed["token"] is None
    assert listed["last_used_at"] is not None
    assert (listed["name"], listed["scope"]) == ("CI", "write")
    assert token not in (await alice.get("/api/auth/sessions")).text
    assert len((await alice.get("/api/auth/sessions")).json()) == 1
    connection = await asyncpg.connect(live.app.state.settings.database_url)
    rows = await connection.fetch("SELECT s::text AS row FROM sessions s")
    await connection.close()
    assert not any(token in row["row"] or token[4:] in row["row"] for row in rows)
    async with holder.online() as socket:
        assert (await alice.delete(f"/api/tokens/{made['id']}")).status_code == 204
        assert await socket.closed() == 4401
    assert (await holder.get("/api/auth/me")).status_code == 401
    response = await holder.post(f"/api/chats/{chat}/messages", {"content": "still?"})
    assert response.status_code == 401
    assert (await alice.delete(f"/api/tokens/{made['id']}")).status_code == 404


async def test_api_tokens_outlive_log_out_everywhere_but_not_the_account(live: Live) -> None:
    """An API token is not accepted as a refresh token."""
    alice = await live.person()
    holder = await _with_token(alice, scope="admin")
    refused = await live.client().post("/api/auth/refresh", json={"refresh_token": holder.token})
    assert refused.status_code == 401
    assert (await alice.post("/api/auth/logout-all")).status_code == 204
    assert (await holder.get("/api/auth/me")).status_code == 200
    again = await live.log_in(alice.username)
    assert (await again.delete(f"/api/users/{alice.id}")).status_code == 204
    assert (await holder.get("/api/auth/me")).status_code == 401


async def test_owner_manages_a_bot(live: Live) -> None:
    """Create it, add it to a chat, create a token, rename it, and delete it with its token."""
    alice, bob = await live.people("alice", "bob")
    name = f"deploys{alice.id}"
    made = await alice.post("/api/bots", {"username": name, "display_name": "Deploys"})
    assert made.status_code == 201
    bot = made.json()
    assert (bot["is_bot"], bot["owner_id"], bot["username"]) == (True, alice.id, name)
    assert (await bob.post("/api/bots", {"username": name})).status_code == 409
    assert (
        await live.client().post("/api/token", data={"username": name, "password": ""})
    ).status_code in (
        401,
        422,
    )
    chat = await alice.group(bob)
    assert (await alice.post(f"/api/chats/{chat}/members", [bot["id"]])).status_code == 200
    token = (await alice.post("/api/tokens", {"name": "CI", "bot_id": bot["id"]})).json()["token"]
    bot_user = Person(live, bot["id"], name, {"access_token": token}, live.client(token))
    message = await bot_user.say(chat, "done")
    assert message["user"] == {"id": bot["id"], "username": name, "display_name": "Deploys"}
    renamed = await alice.put(f"/api/bots/{bot['id']}", {"display_name": "Releases"})
    assert renamed.json()["display_name"] == "Releases"
    members = (await bob.get(f"/api/chats/{chat}/members")).json()
    assert {member["id"]: member["is_bot"] for member in members} == {
        alice.id: False,
        bob.id: False,
        bot["id"]: True,
    }
    assert (await bob.delete(f"/api/bots/{bot['id']}")).status_code == 404
    assert (await alice.delete(f"/api/bots/{bot['id']}")).status_code == 204
    assert (await bot_user.get("/api/auth/me")).status_code == 401
    assert (await bob.history(chat))[0]["user"]["display_name"] == "Releases"
    assert (await alice.get("/api/bots")).json() == []
    assert (await bob.post("/api/bots", {"username": name})).status_code == 201


async def test_bots_are_deleted_with_their_owner(live: Live) -> None:
    """Otherwise no user could revoke their tokens."""
    alice = await live.person()
    bot = (await alice.post("/api/bots", {"username": f"b{alice.id}"})).json()
    token = (await alice.post("/api/tokens", {"name": "x", "bot_id": bot["id"]})).json()["token"]
    client = live.client(token)
    assert (await client.get("/api/auth/me")).status_code == 200
    assert (await alice.delete(f"/api/users/{alice.id}")).status_code == 204
    assert (await client.get("/api/auth/me")).status_code == 401


async def test_invalid_tokens_and_invalid_requests_for_tokens(live: Live) -> None:
    """Unknown and overlong tokens; chats and bots of other users; the limit of tokens."""
    alice, bob = await live.people("alice", "bob")
    for token in ("blz_", "blz_x", f"blz_{'a' * 43}", f"blz_{'a' * 5000}"):
        assert (await live.client(token).get("/api/auth/me")).status_code == 401
    theirs = await bob.group()
    for body, status in (
        ({"chat_ids": [theirs]}, 404),
        ({"chat_ids": []}, 422),
        ({"chat_ids": [1] * 101}, 422),
        ({"scope": "login"}, 422),
        ({"scope": "root"}, 422),
        ({"days": 0}, 422),
        ({"name": " \t"}, 422),
        ({"name": "a\0b"}, 422),
        ({"bot_id": bob.id}, 404),
    ):
        assert (await alice.post("/api/tokens", {"name": "x"} | body)).status_code == status, body
    await asyncio.gather(*(alice.post("/api/tokens", {"name": "x"}) for _ in range(105)))
    full = await alice.post("/api/tokens", {"name": "x"})
    assert (full.status_code, full.json()["code"]) == (409, "too_many_tokens")
    assert len((await alice.get("/api/tokens")).json()) == 100
