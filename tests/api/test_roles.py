"""Every endpoint by every role: what each may do, and that outsiders see nothing at all."""

from dataclasses import dataclass
from typing import Any

import pytest

from blazechat.domain.auth.access import IN_GROUPS_ONLY, MAY, Action
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


OUT = (404, 404, 401)
ANYBODY_IN = (200, 200, 200, *OUT)
ADMINS = (200, 200, 403, *OUT)
OWNER = (200, 403, 403, *OUT)
SIGNED_IN = (200, 200, 200, 200, 200, 401)
EVERYBODY = (200,) * 6
NOT_MINE = (403, 403, 403, 403, 403, 401)
NOBODY = (404, 404, 404, 404, 404, 401)
ADMINISTRATOR = (403, 403, 403, 403, 403, 401)

# {chat}: the group; {said}: a message of the member; {other}: somebody else's id; {plain}: a second
# member; {new}: a user not in it; {me}: the caller's own id; {file}: of the member's message;
# {other_file}: somebody else's.
TABLE = [
    Row("GET /api/chats/{chat}", ANYBODY_IN),
    Row("PUT /api/chats/{chat}", ADMINS, {"name": "Renamed"}),
    Row("DELETE /api/chats/{chat}", (204, 403, 403, *OUT)),
    Row("GET /api/chats/{chat}/members", ANYBODY_IN),
    Row("POST /api/chats/{chat}/members", ADMINS, ["{new}"]),
    Row("PUT /api/chats/{chat}/members/{plain}", OWNER, {"role": "admin"}),
    Row("DELETE /api/chats/{chat}/members/{plain}", ADMINS),
    Row("GET /api/chats/{chat}/messages", ANYBODY_IN),
    Row("POST /api/chats/{chat}/messages", (201, 201, 201, *OUT), {"content": "hello"}),
    Row("PUT /api/chats/{chat}/messages/read", ANYBODY_IN),
    Row("GET /api/chats/{chat}/messages/{said}", ANYBODY_IN),
    Row("PUT /api/chats/{chat}/messages/{said}", (403, 403, 200, *OUT), {"content": "edited"}),
    Row("DELETE /api/chats/{chat}/messages/{said}", (204, 204, 204, *OUT)),
    Row("GET /api/chats/{chat}/messages/{said}/read-status", ANYBODY_IN),
    Row("PUT /api/chats/{chat}/messages/{said}/reactions/{emoji}", ANYBODY_IN),
    Row("DELETE /api/chats/{chat}/messages/{said}/reactions/{emoji}", ANYBODY_IN),
    Row("PUT /api/chats/{chat}/messages/{said}/pin", ANYBODY_IN),
    Row("DELETE /api/chats/{chat}/messages/{said}/pin", ANYBODY_IN),
    Row("GET /api/chats/{chat}/pins", ANYBODY_IN),
    Row("GET /api/chats/{chat}/changes?after=1", ANYBODY_IN),
    Row("GET /api/chats/{chat}/media/{file}/{part}", ANYBODY_IN),
    Row("GET /api/media", SIGNED_IN),
    Row("POST /api/media", (422,) * 5 + (401,)),
    Row("GET /api/media/{other_file}", NOBODY),
    Row("DELETE /api/media/{other_file}", NOBODY),
    Row("GET /api/media/{other_file}/{part}", NOBODY),
    Row("OPTIONS /api/uploads", (204,) * 6),
    Row("POST /api/uploads", (422,) * 5 + (401,)),
    Row("HEAD /api/uploads/{other_file}", NOBODY),
    Row("PATCH /api/uploads/{other_file}", (415,) * 5 + (401,)),
    Row("DELETE /api/uploads/{other_file}", NOBODY),
    Row("GET /api/sync", SIGNED_IN),
    Row("POST /api/auth/ticket", (201,) * 5 + (401,)),
    Row("POST /api/messages/conversations/{chat}/messages", ANYBODY_IN, {"content": "hello"}),
    Row("GET /api/messages/conversations/{chat}/messages", ANYBODY_IN),
    Row("GET /api/messages/conversations", SIGNED_IN),
    Row("POST /api/messages/conversations", SIGNED_IN, {"participant_ids": ["{other}"]}),
    Row("GET /api/chats", SIGNED_IN),
    Row("POST /api/chats", (201,) * 5 + (401,), {"name": "x", "is_group_chat": True, "user_ids": []}),
    Row("GET /api/users", SIGNED_IN),
    Row("GET /api/users/me", SIGNED_IN),
    Row("GET /api/users/{other}", SIGNED_IN),
    Row("PUT /api/users/{other}", NOT_MINE, {"display_name": "Mine now"}),
    Row("DELETE /api/users/{other}", NOT_MINE),
    Row("GET /api/users/{other}/status", SIGNED_IN),
    Row("PUT /api/users/{other}/status", NOT_MINE, {"status": "away"}),
    Row("GET /api/auth/me", SIGNED_IN),
    Row("GET /api/auth/sessions", SIGNED_IN),
    Row("DELETE /api/auth/sessions/{other_session}", (404,) * 5 + (401,)),
    Row("POST /api/auth/refresh", SIGNED_IN),
    Row("POST /api/auth/register", (422,) * 6, {}),
    Row("POST /api/auth/login", (401,) * 6, form={"username": "nobody", "password": "x"}),
    Row("POST /api/token", (401,) * 6, form={"username": "nobody", "password": "x"}),
    Row("POST /api/users", (422,) * 6, {}),
    Row("POST /api/chats/{chat}/incoming-webhooks", (201, 201, 403, *OUT), {"name": "Grafana"}),
    Row("GET /api/chats/{chat}/incoming-webhooks", ADMINS),
    Row("DELETE /api/chats/{chat}/incoming-webhooks/{hook}", (204, 204, 403, *OUT)),
    Row("POST /api/chats/{chat}/webhooks", (201, 201, 403, *OUT), {"url": "https://example.com/"}),
    Row("GET /api/chats/{chat}/webhooks", ADMINS),
    Row("GET /api/chats/{chat}/webhooks/{webhook}", ADMINS),
    Row("PUT /api/chats/{chat}/webhooks/{webhook}", ADMINS, {"enabled": False}),
    Row("DELETE /api/chats/{chat}/webhooks/{webhook}", (204, 204, 403, *OUT)),
    Row("POST /api/chats/{chat}/webhooks/{webhook}/secret", ADMINS),
    Row("POST /api/chats/{chat}/webhooks/{webhook}/ping", ADMINS),
    Row("POST /api/chats/{chat}/webhooks/{webhook}/redeliver", (202, 202, 403, *OUT)),
    Row("GET /api/chats/{chat}/webhooks/{webhook}/deliveries", ADMINS),
    Row("GET /api/chats/{chat}/webhooks/{webhook}/deliveries/{delivery}", ADMINS),
    Row("POST /api/chats/{chat}/webhooks/{webhook}/deliveries/{delivery}/redeliver", (202, 202, 403, *OUT)),
    Row("POST /api/webhooks", ADMINISTRATOR, {"url": "https://example.com/"}),
    Row("GET /api/webhooks", ADMINISTRATOR),
    Row("GET /api/webhooks/{webhook}", ADMINISTRATOR),
    Row("PUT /api/webhooks/{webhook}", ADMINISTRATOR, {"enabled": False}),
    Row("DELETE /api/webhooks/{webhook}", ADMINISTRATOR),
    Row("POST /api/webhooks/{webhook}/secret", ADMINISTRATOR),
    Row("POST /api/webhooks/{webhook}/ping", ADMINISTRATOR),
    Row("POST /api/webhooks/{webhook}/redeliver", ADMINISTRATOR),
    Row("GET /api/webhooks/{webhook}/deliveries", ADMINISTRATOR),
    Row("GET /api/webhooks/{webhook}/deliveries/{delivery}", ADMINISTRATOR),
    Row("POST /api/webhooks/{webhook}/deliveries/{delivery}/redeliver", ADMINISTRATOR),
    Row("POST /api/chats/{chat}/slash-commands", (422, 422, 422, 422, 422, 401), {"word": 1}),
    Row("GET /api/chats/{chat}/slash-commands", ANYBODY_IN),
    Row("DELETE /api/chats/{chat}/slash-commands/{word}", (204, 204, 403, *OUT)),
    Row("POST /api/chats/{chat}/commands", (502, 502, 502, *OUT), {"text": "/deploy"}),
    Row("POST /hooks/reply/0", (404,) * 6, {"text": "x"}),
    Row("POST /hooks/0", (404,) * 6, {"text": "x"}),
    Row("POST /api/bots", (422,) * 5 + (401,), {}),
    Row("GET /api/bots", SIGNED_IN),
    Row("PUT /api/bots/{other_bot}", NOBODY, {"display_name": "Mine now"}),
    Row("DELETE /api/bots/{other_bot}", NOBODY),
    Row("POST /api/tokens", (201,) * 5 + (401,), {"name": "mine"}),
    Row("GET /api/tokens", SIGNED_IN),
    Row("GET /api/tokens?bot_id={other_bot}", NOBODY),
    Row("DELETE /api/tokens/{other_token}", NOBODY),
    Row("POST /api/invitations", ADMINISTRATOR, {}),
    Row("GET /api/invitations", ADMINISTRATOR),
    Row("DELETE /api/invitations/1", ADMINISTRATOR),
    Row("GET /healthz", EVERYBODY),
    Row("GET /readyz", EVERYBODY),
]

