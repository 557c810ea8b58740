"""Files in messages: who can read them, how they are delivered, and when they are deleted."""

import asyncio
from typing import Any

import pytest

from tests.files.pictures import photo
from tests.files.upload_calls import begin_upload, patch, uploaded
from tests.harness import Live, Person


async def shared(owner: Person, *others: Person, content: bytes = b"words") -> tuple[int, dict[str, Any]]:
    """Create a group of these people with a message that has a file; return the chat's id and the
    message."""
    chat = await owner.group(*others)
    upload = await uploaded(owner, content, "notes.txt")
    return chat, await owner.say(chat, "look", attachments=[upload["id"]])


async def sweep_all(live: Live) -> None:
    while await live.app.state.sweeper.sweep():
        pass


async def test_a_message_with_a_file_is_the_same_everywhere(live: Live) -> None:
    """In the response, history, events, changes, the chat's last message and the conversations API."""
    alice, bob = await live.people("alice", "bob")
    chat = await alice.group(bob)
    upload = await uploaded(alice, photo(), "ünï code.jpg")
    async with bob.online() as all_chats, bob.listening(chat) as one_chat:
        message = await alice.say(chat, "", attachments=[upload["id"]])
        (attachment,) = message["attachments"]
        assert attachment["url"] == f"/api/chats/{chat}/media/{upload['id']}/content"
        shared_fields = ("id", "name", "media_type", "size", "width", "height", "placeholder", "duration")
        assert {key: attachment[key] for key in shared_fields} == {
            key: upload[key] for key in shared_fields
        }
        assert (await all_chats.next(type="message.created"))["message"] == message
        assert await one_chat.next(id=message["id"]) == message
    assert await bob.history(chat) == [message]
    assert (await bob.get(f"/api/chats/{chat}/messages/{message['id']}")).json() == message
    assert (await bob.get(f"/api/chats/{chat}")).json()["last_message"] == message
    changes = (await bob.get(f"/api/chats/{chat}/changes", params={"after": 1})).json()
    assert changes["events"][0]["message"] == message
    conversation = (await bob.get(f"/api/messages/conversations/{chat}/messages")).json()
    assert conversation[0]["attachments"] == [attachment]


async def test_every_way_to_send_accepts_files(live: Live) -> None:
    """Both HTTP APIs, `/ws`, and the chat socket."""
    alice = await live.person("alice")
    chat = await alice.group()
    files = [(await uploaded(alice, f"file {n}".encode()))["id"] for n in range(4)]
    await alice.say(chat, "one", attachments=[files[0]])
    sent = await alice.post(
        f"/api/messages/conversations/{chat}/messages", {"content": "two", "attachments": [files[1]]}
    )
    assert sent.status_code == 200
    async with alice.online() as socket:
        ack = await socket.ask("send", chat_id=chat, content="three", attachments=[files[2]])
        assert ack["type"] == "ack"
    async with alice.listening(chat) as one_chat:
        await one_chat.send({"attachments": [files[3]]})
        assert (await one_chat.next())["attachments"][0]["id"] == files[3]
    messages = (await alice.history(chat))[::-1]
    assert [(m["content"], [a["id"] for a in m["attachments"]]) for m in messages] == [
        ("one", [files[0]]),
        ("two", [files[1]]),
        ("three", [files[2]]),
        ("", [files[3]]),
    ]


async def test_files_and_sends_keep_their_order(live: Live) -> None:
    """A message has ten files in the order of the request. Messages without files do not overtake it."""
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
async def test_invalid_attachment_ids_are_rejected(live: Live, attachments: Any) -> None:
    """Over HTTP and over the socket; the error names the field."""
    alice = await live.person("alice")
    chat = await alice.group()
    body = {"content": "x", "attachments": attachments}
    answer = await alice.post(f"/api/chats/{chat}/messages", body)
    assert answer.status_code == 422
    assert answer.json()["errors"][0]["field"].startswith("attachments")
    async with alice.online() as socket:
        rejected = await socket.ask("send", chat_id=chat, **body)
        assert (rejected["type"], rejected["code"]) == ("error", "invalid_input")
    assert await alice.history(chat) == []


async def test_only_own_ready_files_can_be_sent(live: Live) -> None:
    """A file of another user, an unknown id, an unfinished upload and a repeated id are rejected."""
    alice, bob = await live.people("alice", "bob")
    chat = await alice.group(bob)
    mine, theirs = [(await uploaded(who, b"x"))["id"] for who in (alice, bob)]
    where = await begin_upload(alice, 6)
    await patch(alice, where, 0, b"abc")
    unfinished = int(where.rpartition("/")[2])
    for attachments in ([theirs], [2**50], [unfinished], [mine, theirs], [mine, mine]):
        body = {"content": "x", "attachments": attachments}
        answer = await alice.post(f"/api/chats/{chat}/messages", body)
        assert (answer.status_code, answer.json()["errors"][0]["field"]) == (422, "attachments")
    assert await alice.history(chat) == []
    blank = await alice.post(f"/api/chats/{chat}/messages", {"content": "", "attachments": []})
    assert blank.status_code == 422


