"""Webhooks are told of everything, in order, signed, at least once; and of nothing that was deleted."""

import asyncio
from collections.abc import AsyncIterator, Iterator
from typing import Any

import asyncpg
import pytest
from standardwebhooks.webhooks import WebhookVerificationError

from blazechat.domain.webhooks.webhooks import EVENT_TYPES
from tests.conftest import NewDatabase, NewServer
from tests.harness import Live, Person, eventually, running, settings_for
from tests.webhooks.receiver import LOOPBACK, Receiver, Request, receiving

FAST = {"webhook_retry_seconds": "0.05,0.05,0.05,0.05,0.05,0.05,0.05,0.05,0.05,0.05"}


@pytest.fixture(scope="module")
async def server(new_database: NewDatabase) -> AsyncIterator[Live]:
    """One that may call this machine and tries again soon."""
    settings = settings_for(await new_database(), **LOOPBACK, **FAST, webhook_timeout=5)
    async with running(settings) as live:
        await live.person("first")
        yield live


async def hook(
    person: Person, chat_id: int | None, receiver: Receiver, *events: str, **options: Any
) -> dict[str, Any]:
    """A webhook of a chat, or of the server, with its secret."""
    wanted = {"url": receiver.url, "events": list(events) or None}
    answer = await person.post(path_of(chat_id), wanted | options)
    assert answer.status_code == 201, answer.text
    made: dict[str, Any] = answer.json()
    return made


def path_of(chat_id: int | None) -> str:
    return "/api/webhooks" if chat_id is None else f"/api/chats/{chat_id}/webhooks"


async def test_tells_the_events_of_a_chat_in_order_and_signed(server: Live) -> None:
    """The same objects as on a socket, once each; verified with the library for receivers."""
    alice, bob, carol = await server.people("alice", "bob", "carol")
    chat, other = await alice.group(bob), await alice.group(bob)
    async with receiving() as receiver, alice.online() as socket:
        made = await hook(alice, chat, receiver)
        assert made["secret"].startswith("whsec_")
        await alice.say(other, "of no concern")
        said = await bob.say(chat, "hello")
        await alice.put(f"/api/chats/{chat}/messages/{said['id']}/pin")
        await bob.put(f"/api/chats/{chat}/messages/{said['id']}", {"content": "hello, edited"})
        await alice.post(f"/api/chats/{chat}/members", [carol.id])
        await alice.put(f"/api/chats/{chat}/members/{carol.id}", {"role": "admin"})
        await alice.delete(f"/api/chats/{chat}/members/{carol.id}")
        await alice.put(f"/api/chats/{chat}", {"name": "Renamed"})
        await eventually(lambda: len(receiver.accepted) == 7)  # what is deleted is not told any more
        await bob.delete(f"/api/chats/{chat}/messages/{said['id']}")
        await eventually(lambda: len(receiver.accepted) == 8)
        await alice.delete(f"/api/chats/{chat}")
        heard: list[dict[str, Any]] = []
        while not heard or heard[-1]["type"] != "chat.deleted":
            heard.append(await socket.next(chat_id=chat))
        await eventually(lambda: len(receiver.accepted) == len(heard))
    told = [request.verify(made["secret"]) for request in receiver.requests]
    assert [(event["type"], event["version"]) for event in told] == [
        (event["type"], event["version"]) for event in heard
    ]
    about_chat = [event for event in heard if "message" not in event]
    assert [event for event in told if "message" not in event] == about_chat
    assert told[-2]["message"] == heard[-2]["message"]
    names = [request.name for request in receiver.requests]
    assert names == [f"evt_{chat}_{event['version']}" for event in told]
    assert {event["type"] for event in told} == {*EVENT_TYPES} - {"chat.created"}
    request = receiver.requests[0]
    assert request.headers["content-type"] == "application/json"
    assert request.headers["user-agent"].startswith("BlazeChat/")


