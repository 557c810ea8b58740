"""Registration, log-in, log-out, sessions and their tokens."""

import asyncio
import base64
import json
import time

import jwt
import pytest

from tests.conftest import NewServer
from tests.harness import PASSWORD, SECRET_KEY, Live, eventually


async def test_first_account_becomes_administrator_and_the_second_does_not(new_server: NewServer) -> None:
    """Exactly one account becomes administrator, even if several register concurrently."""
    live = await new_server()
    people = await asyncio.gather(*(live.person(f"p{number}") for number in range(6)))
    admins = [(await person.get("/api/auth/me")).json()["is_admin"] for person in people]
    assert sorted(admins) == [False] * 5 + [True]


async def test_register_returns_the_new_account(live: Live) -> None:
    """201 with `Location` and the e-mail address, without the password."""
    body = {"username": "Zoë.reg", "email": "Zoe.Reg@Example.COM", "password": PASSWORD}
    response = await live.client().post("/auth/register", json=body)
    assert response.status_code == 201
    account = response.json()
    assert response.headers["location"] == f"/api/users/{account['id']}"
    assert account["username"] == "Zoë.reg"
    assert account["email"] == "Zoe.Reg@example.com"
    assert "password" not in response.text


@pytest.mark.parametrize(
    ("field", "value"),
    [
        ("username", ""),
        ("username", "two words"),
        ("username", "-dash"),
        ("username", "x" * 51),
        ("username", "nul\0"),
        ("email", "no address"),
        ("email", "a@"),
        ("password", "short"),
        ("password", "p" * 73),
        ("password", "ü" * 37),
        ("password", "nul\0inside"),
        ("username", 5),
        ("password", None),
    ],
)
async def test_register_names_the_field_that_is_wrong(live: Live, field: str, value: object) -> None:
    """Invalid input is a 422 with the field's name."""
    body: dict[str, object] = {"username": "fine", "email": "fine@example.com", "password": PASSWORD}
    response = await live.client().post("/api/auth/register", json=body | {field: value})
    assert response.status_code == 422
    problem = response.json()
    assert problem["code"] == "invalid_input"
    assert [error["field"] for error in problem["errors"]] == [field]


async def test_names_are_unique_regardless_of_case_and_composition(live: Live) -> None:
    """Names that people would read as the same name are the same name."""
    first = {"username": "Straße", "email": "strasse@example.com", "password": PASSWORD}
    await live.client().post("/api/auth/register", json=first)
    for body, code in (
        (first | {"username": "STRASSE", "email": "other@example.com"}, "username_taken"),
        (first | {"username": "elsewhere", "email": "STRASSE@EXAMPLE.com"}, "email_taken"),
    ):
        response = await live.client().post("/api/auth/register", json=body)
        assert (response.status_code, response.json()["code"]) == (409, code)


async def test_log_in_by_user_name_or_email_in_any_case(live: Live) -> None:
    """`username` is a user name or an e-mail address. The form is urlencoded or multipart."""
    alice = await live.person()
    for name in (alice.username, alice.username.upper(), f"{alice.username}@EXAMPLE.com"):
        form = {"username": name, "password": PASSWORD}
        response = await live.client().post("/auth/login", data=form)
        assert response.status_code == 200
        tokens = response.json()
        assert tokens["token_type"] == "bearer"
        assert tokens["expires_in"] == 1800
        assert tokens["access_token"]
        assert tokens["refresh_token"]
    multipart = {"username": (None, alice.username), "password": (None, PASSWORD)}
    response = await live.client().post("/auth/login", files=multipart)
    assert response.status_code == 200


async def test_unknown_user_and_wrong_password_get_the_same_response(live: Live) -> None:
    """A log-in does not reveal which accounts exist."""
    alice = await live.person()
    responses = [
        (await live.client().post("/auth/login", data={"username": name, "password": password})).json()
        for name, password in ((alice.username, "wrong one"), ("unknown-user", "wrong one"))
    ]
    for response in responses:
        assert response.pop("request_id")
    assert responses[0] == responses[1]
    assert responses[0]["code"] == "wrong_credentials"


async def test_log_in_of_an_unknown_user_computes_a_hash(new_server: NewServer) -> None:
    """An unknown user takes as long as a known one. A bcrypt cost of 10 makes the difference measurable."""
    live = await new_server(bcrypt_rounds=10)
    await live.person("first")
    alice = await live.person()

    async def seconds(name: str) -> float:
        started = time.perf_counter()
        await live.client().post("/auth/login", data={"username": name, "password": "wrong"})
        return time.perf_counter() - started

    known = min([await seconds(alice.username) for _ in range(3)])
    unknown = min([await seconds(f"nobody{number}") for number in range(3)])
    assert unknown > known / 3


