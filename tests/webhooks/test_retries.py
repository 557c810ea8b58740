"""Failed deliveries are retried in order, given up as dead letters, and redelivered."""

import asyncio
from typing import Any

from tests.conftest import NewDatabase, NewServer
from tests.harness import Live, eventually, running, settings_for
from tests.webhooks.outgoing import FAST_RETRIES, create_webhook, path_of
from tests.webhooks.receiver import LOOPBACK, Request, receiving


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
        await eventually(lambda: len(receiver.accepted) == 30, timeout_seconds=30)
    for chat in chats:
        of_chat = [r.event for r in receiver.accepted if r.event["chat_id"] == chat]
        assert [event["message"]["content"] for event in of_chat] == [str(n) for n in range(10)]
    refused = {request.event_id for request in receiver.requests} - {r.event_id for r in receiver.accepted}
    assert not refused


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
