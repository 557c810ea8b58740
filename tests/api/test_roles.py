"""Every endpoint called by every role: what each role may do, and that outsiders see nothing."""

from dataclasses import dataclass
from typing import Any

import pytest

from blazechat.domain.auth.access import ALLOWED_ROLES, GROUP_ONLY_ACTIONS, Action
from blazechat.vocabulary import Role
from tests.harness import PASSWORD, Live, Person

ROLES = ("owner", "admin", "member", "former", "stranger", "anonymous")


@dataclass(frozen=True)
class Row:
    """One call, and the status that each of ROLES gets."""

    call: str
    expected: tuple[int, int, int, int, int, int]
    body: Any = None
    form: Any = None


OUTSIDERS = (404, 404, 401)
MEMBERS = (200, 200, 200, *OUTSIDERS)
ADMINS = (200, 200, 403, *OUTSIDERS)
OWNER = (200, 403, 403, *OUTSIDERS)
SIGNED_IN = (200, 200, 200, 200, 200, 401)
PUBLIC = (200,) * 6
OTHER_USER = (403, 403, 403, 403, 403, 401)
NOT_FOUND = (404, 404, 404, 404, 404, 401)
SERVER_ADMINS = (403, 403, 403, 403, 403, 401)

# {chat}: the group; {message}: a message of the member; {file}: an attachment of it; {plain}: a second
# member; {new}: a user who is no member; {other}: another user; {other_…}: something of that user.
TABLE = [
    Row("GET /api/chats/{chat}", MEMBERS),
    Row("PUT /api/chats/{chat}", ADMINS, {"name": "Renamed"}),
    Row("DELETE /api/chats/{chat}", (204, 403, 403, *OUTSIDERS)),
    Row("GET /api/chats/{chat}/members", MEMBERS),
    Row("POST /api/chats/{chat}/members", ADMINS, ["{new}"]),
    Row("PUT /api/chats/{chat}/members/{plain}", OWNER, {"role": "admin"}),
    Row("DELETE /api/chats/{chat}/members/{plain}", ADMINS),
    Row("GET /api/chats/{chat}/messages", MEMBERS),
    Row("POST /api/chats/{chat}/messages", (201, 201, 201, *OUTSIDERS), {"content": "hello"}),
    Row("PUT /api/chats/{chat}/messages/read", MEMBERS),
    Row("GET /api/chats/{chat}/messages/{message}", MEMBERS),
    Row("PUT /api/chats/{chat}/messages/{message}", (403, 403, 200, *OUTSIDERS), {"content": "edited"}),
    Row("DELETE /api/chats/{chat}/messages/{message}", (204, 204, 204, *OUTSIDERS)),
    Row("GET /api/chats/{chat}/messages/{message}/read-status", MEMBERS),
    Row("PUT /api/chats/{chat}/messages/{message}/reactions/{emoji}", MEMBERS),
    Row("DELETE /api/chats/{chat}/messages/{message}/reactions/{emoji}", MEMBERS),
    Row("PUT /api/chats/{chat}/messages/{message}/pin", MEMBERS),
    Row("DELETE /api/chats/{chat}/messages/{message}/pin", MEMBERS),
    Row("GET /api/chats/{chat}/pins", MEMBERS),
    Row("GET /api/chats/{chat}/changes?after=1", MEMBERS),
    Row("GET /api/chats/{chat}/media/{file}/{part}", MEMBERS),
    Row("GET /api/media", SIGNED_IN),
    Row("POST /api/media", (422,) * 5 + (401,)),
    Row("GET /api/media/{other_file}", NOT_FOUND),
    Row("DELETE /api/media/{other_file}", NOT_FOUND),
    Row("GET /api/media/{other_file}/{part}", NOT_FOUND),
    Row("OPTIONS /api/uploads", (204,) * 6),
    Row("POST /api/uploads", (422,) * 5 + (401,)),
    Row("HEAD /api/uploads/{other_file}", NOT_FOUND),
    Row("PATCH /api/uploads/{other_file}", (415,) * 5 + (401,)),
    Row("DELETE /api/uploads/{other_file}", NOT_FOUND),
    Row("GET /api/sync", SIGNED_IN),
    Row("POST /api/auth/ticket", (201,) * 5 + (401,)),
    Row("POST /api/messages/conversations/{chat}/messages", MEMBERS, {"content": "hello"}),
    Row("GET /api/messages/conversations/{chat}/messages", MEMBERS),
    Row("GET /api/messages/conversations", SIGNED_IN),
    Row("POST /api/messages/conversations", SIGNED_IN, {"participant_ids": ["{other}"]}),
    Row("GET /api/chats", SIGNED_IN),
    Row("POST /api/chats", (201,) * 5 + (401,), {"name": "x", "is_group_chat": True, "user_ids": []}),
    Row("GET /api/users", SIGNED_IN),
    Row("GET /api/users/me", SIGNED_IN),
    Row("GET /api/users/{other}", SIGNED_IN),
    Row("PUT /api/users/{other}", OTHER_USER, {"display_name": "Taken over"}),
    Row("DELETE /api/users/{other}", OTHER_USER),
    Row("GET /api/users/{other}/status", SIGNED_IN),
    Row("PUT /api/users/{other}/status", OTHER_USER, {"status": "away"}),
    Row("GET /api/auth/me", SIGNED_IN),
    Row("GET /api/auth/sessions", SIGNED_IN),
    Row("DELETE /api/auth/sessions/{other_session}", (404,) * 5 + (401,)),
    Row("POST /api/auth/refresh", SIGNED_IN),
    Row("POST /api/auth/register", (422,) * 6, {}),
    Row("POST /api/auth/login", (401,) * 6, form={"username": "nobody", "password": "x"}),
    Row("POST /api/token", (401,) * 6, form={"username": "nobody", "password": "x"}),
    Row("POST /api/users", (422,) * 6, {}),
    Row("POST /api/chats/{chat}/incoming-webhooks", (201, 201, 403, *OUTSIDERS), {"name": "Grafana"}),
    Row("GET /api/chats/{chat}/incoming-webhooks", ADMINS),
    Row("PUT /api/chats/{chat}/incoming-webhooks/{incoming}", ADMINS, {"template": "github"}),
    Row("DELETE /api/chats/{chat}/incoming-webhooks/{incoming}", (204, 204, 403, *OUTSIDERS)),
    Row(
        "POST /api/chats/{chat}/incoming-webhooks/preview",
        ADMINS,
        {"template": "grafana", "payload": []},
    ),
    Row("POST /api/chats/{chat}/webhooks", (201, 201, 403, *OUTSIDERS), {"url": "https://example.com/"}),
    Row("GET /api/chats/{chat}/webhooks", ADMINS),
    Row("GET /api/chats/{chat}/webhooks/{webhook}", ADMINS),
    Row("PUT /api/chats/{chat}/webhooks/{webhook}", ADMINS, {"enabled": False}),
    Row("DELETE /api/chats/{chat}/webhooks/{webhook}", (204, 204, 403, *OUTSIDERS)),
    Row("POST /api/chats/{chat}/webhooks/{webhook}/secret", ADMINS),
    Row("POST /api/chats/{chat}/webhooks/{webhook}/ping", ADMINS),
    Row("POST /api/chats/{chat}/webhooks/{webhook}/redeliver", (202, 202, 403, *OUTSIDERS)),
    Row("GET /api/chats/{chat}/webhooks/{webhook}/deliveries", ADMINS),
    Row("GET /api/chats/{chat}/webhooks/{webhook}/deliveries/{delivery}", ADMINS),
    Row(
        "POST /api/chats/{chat}/webhooks/{webhook}/deliveries/{delivery}/redeliver",
        (202, 202, 403, *OUTSIDERS),
    ),
    Row("POST /api/webhooks", SERVER_ADMINS, {"url": "https://example.com/"}),
    Row("GET /api/webhooks", SERVER_ADMINS),
    Row("GET /api/webhooks/{webhook}", SERVER_ADMINS),
    Row("PUT /api/webhooks/{webhook}", SERVER_ADMINS, {"enabled": False}),
    Row("DELETE /api/webhooks/{webhook}", SERVER_ADMINS),
    Row("POST /api/webhooks/{webhook}/secret", SERVER_ADMINS),
    Row("POST /api/webhooks/{webhook}/ping", SERVER_ADMINS),
    Row("POST /api/webhooks/{webhook}/redeliver", SERVER_ADMINS),
    Row("GET /api/webhooks/{webhook}/deliveries", SERVER_ADMINS),
    Row("GET /api/webhooks/{webhook}/deliveries/{delivery}", SERVER_ADMINS),
    Row("POST /api/webhooks/{webhook}/deliveries/{delivery}/redeliver", SERVER_ADMINS),
    Row("POST /api/chats/{chat}/slash-commands", (422, 422, 422, 422, 422, 401), {"word": 1}),
    Row("GET /api/chats/{chat}/slash-commands", MEMBERS),
    Row("DELETE /api/chats/{chat}/slash-commands/{command}", (204, 204, 403, *OUTSIDERS)),
    Row("POST /api/chats/{chat}/commands", (502, 502, 502, *OUTSIDERS), {"text": "/deploy"}),
    Row("POST /hooks/reply/0", (404,) * 6, {"text": "x"}),
    Row("POST /hooks/0", (404,) * 6, {"text": "x"}),
    Row("POST /api/bots", (422,) * 5 + (401,), {}),
    Row("GET /api/bots", SIGNED_IN),
    Row("PUT /api/bots/{other_bot}", NOT_FOUND, {"display_name": "Taken over"}),
    Row("DELETE /api/bots/{other_bot}", NOT_FOUND),
    Row("POST /api/tokens", (201,) * 5 + (401,), {"name": "mine"}),
    Row("GET /api/tokens", SIGNED_IN),
    Row("GET /api/tokens?bot_id={other_bot}", NOT_FOUND),
    Row("DELETE /api/tokens/{other_token}", NOT_FOUND),
    Row("POST /api/invitations", SERVER_ADMINS, {}),
    Row("GET /api/invitations", SERVER_ADMINS),
    Row("DELETE /api/invitations/1", SERVER_ADMINS),
    Row("GET /healthz", PUBLIC),
    Row("GET /api/server", PUBLIC),
    Row("GET /readyz", PUBLIC),
    Row("GET /api", PUBLIC),
    Row("GET /api/test", PUBLIC),
    Row("GET /api/dbtest", PUBLIC),
]

