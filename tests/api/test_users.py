"""Users: the directory, profiles, online status, and changing and deleting an account."""

import pytest

from blazechat.domain.auth.passwords import Passwords
from blazechat.errors import Busy
from tests.conftest import NewServer
from tests.harness import PASSWORD, Live


async def test_directory_is_paged(new_server: NewServer) -> None:
    """In the order of ids, by `skip` or by links; filtered by the beginning of the name."""
    live = await new_server()
    people = [await live.person(name) for name in ("alice", "Alina", "bob", "carol", "al%")[:4]]
    alice = people[0]
    ids = [person.id for person in people]
    assert [user["id"] for user in (await alice.get("/users")).json()] == ids
    page = await alice.get("/users/", params={"skip": 1, "limit": 2})
    assert [user["id"] for user in page.json()] == ids[1:3]
    following = await alice.get(page.links["next"]["url"])
    assert [user["id"] for user in following.json()] == ids[3:]
    found = await alice.get("/api/users", params={"q": "AL"})
    assert [user["id"] for user in found.json()] == ids[:2]
    assert (await alice.get("/api/users", params={"q": "al%"})).json() == []
    assert (await alice.get("/api/users", params={"q": "nul\0"})).status_code in (200, 422)
    for bad in ({"limit": 0}, {"limit": 101}, {"skip": -1}):
        assert (await alice.get("/api/users", params=bad)).status_code == 422


async def test_email_is_visible_to_its_user_only(live: Live) -> None:
    """By id, `/users/me` and `/auth/me`."""
    alice, bob = await live.people("alice", "bob")
    mine = (await alice.get(f"/users/{alice.id}")).json()
    assert mine["email"] == f"{alice.username}@example.com"
    assert (await alice.get("/users/me")).json() == mine == (await alice.get("/auth/me")).json()
    other = (await alice.get(f"/users/{bob.id}/")).json()
    assert set(other) == {"id", "username", "display_name", "created_at", "last_seen", "status", "is_bot"}
    assert (await alice.get(f"/users/{2**50}")).status_code == 404


async def test_change_account(live: Live) -> None:
    """Names and e-mail address. Taken ones are rejected, and a failed change has no effect."""
    alice, bob = await live.people("alice", "bob")
    path = f"/api/users/{alice.id}"
    changed = await alice.put(path, {"display_name": " Alice  L. ", "email": "new-a@example.com"})
    assert changed.status_code == 200
    assert changed.json()["display_name"] == "Alice L."
    assert changed.json()["email"] == "new-a@example.com"
    taken = await alice.put(path, {"display_name": "X", "username": bob.username.upper()})
    assert (taken.status_code, taken.json()["code"]) == (409, "username_taken")
    same = await alice.put(path, {"username": alice.username.upper()})
    assert same.status_code == 200
    assert (await alice.get(path)).json()["display_name"] == "Alice L."
    for wrong in ({"display_name": "\u200b"}, {"email": "x"}, {"username": "a b"}):
        assert (await alice.put(path, wrong)).status_code == 422


async def test_change_password(live: Live) -> None:
    """Requires the current password, ends all other sessions and keeps this one."""
    alice = await live.person()
    phone = await live.log_in(alice.username)
    path = f"/api/users/{alice.id}"
    without = await alice.put(path, {"password": "new password"})
    assert without.json()["errors"][0]["field"] == "current_password"
    assert "current one" in without.json()["detail"]
    wrong = {"password": "new password", "current_password": "not this"}
    refused = await alice.put(path, wrong)
    assert (refused.status_code, refused.json()["code"]) == (403, "wrong_password")
    right = {"password": "new password", "current_password": PASSWORD}
    assert (await alice.put(path, right)).status_code == 200
    assert (await alice.get("/auth/me")).status_code == 200
    assert (await phone.get("/auth/me")).status_code == 401
    old = await live.client().post("/token", data={"username": alice.username, "password": PASSWORD})
    assert old.status_code == 401
    assert (await live.log_in(alice.username, "new password")).id == alice.id


