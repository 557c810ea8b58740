"""Direct calls answer as the FastAPI routes of the same paths do: statuses, headers and bodies."""

import re
from typing import Any

import pytest

from tests.api.direct_harness import CONVERSATION, HELLO, JSON, SEND, Direct, with_recorder
from tests.conftest import NewServer


async def test_usual_requests_are_direct_calls(direct: Direct) -> None:
    """With and without `/api`, by an access token and by an API token."""
    token = (await direct.alice.post("/api/tokens", {"name": "Bot", "scope": "write"})).json()["token"]
    assert (await direct.live.client(token).get(f"/api/chats/{direct.chat_id}")).status_code == 200
    for bearer in (direct.alice.token, token):
        by = f"Authorization: Bearer {bearer}"
        for path in (SEND, CONVERSATION):
            assert await direct.compare("POST", path, by, JSON, body=HELLO)
            assert await direct.compare("POST", path.removeprefix("/api"), by, JSON, body=HELLO)
        full = b' {"content": "Gr\xc3\xbc\xc3\x9fe \\ud83d\\ude00", "reply_to": 1, "client_id": null} \n'
        assert await direct.compare("POST", SEND, by, JSON + "; charset=UTF-8", body=full)
        assert await direct.compare("GET", SEND, by)
        assert await direct.compare("GET", f"{SEND.removeprefix('/api')}?limit=2&before=4", by)
        assert await direct.compare("PUT", f"{SEND}/read", by)
        assert await direct.compare("PUT", f"{SEND}/read", by, JSON, body=b'{"up_to": 3}')


async def test_answers_have_equal_headers(direct: Direct) -> None:
    """In the same order, and a safe request id of a proxy is returned."""
    head = direct.head("POST", SEND, JSON, "X-Request-ID: from.proxy-1")
    mine, theirs = await direct.ask(head, HELLO), await direct.ask(head, HELLO, fastapi=True)
    assert mine.header("x-request-id") == theirs.header("x-request-id") == "from.proxy-1"
    assert [name for name, _ in mine.headers] == [name for name, _ in theirs.headers]
    unsafe = await direct.ask(direct.head("POST", SEND, JSON, "X-Request-ID: <b>"), HELLO)
    assert re.fullmatch("[0-9a-f]+", unsafe.header("x-request-id") or "")


@pytest.mark.parametrize("header", [
    "", "Content-Type:", "Content-Type: text/plain", "Content-Type: application/json; charset=latin-1",
    "Content-Type: application/problem+json", "Content-Type: APPLICATION/JSON",
    "Content-Type: application/json; charset=UTF-8", "Content-Type: application/x-www-form-urlencoded",
    "Content-Type: multipart/form-data; boundary=b", "Content-Type: application/json\r\nContent-Type: a/b",
    f"{JSON}\r\nContent-Encoding: gzip", f"{JSON}\r\nExpect: 100-continue", f"{JSON}\r\nExpect: more",
    f"{JSON}\r\nConnection: close", f"{JSON}\r\nConnection: keep-alive", f"{JSON}\r\nConnection: Upgrade",
    f"{JSON}\r\nConnection: Upgrade\r\nUpgrade: h2c", f"{JSON}\r\nOrigin: https://example.com",
    f"{JSON}\r\nAccept: text/html", f"{JSON}\r\nCookie: a=b", f"{JSON}\r\nX-HTTP-Method-Override: DELETE",
    f"{JSON}\r\nContent-Length: 7", f"{JSON}\r\nX-Forwarded-Proto: https", f"{JSON}\r\nHost: a b",
    f"{JSON}\r\nAuthorization: Bearer x\r\nAuthorization: Bearer y", f"{JSON}\r\nTE: trailers",
])  # fmt: skip
async def test_headers_are_treated_alike(direct: Direct, header: str) -> None:
    for path in (SEND, CONVERSATION):
        await direct.compare("POST", path, header, body=HELLO)
    await direct.compare("GET", SEND, header)


