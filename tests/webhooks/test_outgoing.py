"""Outgoing webhooks receive events in order, signed and at least once, and never deleted content."""

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

FAST_RETRIES = {"webhook_retry_seconds": "0.05,0.05,0.05,0.05,0.05,0.05,0.05,0.05,0.05,0.05"}


@pytest.fixture(scope="module")
async def server(new_database: NewDatabase) -> AsyncIterator[Live]:
    """A server that may call this machine and retries quickly."""
    settings = settings_for(await new_database(), **LOOPBACK, **FAST_RETRIES, webhook_timeout=5)
    async with running(settings) as live:
        await live.person("first")
        yield live


async def create_webhook(
    person: Person, chat_id: int | None, receiver: Receiver, *events: str, **options: Any
) -> dict[str, Any]:
    """Create a webhook of a chat, or of the server; return it with its secret."""
    wanted = {"url": receiver.url, "events": list(events) or None}
    answer = await person.post(path_of(chat_id), wanted | options)
    assert answer.status_code == 201, answer.text
    webhook: dict[str, Any] = answer.json()
    return webhook


def path_of(chat_id: int | None) -> str:
    return "/api/webhooks" if chat_id is None else f"/api/chats/{chat_id}/webhooks"


async def test_events_of_a_chat_arrive_in_order_and_signed(server: Live) -> None:
    """The same objects as on a socket, once each; verified with the library for receivers."""
    alice, bob, carol = await server.people("alice", "bob", "carol")
    chat, other = await alice.group(bob), await alice.group(bob)
    async with receiving() as receiver, alice.online() as socket:
        webhook = await create_webhook(alice, chat, receiver)
        assert webhook["secret"].startswith("whsec_")
        await alice.say(other, "of no concern")
        message = await bob.say(chat, "hello")
        await alice.put(f"/api/chats/{chat}/messages/{message['id']}/pin")
        await bob.put(f"/api/chats/{chat}/messages/{message['id']}", {"content": "hello, edited"})
        await alice.post(f"/api/chats/{chat}/members", [carol.id])
        await alice.put(f"/api/chats/{chat}/members/{carol.id}", {"role": "admin"})
        await alice.delete(f"/api/chats/{chat}/members/{carol.id}")
        await alice.put(f"/api/chats/{chat}", {"name": "Renamed"})
        await eventually(lambda: len(receiver.accepted) == 7)  # before the deletion changes them
        await bob.delete(f"/api/chats/{chat}/messages/{message['id']}")
        await eventually(lambda: len(receiver.accepted) == 8)
        await alice.delete(f"/api/chats/{chat}")
        events: list[dict[str, Any]] = []
        while not events or events[-1]["type"] != "chat.deleted":
            events.append(await socket.next(chat_id=chat))
        await eventually(lambda: len(receiver.accepted) == len(events))
    delivered = [request.verify(webhook["secret"]) for request in receiver.requests]
    assert [(event["type"], event["version"]) for event in delivered] == [
        (event["type"], event["version"]) for event in events
    ]
    about_chat = [event for event in events if "message" not in event]
    assert [event for event in delivered if "message" not in event] == about_chat
    assert delivered[-2]["message"] == events[-2]["message"]
    names = [request.event_id for request in receiver.requests]
    assert names == [f"evt_{chat}_{event['version']}" for event in delivered]
    assert {event["type"] for event in delivered} == {*EVENT_TYPES} - {"chat.created"}
    request = receiver.requests[0]
    assert request.headers["content-type"] == "application/json"
    assert request.headers["user-agent"].startswith("BlazeChat/")


async def test_webhook_receives_only_the_chosen_types_of_events(server: Live) -> None:
    """A change of the types applies to later events."""
    alice = await server.person()
    chat = await alice.group()
    async with receiving() as receiver:
        webhook = await create_webhook(alice, chat, receiver, "message.deleted")
        assert webhook["events"] == ["message.deleted"]
        message = await alice.say(chat, "x")
        await alice.delete(f"/api/chats/{chat}/messages/{message['id']}")
        await eventually(lambda: len(receiver.accepted) == 1)
        path = f"{path_of(chat)}/{webhook['id']}"
        changed = await alice.put(path, {"events": ["message.created"]})
        assert changed.json()["events"] == ["message.created"]
        later = await alice.say(chat, "y")
        await alice.delete(f"/api/chats/{chat}/messages/{later['id']}")
        last = await alice.say(chat, "z")
        await eventually(lambda: len(receiver.accepted) == 3)
        assert receiver.accepted[-1].event["message"]["id"] == last["id"]
        assert (await alice.delete(path)).status_code == 204
        await alice.say(chat, "the webhook was deleted")
        assert (await alice.get(path)).status_code == 404
    assert len(receiver.requests) == 3


