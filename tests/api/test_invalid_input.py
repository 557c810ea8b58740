"""Invalid input: all wrong fields at once, in sentences of our own, whatever the library would say."""

import json
import re
from collections.abc import Iterator
from typing import Any

import httpx2
import pytest

from tests.conftest import NewServer
from tests.harness import Live, Person

LIBRARY_PHRASES = re.compile(
    r"Field required|Input should|Value error|valid (string|integer|boolean|list|dictionary|array)|"
    r"unable to (parse|interpret)|Expected `|got `|JSON decode|Object (missing|contains)|length (>|<)|"
    r"String should|List should|error parsing|Value error|An email address|The part after the @|"
    r"pydantic|fastapi|msgspec|starlette|Invalid enum|at `\$",
    re.IGNORECASE,
)
"""What Pydantic, FastAPI, msgspec and email-validator write in their errors."""
FALLBACK = "This value is not valid."
SENTENCE = re.compile(r"[A-Z].*[.!]", re.DOTALL)
ENDS_SESSIONS = ("/api/auth/logout", "/api/auth/logout-all", "/api/auth/sessions/{session_id}")
WRONG: list[Any] = [None, True, 1.5, -1, "x" * 401, "\ud800", "\0", " ", [], ["x"], [None], {}, {"a": 1}]


def _check_sentences(problem: dict[str, Any], where: str) -> None:
    for text in (problem["detail"], *(error["detail"] for error in problem.get("errors", ()))):
        assert not LIBRARY_PHRASES.search(text), f"{where}: {text}"
        assert FALLBACK not in text, f"{where}: {text}"
        assert SENTENCE.fullmatch(text) or SENTENCE.fullmatch(text.partition(": ")[2]), f"{where}: {text}"


async def test_all_wrong_fields_are_reported_at_once(live: Live) -> None:
    """Wrong types beside wrong values, of path, query and body; each with its own sentence."""
    alice = await live.person()
    chat_id = await alice.group()
    message = f"/api/chats/{chat_id}/messages"
    hook = f"/api/chats/{chat_id}"
    cases: list[tuple[str, str, Any, set[str]]] = [
        ("POST", "/api/auth/register", {}, {"username", "email", "password"}),
        (
            "POST",
            "/api/auth/register",
            {"username": "a b", "email": "x", "password": ""},
            {"username", "email", "password"},
        ),
        (
            "POST",
            "/users/",
            {"username": 1, "email": "x", "password": "y" * 73},
            {"username", "email", "password"},
        ),
        ("PUT", f"/api/users/{alice.id}", {"email": "x", "display_name": " "}, {"email", "display_name"}),
        (
            "POST",
            "/api/chats",
            {"name": 1, "is_group_chat": "perhaps", "user_ids": ["x", 2, 1.5], "history": "none"},
            {"name", "is_group_chat", "user_ids.0", "user_ids.2", "history"},
        ),
        (
            "POST",
            message,
            {"content": " ", "reply_to": "x", "client_id": ""},
            {"content", "reply_to", "client_id"},
        ),
        ("POST", message, {"reply_to": 0, "attachments": []}, {"content", "reply_to"}),
        ("POST", message, {"content": "", "attachments": [1, 1]}, {"attachments"}),
        ("POST", message, {"content": "", "attachments": ["x"]}, {"attachments.0"}),
        (
            "POST",
            f"/messages/conversations/{chat_id}/messages",
            {"content": " ", "client_id": 7},
            {"content", "client_id"},
        ),
        ("GET", f"{message}?limit=0&before=x", None, {"limit", "before"}),
        ("POST", f"{hook}/members", {"user_ids": ["x", "y"]}, {"user_ids.0", "user_ids.1"}),
        ("POST", f"{hook}/members", ["x"], {"user_ids.0"}),
        ("POST", f"{hook}/webhooks", {"url": "ftp://x", "events": ["none"]}, {"url", "events"}),
        (
            "POST",
            f"{hook}/slash-commands",
            {"word": "x y", "name": " ", "url": "here", "description": "\u0007"},
            {"word", "name", "url", "description"},
        ),
        ("POST", f"{hook}/incoming-webhooks", {"name": " ", "template": "none"}, {"name", "template"}),
        ("POST", "/api/bots", {"username": "-", "display_name": " "}, {"username", "display_name"}),
        ("POST", "/api/tokens", {"name": " ", "scope": "all", "days": 0}, {"name", "scope", "days"}),
        ("PUT", "/api/chats/0/members/x", {"role": "king"}, {"chat_id", "user_id", "role"}),
    ]
    for method, path, body, fields in cases:
        response = await alice.http.request(method, path, json=body)
        assert response.status_code == 422, (path, response.text)
        problem = response.json()
        assert {error["field"] for error in problem["errors"]} == fields, (path, problem)
        _check_sentences(problem, path)
        for error in problem["errors"][:5]:
            assert error["detail"] in problem["detail"]


