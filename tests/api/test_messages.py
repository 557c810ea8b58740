"""Messages over HTTP: sending, paging, editing, deleting, and read status."""

import asyncio
import json
from urllib.parse import quote

import asyncpg
import pytest

from tests.conftest import NewDatabase, NewServer
from tests.harness import Live


async def test_send_and_read_back(live: Live) -> None:
    """201 with the message, byte for byte as all members get it."""
    alice, bob = await live.people("alice", "bob")
    chat_id = await alice.direct(bob)
    content = " Grüße, 世界! \r\n\t👩‍👩‍👧‍👦 שלום \u202e\x1b[31m e\u0301 "
    response = await alice.post(
        f"/chats/{chat_id}/messages", {"content": content, "client_id": "c1", "reply_to": None}
    )
    assert response.status_code == 201
    message = response.json()
    assert response.headers["location"] == f"/api/chats/{chat_id}/messages/1"
    assert message["content"] == content
    assert message["user_id"] == message["user"]["id"] == alice.id
    assert message["user"]["username"] == alice.username
    assert (message["id"], message["chat_id"], message["client_id"]) == (1, chat_id, "c1")
    assert message["is_read"] is False
    assert message["created_at"] == message["updated_at"]
    assert message["created_at"].endswith("Z")
    assert await bob.history(chat_id) == [message]
    assert (await bob.get(f"/api/chats/{chat_id}/messages/1")).json() == message


@pytest.mark.parametrize(
    ("body", "field"),
    [
        ({"content": ""}, "content"),
        ({"content": " \n\u2003\t"}, "content"),
        ({"content": "\u200b\u2060"}, "content"),
        ({"content": "nul\0"}, "content"),
        ({"content": "x" * 10_001}, "content"),
        ({"content": "half \ud83d"}, "content"),
        ({"content": 5}, "content"),
        ({}, "content"),
        ({"content": "x", "client_id": ""}, "client_id"),
        ({"content": "x", "client_id": "c" * 65}, "client_id"),
        ({"content": "x", "client_id": "nul\0"}, "client_id"),
        ({"content": "x", "reply_to": 0}, "reply_to"),
        ({"content": "x", "reply_to": 99}, "reply_to"),
        ({"content": "x", "reply_to": 2**70}, "reply_to"),
    ],
)
async def test_invalid_messages_are_rejected_by_field(live: Live, body: object, field: str) -> None:
    """422 with the field's name, and nothing is stored."""
    alice = await live.person()
    chat_id = await alice.group()
    headers = {"content-type": "application/json"}
    path = f"/api/chats/{chat_id}/messages"
    response = await alice.http.post(path, content=json.dumps(body), headers=headers)
    assert response.status_code == 422, response.text
    assert response.json()["errors"][0]["field"] == field
    assert await alice.history(chat_id) == []


async def test_longest_message_fits(live: Live) -> None:
    """10,000 characters of four bytes each."""
    alice = await live.person()
    chat_id = await alice.group()
    content = "👾" * 10_000
    assert (await alice.say(chat_id, content))["content"] == content
    assert (await alice.history(chat_id))[0]["content"] == content


async def test_one_client_id_one_message(live: Live) -> None:
    """Retries return the first message, concurrent or not. Another body under the same id is a conflict."""
    alice, bob = await live.people("alice", "bob")
    chat_id = await alice.direct(bob)
    path = f"/api/chats/{chat_id}/messages"
    body = {"content": "once", "client_id": "c1"}
    responses = await asyncio.gather(*(alice.post(path, body) for _ in range(8)))
    responses.append(await alice.post(path, body))
    assert {response.status_code for response in responses} == {201}
    assert len({response.text for response in responses}) == 1
    assert len(await alice.history(chat_id)) == 1

    for other in (body | {"content": "twice"}, body | {"reply_to": 1}):
        response = await alice.post(path, other)
        assert (response.status_code, response.json()["code"]) == (409, "client_id_conflict")
    assert (await bob.post(path, body | {"content": "bob's own c1"})).status_code == 201
    other_chat = await alice.group()
    assert (await alice.say(other_chat, "another chat", client_id="c1"))["id"] == 1