async def test_tokens_are_accepted_and_rejected_alike(direct: Direct) -> None:
    """Tokens that are malformed, revoked, of another scope, or for another chat."""
    alice = direct.alice
    other = await alice.group()

    async def token(**options: Any) -> str:
        answer = await alice.post("/api/tokens", {"name": "Bot", **options})
        assert answer.status_code == 201, answer.text
        return str(answer.json()["token"])

    bob = await direct.live.person("outsider")
    valid = alice.token
    headers = [
        *(
            "",
            "Authorization:",
            "Authorization: Bearer",
            "Authorization: Bearer ",
            "Authorization: Basic eA==",
        ),
        *(f"Authorization: {scheme} {valid}" for scheme in ("bearer", "BEARER", "Bearer ", "Token")),
        *(
            f"Authorization: Bearer {wrong}"
            for wrong in (f"{valid}x", f"{valid} x", "é", valid[:-8], "blz_x")
        ),
        *(
            f"Authorization: Bearer {wrong}"
            for wrong in (f"blz_{'x' * 200}", "a.b.c", "x" * 3000, bob.token)
        ),
        f"Authorization: Bearer {await token(scope='read')}",
        f"Authorization: Bearer {await token(scope='write', chat_ids=[direct.chat_id])}",
        f"Authorization: Bearer {await token(scope='write', chat_ids=[other])}",
    ]
    for header in headers * 2:  # API tokens are known from their second use on
        for path in (SEND, CONVERSATION):
            await direct.compare("POST", path, header or "X-None: 1\r\nAuthorization:", JSON, body=HELLO)
        await direct.compare("GET", SEND, header or "X-None: 1\r\nAuthorization:")
    ended = await direct.live.log_in(alice.username)
    assert (await ended.post("/api/auth/logout")).is_success
    for method, path in (("POST", SEND), ("POST", CONVERSATION), ("GET", SEND), ("PUT", f"{SEND}/read")):
        await direct.compare(method, path, f"Authorization: Bearer {ended.token}", JSON, body=HELLO)
    answer = await direct.ask(
        direct.head("POST", SEND, f"Authorization: Bearer {ended.token}", JSON), HELLO
    )
    assert answer.status.startswith("HTTP/1.1 401")
    assert answer.header("www-authenticate") == "Bearer"


@pytest.mark.parametrize("path", [
    "/api/chats/{}/messages/", "/api/chats/{}/messages//", "//api/chats/{}/messages",
    "/api/chats/0{}/messages", "/api/chats/+{}/messages", "/api/chats/%31/messages",
    "/api/chats/-{}/messages", "/api/chats/0/messages",
    "/api/chats/{}.0/messages", "/api/chats/999999/messages", "/api/chats/9007199254740991/messages",
    "/api/chats/9007199254740992/messages", f"/api/chats/{'9' * 40}/messages",
    "/api/chats/%D9%A1/messages", "/api/chats/{}/messages?", "/api/chats/{}/messages?a=b",
    "/api/chats/{}/messages#x", "/API/chats/{}/messages", "/api/api/chats/{}/messages",
    "/api/chats/{}/Messages", "/api/chats/{}/messages%20", "http://x/chats/{}/messages",
    "/api/messages/conversations/{}/messages", "/messages/conversations/{}/messages",
    "/api/chats/{}/messages/read",
    "/api/chats/{}/messages/read/", "/messages/conversations/{}/messages/read", "/api/chats/x/messages",
])  # fmt: skip
async def test_paths_are_treated_alike(direct: Direct, path: str) -> None:
    """With every method, in upper and lower case."""
    await direct.alice.say(direct.chat_id, "the first")
    for method in ("POST", "GET", "PUT", "HEAD", "OPTIONS", "PATCH", "DELETE", "QUERY", "GET "):
        await direct.compare(method, path, JSON, body=b"" if method in ("GET", "HEAD") else HELLO)


@pytest.mark.parametrize("method", ["post", "Post", "FOO"])
async def test_malformed_methods_are_rejected(direct: Direct, method: str) -> None:
    answer = await direct.ask(direct.head(method, SEND, JSON), HELLO)
    assert answer.status.startswith("HTTP/1.1 400")


QUERIES = [
    *(
        "limit=1",
        "limit=100",
        "limit=101",
        "limit=0",
        "limit=-1",
        "limit=+1",
        "limit=01",
        "limit=",
        "limit",
    ),
    *(
        "limit=x",
        "limit=1.0",
        "limit=1&limit=2",
        "limit=%31",
        "limit=1%30",
        "limit=٣",
        "Limit=1",
        "limit=1&",
    ),
    *("&limit=1", "limit=1;before=2", "before=0", "before=1", "before=3", "after=0", "after=3", "around=0"),
    *("around=3", "skip=0", "skip=2", "skip=99", "before=3&after=1", "before=3&skip=0", "before=3&skip=1"),
    *(
        "before=9007199254740991",
        "before=9007199254740992",
        f"before={'9' * 30}",
        "after=-1",
        "q=x&limit=2",
    ),
    *(
        "limit=2&before=4",
        "before=4&limit=2",
        "after=1&limit=2",
        "around=3&limit=2",
        "unknown=1",
        "limit=2&x=y",
    ),
    *("limit=2", "limit==2", "limit=2=3", "", "=", "&", "=&="),
]