async def test_current_password_beside_other_changes_is_no_new_password(live: Live) -> None:
    """Clients of the original API send name, e-mail address and the current password with every change."""
    alice = await live.person()
    phone = await live.log_in(alice.username)
    path = f"/users/{alice.id}"
    body = {"username": f"{alice.username}-b", "email": "moved@example.com", "password": PASSWORD}
    changed = await alice.put(path, body)
    assert changed.status_code == 200, changed.text
    assert (changed.json()["username"], changed.json()["email"]) == (body["username"], body["email"])
    assert (await phone.get("/auth/me")).status_code == 200
    assert (await live.log_in(body["username"])).id == alice.id
    refused = await alice.put(path, body | {"email": "thief@example.com", "password": "a guess"})
    assert (refused.status_code, refused.json()["errors"][0]["field"]) == (422, "current_password")
    assert (await alice.get("/auth/me")).json()["email"] == body["email"]


async def test_guesses_of_the_current_password_are_limited(new_server: NewServer) -> None:
    """As `current_password` and as `password`: after five failures even the right one waits."""
    live = await new_server(login_attempts_per_user=5)
    alice = await live.person()
    path = f"/users/{alice.id}"
    for number in range(5):
        guess = {"password": f"guess {number}"} | ({"current_password": "wrong"} if number % 2 else {})
        assert (await alice.put(path, guess)).json()["code"] in ("invalid_input", "wrong_password")
    limited = await alice.put(path, {"password": PASSWORD})
    assert (limited.status_code, limited.json()["code"]) == (429, "too_many_attempts")


async def test_busy_server_counts_no_failed_attempts(
    new_server: NewServer, monkeypatch: pytest.MonkeyPatch
) -> None:
    live = await new_server(login_attempts_per_user=2)
    alice = await live.person()

    async def verify(*arguments: object) -> bool:
        raise Busy

    with monkeypatch.context() as patched:
        patched.setattr(Passwords, "verify", verify)
        for _ in range(3):
            busy = await alice.put(f"/users/{alice.id}", {"password": PASSWORD})
            assert busy.json()["code"] == "busy"
    assert (await alice.put(f"/users/{alice.id}", {"password": PASSWORD})).status_code == 200


async def test_messages_of_a_deleted_account_stay(live: Live) -> None:
    """Name, e-mail address, sessions and log-in are deleted; the messages stay readable."""
    alice, bob, carol = await live.people("alice", "bob", "carol")
    group = await alice.group(bob, carol)
    direct = await alice.direct(bob)
    await alice.say(group, "in the group")
    await alice.say(direct, "between us")
    assert (await alice.delete(f"/api/users/{alice.id}")).status_code == 204

    assert (await alice.get("/auth/me")).status_code == 401
    form = {"username": alice.username, "password": PASSWORD}
    assert (await live.client().post("/token", data=form)).status_code == 401
    assert (await bob.get(f"/users/{alice.id}")).status_code == 404
    for chat_id in (group, direct):
        (message,) = await bob.history(chat_id)
        assert message["user"]["username"] == "deleted user"
        response = await bob.get(f"/api/chats/{chat_id}")
        assert alice.username not in response.text
    members = (await bob.get(f"/api/chats/{group}")).json()["users"]
    assert {member["id"]: member["role"] for member in members} == {
        bob.id: "owner",
        carol.id: "member",
    }
    assert (await bob.say(direct, "are you there?"))["id"] == 2
    assert (await bob.post("/api/chats", {"user_ids": [alice.id]})).status_code == 404
    again = {"username": alice.username, "email": f"{alice.username}@example.com", "password": PASSWORD}
    assert (await live.client().post("/auth/register", json=again)).status_code == 201


async def test_a_status_that_is_set_is_visible_to_others(live: Live) -> None:
    """For programs without a socket."""
    alice, bob = await live.people("alice", "bob")
    assert (await bob.get(f"/users/{alice.id}/status")).json()["status"] == "offline"
    for status in ("online", "away", "offline"):
        response = await alice.put(f"/users/{alice.id}/status", {"status": status})
        assert response.status_code == 200
        assert response.json()["status"] == status
        seen = (await bob.get(f"/users/{alice.id}/status")).json()
        assert seen == response.json()
        assert seen["last_seen"]
        assert (await bob.get(f"/users/{alice.id}")).json()["status"] == status
    assert (await alice.put(f"/users/{alice.id}/status", {"status": "busy"})).status_code == 422
