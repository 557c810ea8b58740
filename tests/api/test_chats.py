"""Chats: creating, listing, changing, leaving and deleting them."""

import asyncio
from typing import Any

import pytest

from blazechat.database import tables
from blazechat.domain.auth import access
from blazechat.domain.chats import chat_query
from blazechat.domain.messaging import messages
from blazechat.errors import NoSuchChat, NoSuchMessage
from tests.conftest import NewServer
from tests.harness import Live, Person


async def test_create_a_group(live: Live) -> None:
    """201 with the complete chat. The caller is its owner and one of its members."""
    alice, bob, carol = await live.people("alice", "bob", "carol")
    body = {"name": "  Team   one ", "is_group_chat": True, "user_ids": [bob.id, carol.id, alice.id]}
    response = await alice.post("/chats", body)
    assert response.status_code == 201
    chat = response.json()
    assert response.headers["location"] == f"/api/chats/{chat['id']}"
    assert chat["name"] == "Team one"
    assert chat["is_group_chat"] is True
    assert {user["id"]: user["role"] for user in chat["users"]} == {
        alice.id: "owner",
        bob.id: "member",
        carol.id: "member",
    }
    assert chat["last_message"] is None
    assert chat["unread"] == 0
    assert chat["version"] >= 1
    assert chat["created_at"]
    assert "email" not in response.text


async def test_member_removed_during_a_request_gets_404(
    live: Live, monkeypatch: pytest.MonkeyPatch
) -> None:
    """The member is removed, or the chat is deleted, between two statements of a request."""
    alice, bob = await live.people("alice", "bob")
    chat_id = await alice.group(bob)
    message = await alice.say(chat_id, "hello")

    async def remove_after_check(*arguments: Any) -> access.Membership:
        monkeypatch.setattr(chat_query, "chat_for", access.chat_for)
        found = await access.chat_for(*arguments)
        assert (await alice.delete(f"/api/chats/{chat_id}/members/{bob.id}")).status_code == 200
        return found

    monkeypatch.setattr(chat_query, "chat_for", remove_after_check)
    response = await bob.get(f"/api/chats/{chat_id}")
    assert (response.status_code, response.json()["detail"]) == (404, NoSuchChat.detail)

    async def delete_after_check(*arguments: Any) -> tables.Message:
        found = await access.message_for(*arguments)
        assert (await alice.delete(f"/api/chats/{chat_id}")).status_code == 204
        return found

    monkeypatch.setattr(messages, "message_for", delete_after_check)
    response = await alice.get(f"/api/chats/{chat_id}/messages/{message['id']}")
    assert (response.status_code, response.json()["detail"]) == (404, NoSuchMessage.detail)


async def test_a_pair_has_one_direct_chat(live: Live) -> None:
    """Concurrent and repeated requests of both users return the same chat: 201 once, then 200."""
    alice, bob = await live.people("alice", "bob")
    responses = await asyncio.gather(
        *(
            person.post("/api/chats", {"user_ids": [other.id]})
            for person, other in [(alice, bob), (bob, alice)] * 4
        )
    )
    assert sorted(response.status_code for response in responses) == [200] * 7 + [201]
    assert len({response.json()["id"] for response in responses}) == 1
    assert responses[0].json()["is_group_chat"] is False
    named = await alice.post("/api/chats", {"name": "x", "is_group_chat": False, "user_ids": [bob.id]})
    assert named.json()["id"] == responses[0].json()["id"]