ENDING = {"POST /api/auth/logout", "POST /api/auth/logout-all"}
"""Calls that end the caller's session; tests/api/test_auth.py has them."""


@pytest.fixture(scope="session")
async def cast(live: Live) -> dict[str, Person]:
    """The people of the table, the same for all its rows."""
    return {
        name: await live.person(name)
        for name in ("owner", "admin", "member", "former", "stranger", "plain", "new", "other")
    }


async def _scene(cast: dict[str, Person]) -> dict[str, Any]:
    """A group with everybody in place, and the ids that the table's paths speak of."""
    owner = cast["owner"]
    chat = await owner.group(cast["admin"], cast["member"], cast["plain"], cast["former"])
    promoted = await owner.put(f"/api/chats/{chat}/members/{cast['admin'].id}", {"role": "admin"})
    assert promoted.status_code == 200
    removed = await owner.delete(f"/api/chats/{chat}/members/{cast['former'].id}")
    assert removed.status_code == 200
    files = {name: await _upload(cast[name]) for name in ("member", "other")}
    said = (await cast["member"].say(chat, "secret of the chat", attachments=[files["member"]]))["id"]
    webhook = (await owner.post(f"/api/chats/{chat}/webhooks", {"url": "http://127.0.0.1:9/"})).json()["id"]
    await owner.post(f"/api/chats/{chat}/webhooks/{webhook}/ping")  # refused, before anything is sent
    deliveries = (await owner.get(f"/api/chats/{chat}/webhooks/{webhook}/deliveries")).json()
    word = {"word": "/deploy", "name": "Deploys", "url": "http://127.0.0.1:9/"}
    command = await owner.post(f"/api/chats/{chat}/slash-commands", word)
    hook = await owner.post(f"/api/chats/{chat}/incoming-webhooks", {"name": "secret of the chat"})
    bot, token = await _bot_of(cast["other"])
    session = (await cast["other"].get("/api/auth/sessions")).json()[0]["id"]
    return {
        "chat": chat,
        "said": said,
        "other": cast["other"].id,
        "plain": cast["plain"].id,
        "new": cast["new"].id,
        "other_session": session,
        "hook": hook.json()["id"],
        "webhook": webhook,
        "word": command.json()["id"],
        "delivery": deliveries[0]["id"],
        "other_bot": bot,
        "other_token": token,
        "emoji": "👍",
        "part": "content",
        "file": files["member"],
        "other_file": files["other"],
    }


