"""Catching up on `/ws`: resume, reset, new and hidden chats, and the overview of `GET /api/sync`."""

import json

from tests.conftest import NewServer
from tests.harness import Live


async def test_resume_of_a_chat_that_the_user_rejoined_repeats_nothing(live: Live) -> None:
    """`chat.created` has the whole chat, so earlier versions are not replayed after it."""
    alice, bob = await live.people("alice", "bob")
    chat_id = await alice.group(bob)
    version = (await alice.get(f"/api/chats/{chat_id}")).json()["version"]
    await alice.say(chat_id, "missed")
    async with bob.online() as socket:
        await alice.delete(f"/api/chats/{chat_id}/members/{bob.id}")
        await socket.next(type="member.removed", user_id=bob.id)
        await alice.post(f"/api/chats/{chat_id}/members", [bob.id])
        created = await socket.next(type="chat.created")
        await socket.send({"type": "resume", "ref": 1, "chats": {str(chat_id): version}})
        assert await socket.next() == {"type": "synced", "chats": {str(chat_id): created["version"]}}
        assert (await socket.next())["type"] == "ack"


async def test_resume_replays_each_missed_change_once(live: Live) -> None:
    """Created, edited, deleted, renamed; then `synced` with the version reached, then new events.

    `GET /api/chats/{id}/changes` returns the same events.
    """
    alice, bob = await live.people("alice", "bob")
    chat_id = await alice.group(bob)
    await alice.say(chat_id, "one")
    await alice.say(chat_id, "two")
    version = (await bob.get(f"/api/chats/{chat_id}")).json()["version"]
    await alice.put(f"/api/chats/{chat_id}/messages/1", {"content": "edited"})
    await alice.say(chat_id, "three")
    await alice.delete(f"/api/chats/{chat_id}/messages/2")
    await alice.put(f"/api/chats/{chat_id}", {"name": "Renamed"})
    async with bob.online() as socket:
        await socket.send({"type": "resume", "ref": 1, "chats": {str(chat_id): version}})
        frames = [await socket.next() for _ in range(6)]
        assert [frame["type"] for frame in frames] == [
            "message.updated",
            "message.created",
            "message.deleted",
            "chat.updated",
            "synced",
            "ack",
        ]
        assert [frame["version"] for frame in frames[:4]] == list(range(version + 1, version + 5))
        assert frames[4]["chats"] == {str(chat_id): version + 4}
        response = (await bob.get(f"/api/chats/{chat_id}/changes", params={"after": version})).json()
        for event in (response["events"][3], frames[3]):
            for user in event["chat"]["users"]:
                user.pop("last_seen"), user.pop("status")
        assert response["events"] == frames[:4]
        assert response["version"] == version + 4
        assert (response["more"], response["reset"]) == (False, False)
        await alice.say(chat_id, "four")
        assert (await socket.next())["version"] == version + 5


async def test_resume_that_cannot_be_replayed_is_reset(new_server: NewServer) -> None:
    """Too many missed changes, a version that the chat never had, or a chat without membership."""
    live = await new_server(resume_limit=5)
    alice, bob, stranger = await live.people("alice", "bob", "stranger")
    chat_id, foreign = await alice.group(bob), await stranger.group()
    for number in range(10):
        await alice.say(chat_id, f"{number}")
    async with bob.online() as socket:
        for chats in ({str(chat_id): 1}, {str(chat_id): 10**6}, {str(foreign): 0}, {"999999": 1}):
            await socket.send({"type": "resume", "ref": 1, "chats": chats})
            assert await socket.next() == {"type": "reset", "chat_id": int(next(iter(chats)))}
            assert (await socket.next())["type"] == "ack"
    for after, reset in ((1, True), (10**6, True), (9, False)):
        response = await bob.get(f"/api/chats/{chat_id}/changes", params={"after": after})
        assert response.json()["reset"] is reset


async def test_resume_is_reset_if_the_chat_itself_changed_twice(live: Live) -> None:
    """The chat was renamed before the socket was opened, and a member was added before the resume."""
    alice, bob, carol = await live.people("alice", "bob", "carol")
    chat_id = await alice.group(bob)
    version = (await bob.get(f"/api/chats/{chat_id}")).json()["version"]
    await alice.put(f"/api/chats/{chat_id}", {"name": "Renamed"})
    async with bob.online() as socket:
        await alice.post(f"/api/chats/{chat_id}/members", [carol.id])
        await socket.next(type="member.added")
        await socket.send({"type": "resume", "ref": 1, "chats": {str(chat_id): version}})
        assert await socket.next() == {"type": "reset", "chat_id": chat_id}