async def test_a_retry_with_the_same_files_returns_the_same_message(live: Live) -> None:
    """Other files under the same client_id are a conflict."""
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
    """Outsiders and former members get the same response as for a file that does not exist, in any chat."""
    alice, bob, carol = await live.people("alice", "bob", "carol")
    chat, message = await shared(alice, bob)
    url = message["attachments"][0]["url"]
    assert (await bob.get(url)).content == b"words"
    unknown = await carol.get(url.replace(f"/chats/{chat}/", f"/chats/{2**50}/"))
    elsewhere = await carol.group()
    for answer in (
        await carol.get(url),
        await carol.get(url.replace(f"/chats/{chat}/", f"/chats/{elsewhere}/")),
        await bob.get(f"/api/media/{message['attachments'][0]['id']}/content"),
    ):
        assert (answer.status_code, answer.json()["code"]) == (404, "not_found")
    assert unknown.status_code == 404
    assert (await live.client().get(url)).status_code == 401
    await alice.delete(f"/api/chats/{chat}/members/{bob.id}")
    assert (await bob.get(url)).status_code == 404


async def test_files_of_hidden_messages_cannot_be_downloaded(live: Live) -> None:
    """In a chat whose members see no messages from before they joined, they see no files of these
    either."""
    alice, bob = await live.people("alice", "bob")
    chat = await alice.group(history="joined")
    upload = await uploaded(alice, b"early")
    message = await alice.say(chat, "early", attachments=[upload["id"]])
    url = message["attachments"][0]["url"]
    await alice.post(f"/api/chats/{chat}/members", [bob.id])
    assert (await bob.get(url)).status_code == 404
    await alice.say(chat, "again", attachments=[upload["id"]])
    assert (await bob.get(url)).content == b"early"


async def test_deleting_a_message_deletes_files_that_only_it_had(live: Live) -> None:
    """Immediately and for every user, including the author. A file of another message stays."""
    alice, bob = await live.people("alice", "bob")
    chat, only = await shared(alice, bob, content=b"only here")
    upload = await uploaded(alice, b"in both")
    first = await alice.say(chat, "", attachments=[upload["id"]])
    second = await alice.say(chat, "", attachments=[upload["id"]])
    for message in (only, first):
        answer = await alice.delete(f"/api/chats/{chat}/messages/{message['id']}")
        assert answer.status_code == 204
    assert (await bob.get(only["attachments"][0]["url"])).status_code == 404
    assert (await alice.get(f"/api/media/{only['attachments'][0]['id']}")).status_code == 404
    assert (await alice.get(f"/api/chats/{chat}/messages/{only['id']}")).json()["attachments"] == []
    await sweep_all(live)
    assert (await bob.get(second["attachments"][0]["url"])).content == b"in both"
    await alice.delete(f"/api/chats/{chat}/messages/{second['id']}")
    assert (await bob.get(second["attachments"][0]["url"])).status_code == 404


async def test_deleting_a_chat_deletes_its_files(live: Live) -> None:
    """Also from the storage."""
    alice = await live.person("alice")
    content = b"bytes of a deleted chat"
    chat, _ = await shared(alice, content=content)
    folder = live.app.state.settings.data_dir / "media"
    pieces = [path for path in folder.rglob("*") if path.is_file() and path.read_bytes() == content]
    assert len(pieces) == 1
    assert (await alice.delete(f"/api/chats/{chat}")).status_code == 204
    await sweep_all(live)
    assert not pieces[0].exists()
    assert (await alice.get("/api/media")).json() == []


async def test_a_file_in_use_cannot_be_deleted(live: Live) -> None:
    """To delete it, the user deletes the message."""
    alice = await live.person("alice")
    _, message = await shared(alice)
    media_id = message["attachments"][0]["id"]
    rejected = await alice.delete(f"/api/media/{media_id}")
    assert (rejected.status_code, rejected.json()["code"]) == (409, "media_in_use")
    assert (await alice.get(message["attachments"][0]["url"])).status_code == 200


async def test_sending_and_deleting_a_file_concurrently(live: Live) -> None:
    """One of the two succeeds. A message never has a deleted file."""
    alice = await live.person("alice")
    chat = await alice.group()
    for number in range(20):
        upload = await uploaded(alice, f"{number}".encode())
        sent, deleted = await asyncio.gather(
            alice.post(f"/api/chats/{chat}/messages", {"content": "x", "attachments": [upload["id"]]}),
            alice.delete(f"/api/media/{upload['id']}"),
        )
        assert (sent.status_code, deleted.status_code) in ((201, 409), (422, 204))
        if sent.status_code == 201:
            (attachment,) = sent.json()["attachments"]
            assert (await alice.get(attachment["url"])).status_code == 200


async def test_an_edit_keeps_the_files(live: Live) -> None:
    """The text of a message with a file may be empty; a message without a file needs text."""
    alice = await live.person("alice")
    chat, message = await shared(alice)
    path = f"/api/chats/{chat}/messages/{message['id']}"
    edited = (await alice.put(path, {"content": ""})).json()
    assert (edited["content"], edited["attachments"]) == ("", message["attachments"])
    plain = await alice.say(chat, "words")
    rejected = await alice.put(f"/api/chats/{chat}/messages/{plain['id']}", {"content": ""})
    assert rejected.status_code == 422


async def test_resume_delivers_files(live: Live) -> None:
    """A member who was offline receives the message with its files."""
    alice, bob = await live.people("alice", "bob")
    chat = await alice.group(bob)
    version = (await alice.get(f"/api/chats/{chat}")).json()["version"]
    upload = await uploaded(alice, b"missed")
    message = await alice.say(chat, "", attachments=[upload["id"]])
    async with bob.online() as socket:
        await socket.send({"type": "resume", "chats": {str(chat): version}})
        assert (await socket.next(type="message.created"))["message"] == message