async def test_failed_deliveries_are_retried_in_order(server: Live) -> None:
    """Every second call fails: all events arrive once, in order of version, under the same event ids."""
    alice = await server.person()
    chats = [await alice.group() for _ in range(3)]
    count = 0

    def every_second(request: Request) -> int:
        nonlocal count
        count += 1
        return 200 if count % 2 else 500

    async with receiving(every_second) as receiver:
        for chat in chats:
            await create_webhook(alice, chat, receiver, "message.created")
        for number in range(10):
            for chat in chats:
                await alice.say(chat, f"{number}")
        await eventually(lambda: len(receiver.accepted) == 30, patience=30)
    for chat in chats:
        of_chat = [r.event for r in receiver.accepted if r.event["chat_id"] == chat]
        assert [event["message"]["content"] for event in of_chat] == [str(n) for n in range(10)]
    refused = {request.event_id for request in receiver.requests} - {r.event_id for r in receiver.accepted}
    assert not refused


async def test_event_has_all_fields_of_its_message(server: Live) -> None:
    """Reactions, files, pins and an overridden author, as a member reads them."""
    alice, bob = await server.people("alice", "bob")
    chat = await alice.group(bob)
    async with receiving() as receiver:
        await create_webhook(alice, chat, receiver, "message.updated")
        upload = await alice.http.post("/api/media", files={"file": ("a.txt", b"in a file")})
        sent = await alice.say(chat, "hello", attachments=[upload.json()["id"]])
        incoming = await alice.post(f"/api/chats/{chat}/incoming-webhooks", {"name": "Builds"})
        url = incoming.json()["url"].replace(incoming.json()["url"].split("/hooks/")[0], server.url)
        assert (await server.client().post(url, json={"text": "built", "username": "CI"})).text == "ok"
        (posted,) = [each for each in await alice.history(chat) if each["content"] == "built"]
        for message in (sent, posted):
            for person in (alice, bob):
                await person.put(f"/api/chats/{chat}/messages/{message['id']}/reactions/🎉")
            await alice.put(f"/api/chats/{chat}/messages/{message['id']}/pin")
        await eventually(lambda: len(receiver.accepted) == 6)
        for request, message in ((receiver.accepted[2], sent), (receiver.accepted[5], posted)):
            read = await alice.get(f"/api/chats/{chat}/messages/{message['id']}")
            assert request.event["message"] == read.json()
    assert request.event["message"]["user"]["display_name"] == "CI"
    assert request.event["message"]["reactions"][0]["user_ids"] == [alice.id, bob.id]
    assert receiver.accepted[2].event["message"]["attachments"][0]["name"] == "a.txt"


async def test_content_deleted_before_delivery_is_never_sent(server: Live) -> None:
    """It is not in the outbox either: the receiver gets the tombstone."""
    alice = await server.person()
    chat, other = await alice.group(), await alice.group()
    async with receiving() as receiver:
        receiver.hold = asyncio.Event()
        for each in (chat, other):
            await create_webhook(
                alice, each, receiver, "message.created", "message.deleted", "chat.deleted"
            )
            await alice.say(each, "the first call is in progress")
        message = await alice.say(chat, "the secret of the chat")
        await alice.say(other, "another secret")
        await alice.delete(f"/api/chats/{chat}/messages/{message['id']}")
        await alice.delete(f"/api/chats/{other}")
        receiver.hold.set()
        await eventually(lambda: [e for e, _ in receiver.events()].count("message.deleted") == 2)
        await eventually(lambda: [e for e, _ in receiver.events()].count("chat.deleted") == 1)
    assert not any(b"secret" in request.body for request in receiver.requests)