async def test_tells_only_what_was_asked_for(server: Live) -> None:
    """By the types of events; changed later, from then on."""
    alice = await server.person()
    chat = await alice.group()
    async with receiving() as receiver:
        made = await hook(alice, chat, receiver, "message.deleted")
        assert made["events"] == ["message.deleted"]
        said = await alice.say(chat, "x")
        await alice.delete(f"/api/chats/{chat}/messages/{said['id']}")
        await eventually(lambda: len(receiver.accepted) == 1)
        path = f"{path_of(chat)}/{made['id']}"
        changed = await alice.put(path, {"events": ["message.created"]})
        assert changed.json()["events"] == ["message.created"]
        later = await alice.say(chat, "y")
        await alice.delete(f"/api/chats/{chat}/messages/{later['id']}")
        last = await alice.say(chat, "z")
        await eventually(lambda: len(receiver.accepted) == 3)
        assert receiver.accepted[-1].event["message"]["id"] == last["id"]
        assert (await alice.delete(path)).status_code == 204
        await alice.say(chat, "nobody is told")
        assert (await alice.get(path)).status_code == 404
    assert len(receiver.requests) == 3


async def test_whatever_fails_is_tried_again_in_order(server: Live) -> None:
    """Every second call is refused: all arrive, once each in the order of versions, under the same ids."""
    alice = await server.person()
    chats = [await alice.group() for _ in range(3)]
    count = 0

    def every_second(request: Request) -> int:
        nonlocal count
        count += 1
        return 200 if count % 2 else 500

    async with receiving(every_second) as receiver:
        for chat in chats:
            await hook(alice, chat, receiver, "message.created")
        for number in range(10):
            for chat in chats:
                await alice.say(chat, f"{number}")
        await eventually(lambda: len(receiver.accepted) == 30, patience=30)
    for chat in chats:
        of_chat = [r.event for r in receiver.accepted if r.event["chat_id"] == chat]
        assert [event["message"]["content"] for event in of_chat] == [str(n) for n in range(10)]
    refused = {request.name for request in receiver.requests} - {r.name for r in receiver.accepted}
    assert not refused


async def test_tells_all_that_a_message_has(server: Live) -> None:
    """Reactions, files, pins, and the guise of what another program posted: as anybody reads it."""
    alice, bob = await server.people("alice", "bob")
    chat = await alice.group(bob)
    async with receiving() as receiver:
        await hook(alice, chat, receiver, "message.updated")
        sent = await alice.http.post("/api/media", files={"file": ("a.txt", b"in a file")})
        said = await alice.say(chat, "hello", attachments=[sent.json()["id"]])
        made = await alice.post(f"/api/chats/{chat}/incoming-webhooks", {"name": "Builds"})
        url = made.json()["url"].replace(made.json()["url"].split("/hooks/")[0], server.url)
        assert (await server.client().post(url, json={"text": "built", "username": "CI"})).text == "ok"
        (posted,) = [each for each in await alice.history(chat) if each["content"] == "built"]
        for message in (said, posted):
            for person in (alice, bob):
                await person.put(f"/api/chats/{chat}/messages/{message['id']}/reactions/🎉")
            await alice.put(f"/api/chats/{chat}/messages/{message['id']}/pin")
        await eventually(lambda: len(receiver.accepted) == 6)
        for request, message in ((receiver.accepted[2], said), (receiver.accepted[5], posted)):
            read = await alice.get(f"/api/chats/{chat}/messages/{message['id']}")
            assert request.event["message"] == read.json()
    assert request.event["message"]["user"]["display_name"] == "CI"
    assert request.event["message"]["reactions"][0]["user_ids"] == [alice.id, bob.id]
    assert receiver.accepted[2].event["message"]["attachments"][0]["name"] == "a.txt"