async def test_failed_log_ins_are_limited_per_user(new_server: NewServer) -> None:
    """After the limit the correct password is rejected as well, with `Retry-After`."""
    live = await new_server(login_attempts_per_user=3)
    alice = await live.person()
    form = {"username": alice.username, "password": "wrong one"}
    codes = [(await live.client().post("/auth/login", data=form)).json()["code"] for _ in range(4)]
    assert codes == ["wrong_credentials"] * 3 + ["too_many_attempts"]
    response = await live.client().post("/auth/login", data=form | {"password": PASSWORD})
    assert response.status_code == 429
    assert 0 < int(response.headers["retry-after"]) <= 301


async def test_concurrent_failed_log_ins_are_limited(new_server: NewServer) -> None:
    """An attempt counts from its start, so concurrent attempts cannot exceed the limit."""
    live = await new_server(login_attempts_per_user=3)
    alice = await live.person()
    form = {"username": alice.username, "password": "wrong one"}
    responses = await asyncio.gather(*(live.client().post("/auth/login", data=form) for _ in range(12)))
    assert [response.status_code for response in responses].count(401) == 3


async def test_failed_log_ins_are_limited_per_address(new_server: NewServer) -> None:
    """Stops attempts with one password and many user names."""
    live = await new_server(login_attempts_per_address=5)
    codes = [
        (
            await live.client().post("/auth/login", data={"username": f"name{number}", "password": "wrong"})
        ).status_code
        for number in range(6)
    ]
    assert codes == [401] * 5 + [429]


async def test_a_successful_log_in_resets_the_failures(new_server: NewServer) -> None:
    """A user who sometimes mistypes the password is never locked out."""
    live = await new_server(login_attempts_per_user=3)
    alice = await live.person()
    for _ in range(5):
        wrong = {"username": alice.username, "password": "typo..."}
        assert (await live.client().post("/auth/login", data=wrong)).status_code == 401
        await live.log_in(alice.username)


async def test_a_refresh_token_can_be_used_once(live: Live) -> None:
    """Using it again ends its session, with all tokens of it."""
    alice = await live.person()
    old = alice.tokens["refresh_token"]
    response = await live.client().post("/api/auth/refresh", json={"refresh_token": old})
    assert response.status_code == 200
    new = response.json()
    assert new["refresh_token"] != old
    assert (await live.client(new["access_token"]).get("/api/auth/me")).status_code == 200

    again = await live.client().post("/api/auth/refresh", json={"refresh_token": old})
    assert (again.status_code, again.json()["code"]) == (401, "refresh_token_invalid")
    after = await live.client().post("/api/auth/refresh", json={"refresh_token": new["refresh_token"]})
    assert after.status_code == 401
    assert (await live.client(new["access_token"]).get("/api/auth/me")).status_code == 401


async def test_one_of_several_concurrent_refreshes_succeeds(live: Live) -> None:
    """A refresh token can be used once, also concurrently."""
    alice = await live.person()
    body = {"refresh_token": alice.tokens["refresh_token"]}
    responses = await asyncio.gather(
        *(live.client().post("/api/auth/refresh", json=body) for _ in range(4))
    )
    assert sorted(response.status_code for response in responses) == [200, 401, 401, 401]


@pytest.mark.parametrize("token", ["", "nonsense", "a.b", "\udcff", "x" * 300])
async def test_invalid_refresh_tokens_are_rejected(live: Live, token: str) -> None:
    """401 or 422."""
    body = json.dumps({"refresh_token": token})
    headers = {"content-type": "application/json"}
    response = await live.client().post("/api/auth/refresh", content=body, headers=headers)
    assert response.status_code in (401, 422)


async def test_refresh_without_a_body_renews_the_access_token(live: Live) -> None:
    """The session of the `Authorization` header gets another access token."""
    alice = await live.person()
    response = await alice.http.post("/auth/refresh")
    assert response.status_code == 200
    assert "refresh_token" not in response.json()
    assert response.json()["access_token"] != alice.token
    assert (await alice.post("/auth/refresh", {})).status_code == 200
    renewed = live.client(response.json()["access_token"])
    assert (await renewed.get("/api/auth/me")).json()["id"] == alice.id
    assert (await live.client().post("/auth/refresh")).status_code == 401


async def test_log_out_ends_this_session_only(live: Live) -> None:
    """Its access token and its refresh token become invalid; other devices stay logged in."""
    alice = await live.person()
    phone = await live.log_in(alice.username)
    assert (await alice.post("/api/auth/logout")).status_code == 204
    assert (await alice.get("/api/auth/me")).status_code == 401
    body = {"refresh_token": alice.tokens["refresh_token"]}
    assert (await live.client().post("/api/auth/refresh", json=body)).status_code == 401
    assert (await phone.get("/api/auth/me")).status_code == 200