SESSION_ENDING = {"POST /api/auth/logout", "POST /api/auth/logout-all"}
"""Calls that end the caller's session; tests/api/test_auth.py tests them."""


@pytest.fixture(scope="session")
async def cast(live: Live) -> dict[str, Person]:
    """The users of the table, the same for all its rows."""
    return {
        name: await live.person(name)
        for name in ("owner", "admin", "member", "former", "stranger", "plain", "new", "other")
    }


async def create_scene(cast: dict[str, Person]) -> dict[str, Any]:
    """Create a group with all roles. Return the ids for the placeholders of the table."""
    owner = cast["owner"]
    chat = await owner.group(cast["admin"], cast["member"], cast["plain"], cast["former"])
    promoted = await owner.put(f"/api/chats/{chat}/members/{cast['admin'].id}", {"role": "admin"})
    assert promoted.status_code == 200
    removed = await owner.delete(f"/api/chats/{chat}/members/{cast['former'].id}")
    assert removed.status_code == 200
    files = {name: await _upload(cast[name]) for name in ("member", "other")}
    message = (await cast["member"].say(chat, "secret of the chat", attachments=[files["member"]]))["id"]
    webhook = (await owner.post(f"/api/chats/{chat}/webhooks", {"url": "http://127.0.0.1:9/"})).json()["id"]
    # The ping makes a delivery. Nothing is sent, because the address is not public.
    await owner.post(f"/api/chats/{chat}/webhooks/{webhook}/ping")
    deliveries = (await owner.get(f"/api/chats/{chat}/webhooks/{webhook}/deliveries")).json()
    body = {"word": "/deploy", "name": "Deploys", "url": "http://127.0.0.1:9/"}
    command = await owner.post(f"/api/chats/{chat}/slash-commands", body)
    incoming = await owner.post(f"/api/chats/{chat}/incoming-webhooks", {"name": "secret of the chat"})
    bot, token = await _bot_of(cast["other"])
    session = (await cast["other"].get("/api/auth/sessions")).json()[0]["id"]
    return {
        "chat": chat,
        "message": message,
        "other": cast["other"].id,
        "plain": cast["plain"].id,
        "new": cast["new"].id,
        "other_session": session,
        "incoming": incoming.json()["id"],
        "webhook": webhook,
        "command": command.json()["id"],
        "delivery": deliveries[0]["id"],
        "other_bot": bot,
        "other_token": token,
        "emoji": "👍",
        "part": "content",
        "file": files["member"],
        "other_file": files["other"],
    }