async def test_webhook_of_a_gone_receiver_is_disabled_and_its_owner_notified(server: Live) -> None:
    """By status 410. Waiting events are kept and delivered once it is enabled again."""
    alice, bob = await server.people("alice", "bob")
    chat = await alice.group(bob)
    status = 410
    async with receiving(lambda request: status) as receiver, alice.online() as socket:
        webhook = await create_webhook(alice, chat, receiver, "message.created")
        path = f"{path_of(chat)}/{webhook['id']}"
        await bob.say(chat, "one")
        await bob.say(chat, "two")
        notice = await _next_notice(socket)
        assert f"webhook {webhook['id']}" in notice["content"]
        assert "410" in notice["content"]
        assert receiver.url not in notice["content"], "the owner might not be an admin any more"
        assert notice["user"]["display_name"] == "BlazeChat"
        found = (await alice.get(path)).json()
        assert (found["enabled"], "410" in found["disabled_because"]) == (False, True)
        await bob.say(chat, "three")
        status = 200
        enabled = (await alice.put(path, {"enabled": True})).json()
        assert (enabled["enabled"], enabled["disabled_because"]) == (True, None)
        await bob.say(chat, "four")
        await eventually(lambda: len(receiver.accepted) >= 2)
        delivered = [request.event["message"]["content"] for request in receiver.accepted]
        assert delivered == ["two", "four"], "one is dead, three was sent while it was disabled"
        dead = (await alice.get(f"{path}/deliveries", params={"state": "dead"})).json()
        assert [each["tries"] for each in dead] == [1]


async def _next_notice(socket: Any) -> dict[str, Any]:
    while True:
        frame = await socket.next()
        message = frame.get("message") or (frame.get("chat") or {}).get("last_message") or {}
        if "webhook" in message.get("content", ""):
            found: dict[str, Any] = message
            return found


async def test_webhook_that_fails_for_days_is_disabled(new_server: NewServer) -> None:
    """The time since the first failure counts, not the number of events."""
    live = await new_server(**LOOPBACK, **FAST_RETRIES, webhook_disable_days=0.3 / 86_400)
    alice = await live.person()
    chat = await alice.group()
    async with receiving(lambda request: 503) as receiver, alice.online() as socket:
        webhook = await create_webhook(alice, chat, receiver, "message.created")
        for number in range(5):
            await alice.say(chat, f"{number}")
        notice = await _next_notice(socket)
        assert "every call has failed" in notice["content"]
        found = (await alice.get(f"{path_of(chat)}/{webhook['id']}")).json()
        assert not found["enabled"]
        assert found["failing_since"] is not None


async def test_event_is_dead_after_the_last_retry_and_can_be_redelivered(new_server: NewServer) -> None:
    """Dead letters are listed and redelivered, one or all; a dead event does not block its lane."""
    live = await new_server(**LOOPBACK, webhook_retry_seconds="0.05,0.05")
    alice = await live.person()
    chat = await alice.group()
    bad = {"one", "two"}

    def picky(request: Request) -> int:
        return 500 if request.event.get("message", {}).get("content") in bad else 200

    async with receiving(picky) as receiver:
        webhook = await create_webhook(alice, chat, receiver, "message.created")
        path = f"{path_of(chat)}/{webhook['id']}"
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
        delivered = [request.event["message"]["content"] for request in receiver.accepted]
        assert delivered == ["three", "two", "one"]
        assert len({request.event_id for request in receiver.requests}) == 3


async def test_late_result_of_a_call_does_not_undo_later_changes(new_server: NewServer) -> None:
    """A restarted event keeps its tries when an earlier try fails; a new URL keeps the webhook enabled."""
    live = await new_server(**LOOPBACK, webhook_retry_seconds="0.05")
    alice = await live.person()
    chat = await alice.group()
    async with receiving(lambda request: 500) as receiver, receiving() as another:
        webhook = await create_webhook(alice, chat, receiver, "message.created")
        path = f"{path_of(chat)}/{webhook['id']}"
        await alice.say(chat, "x")
        await eventually(lambda: receiver.requests)
        receiver.hold = asyncio.Event()  # for the last try
        (row,) = (await alice.get(f"{path}/deliveries")).json()
        await eventually(lambda: len(receiver.received) == 2)
        assert (await alice.post(f"{path}/deliveries/{row['id']}/redeliver")).status_code == 202
        receiver.answer = lambda request: 200 if len(receiver.requests) > 1 else 500
        receiver.hold.set()
        await eventually(lambda: receiver.accepted)

        receiver.answer = lambda request: 410
        receiver.hold = asyncio.Event()
        await alice.say(chat, "y")
        await eventually(lambda: len(receiver.received) == 4)
        await alice.put(path, {"url": another.url})
        receiver.hold.set()
        await alice.say(chat, "z")
        await eventually(lambda: another.accepted)
        assert (await alice.get(path)).json()["enabled"]


