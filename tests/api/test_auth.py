"""Registering, logging in and out, sessions and their tokens."""

import asyncio
import base64
import json
import time

import jwt
import pytest

from tests.conftest import NewServer
from tests.harness import PASSWORD, SECRET_KEY, Live


async def test_first_account_becomes_administrator_and_the_second_does_not(new_server: NewServer) -> None:
    """Even when several register at the same moment, there is exactly one first."""
    live = await new_server()
    people = await asyncio.gather(*(live.person(f"p{number}") for number in range(6)))
    admins = [(await person.get("/api/auth/me")).json()["is_admin"] for person in people]
    assert sorted(admins) == [False] * 5 + [True]


async def test_register_answers_with_the_new_account(live: Live) -> None:
    """201, a Location, the e-mail address, and no trace of the password."""
    body = {"username": "Zoë.reg", "email": "Zoe.Reg@Example.COM", "password": PASSWORD}
    answer = await live.client().post("/auth/register", json=body)
    assert answer.status_code == 201
    account = answer.json()
    assert answer.headers["location"] == f"/api/users/{account['id']}"
    assert account["username"] == "Zoë.reg"
    assert account["email"] == "Zoe.Reg@example.com"
    assert "password" not in answer.text


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
    """Bad input is a 422 with the field's name, and makes no account."""
    body: dict[str, object] = {"username": "fine", "email": "fine@example.com", "password": PASSWORD}
    answer = await live.client().post("/api/auth/register", json=body | {field: value})
    assert answer.status_code == 422
    problem = answer.json()
    assert problem["code"] == "invalid_input"
    assert [error["field"] for error in problem["errors"]] == [field]


async def test_names_are_taken_whatever_their_case_and_composition(live: Live) -> None:
    """What people would take for the same name is the same name."""
    first = {"username": "Straße", "email": "strasse@example.com", "password": PASSWORD}
    await live.client().post("/api/auth/register", json=first)
    for body, code in (
        (first | {"username": "STRASSE", "email": "other@example.com"}, "username_taken"),
        (first | {"username": "elsewhere", "email": "STRASSE@EXAMPLE.com"}, "email_taken"),
    ):
        answer = await live.client().post("/api/auth/register", json=body)
        assert (answer.status_code, answer.json()["code"]) == (409, code)


async def test_log_in_by_user_name_or_email_in_any_case(live: Live) -> None:
    """The form's `username` may be either; urlencoded and multipart both work."""
    alice = await live.person()
    for name in (alice.username, alice.username.upper(), f"{alice.username}@EXAMPLE.com"):
        form = {"username": name, "password": PASSWORD}
        answer = await live.client().post("/auth/login", data=form)
        assert answer.status_code == 200
        tokens = answer.json()
        assert tokens["token_type"] == "bearer"
        assert tokens["expires_in"] == 1800
        assert tokens["access_token"]
        assert tokens["refresh_token"]
    multipart = {"username": (None, alice.username), "password": (None, PASSWORD)}
    answer = await live.client().post("/auth/login", files=multipart)
    assert answer.status_code == 200


async def test_wrong_user_and_wrong_password_answer_alike(live: Live) -> None:
    """Nobody learns from a log-in which accounts exist."""
    alice = await live.person()
    answers = [
        (await live.client().post("/auth/login", data={"username": name, "password": password})).json()
        for name, password in ((alice.username, "wrong one"), ("nobody-here", "wrong one"))
    ]
    for answer in answers:
        assert answer.pop("request_id")
    assert answers[0] == answers[1]
    assert answers[0]["code"] == "wrong_credentials"


