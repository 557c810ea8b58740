"""Outgoing webhooks receive events in order, signed and at least once, and never deleted content."""

import asyncio
from typing import Any

from blazechat.domain.webhooks.webhooks import EVENT_TYPES
from tests.conftest import NewServer
from tests.harness import Live, eventually
from tests.webhooks.outgoing import FAST_RETRIES, create_webhook, path_of
from tests.webhooks.receiver import LOOPBACK, receiving


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