async def test_retry_after_edit_and_delete(live: Live) -> None:
    """A retry returns the present message. Another body than the original one is still a conflict."""
    alice = await live.person()
    chat_id = await alice.group()
    path = f"/api/chats/{chat_id}/messages"
    body = {"content": "first", "client_id": "c1"}
    await alice.post(path, body)
    await alice.put(f"{path}/1", {"content": "second"})
    assert (await alice.post(path, body)).json()["content"] == "second"
    assert (await alice.post(path, body | {"content": "second"})).status_code == 409
    await alice.delete(f"{path}/1")
    retried = (await alice.post(path, body)).json()
    assert (retried["content"], retried["deleted_at"] is None) == ("", False)
    assert len(await alice.history(chat_id)) == 1


async def test_rejected_sends_leave_no_holes_in_ids(live: Live) -> None:
    """A rejected send takes no id, and other sends of its batch succeed."""
    alice = await live.person()
    chat_id = await alice.group()
    path = f"/api/chats/{chat_id}/messages"
    responses = await asyncio.gather(
        *(
            alice.post(path, {"content": f"{n}", "reply_to": 10_000 if n % 3 == 0 else None})
            for n in range(30)
        )
    )
    assert sorted({response.status_code for response in responses}) == [201, 422]
    ids = sorted(response.json()["id"] for response in responses if response.status_code == 201)
    assert ids == list(range(1, 21))


async def test_pages(live: Live) -> None:
    """Newest first, by `before`, `after`, `around` and `skip`. `Link` leads to both ends of the chat."""
    alice = await live.person()
    chat_id = await alice.group()
    for number in range(1, 26):
        await alice.say(chat_id, f"m{number}")

    async def ids(**query: int) -> list[int]:
        return [message["id"] for message in await alice.history(chat_id, **query)]

    assert await ids(limit=5) == [25, 24, 23, 22, 21]
    assert await ids(limit=3, before=10) == [9, 8, 7]
    assert await ids(limit=3, before=3) == [2, 1]
    assert await ids(limit=3, after=10) == [13, 12, 11]
    assert await ids(limit=3, after=24) == [25]
    assert await ids(limit=3, after=25) == []
    assert await ids(limit=5, around=10) == [12, 11, 10, 9, 8]
    assert await ids(limit=5, around=1) == [5, 4, 3, 2, 1]
    assert await ids(limit=5, around=1000) == [25, 24, 23, 22, 21]
    assert await ids(limit=3, skip=4) == [21, 20, 19]
    assert await ids(limit=3, skip=24) == [1]
    assert await ids(limit=3, skip=10**9) == []
    assert await ids(before=2**53 - 1, limit=1) == [25]
    assert await ids(after=2**53 - 1) == []

    seen: list[int] = []
    page = await alice.get(f"/chats/{chat_id}/messages/", params={"limit": 10})
    while True:
        seen += [message["id"] for message in page.json()]
        if "next" not in page.links:
            break
        page = await alice.get(page.links["next"]["url"])
    assert seen == list(range(25, 0, -1))
    back = await alice.get(page.links["prev"]["url"])
    assert [message["id"] for message in back.json()] == list(range(15, 5, -1))


@pytest.mark.parametrize(
    "query",
    [
        {"limit": 0},
        {"limit": 101},
        {"limit": "many"},
        {"before": 5, "after": 1},
        {"before": 0},
        {"after": -1},
        {"skip": -1},
        {"around": 2**60},
    ],
)
async def test_invalid_page_parameters_are_rejected(live: Live, query: dict[str, object]) -> None:
    """422 with the parameter's name."""
    alice = await live.person()
    chat_id = await alice.group()
    response = await alice.get(f"/api/chats/{chat_id}/messages", params=query)
    assert response.status_code == 422
    assert response.json()["errors"][0]["field"] in query