async def test_wrong_user_costs_a_hash_too(new_server: NewServer) -> None:
    """A user that does not exist takes the time of one that does: a cost of 10 shows the difference."""
    live = await new_server(bcrypt_rounds=10)
    await live.person("first")
    alice = await live.person()

    async def seconds(name: str) -> float:
        began = time.perf_counter()
        await live.client().post("/auth/login", data={"username": name, "password": "wrong"})
        return time.perf_counter() - began

    known = min([await seconds(alice.username) for _ in range(3)])
    unknown = min([await seconds(f"nobody{number}") for number in range(3)])
    assert unknown > known / 3


async def test_failed_log_ins_are_limited_a_user(new_server: NewServer) -> None:
    """After so many failures even the right password has to wait, and the answer says how long."""
    live = await new_server(login_attempts_per_user=3)
    alice = await live.person()
    form = {"username": alice.username, "password": "wrong one"}
    codes = [(await live.client().post("/auth/login", data=form)).json()["code"] for _ in range(4)]
    assert codes == ["wrong_credentials"] * 3 + ["too_many_attempts"]
    answer = await live.client().post("/auth/login", data=form | {"password": PASSWORD})
    assert answer.status_code == 429
    assert 0 < int(answer.headers["retry-after"]) <= 301


async def test_failed_log_ins_are_limited_even_all_at_once(new_server: NewServer) -> None:
    """Attempts count from their beginning, so many at once are not all let in."""
    live = await new_server(login_attempts_per_user=3)
    alice = await live.person()
    form = {"username": alice.username, "password": "wrong one"}
    answers = await asyncio.gather(*(live.client().post("/auth/login", data=form) for _ in range(12)))
    assert [answer.status_code for answer in answers].count(401) == 3


async def test_failed_log_ins_are_limited_an_address(new_server: NewServer) -> None:
    """Trying one password on many names is stopped too."""
    live = await new_server(login_attempts_per_address=5)
    codes = [
        (
            await live.client().post("/auth/login", data={"username": f"name{number}", "password": "wrong"})
        ).status_code
        for number in range(6)
    ]
    assert codes == [401] * 5 + [429]


async def test_success_forgets_failures(new_server: NewServer) -> None:
    """Somebody who logs in now and then with typos is never locked out."""
    live = await new_server(login_attempts_per_user=3)
    alice = await live.person()
    for _ in range(5):
        wrong = {"username": alice.username, "password": "typo..."}
        assert (await live.client().post("/auth/login", data=wrong)).status_code == 401
        await live.log_in(alice.username)


async def test_refresh_gives_new_tokens_once(live: Live) -> None:
    """A refresh token is good once; using it again ends its whole family."""
    alice = await live.person()
    old = alice.tokens["refresh_token"]
    answer = await live.client().post("/api/auth/refresh", json={"refresh_token": old})
    assert answer.status_code == 200
    new = answer.json()
    assert new["refresh_token"] != old
    assert (await live.client(new["access_token"]).get("/api/auth/me")).status_code == 200

    again = await live.client().post("/api/auth/refresh", json={"refresh_token": old})
    assert (again.status_code, again.json()["code"]) == (401, "refresh_token_invalid")
    after = await live.client().post("/api/auth/refresh", json={"refresh_token": new["refresh_token"]})
    assert after.status_code == 401
    assert (await live.client(new["access_token"]).get("/api/auth/me")).status_code == 401


async def test_two_refreshes_at_once_do_not_both_succeed(live: Live) -> None:
    """Used once means once, also at the same moment."""
    alice = await live.person()
    body = {"refresh_token": alice.tokens["refresh_token"]}
    answers = await asyncio.gather(*(live.client().post("/api/auth/refresh", json=body) for _ in range(4)))
    assert sorted(answer.status_code for answer in answers) == [200, 401, 401, 401]


@pytest.mark.parametrize("token", ["", "nonsense", "a.b", "\udcff", "x" * 300])
async def test_made_up_refresh_tokens_are_refused(live: Live, token: str) -> None:
    """401 or 422, and nobody's session ends."""
    body = json.dumps({"refresh_token": token})
    headers = {"content-type": "application/json"}
    answer = await live.client().post("/api/auth/refresh", content=body, headers=headers)
    assert answer.status_code in (401, 422)