async def test_resume_is_reset_after_rejoining_a_chat_with_hidden_history(live: Live) -> None:
    """The user cannot see messages from before any more, nor changes of them."""
    alice, bob = await live.people("alice", "bob")
    chat_id = await alice.group(bob, history="joined")
    await alice.say(chat_id, "one")
    version = (await bob.get(f"/api/chats/{chat_id}")).json()["version"]
    await alice.delete(f"/api/chats/{chat_id}/members/{bob.id}")
    await alice.post(f"/api/chats/{chat_id}/members", [bob.id])
    await alice.delete(f"/api/chats/{chat_id}/messages/1")
    async with bob.online() as socket:
        await socket.send({"type": "resume", "ref": 1, "chats": {str(chat_id): version}})
        assert await socket.next() == {"type": "reset", "chat_id": chat_id}
    response = await bob.get(f"/api/chats/{chat_id}/changes", params={"after": version})
    assert response.json()["reset"] is True


async def test_new_member_receives_the_chat_and_removed_member_nothing_more(live: Live) -> None:
    """A new member receives `chat.created`, which equals HTTP, then the chat's events.

    The last event that a removed member receives is their `member.removed`.
    """
    alice, bob, carol = await live.people("alice", "bob", "carol")
    async with bob.online() as b, carol.online() as c:
        chat_id = await alice.group(bob)
        created = await b.next(type="chat.created")
        assert created["chat"]["unread"] == 0
        await alice.say(chat_id, "before carol")
        await b.next(type="message.created")
        await alice.post(f"/api/chats/{chat_id}/members", [carol.id])
        added = await b.next(type="member.added")
        assert [member["id"] for member in added["members"]] == [carol.id]
        welcome = await c.next()
        assert welcome["type"] == "chat.created"
        over_http = (await carol.get(f"/api/chats/{chat_id}")).json()
        assert {**welcome["chat"], "users": [u["id"] for u in welcome["chat"]["users"]]} == {
            **over_http,
            "users": [alice.id, bob.id, carol.id],
        }
        assert welcome["version"] == added["version"]
        await alice.put(f"/api/chats/{chat_id}/members/{carol.id}", {"role": "admin"})
        assert (await c.next())["members"][0]["role"] == "admin"
        await alice.delete(f"/api/chats/{chat_id}/members/{carol.id}")
        removed = await c.next()
        assert (removed["type"], removed["user_id"]) == ("member.removed", carol.id)
        await alice.say(chat_id, "after carol")
        assert (await c.ask("ping"))["type"] == "ack"
        assert (await c.ask("send", chat_id=chat_id, content="x"))["code"] == "not_found"
        await alice.put(f"/api/chats/{chat_id}", {"name": "New"})
        assert (await b.next(type="chat.updated"))["chat"]["name"] == "New"
        await alice.delete(f"/api/chats/{chat_id}")
        assert (await b.next(type="chat.deleted"))["chat_id"] == chat_id


async def test_hidden_history_stays_hidden(live: Live) -> None:
    """With `history` set to `joined`, a change of an earlier message is delivered as its version alone."""
    alice, bob = await live.people("alice", "bob")
    chat_id = await alice.group(history="joined")
    await alice.say(chat_id, "secret")
    await alice.post(f"/api/chats/{chat_id}/members", [bob.id])
    version = (await bob.get(f"/api/chats/{chat_id}")).json()["version"]
    async with bob.online() as socket:
        await alice.put(f"/api/chats/{chat_id}/messages/1", {"content": "still secret"})
        assert await socket.next() == {"type": "hidden", "chat_id": chat_id, "version": version + 1}
        await alice.say(chat_id, "open")
        assert (await socket.next())["message"]["content"] == "open"
    async with bob.online() as socket:
        await socket.send({"type": "resume", "chats": {str(chat_id): version}})
        assert (await socket.next())["type"] == "hidden"
        assert (await socket.next())["message"]["content"] == "open"
    events = (await bob.get(f"/api/chats/{chat_id}/changes", params={"after": version})).json()["events"]
    assert [event["type"] for event in events] == ["hidden", "message.created"]
    assert "secret" not in json.dumps(events)


async def test_sync_equals_the_list_of_chats(live: Live) -> None:
    """`GET /api/sync` has the same chats, with versions and unread counts, and the caller."""
    alice, bob = await live.people("alice", "bob")
    chats = [await alice.group(bob), await alice.direct(bob)]
    await alice.say(chats[0], "hello")
    overview = (await bob.get("/api/sync")).json()
    assert overview["user"]["id"] == bob.id
    assert overview["chats"] == (await bob.get("/api/chats")).json()
    assert [chat["unread"] for chat in overview["chats"]] == [1, 0]