async def test_what_makes_a_group(live: Live) -> None:
    """Two other users, none, a name, or `is_group_chat`. A direct chat of three, or of one, is rejected."""
    alice, bob, carol = await live.people("alice", "bob", "carol")
    groups: list[dict[str, Any]] = [
        {"user_ids": [bob.id, carol.id]},
        {"user_ids": []},
        {"user_ids": [alice.id]},
        {"user_ids": [bob.id], "is_group_chat": True},
        {"user_ids": [bob.id], "name": "Project"},
        {"user_ids": [bob.id], "name": "Project", "is_group_chat": None},
    ]
    for body in groups:
        response = await alice.post("/api/chats", body)
        assert (response.status_code, response.json()["is_group_chat"]) == (201, True)
    for user_ids in ([bob.id, carol.id], [alice.id], []):
        rejected = await alice.post("/api/chats", {"user_ids": user_ids, "is_group_chat": False})
        assert (rejected.status_code, rejected.json()["errors"][0]["field"]) == (422, "user_ids")
        assert "exactly one other user" in rejected.json()["detail"]


async def test_existing_direct_chat_is_returned_as_it_is(live: Live) -> None:
    """200, with its own name: the original client sends a name and `is_group_chat: false` every time."""
    alice, bob = await live.people("alice", "bob")
    body = {"name": "first", "is_group_chat": False, "user_ids": [bob.id]}
    created = await alice.post("/chats", body)
    assert (created.status_code, created.json()["is_group_chat"]) == (201, False)
    again = await bob.post("/chats", body | {"name": "second", "user_ids": [alice.id], "history": "joined"})
    assert (again.status_code, again.json()["name"], again.json()["history"]) == (200, "first", "all")
    unnamed = await alice.post("/chats", {"user_ids": [bob.id], "name": "  "})
    assert (unnamed.status_code, unnamed.json()["id"]) == (200, created.json()["id"])


async def test_chat_with_oneself_is_a_group_for_notes(live: Live) -> None:
    """In both APIs."""
    alice = await live.person()
    notes = (await alice.post("/api/chats", {"user_ids": [alice.id]})).json()
    assert (notes["is_group_chat"], notes["member_count"], notes["role"]) == (True, 1, "owner")
    await alice.say(notes["id"], "buy milk")
    conversation = await alice.post("/messages/conversations/", {"participant_ids": [alice.id]})
    assert [user["id"] for user in conversation.json()["users"]] == [alice.id]


async def test_a_chat_with_an_unknown_user_is_not_created(live: Live) -> None:
    """404 with the user's id."""
    alice, bob = await live.people("alice", "bob")
    response = await alice.post("/api/chats", {"user_ids": [bob.id, 2**40]})
    assert response.status_code == 404
    assert str(2**40) in response.json()["detail"]
    assert (await alice.get("/api/chats")).json() == []


async def test_chats_are_listed_by_their_latest_message(live: Live) -> None:
    """With last message and unread count, in pages that link to the next one."""
    alice, bob = await live.people("alice", "bob")
    first, second, third = [await alice.group(bob) for _ in range(3)]
    await bob.say(first, "one")
    await bob.say(third, "two")
    await bob.say(first, "three")
    chats = (await alice.get("/api/chats")).json()
    assert [chat["id"] for chat in chats] == [first, third, second]
    assert [chat["unread"] for chat in chats] == [2, 1, 0]
    assert chats[0]["last_message"]["content"] == "three"
    assert chats[2]["last_message"] is None

    page = await alice.get("/api/chats", params={"limit": 2})
    assert [chat["id"] for chat in page.json()] == [first, third]
    following = page.links["next"]["url"]
    rest = await alice.get(following)
    assert [chat["id"] for chat in rest.json()] == [second]
    assert "link" not in rest.headers
    full = await alice.get("/api/chats", params={"limit": 3})
    assert "link" not in full.headers


async def test_rename_raises_the_version(live: Live) -> None:
    """A rename raises the version by one. A blank name removes the name."""
    alice = await live.person()
    chat_id = await alice.group()
    before = (await alice.get(f"/api/chats/{chat_id}")).json()
    after = (await alice.put(f"/api/chats/{chat_id}", {"name": "New"})).json()
    assert (after["name"], after["version"]) == ("New", before["version"] + 1)
    assert (await alice.put(f"/api/chats/{chat_id}", {"name": "  "})).json()["name"] is None
    long = await alice.put(f"/api/chats/{chat_id}", {"name": "x" * 201})
    assert long.status_code == 422