async def test_what_was_deleted_meanwhile_is_not_told(server: Live) -> None:
    """Its content is gone from the outbox, too: the receiver hears of the marker."""
    alice = await server.person()
    chat, other = await alice.group(), await alice.group()
    async with receiving() as receiver:
        receiver.hold = asyncio.Event()
        for each in (chat, other):
            await hook(alice, each, receiver, "message.created", "message.deleted", "chat.deleted")
            await alice.say(each, "the first is under way")
        said = await alice.say(chat, "the secret of the chat")
        await alice.say(other, "another secret")
        await alice.delete(f"/api/chats/{chat}/messages/{said['id']}")
        await alice.delete(f"/api/chats/{other}")
        receiver.hold.set()
        await eventually(lambda: [e for e, _ in receiver.events()].count("message.deleted") == 2)
        await eventually(lambda: [e for e, _ in receiver.events()].count("chat.deleted") == 1)
    assert not any(b"secret" in request.body for request in receiver.requests)


async def test_gone_receiver_is_disabled_and_its_owner_told(server: Live) -> None:
    """By 410; what waits is kept, and comes when it is enabled again."""
    alice, bob = await server.people("alice", "bob")
    chat = await alice.group(bob)
    status = 410
    async with receiving(lambda request: status) as receiver, alice.online() as socket:
        made = await hook(alice, chat, receiver, "message.created")
        path = f"{path_of(chat)}/{made['id']}"
        await bob.say(chat, "one")
        await bob.say(chat, "two")
        notice = await _notice(socket)
        assert f"webhook {made['id']}" in notice["content"]
        assert "410" in notice["content"]
        assert receiver.url not in notice["content"], "its owner may be nobody there any more"
        assert notice["user"]["display_name"] == "BlazeChat"
        shown = (await alice.get(path)).json()
        assert (shown["enabled"], "410" in shown["disabled_because"]) == (False, True)
        await bob.say(chat, "three")
        status = 200
        enabled = (await alice.put(path, {"enabled": True})).json()
        assert (enabled["enabled"], enabled["disabled_because"]) == (True, None)
        await bob.say(chat, "four")
        await eventually(lambda: len(receiver.accepted) >= 2)
        told = [request.event["message"]["content"] for request in receiver.accepted]
        assert told == ["two", "four"], "one was given up, three came while it was disabled"
        dead = (await alice.get(f"{path}/deliveries", params={"state": "dead"})).json()
        assert [each["tries"] for each in dead] == [1]


async def _notice(socket: Any) -> dict[str, Any]:
    while True:
        frame = await socket.next()
        message = frame.get("message") or (frame.get("chat") or {}).get("last_message") or {}
        if "webhook" in message.get("content", ""):
            found: dict[str, Any] = message
            return found


async def test_failing_for_days_disables(new_server: NewServer) -> None:
    """However many events there are: it is the time that counts."""
    live = await new_server(**LOOPBACK, **FAST, webhook_disable_days=0.3 / 86_400)
    alice = await live.person()
    chat = await alice.group()
    async with receiving(lambda request: 503) as receiver, alice.online() as socket:
        made = await hook(alice, chat, receiver, "message.created")
        for number in range(5):
            await alice.say(chat, f"{number}")
        notice = await _notice(socket)
        assert "every call has failed" in notice["content"]
        shown = (await alice.get(f"{path_of(chat)}/{made['id']}")).json()
        assert not shown["enabled"]
        assert shown["failing_since"] is not None


async def test_given_up_after_the_schedule_and_told_again_on_demand(new_server: NewServer) -> None:
    """The dead-letter list; one again, or all; an event that is given up holds up nobody for good."""
    live = await new_server(**LOOPBACK, webhook_retry_seconds="0.05,0.05")
    alice = await live.person()
    chat = await alice.group()
    bad = {"one", "two"}

    def picky(request: Request) -> int:
        return 500 if request.event.get("message", {}).get("content") in bad else 200

    async with receiving(picky) as receiver:
        made = await hook(alice, chat, receiver, "message.created")
        path = f"{path_of(chat)}/{made['id']}"
        for content in ("one", "two", "three"):
            await alice.say(chat, content)
        await eventually(lambda: len(receiver.accepted) == 1)
        assert len(receiver.requests) == 7
        dead = (await alice.get(f"{path}/deliveries", params={"state": "dead"})).json()
        assert [each["tries"] for each in dead] == [3, 3]
        bad.clear()
        again = await alice.post(f"{path}/deliveries/{dead[0]['id']}/redeliver")
        assert again.status_code == 202
        await eventually(lambda: len(receiver.accepted) == 2)
        assert (await alice.post(f"{path}/redeliver")).json() == {"count": 1}
        await eventually(lambda: len(receiver.accepted) == 3)
        told = [request.event["message"]["content"] for request in receiver.accepted]
        assert told == ["three", "two", "one"]
        assert len({request.name for request in receiver.requests}) == 3


