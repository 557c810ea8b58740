"""The conversations API, and the data that it shares with the main API."""

from typing import Any

from tests.harness import PASSWORD, Live


async def test_every_call_of_the_conversations_api(live: Live) -> None:
    """Statuses and shapes, with and without a slash at the end of the path."""
    http = live.client()
    ids, tokens = {}, {}
    for name in ("conv-alice", "conv-bob"):
        body = {"username": name, "email": f"{name}@example.com", "password": PASSWORD}
        created = await http.post("/users/", json=body)
        assert created.status_code == 200
        user = created.json()
        assert user["email"] == f"{name}@example.com"
        assert user["created_at"]
        assert user["updated_at"]
        ids[name] = user["id"]
        token = await http.post("/token", data={"username": name, "password": PASSWORD})
        assert token.status_code == 200
        assert token.json()["token_type"] == "bearer"
        tokens[name] = token.json()["access_token"]
    alice, bob = (live.client(token) for token in tokens.values())
    assert (await alice.get("/users/me")).json()["email"] == "conv-alice@example.com"

    started = await alice.post("/messages/conversations/", json={"participant_ids": list(ids.values())})
    assert started.status_code == 200
    conversation = started.json()
    assert {user["id"] for user in conversation["users"]} == set(ids.values())
    assert conversation["messages"] == []
    assert conversation["created_at"]
    same = await bob.post("/messages/conversations", json={"participant_ids": [ids["conv-alice"]]})
    assert same.json()["id"] == conversation["id"]

    path = f"/messages/conversations/{conversation['id']}/messages/"
    forms: list[tuple[str, dict[str, Any]]] = [
        ("as JSON", {"json": {"content": "as JSON"}}),
        ("as a form", {"data": {"content": "as a form"}}),
        ("as multipart", {"files": {"content": (None, "as multipart")}}),
    ]
    for content, options in forms:
        sent = await alice.post(path, **options)
        assert sent.status_code == 200
        message = sent.json()
        assert message["content"] == content
        assert message["sender_id"] == ids["conv-alice"]
        assert message["conversation_id"] == conversation["id"]
    listed = (await bob.get(path)).json()
    assert [message["content"] for message in listed] == ["as multipart", "as a form", "as JSON"]
    page = await bob.get(path, params={"skip": 1, "limit": 1})
    assert [message["content"] for message in page.json()] == ["as a form"]
    assert [m["content"] for m in (await bob.get(page.links["next"]["url"])).json()] == ["as JSON"]
    (found,) = (await bob.get("/messages/conversations/")).json()
    assert [message["content"] for message in found["messages"]] == [m["content"] for m in listed]


async def test_a_conversation_is_a_chat(live: Live) -> None:
    """Created in one API, it is the same in the other, with the same messages."""
    alice, bob, carol = await live.people("alice", "bob", "carol")
    body = {"participant_ids": [bob.id, carol.id]}
    group = (await alice.post("/messages/conversations/", body)).json()["id"]
    chat = (await bob.get(f"/chats/{group}")).json()
    assert (chat["is_group_chat"], chat["member_count"]) == (True, 3)
    await bob.say(group, "from the main API")
    listed = (await carol.get(f"/messages/conversations/{group}/messages/")).json()
    assert [message["content"] for message in listed] == ["from the main API"]


async def test_invalid_bodies_are_rejected_in_every_form(live: Live) -> None:
    """422 for JSON, forms and multipart forms."""
    alice = await live.person()
    chat_id = await alice.group()
    path = f"/messages/conversations/{chat_id}/messages/"
    bodies: list[dict[str, Any]] = [
        {"json": {"content": " "}},
        {"json": {}},
        {"json": []},
        {"data": {"content": ""}},
        {"files": {"content": ("file.txt", b"a file")}},
        {"content": b"{", "headers": {"content-type": "application/json"}},
        {"content": b"\xff\xfe", "headers": {"content-type": "application/json"}},
    ]
    for options in bodies:
        response = await alice.http.post(path, **options)
        assert response.status_code == 422, response.text
    assert (await alice.get(path)).json() == []