async def test_edit_keeps_id_and_creation_time(live: Live) -> None:
    """The content changes, `edited_at` is set and the version rises; `id` and `client_id` stay."""
    alice, bob = await live.people("alice", "bob")
    chat_id = await alice.direct(bob)
    sent = await alice.say(chat_id, "helo")
    response = await alice.put(f"/api/chats/{chat_id}/messages/{sent['id']}", {"content": "hello"})
    edited = response.json()
    assert edited["content"] == "hello"
    assert edited["edited_at"] == edited["updated_at"] > sent["created_at"]
    assert edited["version"] == sent["version"] + 1
    assert (edited["id"], edited["client_id"]) == (sent["id"], sent["client_id"])
    blank = await alice.put(f"/api/chats/{chat_id}/messages/{sent['id']}", {"content": " "})
    assert blank.status_code == 422
    assert (await bob.history(chat_id))[0]["content"] == "hello"


async def test_edit_that_changes_nothing_is_none(live: Live) -> None:
    """No version, no `edited_at`, no event: the response is the message as it is."""
    alice, bob = await live.people("alice", "bob")
    chat_id = await alice.direct(bob)
    sent = await alice.say(chat_id, "same")
    async with bob.online() as socket, alice.online() as own:
        edited = await alice.put(f"/api/chats/{chat_id}/messages/1", {"content": "same"})
        assert (edited.status_code, edited.json()) == (200, sent)
        ack = await own.ask("edit", chat_id=chat_id, message_id=1, content="same")
        assert (ack["type"], ack["version"]) == ("ack", sent["version"])
        await alice.say(chat_id, "next")
        event = await socket.next()
        assert (event["type"], event["version"]) == ("message.created", sent["version"] + 1)


async def test_reaction_is_exactly_one_emoji(live: Live) -> None:
    """Of the RGI set: with skin tones, joined ones, flags, keycaps. Anything else is rejected."""
    alice = await live.person()
    chat_id = await alice.group()
    await alice.say(chat_id, "x")
    path = f"/api/chats/{chat_id}/messages/1/reactions"
    accepted = ["👍🏽", "👨‍👩‍👧‍👦", "🏳️‍🌈", "🇩🇪", "🏴󠁧󠁢󠁥󠁮󠁧󠁿", "1️⃣", "😀"]
    for emoji in accepted:
        assert (await alice.put(f"{path}/{quote(emoji)}")).status_code == 200
    for text in ("abc", "1", ":+1:", "👍👍", "👍 ", " ", "‍", "🏽", "🇩", "️", "👍\0", "x" * 33):
        rejected = await alice.put(f"{path}/{quote(text)}")
        assert (rejected.status_code, rejected.json()["errors"][0]["field"]) == (422, "emoji"), text
    (message,) = await alice.history(chat_id)
    assert [reaction["emoji"] for reaction in message["reactions"]] == accepted


async def test_forms_of_an_emoji_are_one_reaction(live: Live) -> None:
    """With and without variation selectors. The stored form is the fully-qualified one."""
    alice, bob = await live.people("alice", "bob")
    chat_id = await alice.direct(bob)
    await alice.say(chat_id, "x")
    path = f"/api/chats/{chat_id}/messages/1/reactions"
    for short, full in (("❤", "❤️"), ("👁‍🗨", "👁️‍🗨️"), ("1⃣", "1️⃣")):
        await alice.put(f"{path}/{quote(short)}")
        reacted = (await bob.put(f"{path}/{quote(full)}")).json()["reactions"][-1]
        assert reacted == {"emoji": full, "count": 2, "user_ids": [alice.id, bob.id]}
        left = (await bob.delete(f"{path}/{quote(short)}")).json()["reactions"][-1]
        assert left["user_ids"] == [alice.id]