async def _bot_of(person: Person) -> tuple[int, int]:
    """A bot and a token of it, made once: there is a limit."""
    bots = (await person.get("/api/bots")).json()
    if not bots:
        bots = [(await person.post("/api/bots", {"username": f"{person.username}-bot"})).json()]
        await person.post("/api/tokens", {"name": "theirs", "bot_id": bots[0]["id"]})
    tokens = (await person.get("/api/tokens", params={"bot_id": bots[0]["id"]})).json()
    return bots[0]["id"], tokens[0]["id"]


async def _upload(person: Person) -> int:
    answer = await person.http.post("/api/media", files={"file": ("a.txt", b"secret of the chat")})
    assert answer.status_code == 201
    return int(answer.json()["id"])


def _fill(template: Any, ids: dict[str, Any]) -> Any:
    if isinstance(template, list):
        return [_fill(item, ids) for item in template]
    if isinstance(template, dict):
        return {key: _fill(value, ids) for key, value in template.items()}
    if isinstance(template, str) and template.startswith("{"):
        return ids[template.strip("{}")]
    return template


@pytest.mark.parametrize("row", TABLE, ids=lambda row: row.call)
async def test_every_call_by_every_role(live: Live, cast: dict[str, Person], row: Row) -> None:
    """The table holds; whoever is outside gets the words that an unknown chat gets."""
    method, path = row.call.split()
    ids: dict[str, Any] = {}
    for role, expected in zip(ROLES, row.expected, strict=True):
        ids = ids or await _scene(cast)
        client = cast[role].http if role in cast else live.client()
        body = _fill(row.body, ids)
        headers = {"tus-resumable": "1.0.0"}
        answer = await client.request(method, path.format(**ids), json=body, data=row.form, headers=headers)
        assert answer.status_code == expected, f"{role}: {answer.text}"
        assert expected < 400 or "secret of the chat" not in answer.text
        if expected == 404 and "{chat}" in path:
            unknown = await client.request(
                method,
                path.format(**(ids | {"chat": 2**50})),
                json=body,
                data=row.form,
                headers=headers,
            )
            words, unknown_words = answer.json(), unknown.json()
            del words["request_id"], unknown_words["request_id"]
            assert words == unknown_words
        if expected < 400 and method != "GET":
            ids = {}  # the next one finds it as the first did