async def test_add_members_in_both_forms(live: Live) -> None:
    """`[int]` and `{user_ids: [int]}`. All users are added, or none."""
    alice, bob, carol, dave = await live.people("alice", "bob", "carol", "dave")
    chat_id = await alice.group()
    path = f"/api/chats/{chat_id}/members"
    assert len((await alice.post(path, [bob.id])).json()["users"]) == 2
    assert len((await alice.post(path, {"user_ids": [carol.id]})).json()["users"]) == 3
    twice = await alice.post(path, [dave.id, carol.id])
    assert (twice.status_code, twice.json()["code"]) == (409, "already_member")
    doubled = await alice.post(path, [dave.id, dave.id])
    assert doubled.status_code == 422
    unknown = await alice.post(path, [dave.id, 2**40])
    assert unknown.status_code == 404
    assert len((await alice.get(f"/api/chats/{chat_id}")).json()["users"]) == 3


async def test_new_member_has_nothing_unread(live: Live) -> None:
    """A new member can read earlier messages, unless the chat's history is `joined`."""
    alice, bob = await live.people("alice", "bob")
    for history, visible in (("all", ["after", "before"]), ("joined", ["after"])):
        chat_id = await alice.group(history=history)
        await alice.say(chat_id, "before")
        await alice.post(f"/api/chats/{chat_id}/members", [bob.id])
        chat = (await bob.get(f"/api/chats/{chat_id}")).json()
        assert chat["unread"] == 0
        assert (chat["last_message"] is None) == (history == "joined")
        await alice.say(chat_id, "after")
        assert [message["content"] for message in await bob.history(chat_id)] == visible
        assert (await bob.get(f"/api/chats/{chat_id}")).json()["unread"] == 1
        listed = (await bob.get("/api/messages/conversations")).json()[0]["messages"]
        assert [message["content"] for message in listed] == visible


async def test_history_from_joining_hides_everything_before(live: Live) -> None:
    """By id, `around`, as a reply, by read status and in the conversations API; for this member only."""
    alice, bob = await live.people("alice", "bob")
    chat_id = await alice.group(history="joined")
    secret = (await alice.say(chat_id, "before"))["id"]
    await alice.post(f"/api/chats/{chat_id}/members", [bob.id])
    await alice.say(chat_id, "after")
    path = f"/api/chats/{chat_id}/messages"
    for response in (
        await bob.get(f"{path}/{secret}"),
        await bob.get(f"{path}/{secret}/read-status"),
        await bob.put(f"{path}/{secret}", {"content": "x"}),
        await bob.delete(f"{path}/{secret}"),
    ):
        assert response.status_code == 404
    for query in ({"around": 1}, {"after": 0}, {"skip": 0}, {"before": 3}):
        assert [message["id"] for message in await bob.history(chat_id, **query)] == [2]
    listed = await bob.get(f"/messages/conversations/{chat_id}/messages/")
    assert [message["content"] for message in listed.json()] == ["after"]
    reply = await bob.post(path, {"content": "what was that?", "reply_to": secret})
    assert (reply.status_code, reply.json()["errors"][0]["field"]) == (422, "reply_to")
    assert len(await alice.history(chat_id)) == 2
    await alice.put(f"/api/chats/{chat_id}", {"history": "all"})
    assert len(await bob.history(chat_id)) == 2


async def test_owner_who_leaves_is_succeeded(live: Live) -> None:
    """By the longest-serving admin, else member. When the last member leaves, the chat is deleted."""
    alice, bob, carol = await live.people("alice", "bob", "carol")
    chat_id = await alice.group(bob, carol)
    path = f"/api/chats/{chat_id}"
    await alice.put(f"{path}/members/{carol.id}", {"role": "admin"})
    left = await alice.delete(f"{path}/members/{alice.id}")
    assert left.status_code == 200
    assert {user["id"] for user in left.json()["users"]} == {bob.id, carol.id}
    assert (await alice.get(path)).status_code == 404
    roles = {user["id"]: user["role"] for user in (await bob.get(path)).json()["users"]}
    assert roles == {bob.id: "member", carol.id: "owner"}
    await carol.delete(f"{path}/members/{carol.id}")
    assert (await bob.get(path)).json()["role"] == "owner"
    await bob.delete(f"{path}/members/{bob.id}")
    assert (await bob.get(path)).status_code == 404