async def test_what_comes_of_a_call_does_not_undo_what_was_changed_meanwhile(new_server: NewServer) -> None:
    """An event told again begins anew, although the try before it fails; a new URL stays enabled."""
    live = await new_server(**LOOPBACK, webhook_retry_seconds="0.05")
    alice = await live.person()
    chat = await alice.group()
    async with receiving(lambda request: 500) as receiver, receiving() as another:
        made = await hook(alice, chat, receiver, "message.created")
        path = f"{path_of(chat)}/{made['id']}"
        await alice.say(chat, "x")
        await eventually(lambda: receiver.requests)
        receiver.hold = asyncio.Event()  # for the last try
        (row,) = (await alice.get(f"{path}/deliveries")).json()
        await eventually(lambda: len(receiver.heads) == 2)
        assert (await alice.post(f"{path}/deliveries/{row['id']}/redeliver")).status_code == 202
        receiver.answer = lambda request: 200 if len(receiver.requests) > 1 else 500
        receiver.hold.set()
        await eventually(lambda: receiver.accepted)

        receiver.answer = lambda request: 410
        receiver.hold = asyncio.Event()
        await alice.say(chat, "y")
        await eventually(lambda: len(receiver.heads) == 4)
        await alice.put(path, {"url": another.url})
        receiver.hold.set()
        await alice.say(chat, "z")
        await eventually(lambda: another.accepted)
        assert (await alice.get(path)).json()["enabled"]


async def test_nothing_overtakes_what_was_told_to_begin_anew(new_server: NewServer) -> None:
    """Its last try fails just when its webhook is enabled again: what is behind it waits for it."""
    live = await new_server(**LOOPBACK, webhook_retry_seconds="0.05")
    alice = await live.person()
    chat = await alice.group()
    async with receiving(lambda request: 500) as receiver:
        made = await hook(alice, chat, receiver, "message.created")
        await alice.say(chat, "one")
        await eventually(lambda: receiver.requests)
        receiver.hold = asyncio.Event()  # for the last try
        await alice.say(chat, "two")
        await alice.say(chat, "three")
        await eventually(lambda: len(receiver.heads) == 2)
        answer = await alice.put(f"{path_of(chat)}/{made['id']}", {"enabled": True})
        assert answer.status_code == 200
        receiver.answer = lambda request: 200 if len(receiver.requests) > 1 else 500
        receiver.hold.set()
        await eventually(lambda: len(receiver.accepted) >= 3)
        told = [request.event["message"]["content"] for request in receiver.accepted]
        assert list(dict.fromkeys(told)) == ["one", "two", "three"]


async def test_what_was_left_out_says_nothing_of_a_receiver(new_server: NewServer) -> None:
    """It has failed since it failed, until something was really delivered."""
    live = await new_server(**LOOPBACK, webhook_retry_seconds="3600")
    root = await live.person()
    kept, gone = await root.group(), await root.group()
    async with receiving(lambda request: 500) as receiver:
        made = await hook(root, None, receiver, "message.created")
        path = f"/api/webhooks/{made['id']}"
        await root.say(kept, "fails")
        await eventually(lambda: receiver.requests)

        async def is_failing() -> bool:
            return (await root.get(path)).json()["failing_since"] is not None

        await eventually(is_failing)
        assert (await root.put(path, {"url": receiver.url})).json()["failing_since"], "the same URL"
        other = await root.group()
        receiver.hold = asyncio.Event()
        await root.say(other, "takes the one place of a webhook that fails")
        await eventually(lambda: len(receiver.heads) == 2)
        await root.say(gone, "x")
        await root.delete(f"/api/chats/{gone}")
        receiver.hold.set()

        async def is_left_out() -> bool:
            found = (await root.get(f"{path}/deliveries", params={"state": "delivered"})).json()
            return [each["chat_id"] for each in found] == [gone]

        await eventually(is_left_out)
        assert await is_failing()