async def test_no_event_overtakes_a_restarted_one(new_server: NewServer) -> None:
    """Its last try fails just when its webhook is enabled again: later events of its lane wait for it."""
    live = await new_server(**LOOPBACK, webhook_retry_seconds="0.05")
    alice = await live.person()
    chat = await alice.group()
    async with receiving(lambda request: 500) as receiver:
        webhook = await create_webhook(alice, chat, receiver, "message.created")
        await alice.say(chat, "one")
        await eventually(lambda: receiver.requests)
        receiver.hold = asyncio.Event()  # for the last try
        await alice.say(chat, "two")
        await alice.say(chat, "three")
        await eventually(lambda: len(receiver.received) == 2)
        answer = await alice.put(f"{path_of(chat)}/{webhook['id']}", {"enabled": True})
        assert answer.status_code == 200
        receiver.answer = lambda request: 200 if len(receiver.requests) > 1 else 500
        receiver.hold.set()
        await eventually(lambda: len(receiver.accepted) >= 3)
        delivered = [request.event["message"]["content"] for request in receiver.accepted]
        assert list(dict.fromkeys(delivered)) == ["one", "two", "three"]


async def test_skipped_event_does_not_count_as_a_success_of_the_receiver(new_server: NewServer) -> None:
    """The webhook stays failing until an event is really delivered."""
    live = await new_server(**LOOPBACK, webhook_retry_seconds="3600")
    root = await live.person()
    kept, gone = await root.group(), await root.group()
    async with receiving(lambda request: 500) as receiver:
        webhook = await create_webhook(root, None, receiver, "message.created")
        path = f"/api/webhooks/{webhook['id']}"
        await root.say(kept, "fails")
        await eventually(lambda: receiver.requests)

        async def is_failing() -> bool:
            return (await root.get(path)).json()["failing_since"] is not None

        await eventually(is_failing)
        assert (await root.put(path, {"url": receiver.url})).json()["failing_since"], "the same URL"
        other = await root.group()
        receiver.hold = asyncio.Event()
        await root.say(other, "takes the one slot of a failing webhook")
        await eventually(lambda: len(receiver.received) == 2)
        await root.say(gone, "x")
        await root.delete(f"/api/chats/{gone}")
        receiver.hold.set()

        async def is_left_out() -> bool:
            found = (await root.get(f"{path}/deliveries", params={"state": "delivered"})).json()
            return [each["chat_id"] for each in found] == [gone]

        await eventually(is_left_out)
        assert await is_failing()


async def test_restarts_of_a_webhook_are_rate_limited(server: Live) -> None:
    """Enabling it, another URL, and redelivering all dead events count together."""
    alice = await server.person()
    chat = await alice.group()
    async with receiving() as receiver:
        webhook = await create_webhook(alice, chat, receiver)
        path = f"{path_of(chat)}/{webhook['id']}"
        for _ in range(5):
            assert (await alice.put(path, {"enabled": True})).status_code == 200
            assert (await alice.post(f"{path}/redeliver")).status_code == 202
        assert (await alice.put(path, {"enabled": True})).status_code == 429
        assert (await alice.put(path, {"url": f"{receiver.url}/elsewhere"})).status_code == 429
        assert (await alice.put(path, {"url": receiver.url})).status_code == 200
        assert (await alice.post(f"{path}/redeliver")).status_code == 429
        assert (await alice.put(path, {"enabled": False})).status_code == 200