async def test_ownership_is_handed_over(live: Live) -> None:
    """A chat always has one owner."""
    alice, bob = await live.people("alice", "bob")
    chat_id = await alice.group(bob)
    path = f"/api/chats/{chat_id}/members"
    stuck = await alice.put(f"{path}/{alice.id}", {"role": "member"})
    assert (stuck.status_code, stuck.json()["code"]) == (409, "owner_needed")
    await alice.put(f"{path}/{bob.id}", {"role": "owner"})
    roles = {user["id"]: user["role"] for user in (await alice.get(path)).json()}
    assert roles == {alice.id: "admin", bob.id: "owner"}
    assert (await alice.put(f"{path}/{bob.id}", {"role": "member"})).status_code == 403


async def test_a_deleted_chat_is_gone_for_all_members(live: Live) -> None:
    """With its messages. The two users can create a new direct chat."""
    alice, bob = await live.people("alice", "bob")
    chat_id = await alice.direct(bob)
    await alice.say(chat_id, "gone soon")
    assert (await bob.delete(f"/api/chats/{chat_id}")).status_code == 204
    for person in (alice, bob):
        assert (await person.get(f"/api/chats/{chat_id}")).status_code == 404
        assert (await person.get(f"/api/chats/{chat_id}/messages")).status_code == 404
        assert (await person.get("/api/chats")).json() == []
    assert await alice.direct(bob) != chat_id


async def test_members_are_paged(live: Live) -> None:
    """In the order of ids, with a link to the next page."""
    alice = await live.person()
    others = await live.people(*(["guest"] * 4))
    chat_id = await alice.group(*others)
    response = await alice.get(f"/api/chats/{chat_id}/members", params={"limit": 3})
    rest = await alice.get(response.links["next"]["url"])
    ids = [member["id"] for member in response.json() + rest.json()]
    assert ids == sorted(person.id for person in [alice, *others])


async def test_members_of_a_chat_are_limited(new_server: NewServer) -> None:
    """Creating a chat and adding members have the same limit."""
    live = await new_server(max_chat_members=3)
    alice, bob, carol, dave = await live.people("alice", "bob", "carol", "dave")
    everyone = {"is_group_chat": True, "user_ids": [bob.id, carol.id, dave.id]}
    assert (await alice.post("/api/chats", everyone)).json()["code"] == "chat_full"
    chat_id = await alice.group(bob, carol)
    response = await alice.post(f"/api/chats/{chat_id}/members", [dave.id])
    assert (response.status_code, response.json()["code"]) == (409, "chat_full")


async def test_concurrent_changes_do_not_lose_each_other(live: Live) -> None:
    """Concurrent new members, renames and messages all take effect, each with its own version."""
    alice = await live.person()
    guests: list[Person] = await live.people(*(["guest"] * 6))
    chat_id = await alice.group()
    path = f"/api/chats/{chat_id}"
    await asyncio.gather(
        *(alice.post(f"{path}/members", [guest.id]) for guest in guests),
        *(alice.put(path, {"name": f"name {number}"}) for number in range(6)),
        *(alice.say(chat_id, f"message {number}") for number in range(12)),
    )
    chat = (await alice.get(path)).json()
    assert (chat["member_count"], chat["last_message_id"]) == (7, 12)
    assert chat["version"] == 1 + 6 + 6 + 12
    versions = [message["version"] for message in await alice.history(chat_id)]
    assert versions == sorted(versions, reverse=True)