async def test_log_out_everywhere(live: Live) -> None:
    """Ends the sessions of all devices, including the calling one."""
    alice = await live.person()
    phone = await live.log_in(alice.username)
    assert (await phone.post("/api/auth/logout-all")).status_code == 204
    assert (await alice.get("/api/auth/me")).status_code == 401
    assert (await phone.get("/api/auth/me")).status_code == 401


async def test_sessions_are_listed_and_ended_one_by_one(live: Live) -> None:
    """Each has a device, an address and its last use. A user sees and ends only their own sessions."""
    alice, bob = await live.people("alice", "bob")
    await live.client(headers={"user-agent": "phone/1.0"}).post(
        "/auth/login", data={"username": alice.username, "password": PASSWORD}
    )
    listed = (await alice.get("/api/auth/sessions")).json()
    assert [session["current"] for session in listed].count(True) == 1
    assert {session["device"] for session in listed} >= {"phone/1.0"}
    assert all(session["last_used_at"] and session["address"] == "127.0.0.1" for session in listed)
    (phone,) = [session for session in listed if session["device"] == "phone/1.0"]
    assert (await bob.delete(f"/api/auth/sessions/{phone['id']}")).status_code == 404
    assert (await alice.delete(f"/api/auth/sessions/{phone['id']}")).status_code == 204
    assert (await alice.delete(f"/api/auth/sessions/{phone['id']}")).status_code == 404
    assert len((await alice.get("/api/auth/sessions")).json()) == len(listed) - 1


def _forged(alice_token: str) -> dict[str, str]:
    """Return forged tokens of each kind."""
    claims = jwt.decode(alice_token, options={"verify_signature": False})
    head, body, signature = alice_token.split(".")
    none_head = base64.urlsafe_b64encode(b'{"alg":"none","typ":"JWT"}').rstrip(b"=").decode()
    other = base64.urlsafe_b64encode(json.dumps(claims | {"sub": "1"}).encode()).rstrip(b"=").decode()
    long_ago = {"iat": 1, "exp": 2}
    without_exp = {key: value for key, value in claims.items() if key != "exp"}
    return {
        "nonsense": "nonsense",
        "alg none": f"{none_head}.{body}.",
        "alg none with signature": f"{none_head}.{body}.{signature}",
        "altered claims": f"{head}.{other}.{signature}",
        "another key": jwt.encode(claims, "k" * 40, "HS256"),
        "another algorithm": jwt.encode(claims, SECRET_KEY * 2, "HS512"),
        "right key, other algorithm": jwt.encode(claims, SECRET_KEY.ljust(64, "x"), "HS384"),
        "expired": jwt.encode(claims | long_ago, SECRET_KEY, "HS256"),
        "never expires": jwt.encode(without_exp, SECRET_KEY, "HS256"),
        "no session": jwt.encode(claims | {"sid": 2**40}, SECRET_KEY, "HS256"),
        "session of another kind": jwt.encode(claims | {"sid": "1"}, SECRET_KEY, "HS256"),
        "another user's session": jwt.encode(claims | {"sub": "1"}, SECRET_KEY, "HS256"),
        "huge user": jwt.encode(claims | {"sub": "9" * 30}, SECRET_KEY, "HS256"),
        "refresh as access": jwt.encode(claims | {"typ": "refresh"}, SECRET_KEY, "HS256"),
        "very long": "x" * 5000,
    }


@pytest.mark.parametrize("kind", list(_forged(jwt.encode({"sub": "1", "exp": 1}, SECRET_KEY))))
async def test_forged_tokens_are_rejected(live: Live, kind: str) -> None:
    """401 with a stable code and `WWW-Authenticate`, for reading and for sending."""
    alice = await live.person()
    bob = await live.person("bob")
    chat_id = await alice.direct(bob)
    forger = live.client(_forged(alice.token)[kind])
    for response in (
        await forger.get("/api/auth/me"),
        await forger.post(f"/api/chats/{chat_id}/messages", json={"content": "as alice"}),
    ):
        assert response.status_code == 401
        assert response.json()["code"] in ("unauthenticated", "token_expired")
        assert response.headers["www-authenticate"] == "Bearer"
    assert await alice.history(chat_id) == []