def test_table_has_every_endpoint(live: Live) -> None:
    """A new endpoint has to say who may call it."""
    operations = {
        f"{method.upper()} {path}"
        for path, methods in live.app.openapi()["paths"].items()
        for method in methods
    }
    shape = {_shape(row.call) for row in TABLE} | ENDING
    assert {_shape(operation) for operation in operations} == shape


def _shape(call: str) -> str:
    """The call with its ids left out."""
    parts = call.partition("?")[0].split("/")
    return "/".join("*" if part.startswith("{") or part.isdecimal() else part for part in parts)


async def test_removing_an_admin_is_the_owners(live: Live, cast: dict[str, Person]) -> None:
    """Admins remove members, but neither each other nor the owner."""
    ids = await _scene(cast)
    path = f"/api/chats/{ids['chat']}/members"
    for target in ("owner", "admin"):
        answer = await cast["member"].delete(f"{path}/{cast[target].id}")
        assert answer.status_code == 403
    assert (await cast["admin"].delete(f"{path}/{cast['owner'].id}")).status_code == 403
    assert (await cast["owner"].delete(f"{path}/{cast['admin'].id}")).status_code == 200


async def test_both_of_a_direct_chat_may_the_same(cast: dict[str, Person]) -> None:
    """Each may rename and delete it and delete the other's messages; nobody can join or leave."""
    for index in (0, 1):
        pair = (cast["owner"], cast["member"])
        asker, other = pair[index], pair[1 - index]
        chat = await cast["owner"].direct(cast["member"])
        said = (await other.say(chat, "from the other side"))["id"]
        path = f"/api/chats/{chat}"
        for answer in (
            await asker.post(f"{path}/members", [cast["new"].id]),
            await asker.delete(f"{path}/members/{other.id}"),
            await asker.delete(f"{path}/members/{asker.id}"),
            await asker.put(f"{path}/members/{other.id}", {"role": "member"}),
        ):
            assert (answer.status_code, answer.json()["code"]) == (409, "direct_chat_fixed")
        assert (await asker.put(path, {"name": "Us"})).status_code == 200
        assert (await asker.delete(f"{path}/messages/{said}")).status_code == 204
        assert (await asker.delete(path)).status_code == 204


def test_every_action_has_its_roles() -> None:
    """The table in the code is complete, and an owner may everything."""
    assert set(MAY) == set(Action)
    assert all(Role.OWNER in roles for roles in MAY.values())
    assert set(Action) > IN_GROUPS_ONLY


async def test_own_account_only(live: Live) -> None:
    """Another's id is refused for every change; one's own is not."""
    alice, bob = await live.people("alice", "bob")
    assert (await alice.put(f"/users/{alice.id}", {"display_name": "A"})).status_code == 200
    change = {"password": "new password", "current_password": PASSWORD}
    assert (await alice.put(f"/users/{bob.id}", change)).status_code == 403
    assert (await live.log_in(bob.username)).id == bob.id