async def test_delivery_log_has_request_and_responses(server: Live) -> None:
    """Request, response and duration of each try."""
    alice = await server.person()
    chat = await alice.group()
    head = "HTTP/1.1 500 X\r\nContent-Type: text/plain\r\nSet-Cookie: a=b\r\nContent-Length: 5\r\n\r\n"
    answers: Iterator[int | str] = iter([f"{head}no\0pe", 200])
    async with receiving(lambda request: next(answers)) as receiver:
        webhook = await create_webhook(alice, chat, receiver, "message.created")
        path = f"{path_of(chat)}/{webhook['id']}/deliveries"
        message = await alice.say(chat, "hello")

        async def is_delivered() -> bool:
            found = (await alice.get(path)).json()
            return bool(found) and found[0]["state"] == "delivered"

        await eventually(is_delivered)
    (row,) = (await alice.get(path)).json()
    found = (await alice.get(f"{path}/{row['id']}")).json()
    assert found["request"]["url"] == receiver.url
    assert found["request"]["headers"]["webhook-id"] == receiver.requests[0].event_id
    assert '"content":"hello"' in found["request"]["body"]
    good, bad = found["attempts"]
    assert (good["number"], good["status"], good["error"]) == (2, 200, None)
    assert (bad["number"], bad["status"], bad["answer"]) == (1, 500, "no\ufffdpe")
    assert bad["seconds"] > 0
    assert bad["headers"] == {"content-type": "text/plain", "content-length": "5"}
    assert webhook["secret"] not in (await alice.get(f"{path}/{row['id']}")).text
    await alice.delete(f"/api/chats/{chat}/messages/{message['id']}")
    assert "hello" not in (await alice.get(f"{path}/{row['id']}")).text
    assert (await alice.get(f"{path}/{row['id'] + 1000}")).status_code == 404


async def test_old_and_new_secret_are_both_valid_after_a_rotation(server: Live) -> None:
    """Another secret never verifies, and neither does an old timestamp."""
    alice = await server.person()
    chat = await alice.group()
    async with receiving() as receiver:
        webhook = await create_webhook(alice, chat, receiver, "message.created")
        path = f"{path_of(chat)}/{webhook['id']}"
        rotated = (await alice.post(f"{path}/secret")).json()
        assert rotated["secret"] not in (None, webhook["secret"])
        assert (await alice.get(path)).json()["secret"] is None
        await alice.say(chat, "x")
        await eventually(lambda: receiver.accepted)
    (request,) = receiver.requests
    assert request.verify(webhook["secret"]) == request.verify(rotated["secret"])
    with pytest.raises(WebhookVerificationError):
        request.verify("whsec_" + "A" * 44)
    request.headers["webhook-timestamp"] = str(int(request.headers["webhook-timestamp"]) - 600)
    with pytest.raises(WebhookVerificationError, match="too old"):
        request.verify(webhook["secret"])


async def test_ping_returns_its_result(server: Live) -> None:
    """Also if the receiver answers with an error, or does not exist."""
    alice = await server.person()
    chat = await alice.group()
    async with receiving() as receiver:
        webhook = await create_webhook(alice, chat, receiver)
        path = f"{path_of(chat)}/{webhook['id']}"
        answer = await alice.post(f"{path}/ping")
        assert (answer.status_code, answer.json()["status"]) == (200, 200)
        (request,) = receiver.requests
        assert request.verify(webhook["secret"]) == {"type": "ping", "webhook_id": webhook["id"]}
        receiver.answer = lambda request: 404
        assert (await alice.post(f"{path}/ping")).json()["status"] == 404
    await alice.put(path, {"url": "http://127.0.0.1:1/"})
    refused = (await alice.post(f"{path}/ping")).json()
    assert (refused["status"], "refused" in refused["error"]) == (None, True)
    pings = (await alice.get(f"{path}/deliveries")).json()
    assert [each["state"] for each in pings] == ["dead", "dead", "delivered"]
    assert all(each["finished_at"] for each in pings)
    assert (await alice.post(f"{path}/redeliver")).json() == {"count": 0}, "a ping is sent once"


async def test_slow_receiver_delays_only_its_own_lane(server: Live) -> None:
    """Not the sends, other webhooks, or other chats of the same webhook."""
    alice = await server.person()
    slow_chat, quick_chat = await alice.group(), await alice.group()
    async with receiving() as slow, receiving() as quick:
        slow.hold = asyncio.Event()
        await create_webhook(alice, slow_chat, slow, "message.created")
        await create_webhook(alice, slow_chat, quick, "message.created")
        await create_webhook(alice, quick_chat, quick, "message.created")
        for number in range(5):
            await alice.say(slow_chat, f"{number}")
            await alice.say(quick_chat, f"{number}")
        await eventually(lambda: len(quick.accepted) == 10)
        assert not slow.requests
        slow.hold.set()
        await eventually(lambda: len(slow.accepted) == 5)


