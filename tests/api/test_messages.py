"""Messages over HTTP: sending, reading in pages, editing, deleting; and read receipts."""

import asyncio
import json

import pytest

from tests.harness import Live


async def test_send_and_read_back(live: Live) -> None:
    """201 with the message as everybody will see it, to the byte."""
    alice, bob = await live.people("alice", "bob")
    chat_id = await alice.direct(bob)
    content = " Grüße, 世界! \r\n\t👩‍👩‍👧‍👦 שלום \u202e\x1b[31m e\u0301 "
    answer = await alice.post(
        f"/chats/{chat_id}/messages", {"content": content, "client_id": "c1", "reply_to": None}
    )
    assert answer.status_code == 201
    message = answer.json()
    assert answer.headers["location"] == f"/api/chats/{chat_id}/messages/1"
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
async def test_bad_messages_are_refused_by_field(live: Live, body: object, field: str) -> None:
    """422, the field's name, and nothing stored."""
    alice = await live.person()
    chat_id = await alice.group()
    headers = {"content-type": "application/json"}
    path = f"/api/chats/{chat_id}/messages"
    answer = await alice.http.post(path, content=json.dumps(body), headers=headers)
    assert answer.status_code == 422, answer.text
    assert answer.json()["errors"][0]["field"] == field
    assert await alice.history(chat_id) == []


async def test_longest_message_fits(live: Live) -> None:
    """10,000 characters, whatever they weigh."""
    alice = await live.person()
    chat_id = await alice.group()
    content = "👾" * 10_000
    assert (await alice.say(chat_id, content))["content"] == content
    assert (await alice.history(chat_id))[0]["content"] == content


async def test_one_client_id_one_message(live: Live) -> None:
    """Retries give the first message again, at once or one by one; another body is a conflict."""
    alice, bob = await live.people("alice", "bob")
    chat_id = await alice.direct(bob)
    path = f"/api/chats/{chat_id}/messages"
    body = {"content": "once", "client_id": "c1"}
    answers = await asyncio.gather(*(alice.post(path, body) for _ in range(8)))
    answers.append(await alice.post(path, body))
    assert {answer.status_code for answer in answers} == {201}
    assert len({answer.text for answer in answers}) == 1
    assert len(await alice.history(chat_id)) == 1

    for other in (body | {"content": "twice"}, body | {"reply_to": 1}):
        answer = await alice.post(path, other)
        assert (answer.status_code, answer.json()["code"]) == (409, "client_id_conflict")
    assert (await bob.post(path, body | {"content": "bob's own c1"})).status_code == 201
    other_chat = await alice.group()
    assert (await alice.say(other_chat, "another chat", client_id="c1"))["id"] == 1


async def test_retry_after_edit_and_delete(live: Live) -> None:
    """A retry gives the message as it is now; the original body still tells a conflict."""
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


async def test_ids_have_no_holes_even_with_bad_sends_between(live: Live) -> None:
    """Refused sends take no ids, and each fails alone."""
    alice = await live.person()
    chat_id = await alice.group()
    path = f"/api/chats/{chat_id}/messages"
    answers = await asyncio.gather(
        *(
            alice.post(path, {"content": f"{n}", "reply_to": 10_000 if n % 3 == 0 else None})
            for n in range(30)
        )
    )
    assert sorted({answer.status_code for answer in answers}) == [201, 422]
    ids = sorted(answer.json()["id"] for answer in answers if answer.status_code == 201)
    assert ids == list(range(1, 21))


async def test_pages(live: Live) -> None:
    """Newest first; before, after, around and skip; `Link` leads both ways to the ends."""
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
async def test_bad_pages_are_refused(live: Live, query: dict[str, object]) -> None:
    """422 with the parameter's name."""
    alice = await live.person()
    chat_id = await alice.group()
    answer = await alice.get(f"/api/chats/{chat_id}/messages", params=query)
    assert answer.status_code == 422
    assert answer.json()["errors"][0]["field"] in query


async def test_edit_keeps_place_and_time(live: Live) -> None:
    """The content changes, `edited_at` is set, the version rises, the id and client_id stay."""
    alice, bob = await live.people("alice", "bob")
    chat_id = await alice.direct(bob)
    sent = await alice.say(chat_id, "helo")
    answer = await alice.put(f"/api/chats/{chat_id}/messages/{sent['id']}", {"content": "hello"})
    edited = answer.json()
    assert edited["content"] == "hello"
    assert edited["edited_at"] == edited["updated_at"] > sent["created_at"]
    assert edited["version"] == sent["version"] + 1
    assert (edited["id"], edited["client_id"]) == (sent["id"], sent["client_id"])
    blank = await alice.put(f"/api/chats/{chat_id}/messages/{sent['id']}", {"content": " "})
    assert blank.status_code == 422
    assert (await bob.history(chat_id))[0]["content"] == "hello"


async def test_deleted_content_is_gone_from_everywhere(live: Live) -> None:
    """Lists, single message, chat, conversations, retries; a marker stays, and the ids stay dense."""
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
    answers = [
        await bob.get(path),
        await bob.get(f"{path}/{sent['id']}"),
        await bob.get(f"/api/chats/{chat_id}"),
        await bob.get("/api/chats"),
        await bob.get("/messages/conversations/"),
        await bob.get(f"/messages/conversations/{chat_id}/messages/"),
        await alice.post(path, {"content": secret, "client_id": "c1"}),
    ]
    for answer in answers:
        assert answer.status_code in (200, 201)
        assert secret not in answer.text
    marker = answers[1].json()
    assert marker["content"] == ""
    assert marker["deleted_at"]
    assert [message["id"] for message in answers[0].json()] == [2, 1]
    rows = await _rows_with(live, secret)
    assert rows == 0


async def _rows_with(live: Live, content: str) -> int:
    from sqlalchemy import func, select

    from blazechat.database import tables

    async with live.app.state.services.database.transaction() as session:
        count = select(func.count()).where(tables.Message.content.contains(content))
        return int(await session.scalar(count))


async def test_read_cursor_and_status(live: Live) -> None:
    """`unread`, `is_read` and read-status agree, and sending counts as having read."""
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


async def test_read_cursor_never_goes_back_nor_too_far(live: Live) -> None:
    """Whatever is asked for, in whatever order, at once."""
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


async def test_those_who_came_later_are_not_asked_whether_they_read(live: Live) -> None:
    """Read status is about those who were there."""
    alice, bob, carol = await live.people("alice", "bob", "carol")
    chat_id = await alice.group(bob)
    await alice.say(chat_id, "before carol")
    await alice.post(f"/api/chats/{chat_id}/members", [carol.id])
    status = (await alice.get(f"/api/chats/{chat_id}/messages/1/read-status")).json()
    assert status == {"is_read": False, "read_by": [], "unread_by": [bob.id]}
    assert (await alice.history(chat_id))[0]["is_read"] is False


async def test_sends_of_one_client_keep_their_order(live: Live) -> None:
    """An acknowledged message has a smaller id than one whose sending began afterwards."""
    alice, bob = await live.people("alice", "bob")
    chat_id = await alice.direct(bob)

    async def talk(person: object, name: str) -> list[int]:
        return [(await person.say(chat_id, f"{name} {n}"))["id"] for n in range(20)]  # type: ignore[attr-defined]

    for ids in await asyncio.gather(talk(alice, "a"), talk(bob, "b"), talk(alice, "c")):
        assert ids == sorted(ids)
    assert [m["id"] for m in await alice.history(chat_id, limit=100)] == list(range(60, 0, -1))