async def test_making_all_due_has_its_pace(server: Live) -> None:
    """Enabling again, and delivering all again."""
    alice = await server.person()
    chat = await alice.group()
    async with receiving() as receiver:
        made = await hook(alice, chat, receiver)
        path = f"{path_of(chat)}/{made['id']}"
        for _ in range(5):
            assert (await alice.put(path, {"enabled": True})).status_code == 200
            assert (await alice.post(f"{path}/redeliver")).status_code == 202
        assert (await alice.put(path, {"enabled": True})).status_code == 429
        assert (await alice.put(path, {"url": f"{receiver.url}/elsewhere"})).status_code == 429
        assert (await alice.put(path, {"url": receiver.url})).status_code == 200
        assert (await alice.post(f"{path}/redeliver")).status_code == 429
        assert (await alice.put(path, {"enabled": False})).status_code == 200


async def test_log_tells_what_was_sent_and_what_came_back(server: Live) -> None:
    """Request, answer and time of each try; by the page."""
    alice = await server.person()
    chat = await alice.group()
    head = "HTTP/1.1 500 X\r\nContent-Type: text/plain\r\nSet-Cookie: a=b\r\nContent-Length: 5\r\n\r\n"
    answers: Iterator[int | str] = iter([f"{head}no\0pe", 200])
    async with receiving(lambda request: next(answers)) as receiver:
        made = await hook(alice, chat, receiver, "message.created")
        path = f"{path_of(chat)}/{made['id']}/deliveries"
        said = await alice.say(chat, "hello")

        async def is_delivered() -> bool:
            found = (await alice.get(path)).json()
            return bool(found) and found[0]["state"] == "delivered"

        await eventually(is_delivered)
    (row,) = (await alice.get(path)).json()
    shown = (await alice.get(f"{path}/{row['id']}")).json()
    assert shown["request"]["url"] == receiver.url
    assert shown["request"]["headers"]["webhook-id"] == receiver.requests[0].name
    assert '"content":"hello"' in shown["request"]["body"]
    good, bad = shown["attempts"]
    assert (good["number"], good["status"], good["error"]) == (2, 200, None)
    assert (bad["number"], bad["status"], bad["answer"]) == (1, 500, "no\ufffdpe")
    assert bad["seconds"] > 0
    assert bad["headers"] == {"content-type": "text/plain", "content-length": "5"}
    assert made["secret"] not in (await alice.get(f"{path}/{row['id']}")).text
    await alice.delete(f"/api/chats/{chat}/messages/{said['id']}")
    assert "hello" not in (await alice.get(f"{path}/{row['id']}")).text
    assert (await alice.get(f"{path}/{row['id'] + 1000}")).status_code == 404


async def test_secret_changes_without_a_gap(server: Live) -> None:
    """For a while both sign; a stranger's secret never does, nor does an old request pass."""
    alice = await server.person()
    chat = await alice.group()
    async with receiving() as receiver:
        made = await hook(alice, chat, receiver, "message.created")
        path = f"{path_of(chat)}/{made['id']}"
        rotated = (await alice.post(f"{path}/secret")).json()
        assert rotated["secret"] not in (None, made["secret"])
        assert (await alice.get(path)).json()["secret"] is None
        await alice.say(chat, "x")
        await eventually(lambda: receiver.accepted)
    (request,) = receiver.requests
    assert request.verify(made["secret"]) == request.verify(rotated["secret"])
    with pytest.raises(WebhookVerificationError):
        request.verify("whsec_" + "A" * 44)
    request.headers["webhook-timestamp"] = str(int(request.headers["webhook-timestamp"]) - 600)
    with pytest.raises(WebhookVerificationError, match="too old"):
        request.verify(made["secret"])