async def test_pages_are_equal(direct: Direct) -> None:
    """Bodies and `Link` headers, for queries of every kind."""
    for number in range(1, 7):
        await direct.alice.say(direct.chat_id, f"message {number}")
    were_direct = {
        query: await direct.compare("GET", f"{SEND}?{query}".encode().decode("latin-1"))
        for query in QUERIES
    }
    assert were_direct["limit=2&before=4"]
    assert were_direct["around=3&limit=2"]
    assert 15 < sum(were_direct.values()) < len(QUERIES) - 20
    linked = await direct.ask(direct.head("GET", f"{SEND}?limit=2&before=5"), b"")
    assert linked.header("link") == (
        f'<{direct.live.url}/api/chats/{direct.chat_id}/messages?limit=2&before=3>; rel="next", '
        f'<{direct.live.url}/api/chats/{direct.chat_id}/messages?limit=2&after=4>; rel="prev"'
    )


@pytest.mark.parametrize("header", [
    "Host: chat.example.com", "Host: chat.example.com:8443", "Host: [::1]:80", "Host: a/b", "Host:",
    "Host: é",
    "Host: x@y", "X-Forwarded-Proto: https", "X-Forwarded-Proto: HTTPS", "X-Forwarded-Proto: gopher",
    "X-Forwarded-Proto: wss", "X-Forwarded-Host: other", "X-Forwarded-For: 10.0.0.1", "Host: a\r\nHost: b",
])  # fmt: skip
async def test_links_have_the_url_that_the_client_used(direct: Direct, header: str) -> None:
    for number in range(3):
        await direct.alice.say(direct.chat_id, f"message {number}")
    await direct.compare("GET", f"{SEND}?limit=1", header)


async def test_no_host_and_http_1_0_are_treated_alike(direct: Direct) -> None:
    page = direct.head("GET", f"{SEND}?limit=1")
    without_host = re.sub(rb"Host: [^\r]+\r\n", b"", page)
    assert (await direct.ask(without_host, b"")).comparable() == (
        await direct.ask(without_host, b"", fastapi=True)
    ).comparable()
    head = direct.head("POST", SEND, JSON).replace(b"HTTP/1.1", b"HTTP/1.0")
    mine, theirs = await direct.ask(head, HELLO), await direct.ask(head, HELLO, fastapi=True)
    assert mine.comparable() == theirs.comparable()


async def test_large_and_chunked_bodies_are_treated_alike(new_server: NewServer) -> None:
    direct = await with_recorder(await new_server(max_body_bytes=1024))
    for size in (900, 1024, 1025, 5000):
        body = b'{"content":"%s"}' % (b"x" * (size - 14))
        assert await direct.compare("POST", SEND, JSON, body=body) == (size <= 1024)
    chunked = b"14\r\n" + HELLO + b"\r\n0\r\n\r\n"
    assert not await direct.compare("POST", SEND, JSON, "Transfer-Encoding: chunked", body=chunked)
    assert not await direct.compare("GET", SEND, "Content-Type: text/plain", body=b"a body")


async def test_allowed_origins_are_treated_alike(new_server: NewServer) -> None:
    """Requests from other web pages are FastAPI's; the others have `Vary: Origin`."""
    direct = await with_recorder(await new_server(allowed_origins=["https://example.com"]))
    for origin in ("https://example.com", "https://other.example"):
        assert not await direct.compare("POST", SEND, JSON, f"Origin: {origin}", body=HELLO)
    assert await direct.compare("POST", SEND, JSON, body=HELLO)
    assert await direct.compare("GET", SEND)
    assert await direct.compare("POST", SEND, JSON, body=b'{"content":""}')


async def test_idempotency_keys_hold_across_both_paths(direct: Direct) -> None:
    """One `client_id`, one message; another body under it is a conflict."""
    body = b'{"content":"Once","client_id":"c1"}'
    head = direct.head("POST", SEND, JSON)
    answers = [await direct.ask(head, body, fastapi=fastapi) for fastapi in (False, True, False)]
    assert len({answer.body for answer in answers}) == 1
    assert await direct.compare("POST", SEND, JSON, body=b'{"content":"Other","client_id":"c1"}')
    conflict = await direct.ask(head, b'{"content":"Other","client_id":"c1"}')
    assert conflict.status == "HTTP/1.1 409 Conflict"
    assert len(await direct.alice.history(direct.chat_id)) == 1