async def _bot_of(person: Person) -> tuple[int, int]:
    """Return the ids of a bot and its token. They are created once per user, since both are limited."""
    bots = (await person.get("/api/bots")).json()
    if not bots:
        bots = [(await person.post("/api/bots", {"username": f"{person.username}-bot"})).json()]
        await person.post("/api/tokens", {"name": "theirs", "bot_id": bots[0]["id"]})
    tokens = (await person.get("/api/tokens", params={"bot_id": bots[0]["id"]})).json()
    return bots[0]["id"], tokens[0]["id"]


async def _upload(person: Person) -> int:
    response = await person.http.post("/api/media", files={"file": ("a.txt", b"secret of the chat")})
    assert response.status_code == 201
    return int(response.json()["id"])


def fill(template: Any, ids: dict[str, Any]) -> Any:
    if isinstance(template, list):
        return [fill(item, ids) for item in template]
    if isinstance(template, dict):
        return {key: fill(value, ids) for key, value in template.items()}
    if isinstance(template, str) and template.startswith("{"):
        return ids[template.strip("{}")]
    return template


@pytest.mark.parametrize("row", TABLE, ids=lambda row: row.call)
async def test_every_call_by_every_role(live: Live, cast: dict[str, Person], row: Row) -> None:
    """Statuses are those of the table. An outsider gets the same problem as for an unknown chat."""
    method, path = row.call.split()
    ids: dict[str, Any] = {}
    for role, expected in zip(ROLES, row.expected, strict=True):
        ids = ids or await create_scene(cast)
        client = cast[role].http if role in cast else live.client()
        body = fill(row.body, ids)
        headers = {"tus-resumable": "1.0.0"}
        response = await client.request(
            method, path.format(**ids), json=body, data=row.form, headers=headers
        )
        assert response.status_code == expected, f"{role}: {response.text}"
        assert expected < 400 or "secret of the chat" not in response.text
        if expected == 404 and "{chat}" in path:
            unknown = await client.request(
                method,
                path.format(**(ids | {"chat": 2**50})),
                json=body,
                data=row.form,
                headers=headers,
            )
            problem, unknown_problem = response.json(), unknown.json()
            del problem["request_id"], unknown_problem["request_id"]
            assert problem == unknown_problem
        if expected < 400 and method != "GET":
            ids = {}  # each role starts with a new scene