async def test_refresh_without_a_body_renews_the_access_token(live: Live) -> None:
    """As clients of the seed's dialect do it: the bearer's session gets another access token."""
    alice = await live.person()
    answer = await alice.http.post("/auth/refresh")
    assert answer.status_code == 200
    assert "refresh_token" not in answer.json()
    assert answer.json()["access_token"] != alice.token
    assert (await alice.post("/auth/refresh", {})).status_code == 200
    renewed = live.client(answer.json()["access_token"])
    assert (await renewed.get("/api/auth/me")).json()["id"] == alice.id
    assert (await live.client().post("/auth/refresh")).status_code == 401


async def test_log_out_ends_this_session_only(live: Live) -> None:
    """Its access token and its refresh token are worth nothing; other devices stay."""
    alice = await live.person()
    phone = await live.log_in(alice.username)
    assert (await alice.post("/api/auth/logout")).status_code == 204
    assert (await alice.get("/api/auth/me")).status_code == 401
    body = {"refresh_token": alice.tokens["refresh_token"]}
    assert (await live.client().post("/api/auth/refresh", json=body)).status_code == 401
    assert (await phone.get("/api/auth/me")).status_code == 200


async def test_log_out_everywhere(live: Live) -> None:
    """All devices at once, this one too."""
    alice = await live.person()
    phone = await live.log_in(alice.username)
    assert (await phone.post("/api/auth/logout-all")).status_code == 204
    assert (await alice.get("/api/auth/me")).status_code == 401
    assert (await phone.get("/api/auth/me")).status_code == 401


async def test_sessions_are_listed_and_ended_one_by_one(live: Live) -> None:
    """With device and last use; only one's own."""
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
    """Tokens that somebody might try."""
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
async def test_forged_tokens_are_refused(live: Live, kind: str) -> None:
    """401 with a stable code and a challenge, for reading and for sending."""
    alice = await live.person()
    bob = await live.person("bob")
    chat_id = await alice.direct(bob)
    liar = live.client(_forged(alice.token)[kind])
    for answer in (
        await liar.get("/api/auth/me"),
        await liar.post(f"/api/chats/{chat_id}/messages", json={"content": "as alice"}),
    ):
        assert answer.status_code == 401
        assert answer.json()["code"] in ("unauthenticated", "token_expired")
        assert answer.headers["www-authenticate"] == "Bearer"
    assert await alice.history(chat_id) == []


async def test_registration_by_invitation(new_server: NewServer) -> None:
    """A code lets one person in, once; only administrators make codes."""
    live = await new_server(registration="invitation")
    admin = await live.person("admin")
    body = {"username": "guest", "email": "guest@example.com", "password": PASSWORD}
    refused = await live.client().post("/api/auth/register", json=body)
    assert (refused.status_code, refused.json()["code"]) == (403, "invitation_invalid")

    made = (await admin.post("/api/invitations", {"days": 3})).json()
    guest = await live.person("guest", invitation=made["code"])
    again = await live.client().post("/api/auth/register", json=body | {"invitation": made["code"]})
    assert again.status_code == 403
    assert (await guest.post("/api/invitations", {})).status_code == 403
    assert (await guest.get("/api/invitations")).status_code == 403

    unused = (await admin.post("/api/invitations", {})).json()
    listed = (await admin.get("/api/invitations")).json()
    assert [entry["id"] for entry in listed] == [unused["id"], made["id"]]
    assert [entry["used_by"] for entry in listed] == [None, guest.id]
    assert made["code"] not in json.dumps(listed)
    assert (await admin.delete(f"/api/invitations/{unused['id']}")).status_code == 204
    assert (await admin.delete(f"/api/invitations/{made['id']}")).status_code == 404
    gone = await live.client().post("/api/auth/register", json=body | {"invitation": unused["code"]})
    assert gone.status_code == 403