async def test_deliveries_in_progress_continue_right_after_a_restart(new_database: NewDatabase) -> None:
    """Their leases are released; only a killed server leaves leases that must time out."""
    settings = settings_for(await new_database(), **LOOPBACK)
    async with receiving() as receiver:
        receiver.hold = asyncio.Event()
        async with running(settings) as live:
            alice = await live.person("alice")
            chat = await alice.group()
            await create_webhook(alice, chat, receiver, "message.created")
            for number in range(3):
                await alice.say(chat, str(number))
            await eventually(lambda: receiver.received)
        receiver.hold.set()
        async with running(settings):
            await eventually(lambda: len(receiver.accepted) >= 3)
        delivered = [request.event["message"]["content"] for request in receiver.accepted]
        assert sorted(set(delivered)) == ["0", "1", "2"]
        assert delivered[-3:] == ["0", "1", "2"]


async def test_private_addresses_are_not_called(live: Live) -> None:
    """Unless the operator allows them: no connection is made, and the ping's result says why."""
    alice = await live.person()
    chat = await alice.group()
    async with receiving() as receiver:
        webhook = await create_webhook(alice, chat, receiver)
        path = f"{path_of(chat)}/{webhook['id']}"
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


async def test_invalid_webhooks_are_rejected(server: Live) -> None:
    """Invalid URLs, unknown types of events, more webhooks than the limits."""
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


async def test_webhook_of_the_server_receives_events_of_all_chats(new_server: NewServer) -> None:
    """Created by an administrator: it receives new chats, direct chats and fast sends as well."""
    live = await new_server(**LOOPBACK, **FAST_RETRIES)
    root, alice, bob = await live.people("root", "alice", "bob")
    early = await alice.group(bob)
    await alice.say(early, "before")
    async with receiving() as receiver:
        assert (await alice.post("/api/webhooks", {"url": receiver.url})).status_code == 403
        types = ("message.created", "chat.created", "chat.deleted")
        webhook = await create_webhook(root, None, receiver, *types)
        chat, direct = await alice.group(bob), await alice.direct(bob)
        await asyncio.gather(
            *(person.say(each, "x") for each in (early, chat, direct) for person in (alice, bob))
        )
        await alice.delete(f"/api/chats/{chat}")
        await eventually(lambda: [e for e, _ in receiver.events()].count("chat.deleted") == 1)

        async def nothing_waits() -> bool:
            path = f"/api/webhooks/{webhook['id']}/deliveries"
            return not (await root.get(path, params={"state": "waiting"})).json()

        await eventually(nothing_waits)
        created = [r.event for r in receiver.accepted if r.event["type"] == "chat.created"]
        assert {event["chat"]["id"] for event in created} == {chat, direct}
        assert all("role" not in event["chat"] for event in created)
        chat_ids = [r.event["chat_id"] for r in receiver.accepted if r.event["type"] == "message.created"]
        assert chat_ids.count(early) == chat_ids.count(direct) == 2
        path = f"/api/webhooks/{webhook['id']}"
        assert (await alice.get(path)).status_code == 403
        assert (await root.get(f"/api/chats/{early}/webhooks/{webhook['id']}")).status_code == 404
        assert (await root.delete(path)).status_code == 204
        before = len(receiver.requests)
        await alice.say(early, "after")
        await alice.say(early, "after")
        assert len(receiver.requests) == before


async def test_no_message_is_missed_after_a_webhook_is_created(server: Live) -> None:
    """Although the ledger caches the chat's head, every later send is delivered."""
    alice = await server.person()
    for _ in range(5):
        chat = await alice.group()
        await alice.say(chat, "so that its head is cached")
        async with receiving() as receiver:
            sending = [asyncio.create_task(alice.say(chat, f"around {n}")) for n in range(10)]
            await create_webhook(alice, chat, receiver, "message.created")
            after = [await alice.say(chat, f"after {n}") for n in range(3)]
            await asyncio.gather(*sending)
            wanted = {message["id"] for message in after}
            await eventually(
                lambda: wanted <= {r.event["message"]["id"] for r in receiver.accepted}  # noqa: B023
            )
            versions = [version for _, version in receiver.events()]
            assert versions == sorted(versions)