async def test_ping_tells_at_once_what_comes_of_it(server: Live) -> None:
    """Also of a receiver that refuses, or of none."""
    alice = await server.person()
    chat = await alice.group()
    async with receiving() as receiver:
        made = await hook(alice, chat, receiver)
        path = f"{path_of(chat)}/{made['id']}"
        answer = await alice.post(f"{path}/ping")
        assert (answer.status_code, answer.json()["status"]) == (200, 200)
        (request,) = receiver.requests
        assert request.verify(made["secret"]) == {"type": "ping", "webhook_id": made["id"]}
        receiver.answer = lambda request: 404
        assert (await alice.post(f"{path}/ping")).json()["status"] == 404
    await alice.put(path, {"url": "http://127.0.0.1:1/"})
    refused = (await alice.post(f"{path}/ping")).json()
    assert (refused["status"], "refused" in refused["error"]) == (None, True)
    pings = (await alice.get(f"{path}/deliveries")).json()
    assert [each["state"] for each in pings] == ["dead", "dead", "delivered"]
    assert all(each["finished_at"] for each in pings)
    assert (await alice.post(f"{path}/redeliver")).json() == {"count": 0}, "they were for that moment"


async def test_slow_receiver_slows_nobody(server: Live) -> None:
    """Neither the sends, nor other webhooks, nor other chats of the same one."""
    alice = await server.person()
    slow_chat, quick_chat = await alice.group(), await alice.group()
    async with receiving() as slow, receiving() as quick:
        slow.hold = asyncio.Event()
        await hook(alice, slow_chat, slow, "message.created")
        await hook(alice, slow_chat, quick, "message.created")
        await hook(alice, quick_chat, quick, "message.created")
        for number in range(5):
            await alice.say(slow_chat, f"{number}")
            await alice.say(quick_chat, f"{number}")
        await eventually(lambda: len(quick.accepted) == 10)
        assert not slow.requests
        slow.hold.set()
        await eventually(lambda: len(slow.accepted) == 5)


async def test_what_was_under_way_goes_on_at_once_after_a_restart(new_database: NewDatabase) -> None:
    """Not when its lease is over, as where a server was killed."""
    settings = settings_for(await new_database(), **LOOPBACK)
    async with receiving() as receiver:
        receiver.hold = asyncio.Event()
        async with running(settings) as live:
            alice = await live.person("alice")
            chat = await alice.group()
            await hook(alice, chat, receiver, "message.created")
            for number in range(3):
                await alice.say(chat, str(number))
            await eventually(lambda: receiver.heads)
        receiver.hold.set()
        async with running(settings):
            await eventually(lambda: len(receiver.accepted) >= 3)
        told = [request.event["message"]["content"] for request in receiver.accepted]
        assert sorted(set(told)) == ["0", "1", "2"]
        assert told[-3:] == ["0", "1", "2"]


async def test_private_addresses_are_refused(live: Live) -> None:
    """Where no operator allowed them: nothing is connected to, and the log says why."""
    alice = await live.person()
    chat = await alice.group()
    async with receiving() as receiver:
        made = await hook(alice, chat, receiver)
        path = f"{path_of(chat)}/{made['id']}"
        port = receiver.port
        for host in (
            "127.0.0.1",
            "2130706433",
            "[::ffff:127.0.0.1]",
            "localhost",
            "0.0.0.0",  # noqa: S104 (to be refused)
            "169.254.1.1",
        ):
            changed = await alice.put(path, {"url": f"http://{host}:{port}/"})
            if changed.status_code == 422:
                continue
            tried = (await alice.post(f"{path}/ping")).json()
            assert tried["status"] is None, host
            assert tried["error"], host
        assert not receiver.requests


