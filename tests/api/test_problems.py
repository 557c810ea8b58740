"""Errors and the front door: problems, limits, ids, paths."""

import asyncio
import json
import re
from collections.abc import AsyncIterator

import pytest

from tests.conftest import NewServer
from tests.harness import Live

JSON = {"content-type": "application/json"}


async def test_every_problem_has_its_parts(live: Live) -> None:
    """RFC 9457, our code, and the request's id in body and header; for the framework's own too."""
    alice = await live.person()
    for answer, status, code in (
        (await alice.get("/api/chats/999999"), 404, "not_found"),
        (await alice.get("/nowhere"), 404, "not_found"),
        (await alice.get("/api/nowhere"), 404, "not_found"),
        (await alice.http.patch("/api/chats"), 405, "method_not_allowed"),
        (await alice.get("/api/chats/abc"), 422, "invalid_input"),
        (await alice.get("/api/chats/0"), 422, "invalid_input"),
        (await alice.get(f"/api/chats/{2**70}"), 422, "invalid_input"),
        (await alice.get(f"/api/users/{'9' * 5000}"), 404, "not_found"),
        (await alice.get("/api/chats/%E2%80%831/messages?limit=1"), 404, "not_found"),
        (await alice.get("/api/chats%0D%0A/1"), 404, "not_found"),
        (await alice.http.post("/api/chats", content="{", headers=JSON), 422, "invalid_input"),
        (await alice.http.post("/api/chats", content="[1]", headers=JSON), 422, "invalid_input"),
        (await alice.http.post("/api/chats", content=b"\xff", headers=JSON), 400, "bad_request"),
        (await alice.http.post("/api/chats", content="{}"), 422, "invalid_input"),
        (await alice.http.post("/api/chats", content="[" * 90_000, headers=JSON), 400, "bad_request"),
        (await live.client().get("/api/chats"), 401, "unauthenticated"),
    ):
        assert answer.status_code == status, answer.text
        assert answer.headers["content-type"] == "application/problem+json"
        problem = answer.json()
        assert problem["code"] == code
        assert problem["status"] == status
        assert problem["type"] == f"urn:blazechat:problem:{code}"
        assert problem["title"]
        assert re.fullmatch(r"[A-Z].*[.!…]|.+: .+", problem["detail"], re.DOTALL), problem["detail"]
        assert problem["request_id"] == answer.headers["x-request-id"]
        assert answer.headers["x-content-type-options"] == "nosniff"


async def test_method_not_allowed_names_those_that_are(live: Live) -> None:
    """RFC 9110 section 15.5.6."""
    answer = await live.client().patch("/api/users/me")
    assert answer.status_code == 405
    assert "GET" in answer.headers["allow"]


async def test_request_ids_are_taken_over_if_harmless(live: Live) -> None:
    """From a proxy, say; anything that could play tricks with a log is replaced."""
    for given, kept in (("abc-123", True), ("x" * 65, False), ("two words", False), ("a;b", False)):
        answer = await live.client().get("/healthz", headers={"x-request-id": given})
        assert (answer.headers["x-request-id"] == given) is kept


@pytest.mark.parametrize("chunked", [False, True])
async def test_large_bodies_are_refused(live: Live, chunked: bool) -> None:
    """By what they announce, and by what they are."""
    alice = await live.person()
    body = json.dumps({"name": "x" * 2_000_000}).encode()

    async def pieces() -> AsyncIterator[bytes]:
        for start in range(0, len(body), 65_536):
            yield body[start : start + 65_536]

    content = pieces() if chunked else body
    answer = await alice.http.post("/api/chats", content=content, headers=JSON)
    assert (answer.status_code, answer.json()["code"]) == (413, "content_too_large")
    assert (await alice.get("/api/auth/me")).status_code == 200


async def test_internal_errors_say_nothing(live: Live, monkeypatch: pytest.MonkeyPatch) -> None:
    """A bug is a 500 with a request id; the reason is in the log and nowhere else."""
    alice = await live.person()
    monkeypatch.setattr("blazechat.domain.auth.users.account", lambda *_: 1 / 0)
    answer = await alice.get("/api/auth/me")
    assert (answer.status_code, answer.json()["code"]) == (500, "internal_error")
    assert "division" not in answer.text


async def test_paths_work_in_every_spelling(live: Live) -> None:
    """With `/api` and without, with a slash at the end and without, answered directly."""
    alice = await live.person()
    for path in ("/auth/me", "/auth/me/", "/api/auth/me", "/api/auth/me/", "/users/me", "/users/me/"):
        answer = await alice.get(path)
        assert (answer.status_code, answer.json()["id"]) == (200, alice.id)
        assert answer.history == []


async def test_links_keep_the_spelling_that_was_asked(live: Live) -> None:
    """A client without `/api` is led on without it."""
    alice = await live.person()
    for _ in range(2):
        await alice.group()
    answer = await alice.get("/chats", params={"limit": 1})
    assert answer.links["next"]["url"] == f"{live.url}/chats?limit=1&skip=1"


async def test_health(live: Live) -> None:
    """Alive and ready."""
    assert (await live.client().get("/healthz")).json() == {"status": "ok"}
    assert (await live.client().get("/readyz")).json() == {"status": "ok"}


async def test_docs_page_needs_no_other_network(live: Live) -> None:
    """Everything that the page loads comes from here."""
    page = (await live.client().get("/docs")).text
    loaded = re.findall(r'(?:src|href)="([^"]+)"', page)
    assert loaded
    for address in loaded:
        assert address.startswith("/")
        assert (await live.client().get(address)).status_code == 200
    assert (await live.client().get("/openapi.json")).json()["openapi"].startswith("3.1")


async def test_other_origins_need_permission(new_server: NewServer) -> None:
    """CORS: nothing by default, the listed origins if there are any."""
    asked = {"origin": "https://chat.example.com", "access-control-request-method": "GET"}
    closed = await new_server()
    answer = await closed.client().options("/api/chats", headers=asked)
    assert "access-control-allow-origin" not in answer.headers
    opened = await new_server(allowed_origins="https://chat.example.com/")
    answer = await opened.client().options("/api/chats", headers=asked)
    assert answer.headers["access-control-allow-origin"] == "https://chat.example.com"
    other = asked | {"origin": "https://evil.example"}
    answer = await opened.client().options("/api/chats", headers=other)
    assert "access-control-allow-origin" not in answer.headers


async def test_sends_beyond_the_bound_are_told_to_retry(new_server: NewServer) -> None:
    """503 `busy` with Retry-After; those that were taken are stored, the others are not."""
    live = await new_server(max_queued_sends=3)
    alice = await live.person()
    chat_id = await alice.group()
    path = f"/api/chats/{chat_id}/messages"
    answers = await asyncio.gather(*(alice.post(path, {"content": f"{n}"}) for n in range(60)))
    statuses = [answer.status_code for answer in answers]
    assert set(statuses) <= {201, 503}
    for answer in answers:
        if answer.status_code == 503:
            assert answer.json()["code"] == "busy"
            assert answer.headers["retry-after"] == "1"
    stored = {message["content"] for message in await alice.history(chat_id, limit=100)}
    assert stored == {a.json()["content"] for a in answers if a.status_code == 201}