def test_table_has_every_endpoint(live: Live) -> None:
    """A new endpoint needs a row."""
    operations = {
        f"{method.upper()} {path}"
        for path, methods in live.app.openapi()["paths"].items()
        for method in methods
    }
    shapes = {shape_of(row.call) for row in TABLE} | SESSION_ENDING
    assert {shape_of(operation) for operation in operations} == shapes


def shape_of(call: str) -> str:
    """Return a call with `*` in place of ids and placeholders."""
    parts = call.partition("?")[0].split("/")
    return "/".join("*" if part.startswith("{") or part.isdecimal() else part for part in parts)


async def test_only_the_owner_removes_admins(live: Live, cast: dict[str, Person]) -> None:
    """Admins remove neither each other nor the owner."""
    ids = await create_scene(cast)
    path = f"/api/chats/{ids['chat']}/members"
    for target in ("owner", "admin"):
        response = await cast["member"].delete(f"{path}/{cast[target].id}")
        assert response.status_code == 403
    assert (await cast["admin"].delete(f"{path}/{cast['owner'].id}")).status_code == 403
    assert (await cast["owner"].delete(f"{path}/{cast['admin'].id}")).status_code == 200


async def test_both_users_of_a_direct_chat_have_the_same_rights(cast: dict[str, Person]) -> None:
    """Both can rename and delete it, and delete each other's messages. No user can join or leave."""
    for index in (0, 1):
        pair = (cast["owner"], cast["member"])
        caller, other = pair[index], pair[1 - index]
        chat = await cast["owner"].direct(cast["member"])
        message_id = (await other.say(chat, "from the other user"))["id"]
        path = f"/api/chats/{chat}"
        for response in (
            await caller.post(f"{path}/members", [cast["new"].id]),
            await caller.delete(f"{path}/members/{other.id}"),
            await caller.delete(f"{path}/members/{caller.id}"),
            await caller.put(f"{path}/members/{other.id}", {"role": "member"}),
        ):
            assert (response.status_code, response.json()["code"]) == (409, "direct_chat_fixed")
        assert (await caller.put(path, {"name": "Us"})).status_code == 200
        assert (await caller.delete(f"{path}/messages/{message_id}")).status_code == 204
        assert (await caller.delete(path)).status_code == 204


def test_every_action_has_its_roles() -> None:
    """ALLOWED_ROLES has every action, and owners may do them all."""
    assert set(ALLOWED_ROLES) == set(Action)
    assert all(Role.OWNER in roles for roles in ALLOWED_ROLES.values())
    assert set(Action) > GROUP_ONLY_ACTIONS


async def test_own_account_only(live: Live) -> None:
    """A user cannot change another user's account."""
    alice, bob = await live.people("alice", "bob")
    assert (await alice.put(f"/users/{alice.id}", {"display_name": "A"})).status_code == 200
    change = {"password": "new password", "current_password": PASSWORD}
    assert (await alice.put(f"/users/{bob.id}", change)).status_code == 403
    assert (await live.log_in(bob.username)).id == bob.id