async def test_registration_by_invitation(new_server: NewServer) -> None:
    """A code permits one registration. Only administrators create codes."""
    live = await new_server(registration="invitation")
    admin = await live.person("admin")
    body = {"username": "guest", "email": "guest@example.com", "password": PASSWORD}
    refused = await live.client().post("/api/auth/register", json=body)
    assert (refused.status_code, refused.json()["code"]) == (403, "invitation_invalid")

    invitation = (await admin.post("/api/invitations", {"days": 3})).json()
    guest = await live.person("guest", invitation=invitation["code"])
    again = await live.client().post("/api/auth/register", json=body | {"invitation": invitation["code"]})
    assert again.status_code == 403
    assert (await guest.post("/api/invitations", {})).status_code == 403
    assert (await guest.get("/api/invitations")).status_code == 403

    unused = (await admin.post("/api/invitations", {})).json()
    listed = (await admin.get("/api/invitations")).json()
    assert [entry["id"] for entry in listed] == [unused["id"], invitation["id"]]
    assert [entry["used_by"] for entry in listed] == [None, guest.id]
    assert invitation["code"] not in json.dumps(listed)
    assert (await admin.delete(f"/api/invitations/{unused['id']}")).status_code == 204
    assert (await admin.delete(f"/api/invitations/{invitation['id']}")).status_code == 404
    gone = await live.client().post("/api/auth/register", json=body | {"invitation": unused["code"]})
    assert gone.status_code == 403


async def test_closed_registration_permits_only_the_first_account(new_server: NewServer) -> None:
    """So a closed server can still be set up."""
    live = await new_server(registration="closed")
    await live.person("admin")
    body = {"username": "guest", "email": "guest@example.com", "password": PASSWORD}
    refused = await live.client().post("/api/auth/register", json=body)
    assert (refused.status_code, refused.json()["code"]) == (403, "registration_closed")


def _queued_hashes(live: Live) -> int:
    """Return how many passwords are being hashed, or wait for it."""
    return int(live.app.state.services.accounts._passwords._queued)


async def test_a_storm_of_log_ins_does_not_stall_chatting(new_server: NewServer) -> None:
    """Messages are sent while 30 passwords are hashed at a bcrypt cost of 10."""
    live = await new_server(bcrypt_rounds=10, login_attempts_per_user=1000)
    alice, bob = await live.people("alice", "bob")
    chat_id = await alice.direct(bob)
    form = {"username": alice.username, "password": "wrong one"}
    storm = [asyncio.create_task(live.client().post("/auth/login", data=form)) for _ in range(30)]
    await eventually(lambda: _queued_hashes(live) > 20)
    for number in range(10):
        await alice.say(chat_id, f"message {number}")
    assert sum(not task.done() for task in storm) > 10
    for task in storm:
        task.cancel()
    await asyncio.gather(*storm, return_exceptions=True)


async def test_a_deleted_account_does_not_come_back(new_server: NewServer) -> None:
    """A password change that is still hashing when the account is deleted has no effect."""
    live = await new_server(bcrypt_rounds=11)
    alice = await live.person()
    path = f"/api/users/{alice.id}"
    body = {"password": "new password", "current_password": PASSWORD, "email": "back@example.com"}
    change = asyncio.create_task(alice.put(path, body))
    await eventually(lambda: _queued_hashes(live))
    assert (await alice.delete(path)).status_code == 204
    assert (await change).status_code == 401
    form = {"username": "back@example.com", "password": "new password"}
    assert (await live.client().post("/token", data=form)).status_code == 401


async def test_a_thief_who_is_logged_out_cannot_change_the_password(new_server: NewServer) -> None:
    """Also if the change had already started."""
    live = await new_server(bcrypt_rounds=11)
    alice = await live.person()
    thief = await live.log_in(alice.username)
    body = {"password": "new password", "current_password": PASSWORD}
    change = asyncio.create_task(thief.put(f"/api/users/{alice.id}", body))
    await eventually(lambda: _queued_hashes(live))
    assert (await alice.post("/api/auth/logout-all")).status_code == 204
    assert (await change).status_code == 401
    assert (await live.log_in(alice.username)).id == alice.id


async def test_concurrent_log_ins_keep_the_limit_of_sessions(live: Live) -> None:
    """The least recently used sessions end; no log-in with the correct password is rejected."""
    alice = await live.person()
    form = {"username": alice.username, "password": PASSWORD}
    for _ in range(98):
        assert (await live.client().post("/token", data=form)).status_code == 200
    responses = await asyncio.gather(*(live.client().post("/token", data=form) for _ in range(6)))
    assert [response.status_code for response in responses] == [200] * 6
    newest = live.client(responses[0].json()["access_token"])
    assert len((await newest.get("/api/auth/sessions")).json()) == 100
    assert (await alice.get("/api/auth/me")).status_code == 401


async def test_server_errors_do_not_count_as_failed_log_ins(new_server: NewServer) -> None:
    """A user whose log-ins failed while the database was away can log in when it is back."""
    live = await new_server(login_attempts_per_user=3, login_attempts_per_address=3)
    alice = await live.person()
    database = live.app.state.services.database
    reachable, database._dsn = database._dsn, "postgresql://nobody@127.0.0.1:1/nowhere"
    await database.close()
    form = {"username": alice.username, "password": PASSWORD}
    for _ in range(5):
        assert (await live.client().post("/token", data=form)).status_code == 503
    database._dsn = reachable
    assert (await live.log_in(alice.username)).id == alice.id
