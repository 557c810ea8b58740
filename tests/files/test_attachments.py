"""Files in messages: who may see them, how they are told, and what becomes of them."""

import asyncio
from typing import Any

import pytest

from tests.files.pictures import photo
from tests.files.test_uploads import begun, patch, uploaded
from tests.harness import Live, Person


async def shared(owner: Person, *others: Person, content: bytes = b"words") -> tuple[int, dict[str, Any]]:
    """A group of these people, and a message in it with a file."""
    chat = await owner.group(*others)
    made = await uploaded(owner, content, "notes.txt")
    return chat, await owner.say(chat, "look", attachments=[made["id"]])


async def swept(live: Live) -> None:
    while await live.app.state.sweeper.sweep():
        pass


async def test_a_message_with_a_file_is_told_alike_everywhere(live: Live) -> None:
    """In the answer, the history, events, changes, the list of chats, pins, and in the other dialect."""
    alice, bob = await live.people("alice", "bob")
    chat = await alice.group(bob)
    made = await uploaded(alice, photo(), "ünï code.jpg")
    async with bob.online() as everything, bob.listening(chat) as one_chat:
        said = await alice.say(chat, "", attachments=[made["id"]])
        (attachment,) = said["attachments"]
        assert attachment["url"] == f"/api/chats/{chat}/media/{made['id']}/content"
        same = ("id", "name", "media_type", "size", "width", "height", "placeholder", "duration")
        assert {key: attachment[key] for key in same} == {key: made[key] for key in same}
        assert (await everything.next(type="message.created"))["message"] == said
        assert await one_chat.next(id=said["id"]) == said
    assert await bob.history(chat) == [said]
    assert (await bob.get(f"/api/chats/{chat}/messages/{said['id']}")).json() == said
    assert (await bob.get(f"/api/chats/{chat}")).json()["last_message"] == said
    changes = (await bob.get(f"/api/chats/{chat}/changes", params={"after": 1})).json()
    assert changes["events"][0]["message"] == said
    other = (await bob.get(f"/api/messages/conversations/{chat}/messages")).json()
    assert other[0]["attachments"] == [attachment]


async def test_files_are_sent_over_every_door(live: Live) -> None:
    """Both dialects, `/ws`, and the seeds' socket of one chat."""
    alice = await live.person("alice")
    chat = await alice.group()
    files = [(await uploaded(alice, f"file {n}".encode()))["id"] for n in range(4)]
    await alice.say(chat, "one", attachments=[files[0]])
    sent = await alice.post(
        f"/api/messages/conversations/{chat}/messages", {"content": "two", "attachments": [files[1]]}
    )
    assert sent.status_code == 200
    async with alice.online() as everything:
        ack = await everything.ask("send", chat_id=chat, content="three", attachments=[files[2]])
        assert ack["type"] == "ack"
    async with alice.listening(chat) as one_chat:
        await one_chat.send({"attachments": [files[3]]})
        assert (await one_chat.next())["attachments"][0]["id"] == files[3]
    said = (await alice.history(chat))[::-1]
    assert [(m["content"], [a["id"] for a in m["attachments"]]) for m in said] == [
        ("one", [files[0]]),
        ("two", [files[1]]),
        ("three", [files[2]]),
        ("", [files[3]]),
    ]


async def test_files_keep_their_order_and_sends_theirs(live: Live) -> None:
    """Ten files in a message, in the order that was asked for; messages without files do not overtake."""
    alice = await live.person("alice")
    chat = await alice.group()
    files = [(await uploaded(alice, f"file {n}".encode()))["id"] for n in range(10)]
    async with alice.online() as socket:
        for number in range(30):
            with_files = {"attachments": files[::-1]} if number % 3 == 0 else {}
            await socket.send({"type": "send", "chat_id": chat, "content": str(number), **with_files})
        for number in range(30):
            message = (await socket.next(type="message.created"))["message"]
            assert message["content"] == str(number)
            assert [a["id"] for a in message["attachments"]] == (files[::-1] if number % 3 == 0 else [])