async def test_minimum_length_of_passwords_is_the_setting_of_the_server(new_server: NewServer) -> None:
    """It is reported together with the other fields."""
    live = await new_server(password_min_length=12)
    body = {"username": "..", "email": "alice@example.com", "password": "eleven char"}
    problem = (await live.client().post("/api/auth/register", json=body)).json()
    assert [error["field"] for error in problem["errors"]] == ["username", "password"]
    assert "at least 12 characters" in problem["detail"]


async def test_body_of_the_wrong_kind_is_named(live: Live) -> None:
    """JSON for a form, a form for JSON, neither, none, and JSON that is no object."""
    alice = await live.person()
    login = {"username": "alice", "password": "x"}
    text = {"content": b'{"user_ids": []}', "headers": {"content-type": "text/plain"}}
    cases: list[tuple[str, dict[str, Any], str]] = [
        ("/api/auth/login", {"json": login}, "takes a form, not JSON"),
        ("/token", {"json": login}, "takes a form, not JSON"),
        (
            "/token",
            {"content": b"{", "headers": {"content-type": "application/json"}},
            "takes a form, not JSON",
        ),
        ("/api/auth/register", {"data": login}, "Content-Type: application/json"),
        ("/api/chats", {"data": login}, "Content-Type: application/json"),
        ("/api/chats", {"files": {"file": b"x"}}, "Content-Type: application/json"),
        ("/api/chats", text, "Content-Type: application/json"),
        ("/api/chats", {"content": b'{"user_ids": []}'}, "Content-Type: application/json"),
        ("/api/chats", {}, "needs a body in JSON"),
        ("/api/chats", {"json": 7}, "must be a JSON object"),
        (
            "/api/chats",
            {"content": b"{", "headers": {"content-type": "application/json"}},
            "not valid JSON",
        ),
        ("/api/media", {"json": login}, "multipart/form-data"),
    ]
    for path, options, expected in cases:
        response = await alice.http.post(path, **options)
        assert (response.status_code, response.json()["code"]) == (422, "invalid_input"), path
        assert expected in response.json()["detail"], (path, response.json())
        _check_sentences(response.json(), path)
    form = await alice.http.post("/token", data={"username": "alice"})
    assert [error["field"] for error in form.json()["errors"]] == ["password"]


def _wrong_bodies(schema: dict[str, Any], schemas: dict[str, Any]) -> Iterator[Any]:
    """Yield bodies in which every field is wrong in the same way, and bodies that are wrong as a whole."""
    while "$ref" in schema:
        schema = schemas[schema["$ref"].rpartition("/")[2]]
    names = [name for part in (schema, *schema.get("anyOf", ())) for name in part.get("properties", ())]
    yield from (dict.fromkeys(names, value) for value in WRONG)
    yield from (7, "text", [], [None], None, {})


async def test_no_route_answers_in_the_words_of_a_library(live: Live) -> None:
    """Every route of the OpenAPI document, with wrong types in path, query and body."""
    alice = await live.person()
    document = live.app.openapi()
    schemas = document["components"]["schemas"]
    rejecting, with_body = set(), set()
    for path, methods in document["paths"].items():
        for method, operation in methods.items():
            if path in ENDS_SESSIONS:
                continue
            if "application/json" in operation.get("requestBody", {}).get("content", {}):
                with_body.add((method, path))
            for parameters, body in _wrong_requests(operation, schemas):
                response = await _call(alice, method, path, parameters, body)
                assert response.status_code != 500, (method, path, body)
                if response.headers.get("content-type") != "application/problem+json":
                    assert path.startswith("/hooks/") or response.status_code < 400
                elif response.status_code in (400, 422):
                    _check_sentences(response.json(), f"{method} {path} {body!r}"[:300])
                    rejecting.add((method, path))
    assert {each for each in with_body if not each[1].startswith("/hooks/")} <= rejecting
    assert (await alice.get("/auth/me")).status_code == 200