async def test_reactions_of_earlier_versions_can_be_removed(
    new_server: NewServer, new_database: NewDatabase
) -> None:
    """They could be any text, and an emoji in any form, which others join."""
    database_url = await new_database()
    live = await new_server(database_url=database_url)
    alice, bob = await live.people("alice", "bob")
    chat_id = await alice.direct(bob)
    await alice.say(chat_id, "x")
    connection = await asyncpg.connect(database_url)
    rows = [(chat_id, 1, emoji, alice.id) for emoji in ("abc", "❤")]
    await connection.executemany("INSERT INTO reactions VALUES ($1, $2, $3, $4)", rows)
    await connection.execute("UPDATE messages SET reaction_count = 2")
    await connection.close()
    path = f"/api/chats/{chat_id}/messages/1/reactions"
    joined = (await bob.put(f"{path}/{quote('❤️')}")).json()["reactions"]
    assert [(reaction["emoji"], reaction["count"]) for reaction in joined] == [("abc", 1), ("❤", 2)]
    for emoji in ("abc", "❤️"):
        assert (await alice.delete(f"{path}/{quote(emoji)}")).status_code == 200
    assert (await bob.delete(f"{path}/{quote('❤️')}")).json()["reactions"] == []


async def test_deleted_content_is_gone_from_everywhere(live: Live) -> None:
    """From lists, the single message, chats, conversations and retries. A tombstone keeps the id."""
    alice, bob = await live.people("alice", "bob")
    chat_id = await alice.direct(bob)
    secret = "never to be seen again"
    sent = await alice.say(chat_id, secret, client_id="c1")
    await bob.say(chat_id, "a reply", reply_to=sent["id"])
    path = f"/api/chats/{chat_id}/messages"
    assert (await alice.delete(f"{path}/{sent['id']}")).status_code == 204
    assert (await alice.delete(f"{path}/{sent['id']}")).status_code == 204
    edit = await alice.put(f"{path}/{sent['id']}", {"content": "back"})
    assert (edit.status_code, edit.json()["code"]) == (409, "message_deleted")
    responses = [
        await bob.get(path),
        await bob.get(f"{path}/{sent['id']}"),
        await bob.get(f"/api/chats/{chat_id}"),
        await bob.get("/api/chats"),
        await bob.get("/messages/conversations/"),
        await bob.get(f"/messages/conversations/{chat_id}/messages/"),
        await alice.post(path, {"content": secret, "client_id": "c1"}),
    ]
    for response in responses:
        assert response.status_code in (200, 201)
        assert secret not in response.text
    tombstone = responses[1].json()
    assert tombstone["content"] == ""
    assert tombstone["deleted_at"]
    assert [message["id"] for message in responses[0].json()] == [2, 1]
    rows = await _rows_with(live, secret)
    assert rows == 0


async def _rows_with(live: Live, content: str) -> int:
    from sqlalchemy import func, select

    from blazechat.database import tables

    async with live.app.state.services.database.transaction() as session:
        count = select(func.count()).where(tables.Message.content.contains(content))
        return int(await session.scalar(count))


async def test_read_cursor_and_status(live: Live) -> None:
    """`unread`, `is_read` and read-status agree. Sending a message marks the earlier ones as read."""
    alice, bob, carol = await live.people("alice", "bob", "carol")
    chat_id = await alice.group(bob, carol)
    path = f"/api/chats/{chat_id}/messages"
    for number in range(1, 4):
        await alice.say(chat_id, f"m{number}")
    status = (await alice.get(f"{path}/2/read-status")).json()
    assert status == {"is_read": False, "read_by": [], "unread_by": [bob.id, carol.id]}
    read = (await bob.put(f"{path}/read", {"up_to": 2})).json()
    assert (read["read_id"], read["unread"]) == (2, 1)
    status = (await alice.get(f"{path}/2/read-status")).json()
    assert status == {"is_read": True, "read_by": [bob.id], "unread_by": [carol.id]}
    assert [message["is_read"] for message in await alice.history(chat_id)] == [False, True, True]
    assert (await carol.put(f"{path}/read")).json()["read_id"] == 3
    assert (await bob.get(f"/api/chats/{chat_id}")).json()["unread"] == 1
    await bob.say(chat_id, "m4")
    assert (await bob.get(f"/api/chats/{chat_id}")).json()["unread"] == 0
    assert (await alice.get(f"/api/chats/{chat_id}")).json()["unread"] == 1


