"""Errors and the middleware: problems, limits, request ids, paths."""

import asyncio
import json
import re
from collections.abc import AsyncIterator

import pytest

from tests.conftest import NewServer
from tests.harness import Live

JSON = {"content-type": "application/json"}


async def test_every_problem_has_all_fields(live: Live) -> None:
    """The fields of RFC 9457, `code`, and the request id in body and header; also for errors of FastAPI."""
    alice = await live.person()
    for response, status, code in (
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
        assert response.status_code == status, response.text
        assert response.headers["content-type"] == "application/problem+json"
        problem = response.json()
        assert problem["code"] == code
        assert problem["status"] == status
        assert problem["type"] == f"urn:blazechat:problem:{code}"
        assert problem["title"]
        assert re.fullmatch(r"[A-Z].*[.!…]|.+: .+", problem["detail"], re.DOTALL), problem["detail"]
        assert problem["request_id"] == response.headers["x-request-id"]
        assert response.headers["x-content-type-options"] == "nosniff"


async def test_method_not_allowed_lists_the_allowed_methods(live: Live) -> None:
    """RFC 9110 section 15.5.6."""
    response = await live.client().patch("/api/users/me")
    assert response.status_code == 405
    assert "GET" in response.headers["allow"]


async def test_request_ids_are_kept_if_safe_to_log(live: Live) -> None:
    """A proxy may send one; an id that could forge a log line is replaced."""
    for given, kept in (("abc-123", True), ("x" * 65, False), ("two words", False), ("a;b", False)):
        response = await live.client().get("/healthz", headers={"x-request-id": given})
        assert (response.headers["x-request-id"] == given) is kept


@pytest.mark.parametrize("chunked", [False, True])
async def test_large_bodies_are_rejected(live: Live, chunked: bool) -> None:
    """By their `Content-Length`, and by their actual size."""
    alice = await live.person()
    body = json.dumps({"name": "x" * 2_000_000}).encode()

    async def pieces() -> AsyncIterator[bytes]:
        for start in range(0, len(body), 65_536):
            yield body[start : start + 65_536]

    content = pieces() if chunked else body
    response = await alice.http.post("/api/chats", content=content, headers=JSON)
    assert (response.status_code, response.json()["code"]) == (413, "content_too_large")
    assert (await alice.get("/api/auth/me")).status_code == 200


async def test_internal_errors_reveal_nothing(live: Live, monkeypatch: pytest.MonkeyPatch) -> None:
    """A bug is a 500 with a request id; only the log has the reason."""
    alice = await live.person()
    monkeypatch.setattr("blazechat.domain.auth.users.account_of", lambda *_: 1 / 0)
    response = await alice.get("/api/auth/me")
    assert (response.status_code, response.json()["code"]) == (500, "internal_error")
    assert "division" not in response.text


async def test_paths_work_with_and_without_prefix_and_slash(live: Live) -> None:
    """With and without `/api`, with and without a slash at the end, without a redirect."""
    alice = await live.person()
    for path in ("/auth/me", "/auth/me/", "/api/auth/me", "/api/auth/me/", "/users/me", "/users/me/"):
        response = await alice.get(path)
        assert (response.status_code, response.json()["id"]) == (200, alice.id)
        assert response.history == []


async def test_links_keep_the_form_of_the_requested_path(live: Live) -> None:
    """A request without `/api` gets links without it."""
    alice = await live.person()
    for _ in range(2):
        await alice.group()
    response = await alice.get("/chats", params={"limit": 1})
    assert response.links["next"]["url"] == f"{live.url}/chats?limit=1&skip=1"


async def test_health(live: Live) -> None:
    """Liveness and readiness."""
    assert (await live.client().get("/healthz")).json() == {"status": "ok"}
    assert (await live.client().get("/readyz")).json() == {"status": "ok"}


async def test_docs_page_works_offline(live: Live) -> None:
    """The page loads all its files from this server."""
    page = (await live.client().get("/docs")).text
    loaded = re.findall(r'(?:src|href)="([^"]+)"', page)
    assert loaded
    for address in loaded:
        assert address.startswith("/")
        assert (await live.client().get(address)).status_code == 200
    assert (await live.client().get("/openapi.json")).json()["openapi"].startswith("3.1")


async def test_other_origins_are_denied_by_default(new_server: NewServer) -> None:
    """CORS: no origin by default, else the configured ones."""
    preflight = {"origin": "https://chat.example.com", "access-control-request-method": "GET"}
    closed = await new_server()
    response = await closed.client().options("/api/chats", headers=preflight)
    assert "access-control-allow-origin" not in response.headers
    opened = await new_server(allowed_origins="https://chat.example.com/")
    response = await opened.client().options("/api/chats", headers=preflight)
    assert response.headers["access-control-allow-origin"] == "https://chat.example.com"
    other = preflight | {"origin": "https://evil.example"}
    response = await opened.client().options("/api/chats", headers=other)
    assert "access-control-allow-origin" not in response.headers


async def test_sends_beyond_the_queue_limit_get_retry_after(new_server: NewServer) -> None:
    """503 `busy` with `Retry-After`. Accepted sends are stored, the others are not."""
    live = await new_server(max_queued_sends=3)
    alice = await live.person()
    chat_id = await alice.group()
    path = f"/api/chats/{chat_id}/messages"
    responses = await asyncio.gather(*(alice.post(path, {"content": f"{n}"}) for n in range(60)))
    statuses = [response.status_code for response in responses]
    assert set(statuses) <= {201, 503}
    for response in responses:
        if response.status_code == 503:
            assert response.json()["code"] == "busy"
            assert response.headers["retry-after"] == "1"
    stored = {message["content"] for message in await alice.history(chat_id, limit=100)}
    assert stored == {a.json()["content"] for a in responses if a.status_code == 201}