@pytest.mark.parametrize(
    "attachments",
    [[0], [-1], ["1"], [1.5], [None], "1", {"id": 1}, [2**60], list(range(1, 12)), [True]],
    ids=str,
)
async def test_attachments_that_are_no_ids_are_refused(live: Live, attachments: Any) -> None:
    """With a sentence that says so, over HTTP and over the socket."""
    alice = await live.person("alice")
    chat = await alice.group()
    body = {"content": "x", "attachments": attachments}
    answer = await alice.post(f"/api/chats/{chat}/messages", body)
    assert answer.status_code == 422
    assert answer.json()["errors"][0]["field"].startswith("attachments")
    async with alice.online() as socket:
        refused = await socket.ask("send", chat_id=chat, **body)
        assert (refused["type"], refused["code"]) == ("error", "invalid_input")
    assert await alice.history(chat) == []


async def test_only_ones_own_finished_files_can_be_sent(live: Live) -> None:
    """Not another's, not one that is not there, none that is still on its way, none twice."""
    alice, bob = await live.people("alice", "bob")
    chat = await alice.group(bob)
    mine, theirs = [(await uploaded(who, b"x"))["id"] for who in (alice, bob)]
    where = await begun(alice, 6)
    await patch(alice, where, 0, b"abc")
    unfinished = int(where.rpartition("/")[2])
    for attachments in ([theirs], [2**50], [unfinished], [mine, theirs], [mine, mine]):
        body = {"content": "x", "attachments": attachments}
        answer = await alice.post(f"/api/chats/{chat}/messages", body)
        assert (answer.status_code, answer.json()["errors"][0]["field"]) == (422, "attachments")
    assert await alice.history(chat) == []
    blank = await alice.post(f"/api/chats/{chat}/messages", {"content": "", "attachments": []})
    assert blank.status_code == 422


async def test_a_retry_with_the_same_files_is_the_same_message(live: Live) -> None:
    """And with other files under its client_id it is a conflict."""
    alice = await live.person("alice")
    chat = await alice.group()
    one, two = [(await uploaded(alice, content))["id"] for content in (b"1", b"2")]
    first = await alice.say(chat, "x", client_id="c", attachments=[one])
    assert await alice.say(chat, "x", client_id="c", attachments=[one]) == first
    for attachments in ([two], [one, two], []):
        body = {"content": "x", "client_id": "c", "attachments": attachments}
        answer = await alice.post(f"/api/chats/{chat}/messages", body)
        assert (answer.status_code, answer.json()["code"]) == (409, "client_id_conflict")


async def test_only_members_download(live: Live) -> None:
    """Outsiders, former members and other chats are told what is told of a file that is not there."""
    alice, bob, carol = await live.people("alice", "bob", "carol")
    chat, said = await shared(alice, bob)
    url = said["attachments"][0]["url"]
    assert (await bob.get(url)).content == b"words"
    unknown = await carol.get(url.replace(f"/chats/{chat}/", f"/chats/{2**50}/"))
    elsewhere = await carol.group()
    for answer in (
        await carol.get(url),
        await carol.get(url.replace(f"/chats/{chat}/", f"/chats/{elsewhere}/")),
        await bob.get(f"/api/media/{said['attachments'][0]['id']}/content"),
    ):
        assert (answer.status_code, answer.json()["code"]) == (404, "not_found")
    assert unknown.status_code == 404
    assert (await live.client().get(url)).status_code == 401
    await alice.delete(f"/api/chats/{chat}/members/{bob.id}")
    assert (await bob.get(url)).status_code == 404


async def test_files_before_ones_time_are_not_shown(live: Live) -> None:
    """In a chat whose history begins with one's joining, neither are its files."""
    alice, bob = await live.people("alice", "bob")
    chat = await alice.group(history="joined")
    made = await uploaded(alice, b"early")
    said = await alice.say(chat, "early", attachments=[made["id"]])
    url = said["attachments"][0]["url"]
    await alice.post(f"/api/chats/{chat}/members", [bob.id])
    assert (await bob.get(url)).status_code == 404
    await alice.say(chat, "again", attachments=[made["id"]])
    assert (await bob.get(url)).content == b"early"