async def test_own_messages_move_the_read_cursor_for_everybody_who_asks(live: Live) -> None:
    """Answers of many messages in a row: cursor, unread count and `is_read` agree in every document."""
    alice, bob, carol = await live.people("alice", "bob", "carol")
    chat_id = await alice.group(bob, carol)
    await alice.say(chat_id, "question")
    for number in range(3):  # the first one is checked in full, the others are appended by the short way
        await bob.say(chat_id, f"answer {number}")
    path = f"/api/chats/{chat_id}"
    status = (await alice.get(f"{path}/messages/1/read-status")).json()
    assert status == {"is_read": True, "read_by": [bob.id], "unread_by": [carol.id]}
    is_read = [False, False, False, True]
    assert [message["is_read"] for message in await alice.history(chat_id)] == is_read
    for query in ({"before": 5}, {"after": 0}, {"around": 2}, {"skip": 0}):
        assert [m["is_read"] for m in await alice.history(chat_id, **query)] == is_read, query
    events = (await alice.get(f"{path}/changes", params={"after": 1})).json()["events"]
    assert [event["message"]["is_read"] for event in events] == is_read[::-1]
    async with bob.online() as socket:
        cursors = (await socket.ask("subscribe", chat_id=chat_id))["cursors"]
        assert cursors == {str(alice.id): 1, str(bob.id): 4, str(carol.id): 0}
        assert (await socket.ask("read", chat_id=chat_id, up_to=2))["read_id"] == 4
    for person, expected in ((alice, (1, 3)), (bob, (4, 0)), (carol, (0, 4))):
        listed = [chat for chat in (await person.get("/api/chats")).json() if chat["id"] == chat_id]
        overview = [c for c in (await person.get("/api/sync")).json()["chats"] if c["id"] == chat_id]
        for chat in ((await person.get(path)).json(), *listed, *overview):
            assert (chat["read_id"], chat["unread"]) == expected
    assert (await bob.delete(f"{path}/members/{bob.id}")).json()["read_id"] == 4


async def test_read_cursor_never_moves_back_nor_past_the_last_message(live: Live) -> None:
    """For any values, in any order, also concurrently."""
    alice, bob = await live.people("alice", "bob")
    chat_id = await alice.direct(bob)
    for number in range(10):
        await alice.say(chat_id, f"m{number}")
    path = f"/api/chats/{chat_id}/messages/read"
    assert (await bob.put(path, {"up_to": 10**9})).json()["read_id"] == 10
    assert (await bob.put(path, {"up_to": 3})).json() == {
        "message": "Messages marked as read",
        "read_id": 10,
        "unread": 0,
    }
    other = await alice.group(bob)
    for number in range(10):
        await alice.say(other, f"m{number}")
    path = f"/api/chats/{other}/messages/read"
    await asyncio.gather(*(bob.put(path, {"up_to": up_to}) for up_to in (7, 3, 9, 1, 5)))
    assert (await bob.get(f"/api/chats/{other}")).json()["read_id"] == 9


async def test_read_status_leaves_out_members_who_joined_later(live: Live) -> None:
    """Read status covers the members who were in the chat when the message was sent."""
    alice, bob, carol = await live.people("alice", "bob", "carol")
    chat_id = await alice.group(bob)
    await alice.say(chat_id, "before carol")
    await alice.post(f"/api/chats/{chat_id}/members", [carol.id])
    status = (await alice.get(f"/api/chats/{chat_id}/messages/1/read-status")).json()
    assert status == {"is_read": False, "read_by": [], "unread_by": [bob.id]}
    assert (await alice.history(chat_id))[0]["is_read"] is False


async def test_sends_of_one_client_keep_their_order(live: Live) -> None:
    """An acknowledged message has a smaller id than one that is sent after the acknowledgement."""
    alice, bob = await live.people("alice", "bob")
    chat_id = await alice.direct(bob)

    async def talk(person: object, name: str) -> list[int]:
        return [(await person.say(chat_id, f"{name} {n}"))["id"] for n in range(20)]  # type: ignore[attr-defined]

    for ids in await asyncio.gather(talk(alice, "a"), talk(bob, "b"), talk(alice, "c")):
        assert ids == sorted(ids)
    assert [m["id"] for m in await alice.history(chat_id, limit=100)] == list(range(60, 0, -1))