async def test_closed_registration_lets_only_the_first_in(new_server: NewServer) -> None:
    """A closed server can still be set up."""
    live = await new_server(registration="closed")
    await live.person("admin")
    body = {"username": "guest", "email": "guest@example.com", "password": PASSWORD}
    refused = await live.client().post("/api/auth/register", json=body)
    assert (refused.status_code, refused.json()["code"]) == (403, "registration_closed")


async def test_a_storm_of_log_ins_does_not_stall_chatting(new_server: NewServer) -> None:
    """While a hundred passwords are hashed at full cost, messages go through before the hashes do."""
    live = await new_server(bcrypt_rounds=10, login_attempts_per_user=1000)
    alice, bob = await live.people("alice", "bob")
    chat_id = await alice.direct(bob)
    form = {"username": alice.username, "password": "wrong one"}
    storm = [asyncio.create_task(live.client().post("/auth/login", data=form)) for _ in range(30)]
    await asyncio.sleep(0.1)
    for number in range(10):
        await alice.say(chat_id, f"message {number}")
    assert sum(not task.done() for task in storm) > 10
    for task in storm:
        task.cancel()
    await asyncio.gather(*storm, return_exceptions=True)


async def test_a_deleted_account_does_not_come_back(new_server: NewServer) -> None:
    """A change of password that was still being hashed when the account was deleted changes nothing."""
    live = await new_server(bcrypt_rounds=11)
    alice = await live.person()
    path = f"/api/users/{alice.id}"
    body = {"password": "new password", "current_password": PASSWORD, "email": "back@example.com"}
    change = asyncio.create_task(alice.put(path, body))
    await asyncio.sleep(0.05)
    assert (await alice.delete(path)).status_code == 204
    assert (await change).status_code == 401
    form = {"username": "back@example.com", "password": "new password"}
    assert (await live.client().post("/token", data=form)).status_code == 401


async def test_a_thief_who_is_logged_out_cannot_change_the_password(new_server: NewServer) -> None:
    """Also when the change was already under way."""
    live = await new_server(bcrypt_rounds=11)
    alice = await live.person()
    thief = await live.log_in(alice.username)
    body = {"password": "new password", "current_password": PASSWORD}
    change = asyncio.create_task(thief.put(f"/api/users/{alice.id}", body))
    await asyncio.sleep(0.05)
    assert (await alice.post("/api/auth/logout-all")).status_code == 204
    assert (await change).status_code == 401
    assert (await live.log_in(alice.username)).id == alice.id


async def test_many_log_ins_at_once_keep_within_the_limit_of_sessions(live: Live) -> None:
    """The longest unused end; nobody who knows the password is turned away."""
    alice = await live.person()
    form = {"username": alice.username, "password": PASSWORD}
    for _ in range(98):
        assert (await live.client().post("/token", data=form)).status_code == 200
    answers = await asyncio.gather(*(live.client().post("/token", data=form) for _ in range(6)))
    assert [answer.status_code for answer in answers] == [200] * 6
    newest = live.client(answers[0].json()["access_token"])
    assert len((await newest.get("/api/auth/sessions")).json()) == 100
    assert (await alice.get("/api/auth/me")).status_code == 401


async def test_troubles_of_the_server_do_not_count_as_failures(new_server: NewServer) -> None:
    """Whoever could not be let in because the database was away is let in when it is back."""
    live = await new_server(login_attempts_per_user=3, login_attempts_per_address=3)
    alice = await live.person()
    database = live.app.state.services.database
    there, database._dsn = database._dsn, "postgresql://nobody@127.0.0.1:1/nowhere"
    await database.close()
    form = {"username": alice.username, "password": PASSWORD}
    for _ in range(5):
        assert (await live.client().post("/token", data=form)).status_code == 503
    database._dsn = there
    assert (await live.log_in(alice.username)).id == alice.id