async def test_deleting_a_message_deletes_what_only_it_had(live: Live) -> None:
    """At once for everybody, its author too; a file that another message has stays."""
    alice, bob = await live.people("alice", "bob")
    chat, said = await shared(alice, bob, content=b"only here")
    both = await uploaded(alice, b"in both")
    first = await alice.say(chat, "", attachments=[both["id"]])
    second = await alice.say(chat, "", attachments=[both["id"]])
    for message in (said, first):
        answer = await alice.delete(f"/api/chats/{chat}/messages/{message['id']}")
        assert answer.status_code == 204
    assert (await bob.get(said["attachments"][0]["url"])).status_code == 404
    assert (await alice.get(f"/api/media/{said['attachments'][0]['id']}")).status_code == 404
    assert (await alice.get(f"/api/chats/{chat}/messages/{said['id']}")).json()["attachments"] == []
    await swept(live)
    assert (await bob.get(second["attachments"][0]["url"])).content == b"in both"
    await alice.delete(f"/api/chats/{chat}/messages/{second['id']}")
    assert (await bob.get(second["attachments"][0]["url"])).status_code == 404


async def test_a_deleted_chat_takes_its_files_along(live: Live) -> None:
    """From the storage, too."""
    alice = await live.person("alice")
    content = b"bytes of a chat that goes"
    chat, _ = await shared(alice, content=content)
    folder = live.app.state.settings.data_dir / "media"
    pieces = [path for path in folder.rglob("*") if path.is_file() and path.read_bytes() == content]
    assert len(pieces) == 1
    assert (await alice.delete(f"/api/chats/{chat}")).status_code == 204
    await swept(live)
    assert not pieces[0].exists()
    assert (await alice.get("/api/media")).json() == []


async def test_a_file_in_use_is_not_deleted(live: Live) -> None:
    """Deleting it is deleting the message."""
    alice = await live.person("alice")
    _, said = await shared(alice)
    media_id = said["attachments"][0]["id"]
    refused = await alice.delete(f"/api/media/{media_id}")
    assert (refused.status_code, refused.json()["code"]) == (409, "media_in_use")
    assert (await alice.get(said["attachments"][0]["url"])).status_code == 200


async def test_sending_and_deleting_a_file_at_once(live: Live) -> None:
    """One of them wins: a message never has a file that is gone."""
    alice = await live.person("alice")
    chat = await alice.group()
    for number in range(20):
        made = await uploaded(alice, f"{number}".encode())
        sent, deleted = await asyncio.gather(
            alice.post(f"/api/chats/{chat}/messages", {"content": "x", "attachments": [made["id"]]}),
            alice.delete(f"/api/media/{made['id']}"),
        )
        assert (sent.status_code, deleted.status_code) in ((201, 409), (422, 204))
        if sent.status_code == 201:
            (attachment,) = sent.json()["attachments"]
            assert (await alice.get(attachment["url"])).status_code == 200


async def test_an_edit_may_leave_the_file_alone(live: Live) -> None:
    """Its words can go and come; without a file a message cannot be empty."""
    alice = await live.person("alice")
    chat, said = await shared(alice)
    path = f"/api/chats/{chat}/messages/{said['id']}"
    edited = (await alice.put(path, {"content": ""})).json()
    assert (edited["content"], edited["attachments"]) == ("", said["attachments"])
    plain = await alice.say(chat, "words")
    refused = await alice.put(f"/api/chats/{chat}/messages/{plain['id']}", {"content": ""})
    assert refused.status_code == 422


async def test_resume_tells_files(live: Live) -> None:
    """Whoever was away hears the message with its files."""
    alice, bob = await live.people("alice", "bob")
    chat = await alice.group(bob)
    version = (await alice.get(f"/api/chats/{chat}")).json()["version"]
    made = await uploaded(alice, b"missed")
    said = await alice.say(chat, "", attachments=[made["id"]])
    async with bob.online() as socket:
        await socket.send({"type": "resume", "chats": {str(chat): version}})
        assert (await socket.next(type="message.created"))["message"] == said