def _wrong_requests(
    operation: dict[str, Any], schemas: dict[str, Any]
) -> Iterator[tuple[dict[str, str], tuple[str, Any] | None]]:
    names = [each["name"] for each in operation.get("parameters", ()) if each["in"] in ("path", "query")]
    content = operation.get("requestBody", {}).get("content", {})
    for text in ("x", "-1", "1.5", "9" * 30, "%00", "%F0%9F%91%8D%F0%9F%91%8D"):
        yield dict.fromkeys(names, text), None
    for media_type, described in content.items():
        if media_type == "application/json":
            for body in _wrong_bodies(described["schema"], schemas):
                yield {}, ("json", body)
        elif "form" in media_type:
            for value in ("", "x" * 401, "\0"):
                yield {}, ("data", dict.fromkeys(_properties(described["schema"], schemas), value))


def _properties(schema: dict[str, Any], schemas: dict[str, Any]) -> list[str]:
    if "$ref" in schema:
        schema = schemas[schema["$ref"].rpartition("/")[2]]
    return list(schema.get("properties", ()))


async def _call(
    person: Person, method: str, path: str, parameters: dict[str, str], body: tuple[str, Any] | None
) -> httpx2.Response:
    target = re.sub(r"\{(\w+)\}", lambda name: parameters.get(name[1], "1"), path)
    query = "&".join(f"{name}={value}" for name, value in parameters.items())
    if body is None:
        return await person.http.request(method, f"{target}?{query}")
    kind, content = body
    if kind == "json":  # not by httpx2, which cannot encode lone surrogates
        encoded, headers = json.dumps(content).encode(), {"content-type": "application/json"}
        return await person.http.request(method, target, content=encoded, headers=headers)
    return await person.http.request(method, target, data=content)


@pytest.mark.parametrize("path", ["/ws", "/ws/chat/{}", "/ws/status"])
async def test_no_socket_answers_in_the_words_of_a_library(live: Live, path: str) -> None:
    """Every command and field of the AsyncAPI document, with wrong types."""
    alice = await live.person()
    chat_id = await alice.group()
    schemas = (await live.client().get("/asyncapi.json")).json()["components"]["schemas"]
    async with alice.socket(path.format(chat_id)) as socket:
        if path == "/ws":
            assert (await socket.next())["type"] == "ready"
        for frame in _wrong_frames(schemas) if path == "/ws" else _wrong_simple_frames():
            await socket.send(frame)
            problem = await socket.next(code="invalid_input")
            _check_sentences(problem | {"detail": problem["error"]}, str(frame))


def _wrong_frames(schemas: dict[str, Any]) -> Iterator[Any]:
    yield from ("text", "[1]", "7", "{")
    for schema in schemas.values():
        properties = schema.get("properties", {})
        kind = properties.get("type", {})
        names = [name for name in properties if name != "type"]
        if "ref" not in names or not kind or set(names) == {"ref"} or "code" in names or "version" in names:
            continue
        tag = kind.get("const") or kind["enum"][0]
        values: list[Any] = [1.5, [[]], {"x": "y"}, "x" if tag not in ("edit", "auth") else []]
        for value in values:
            yield {"type": tag} | dict.fromkeys(names, value)


def _wrong_simple_frames() -> Iterator[Any]:
    yield {"content": 7, "reply_to": "x", "client_id": [], "attachments": "x", "status": 7}
    yield {"content": "", "status": "dancing"}


async def test_all_wrong_fields_of_a_command_are_reported_at_once(live: Live) -> None:
    """On `/ws` and on chat sockets."""
    alice = await live.person()
    chat_id = await alice.group()
    async with alice.online() as socket, alice.listening(chat_id) as simple:
        wrong = await socket.ask("edit", chat_id="x", content=7)
        assert [error["field"] for error in wrong["errors"]] == ["chat_id", "message_id", "content"]
        assert wrong["errors"][1]["detail"] == "This field is required."
        wrong = await socket.ask("send", chat_id=0, content=" ", reply_to="x")
        assert [error["field"] for error in wrong["errors"]] == ["chat_id", "content", "reply_to"]
        wrong = await socket.ask("send", chat_id=chat_id, content=" ", client_id=7, attachments=[0])
        assert [error["field"] for error in wrong["errors"]] == ["content", "client_id", "attachments"]
        await simple.send({"content": "", "reply_to": -1})
        wrong = await simple.next(code="invalid_input")
        assert [error["field"] for error in wrong["errors"]] == ["content", "reply_to"]