async def test_bad_webhooks_are_refused_with_a_reason(server: Live) -> None:
    """URLs that are none, types that are none, more than there may be."""
    alice = await server.person()
    chat = await alice.group()
    for url in ("", "ftp://x.example", "http://", "http://a:b@x.example/", "javascript:1", "x" * 5000):
        answer = await alice.post(path_of(chat), {"url": url})
        assert answer.status_code == 422, url
    for events in ([], ["message.sent"], ["*"], "message.created"):
        answer = await alice.post(path_of(chat), {"url": "https://x.example/", "events": events})
        assert answer.status_code == 422, events
    for _ in range(50):
        await alice.post(path_of(chat), {"url": "https://x.example/"})
    full = await alice.post(path_of(chat), {"url": "https://x.example/"})
    assert (full.status_code, full.json()["code"]) == (409, "too_many_webhooks")
    other = await alice.group()
    connection = await asyncpg.connect(server.app.state.settings.database_url)
    await connection.execute(
        "INSERT INTO webhooks (chat_id, owner_id, url, events, secret, disabled_at)"
        " SELECT -n, $1, '', '{}', '', now() FROM generate_series(1, 450) n",
        alice.id,
    )
    full = await alice.post(path_of(other), {"url": "https://x.example/"})
    await connection.execute("DELETE FROM webhooks WHERE chat_id < 0")
    await connection.close()
    assert (full.status_code, full.json()["code"]) == (409, "too_many_webhooks")


async def test_webhook_of_the_server_is_told_of_all_chats(new_server: NewServer) -> None:
    """Its administrators make it; chats that are new, direct ones, and fast sends among them."""
    live = await new_server(**LOOPBACK, **FAST)
    root, alice, bob = await live.people("root", "alice", "bob")
    early = await alice.group(bob)
    await alice.say(early, "before")
    async with receiving() as receiver:
        assert (await alice.post("/api/webhooks", {"url": receiver.url})).status_code == 403
        made = await hook(root, None, receiver, "message.created", "chat.created", "chat.deleted")
        chat, direct = await alice.group(bob), await alice.direct(bob)
        await asyncio.gather(
            *(person.say(each, "x") for each in (early, chat, direct) for person in (alice, bob))
        )
        await alice.delete(f"/api/chats/{chat}")
        await eventually(lambda: [e for e, _ in receiver.events()].count("chat.deleted") == 1)

        async def nothing_waits() -> bool:
            path = f"/api/webhooks/{made['id']}/deliveries"
            return not (await root.get(path, params={"state": "waiting"})).json()

        await eventually(nothing_waits)
        created = [r.event for r in receiver.accepted if r.event["type"] == "chat.created"]
        assert {event["chat"]["id"] for event in created} == {chat, direct}
        assert all("role" not in event["chat"] for event in created)
        said = [r.event["chat_id"] for r in receiver.accepted if r.event["type"] == "message.created"]
        assert said.count(early) == said.count(direct) == 2
        path = f"/api/webhooks/{made['id']}"
        assert (await alice.get(path)).status_code == 403
        assert (await root.get(f"/api/chats/{early}/webhooks/{made['id']}")).status_code == 404
        assert (await root.delete(path)).status_code == 204
        before = len(receiver.requests)
        await alice.say(early, "after")
        await alice.say(early, "after")
        assert len(receiver.requests) == before


async def test_no_send_is_missed_around_the_making_of_a_webhook(server: Live) -> None:
    """The ledger knows the chat's end by heart: from the webhook's answer on, every send is told."""
    alice = await server.person()
    for _ in range(5):
        chat = await alice.group()
        await alice.say(chat, "so that its end is known")
        async with receiving() as receiver:
            sending = [asyncio.create_task(alice.say(chat, f"around {n}")) for n in range(10)]
            await hook(alice, chat, receiver, "message.created")
            after = [await alice.say(chat, f"after {n}") for n in range(3)]
            await asyncio.gather(*sending)
            wanted = {message["id"] for message in after}
            await eventually(
                lambda: wanted <= {r.event["message"]["id"] for r in receiver.accepted}  # noqa: B023
            )
            versions = [version for _, version in receiver.events()]
            assert versions == sorted(versions)
